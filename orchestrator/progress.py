"""What a person watches while a sweep runs: what is done, what runs, what came from the store, the time left.

On a terminal a display that renews itself; elsewhere (a log file, CI) a line when something happens.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import ray
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.estimate import Estimate, duration
from orchestrator.graph import KINDS, Graph
from orchestrator.plan import Node, Run

REFRESH_S = 0.5
SNAPSHOT_S = 1.0
HEARTBEAT_S = 30.0
SHOWN_GROUPS = 16
SHOWN_TRAININGS = 8


class Progress:
    """Shows a graph that is being worked on. ``refresh`` may be called as often as one likes."""

    def __init__(self, console: Console, graph: Graph, estimate: Estimate) -> None:
        self._console, self._graph, self._estimate = console, graph, estimate
        self._started = time.monotonic()
        self._shown = self._asked = self._spoke = -math.inf
        self._trainings: dict[str, dict[str, Any]] = {}
        self._since: dict[str, float] = {}
        self._groups: dict[str, dict[str, float]] = {}
        self._failed: set[str] = set()
        self._pending: Any = None
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def training(self, key: str, values: dict[str, Any]) -> None:
        """A training reported."""
        self._since.setdefault(key, time.monotonic())
        self._trainings[key] = values

    def finished(self, node: Node) -> None:
        """An artifact is whole."""
        self._trainings.pop(node.key, None)
        if node.kind in ("experts", "generator"):
            self._say(f"made {node.label}")

    def completed(self, run: Run) -> None:
        """A run's rows are written."""
        split = "" if run.row["split_seed"] is None else f" split {run.row['split_seed']}"
        self._say(f"measured {run.row['benchmark']} {run.row['method']}{split}")

    def refresh(self, ask: Callable[[], Any], final: bool = False) -> None:
        """Renew the display; ``ask`` gives a reference to the aggregator's numbers."""
        now = time.monotonic()
        if final or (self._pending is None and now - self._asked > SNAPSHOT_S):
            self._asked, self._pending = now, ask()
        self._collect(timeout_s=2.0 if final else 0.0)
        for key in [key for key in self._trainings if key not in self._graph.running]:
            del self._trainings[key]
        for key in [key for key in self._graph.failures if key not in self._failed]:
            self._failed.add(key)
            if self._graph.is_cause(key):
                self._say(f"[bold red]failed[/bold red] {escape(str(self._graph.failures[key]))}")
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
            counts = self._graph.counts(kind)
            todo = counts["made"] + counts["running"] + counts["waiting"] + counts["failed"]
            if todo:
                parts.append(f"{kind} {counts['made']}/{todo}")
        parts += [self._describe(key) for key in list(self._trainings)[:SHOWN_TRAININGS]]
        return " · ".join([*parts, f"about {duration(self._estimate.left(self._graph))} left"])

    def _render(self) -> Group:
        stages = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("", "from store", "done", "running", "waiting", "failed"):
            stages.add_column(column, justify="left" if not column else "right")
        for kind in KINDS:
            counts = self._graph.counts(kind)
            shown = [counts[name] for name in ("stored", "made", "running", "waiting", "failed")]
            if any(shown):
                stages.add_row(kind, *(str(count) if count else "·" for count in shown))
        spent = time.monotonic() - self._started
        left = self._estimate.left(self._graph)
        head = Text(f"{self._graph.plan.experiment.name}  {duration(spent)} so far, about {duration(left)} left")
        trainings = [Text("  " + self._describe(key)) for key in list(self._trainings)[:SHOWN_TRAININGS]]
        return Group(head, stages, *trainings, *([self._measured()] if self._groups else []))

    def _describe(self, key: str) -> str:
        """One line on a running training: its label, how far it is, what it reports."""
        values, label = self._trainings[key], self._graph.plan.nodes[key].label
        settings = self._graph.plan.nodes[key].payload
        shown = []
        if "update" in values:
            total = values.get("updates", settings.get("settings", {}).get("updates", 0))
            shown.append(f"{values['update'] / max(total, 1):4.0%}")
        if "epoch" in values:
            total = settings.get("training", {}).get("epochs", 0)
            shown.append(f"{values['epoch'] / max(total, 1):4.0%}")
        for name in ("mean_return", "loss", "action"):
            if isinstance(values.get(name), int | float) and math.isfinite(values[name]):
                shown.append(f"{name.replace('_', ' ')} {values[name]:.4g}")
        return f"{label}: {', '.join(shown)}"

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
