"""Artifacts that meet troubles on purpose, and a watcher that writes down what it is told."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import ray
from ray import ObjectRef
from rich.console import Console

from hypogen.benchmarks import get_benchmark
from hypogen.errors import Diverged
from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact import Content, Place, Summary, Task, Values
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.workspace import write_text
from orchestrator.config.experiment import Experiment
from orchestrator.console.progress import Progress
from orchestrator.execution.aggregator import Numbers
from orchestrator.execution.estimate import Estimate
from orchestrator.execution.execution import Session
from orchestrator.execution.state import ExecutionState
from orchestrator.execution.stopping import StopRequest
from orchestrator.execution.watcher import Watcher
from orchestrator.planning.plan import Plan
from orchestrator.planning.runs import Run

STEPS = 15
STEP_S = 0.1


def _io_error_at_first(attempt: int, notes: Path) -> None:
    if attempt == 1:
        raise OSError("the disk is away")


def _diverge(attempt: int, notes: Path) -> None:
    raise Diverged("loss is NaN after 3 updates")


def _bug(attempt: int, notes: Path) -> None:
    raise KeyError("speed")


def _out_of_memory_at_first(attempt: int, notes: Path) -> None:
    if attempt == 1:
        raise MemoryError


def _on_a_broken_node(attempt: int, notes: Path) -> None:
    """Fails on one node; on others nothing is done before three attempts have failed there."""
    broken, deadline = (notes / "broken").read_text(), time.monotonic() + 60
    if ray.get_runtime_context().get_node_id() == broken:
        raise RuntimeError("no CUDA-capable device is detected")
    while sum(broken in note.read_text() for note in notes.glob("*-?")) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)


def _die_at_first(attempt: int, notes: Path) -> None:
    if attempt == 1:
        os._exit(1)


def _none(attempt: int, notes: Path) -> None:
    pass


TROUBLES: dict[str, Callable[[int, Path], None]] = {
    function.__name__.strip("_"): function
    for function in (
        _io_error_at_first,
        _diverge,
        _bug,
        _out_of_memory_at_first,
        _on_a_broken_node,
        _die_at_first,
        _none,
    )
}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Troubled(Artifact):
    """A training of a few steps, each of which hashes the last, that continues from its checkpoint.

    Attributes:
        notes: Folder in which it notes where each attempt ran: ``<label>-<attempt>`` holds pid, node and CPUs.
    """

    kind = "generator"
    place = Place.TRIAL
    resources = "generator"

    name: str
    trouble: str
    notes: str

    def content(self) -> Content:
        return {"name": self.name, "trouble": self.trouble}

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return ()

    @property
    def label(self) -> str:
        return f"{self.kind} {self.trouble} {self.name}"

    @property
    def seconds(self) -> float:
        return STEPS * STEP_S

    def progress(self, values: Values) -> float | None:
        return values["step"] / STEPS if "step" in values else None

    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        notes, checkpoint = Path(self.notes), task.checkpoint / "checkpoint"
        attempt = 1 + len(list(notes.glob(f"{self.label}-*")))
        context = ray.get_runtime_context()
        cpus = context.get_assigned_resources().get("CPU", 0)
        write_text(notes / f"{self.label}-{attempt}", f"{os.getpid()} {context.get_node_id()} {cpus:g}")
        TROUBLES[self.trouble](attempt, notes)
        done, text = checkpoint.read_text().split() if checkpoint.exists() else ("0", "start")
        for step in range(int(done), STEPS):
            time.sleep(STEP_S)
            text = hashlib.sha256(text.encode()).hexdigest()
            write_text(checkpoint, f"{step + 1} {text}")
            task.report({"step": step + 1})
        (folder / "hash").write_text(text)
        return {"parameters": 0, "steps": STEPS}


class TroubledTask(Troubled):
    """The same in a rollout actor."""

    kind = "demonstrations"
    place = Place.ACTOR
    resources = "rollout"


def expected() -> str:
    """What every training that ends makes."""
    text = "start"
    for _ in range(STEPS):
        text = hashlib.sha256(text.encode()).hexdigest()
    return text


@dataclass
class Recorder:
    """A watcher that writes down what it is told; ``on_step`` may meddle."""

    on_step: Callable[[], None] = lambda: None
    notes: list[str] = field(default_factory=list)
    waited_for: list[str] = field(default_factory=list)

    def training(self, key: str, values: Mapping[str, float]) -> None: ...

    def finished(self, artifact: Artifact) -> None: ...

    def completed(self, run: Run) -> None: ...

    def stopping(self) -> None: ...

    def damaged(self, text: str) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)

    def waiting(self, resources: str) -> None:
        if resources not in self.waited_for[-1:]:
            self.waited_for.append(resources)

    def refresh(self, ask: Callable[[], ObjectRef[Numbers]], final: bool = False) -> None:
        self.on_step()


@dataclass
class Trial:
    """An execution of troubled artifacts in a folder."""

    experiment: Experiment
    folder: Path
    recorder: Recorder = field(default_factory=Recorder)
    output: TextIO | None = None
    """Where the display goes that a user sees; without it the recorder watches."""

    def __post_init__(self) -> None:
        self.notes.mkdir(exist_ok=True)
        self.store = Store(str(self.folder / "runs"))

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def artifact(self, kind: type[Troubled], trouble: str, name: str = "a") -> Troubled:
        benchmark = get_benchmark("cheetah-speed")
        return kind(benchmark=benchmark, name=name, trouble=trouble, notes=str(self.notes))

    def execute(self, *wanted: Troubled) -> ExecutionState:
        """Make them; the state at the end."""
        plan = Plan(self.experiment)
        for artifact in wanted:
            plan.add(artifact)
        with StopRequest().listening() as stop:
            console = Console(quiet=self.output is None, file=self.output, width=200)
            return Session(self.store, console, stop, self._watcher).execute(plan, wanted)

    def _watcher(
        self, console: Console, state: ExecutionState, estimate: Estimate
    ) -> contextlib.AbstractContextManager[Watcher]:
        shown = self.output is not None
        return Progress(console, state, estimate) if shown else contextlib.nullcontext(self.recorder)

    def attempts(self, artifact: Troubled) -> list[list[str]]:
        """Per attempt its pid, node and CPUs."""
        return [file.read_text().split() for file in sorted(self.notes.glob(f"{artifact.label}-?"))]

    def notes_on(self, artifact: Troubled) -> list[str]:
        """What the user was told about it."""
        return [note for note in self.recorder.notes if note.startswith(artifact.label)]

    def made(self, artifact: Troubled) -> str:
        """What it holds."""
        return (artifact.folder(self.store) / "hash").read_text()
