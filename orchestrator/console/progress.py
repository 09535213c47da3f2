"""Display of a running sweep: made, running, from the store, failed, measured so far, and the time left.

On a terminal a display that renews itself; elsewhere (a log file, CI) a line when something happens.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Mapping

import ray
from ray import ObjectRef
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.artifacts import KINDS, Artifact
from orchestrator.artifacts.artifact import Place
from orchestrator.execution.aggregator import Numbers
from orchestrator.execution.estimate import Estimate, duration
from orchestrator.execution.state import ExecutionState
from orchestrator.planning.plan import in_brackets
from orchestrator.planning.runs import Run

REFRESH_S = 0.5
SNAPSHOT_S = 1.0
HEARTBEAT_S = 30.0
SHOWN_GROUPS = 16
SHOWN_TRAININGS = 8


class Progress:
    """Shows an execution. ``refresh`` may be called as often as one likes."""

    def __init__(self, console: Console, state: ExecutionState, estimate: Estimate) -> None:
        self._console, self._state, self._estimate = console, state, estimate
        self._started = time.monotonic()
        self._shown = self._asked = self._spoke = -math.inf
        self._trainings: dict[str, Mapping[str, float]] = {}
        self._groups: Numbers = {}
        self._failed = 0
        self._lacking = ""
        self._pending: ObjectRef[Numbers] | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def training(self, key: str, values: Mapping[str, float]) -> None:
        """A training reported."""
        self._trainings[key] = values

    def finished(self, artifact: Artifact) -> None:
        """An artifact is whole."""
        self._trainings.pop(artifact.key, None)
        if artifact.place is Place.TRIAL:
            self._say(f"made {escape(self._state.plan.name(artifact.key))}")

    def completed(self, run: Run) -> None:
        """A run's rows are written."""
        self._say(f"measured {escape(run.label + in_brackets(self._state.plan.cells[run.key]))}")

    def stopping(self) -> None:
        """A signal arrived; trainings leave checkpoints."""
        self._say("stopping: trainings leave a checkpoint (again to end at once)")

    def damaged(self, text: str) -> None:
        """An artifact was damaged, and will be made again."""
        self._say(f"[bold red]damaged[/bold red] {escape(text)}")

    def note(self, text: str) -> None:
        """Something that the user may want to know, such as a failure that is tried again."""
        self._say(escape(text))

    def waiting(self, resources: str) -> None:
        """From now on a training waits for resources that the cluster doesn't have; empty: none does."""
        if resources and resources != self._lacking:
            self._say(f"waiting for {escape(resources)}")
        self._lacking = resources

    def _left(self) -> str:
        """How long it takes still, unless that depends on what the cluster doesn't have."""
        return (
            f"waiting for {self._lacking}"
            if self._lacking
            else f"about {duration(self._estimate.left(self._state))} left"
        )

    def refresh(self, ask: Callable[[], ObjectRef[Numbers]], final: bool = False) -> None:
        """Renew the display; ``ask`` gives a reference to the aggregator's numbers."""
        now = time.monotonic()
        if final or (self._pending is None and now - self._asked > SNAPSHOT_S):
            self._asked, self._pending = now, ask()
        self._collect(timeout_s=2.0 if final else 0.0)
        for key in [key for key in self._trainings if key not in self._state.running]:
            del self._trainings[key]
        new = list(itertools.islice(self._state.failures.items(), self._failed, None))
        self._failed += len(new)
        for key, failure in new:
            if self._state.is_cause(key):
                self._say(f"[bold red]failed[/bold red] {escape(str(failure))}")
        if self._live and (final or now - self._shown > REFRESH_S):
            self._shown = now
            self._live.update(self._render(), refresh=True)
        elif not self._live and now - self._spoke > HEARTBEAT_S:
            self._say(self._line())

    def _collect(self, timeout_s: float) -> None:
        if self._pending is None:
            return
        ready, _ = ray.wait([self._pending], timeout=timeout_s)
        if ready:
            with contextlib.suppress(ray.exceptions.RayError):  # it is being restarted; the store is the truth
                self._groups = ray.get(ready[0])
            self._pending = None

    def _say(self, text: str) -> None:
        self._spoke = time.monotonic()
        self._console.print(f"[dim]{duration(self._spoke - self._started):>8}[/dim] {text}", highlight=False)

    def _line(self) -> str:
        parts = []
        for kind in KINDS:
            counts = self._state.counts(kind)
            todo = counts["made"] + counts["running"] + counts["waiting"] + counts["failed"]
            if todo:
                parts.append(f"{kind} {counts['made']}/{todo}")
        parts += [self._describe(key) for key in list(self._trainings)[:SHOWN_TRAININGS]]
        return " · ".join([*parts, self._left()])

    def _render(self) -> Group:
        stages = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("", "from store", "done", "running", "waiting", "failed"):
            stages.add_column(column, justify="left" if not column else "right")
        for kind in KINDS:
            counts = self._state.counts(kind)
            shown = [counts[name] for name in ("stored", "made", "running", "waiting", "failed")]
            if any(shown):
                stages.add_row(kind, *(str(count) if count else "·" for count in shown))
        spent = time.monotonic() - self._started
        head = Text(f"{self._state.plan.experiment.name}  {duration(spent)} so far, {self._left()}")
        trainings = [Text("  " + self._describe(key)) for key in list(self._trainings)[:SHOWN_TRAININGS]]
        return Group(head, stages, *trainings, *([self._measured()] if self._groups else []))

    def _describe(self, key: str) -> str:
        """One line on a running training: its label, how far it is, what it reports."""
        values, artifact = self._trainings[key], self._state.plan.artifacts[key]
        done = artifact.progress(values)
        shown = [] if done is None else [f"{done:4.0%}"]
        for name in ("mean_return", "loss", "action"):
            if isinstance(values.get(name), int | float) and math.isfinite(values[name]):
                shown.append(f"{name.replace('_', ' ')} {values[name]:.4g}")
        return f"{self._state.plan.name(key)}: {', '.join(shown)}"

    def _measured(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("rolled out", "specs", "mean", "±", "in dist.", "out of dist."):
            table.add_column(column, justify="left" if column == "rolled out" else "right")
        for name, values in list(self._groups.items())[-SHOWN_GROUPS:]:
            numbers = [values[key] for key in ("mean", "std_episodes", "in_distribution", "out_of_distribution")]
            table.add_row(
                name, f"{values['specs']:.0f}", *("-" if math.isnan(number) else f"{number:.1f}" for number in numbers)
            )
        return table
