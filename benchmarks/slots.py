"""How full trainings keep a cluster's GPUs: real Ray nodes that say that they have one, trainings that only wait.

    python benchmarks/slots.py [--nodes 4] [--trainings 30] [--seconds 20] [--gpu 1]

Every node is a raylet of its own on this host; its GPU is a number that Ray counts, which nothing computes on.
Trainings go through all that real ones do: the plan, Tune, a process each, the store. A slot is busy while a training
*works*: what starting its process costs is idle time. The last wave begins where no training waits for a slot any more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.artifacts.artifact import Task
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.manifest import Summary
from orchestrator.config.sections import TaskResources
from orchestrator.console.progress import Progress
from orchestrator.execution.execution import Session
from orchestrator.execution.stopping import StopRequest
from tests.helpers.clusters import NODE, connected_to_nodes
from tests.helpers.toys import ToyTraining, plan_of, toy


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Timed(ToyTraining):
    """Says when it worked, by the clock of this host."""

    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        begun = time.monotonic()
        super().make(store, folder, task)
        return {"begun": begun, "ended": time.monotonic()}


def main(
    nodes: Annotated[int, typer.Option(min=1)] = 4,
    trainings: Annotated[int, typer.Option(min=1)] = 30,
    seconds: Annotated[float, typer.Option(min=1.0, help="of one training")] = 20.0,
    gpu: Annotated[float, typer.Option(min=0.01, max=1.0, help="share of a GPU that each asks for")] = 1.0,
) -> None:
    """Print the share of the slots' time in which a training worked."""
    with tempfile.TemporaryDirectory(prefix="slots-") as folder:
        # A place of its own, so that no sweep takes this cluster for the host's.
        os.environ.update(RAY_TMPDIR=folder, RAY_AUTH_MODE="disabled", RAY_worker_niceness="0")
        tables_of_tune = contextlib.redirect_stdout(io.StringIO())
        with connected_to_nodes(_pretend, num_cpus=1) as cluster, tables_of_tune:
            for _ in range(nodes):
                cluster.add_node(num_cpus=8, num_gpus=1, **NODE)
            cluster.wait_for_nodes()
            spans = _spans(Store(f"{folder}/runs"), trainings, seconds, gpu)
    slots = nodes * int(1 / gpu + 1e-9)
    begun = sorted(begun for begun, _ in spans)
    print(f"{trainings} trainings of {seconds:g} s on {slots} slots of {nodes} nodes")
    full, whole = _busy(spans, slots, begun[-slots]), _busy(spans, slots, max(ended for _, ended in spans))
    print(f"slots busy: {full:.1%} until the last wave, {whole:.1%} until the end")


def _pretend() -> None:
    """In every process: the GPU has a name, which manifests hold."""
    import torch

    torch.cuda.get_device_name = lambda device=None: "a number"  # type: ignore[assignment]


def _spans(store: Store, trainings: int, seconds: float, gpu: float) -> list[tuple[float, float]]:
    """Beginning and end of each training's work."""
    toys = [toy(Timed, f"{number}", seconds) for number in range(trainings)]
    plan = plan_of(toys)
    resources = plan.experiment.resources.model_copy(update={"generator": TaskResources(cpu=1, gpu=gpu)})
    plan = dataclasses.replace(plan, experiment=plan.experiment.model_copy(update={"resources": resources}))
    session = Session(store, Console(file=io.StringIO()), StopRequest(), Progress)
    state = session.execute(plan, wanted=plan.artifacts.values())
    if state.failures:
        raise SystemExit(next(iter(state.failures.values())))
    made = [store.manifest(one.kind, one.key)["summary"] for one in toys]
    return [(float(summary["begun"]), float(summary["ended"])) for summary in made]  # type: ignore[index]


def _busy(spans: list[tuple[float, float]], slots: int, until: float) -> float:
    """Share of the slots' time, from the first training's beginning on, in which a training worked."""
    first = min(begun for begun, _ in spans)
    worked = sum(max(0.0, min(ended, until) - begun) for begun, ended in spans)
    return worked / (slots * max(until - first, 1e-9))


if __name__ == "__main__":
    typer.run(main)
