"""Estimate of how long a plan takes: from what the store's artifacts took, else from figures that were measured once.

Those are of one core of a two-core machine, and of an H200.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from orchestrator.artifacts import ARTIFACTS, Artifact
from orchestrator.artifacts.manifest import Manifest
from orchestrator.exceptions import Damaged
from orchestrator.execution.state import ExecutionState

SAMPLES = 8
"""Stored artifacts of a class that are looked at to learn how long one takes here."""

RENEWED = 50.0
"""What is left is added up again after so many times as long as that takes."""


class Estimate:
    """Seconds per missing artifact, and for what is left to do, on so many CPUs and GPUs."""

    def __init__(self, state: ExecutionState, cpus: float, gpus: float = 0.0) -> None:
        self._workers, self._gpus = max(int(cpus), 1), int(gpus)
        self._factors = {kind: measured_factor(state, kind, self._gpus > 0) for kind in ARTIFACTS}
        self._seconds: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._wall: dict[str, float] = {}
        self._stale = 0.0

    def seconds(self, artifacts: Iterable[Artifact]) -> float:
        """Seconds of work in all, if one worker did it."""
        return sum(map(self.of, artifacts))

    def of(self, artifact: Artifact) -> float:
        """Seconds of one artifact that has its GPU, or its core, to itself."""
        if artifact.key not in self._seconds:
            self._seconds[artifact.key] = given(artifact, self._gpus > 0) * self._factors.get(type(artifact), 1.0)
        return self._seconds[artifact.key]

    def wall(self, state: ExecutionState) -> dict[str, float]:
        """Seconds by kind, with the artifacts of a kind made side by side where there are workers for them."""
        by_kind: dict[str, list[Artifact]] = defaultdict(list)
        for key, artifact in state.missing.items():
            if key not in state.made and key not in state.failures:
                by_kind[artifact.kind].append(artifact)
        return {kind: self.seconds(found) / self._parallel(found) for kind, found in by_kind.items()}

    def _parallel(self, found: Sequence[Artifact]) -> int:
        """How many are made at once: trainings on one GPU take turns."""
        on_gpus = self._gpus and any(artifact.gpu_seconds is not None for artifact in found)
        return max(1, min(self._gpus if on_gpus else self._workers, len(found)))

    def left(self, state: ExecutionState) -> float:
        """Seconds until everything is made, less what the running artifacts have behind them."""
        now = time.monotonic()
        if now >= self._stale:
            self._wall = self.wall(state)
            self._stale = now + RENEWED * (time.monotonic() - now)
        for key in state.running:
            self._begun.setdefault(key, now)
        behind: dict[str, float] = defaultdict(float)
        parallel = self._parallel([state.plan.artifacts[key] for key in state.running])
        for key in state.running:
            artifact = state.plan.artifacts[key]
            share = min(now - self._begun[key], 0.95 * self.of(artifact))
            behind[artifact.kind] += share / parallel
        return sum(max(seconds - behind[kind], 0.0) for kind, seconds in self._wall.items())


def given(artifact: Artifact, gpu: bool) -> float:
    """Seconds of an artifact as its class gives them; ``gpu``: on a GPU, if it asks for one."""
    on_gpu = artifact.gpu_seconds if gpu else None
    return artifact.seconds if on_gpu is None else on_gpu


def measured_factor(state: ExecutionState, kind: type[Artifact], gpu: bool) -> float:
    """Measured over given seconds of a few stored artifacts of the plan; 1 when there are none.

    Those that were made on a GPU tell nothing of cores, nor the other way round. Who had a share of a GPU is taken to
    have waited for the others.
    """
    there = [a for a in state.plan.artifacts.values() if type(a) is kind and a.key not in state.missing]
    ratios = []
    for artifact in there[:SAMPLES]:
        with contextlib.suppress(Damaged, FileNotFoundError):  # whoever needs it will say so
            manifest, on_gpu = (
                Manifest.load(state.store, artifact.kind, artifact.key),
                artifact.gpu_seconds if gpu else None,
            )
            if (manifest.device == "cpu") == (on_gpu is None):
                resources = state.plan.experiment.resources
                share = 1.0 if on_gpu is None else min(getattr(resources, artifact.resources).gpu, 1.0)
                ratios.append(share * manifest.seconds / max(given(artifact, gpu), 1e-9))
    return statistics.median(ratios) if ratios else 1.0


def duration(seconds: float) -> str:
    """``"42 s"``, ``"7 min"``, ``"3.5 h"``, ``"2.1 d"``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"
