"""Panels of a figure, one per benchmark that has rows: the paper's first, then others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from results.result_store import ResultStore

_PHRASES = {"speed": "desired speed", "length": "torso length"}
"""Variables that need more than their name on an axis."""


@dataclass(frozen=True)
class Panel:
    """One benchmark, and the labels of its variables, in the order of a spec's coordinates."""

    benchmark: str
    environment: str
    context: str
    labels: tuple[str, ...]

    @property
    def title(self) -> str:
        """The environment, for people."""
        return self.environment.replace("_", " ").capitalize()

    def label(self, coordinate: int) -> str:
        """The axis of one coordinate: a variable with its unit, or the context where the variables are not known."""
        return self.labels[coordinate] if coordinate < len(self.labels) else self.context.replace("-", " ")


def panels(store: ResultStore, experiment: str | None, paper: Sequence[str], condition: str) -> list[Panel]:
    """The benchmarks called `paper`, in this order, then those for which the SQL `condition` holds, by name.

    The latter only where the experiment (None: any) has runs of them.
    """
    rows = store.table(
        "SELECT benchmark, environment, context, variables FROM benchmarks "
        f"WHERE list_contains($paper, benchmark) OR ({condition}) "
        "AND benchmark IN (SELECT benchmark FROM chosen_runs($experiment)) "
        "ORDER BY coalesce(list_position($paper, benchmark), len($paper) + 1), benchmark",
        paper=list(paper),
        experiment=experiment,
    ).to_pylist()
    return [Panel(row["benchmark"], row["environment"], row["context"], _labels(row["variables"])) for row in rows]


def among(panels: Sequence[Panel]) -> str:
    """SQL condition: the benchmark is one of the panels'."""
    names = (panel.benchmark.replace("'", "''") for panel in panels)
    return "benchmark IN ({})".format(", ".join(f"'{name}'" for name in names))


def _labels(variables: str) -> tuple[str, ...]:
    return tuple(axis_label(entry["name"], entry.get("unit") or "") for entry in json.loads(variables)["variables"])


def axis_label(variable: str, unit: str) -> str:
    """A variable with its unit: desired speed (m/s)."""
    phrase = _PHRASES.get(variable, variable.replace("_", " "))
    if not unit:
        return phrase
    return f"{phrase}, {unit}" if "(" in unit else f"{phrase} ({unit})"
