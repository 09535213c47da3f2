"""Plans of any shape: artifacts that take as long as they are told to, and hold nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypogen.benchmarks import get_benchmark
from hypogen.errors import Stopped
from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact import Content, Place, Summary, Task
from orchestrator.artifacts.artifact_store import Store
from orchestrator.config.experiment import Experiment
from orchestrator.config.loading import expand, load
from orchestrator.execution.state import ExecutionState
from orchestrator.planning.plan import Plan
from tests.helpers.experiments import TINY


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Toy(Artifact):
    """Takes ``lasts_s`` seconds."""

    name: str
    lasts_s: float
    after: tuple[Toy, ...] = ()

    def content(self) -> Content:
        return {"toy": self.name, "after": [parent.key for parent in self.after]}

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return self.after

    @property
    def label(self) -> str:
        return self.name

    @property
    def seconds(self) -> float:
        return self.lasts_s

    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        end = time.monotonic() + self.lasts_s
        while time.monotonic() < end:
            time.sleep(0.05)
            if task.stop():
                raise Stopped(self.name)
        (folder / "content").write_text(self.name)
        return {}


class ToyTraining(Toy):
    """Has a CPU, and a quarter of a GPU where there is one, to itself."""

    kind = "generator"
    place = Place.TRIAL
    resources = "generator"

    @property
    def gpu_seconds(self) -> float:
        return self.lasts_s


class ToyExpert(ToyTraining):
    """Has a whole GPU to itself where there is one."""

    kind = "experts"
    resources = "expert"


class ToyRollout(Toy):
    """Is made by an actor."""

    kind = "rollouts"


def toy(kind: type[Toy], name: str, lasts_s: float, *after: Toy) -> Toy:
    """One artifact."""
    return kind(benchmark=get_benchmark("cheetah-speed"), name=name, lasts_s=lasts_s, after=after)


@cache
def experiment() -> Experiment:
    """Some experiment, with as many rollout workers as there are CPUs."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "tiny.yaml")
        path.write_text(TINY)
        return expand(load(path, None, ["resources.rollout.workers=0"]))[0].experiment


def state_of(toys: Iterable[Toy], storage: Path) -> ExecutionState:
    """All of them are wanted, in this order."""
    plan = plan_of(toys)
    return ExecutionState(plan, Store(str(storage)), wanted=list(plan.artifacts.values()))


def plan_of(toys: Iterable[Toy]) -> Plan:
    """A plan of them, without runs."""
    plan = Plan(experiment())
    for one in toys:
        plan.add(one)
    return plan
