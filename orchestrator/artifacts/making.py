"""Making one artifact: the same code in a Tune trial, in a rollout actor, or in a notebook.

``make(store, artifact)`` looks whether it is there, lets it load what it needs and make its files, and leaves a whole
artifact behind; killed at any moment, the next call continues from the checkpoint.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from hypogen.checkpoints import UnreadableCheckpoint
from orchestrator.artifacts.artifact import Artifact, Task
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.manifest import Manifest
from orchestrator.artifacts.workspace import Workspace
from orchestrator.exceptions import Damaged

Report = Callable[[dict[str, float]], None]


def never() -> bool:
    """Nobody asks to stop."""
    return False


def make(
    store: Store,
    artifact: Artifact,
    *,
    threads: int = 1,
    device: str = "cpu",
    report: Report | None = None,
    stop: Callable[[], bool] = never,
) -> bool:
    """Make one artifact, whose inputs are there, unless the store has it; True if this call made it.

    Args:
        threads: Threads of PyTorch and of the physics.
        device: ``"cpu"`` or ``"cuda"``.
        report: Called at most once a second with the progress of a training.
        stop: Asked by a training at every safe point whether to leave a checkpoint and end.

    Raises:
        hypogen.errors.Diverged: A training produced NaN or infinity.
        hypogen.errors.Stopped: ``stop`` said so; the next call continues.
    """
    torch.set_num_threads(threads)
    manifest = Manifest.begin(artifact, torch.cuda.get_device_name() if device == "cuda" else "cpu", threads)

    def build(folder: Path, workspace: Workspace) -> Mapping[str, object]:
        def progress(values: Mapping[str, object]) -> None:
            workspace.begin_sync()
            if report is not None:
                report({name: float(value) for name, value in values.items() if isinstance(value, int | float)})

        task = Task(workspace.folder, threads, device, throttled(progress), stop)
        try:
            summary = artifact.make(store, folder, task)
        except UnreadableCheckpoint:  # of a disk that lost it, or of other code: from the start, then
            workspace.set_aside()
            summary = artifact.make(store, folder, task)
        return dataclasses.replace(manifest, summary=summary).fields()

    made = store.make(artifact.kind, artifact.key, build)
    if made:
        Manifest.load(store, artifact.kind, artifact.key).record(store)
    return made


def make_all(
    store: Store,
    artifacts: Iterable[Artifact],
    *,
    threads: int = 1,
    device: str = "cpu",
    stop: Callable[[], bool] = never,
) -> None:
    """Make artifacts and whatever they are made of, one after the other, in this process; see ``make``."""
    for artifact in in_order(artifacts):
        make(store, artifact, threads=threads, device=device, stop=stop)


def discard_damaged(store: Store, artifacts: Iterable[Artifact]) -> None:
    """Set aside whatever is damaged among artifacts and all that they are made of."""
    for artifact in in_order(artifacts):
        if store.exists(artifact.kind, artifact.key):
            try:
                artifact.folder(store)
            except Damaged as found:
                store.set_aside(found.kind, found.key)


def in_order(artifacts: Iterable[Artifact]) -> list[Artifact]:
    """The artifacts and all that they are made of, inputs first, each once."""
    found: dict[str, Artifact] = {}

    def visit(artifact: Artifact) -> None:
        if artifact.key not in found:
            for parent in artifact.inputs:
                visit(parent)
            found[artifact.key] = artifact

    for artifact in artifacts:
        visit(artifact)
    return list(found.values())


def throttled(
    report: Callable[[Mapping[str, object]], None], every_s: float = 1.0
) -> Callable[[Mapping[str, object]], None]:
    """``report``, at most once in ``every_s`` seconds: a small training makes hundreds of epochs a second."""
    last = -every_s

    def call(values: Mapping[str, object]) -> None:
        nonlocal last
        moment = time.monotonic()
        if moment - last >= every_s:
            last = moment
            report(values)

    return call
