"""Aggregator: mean, deviation, in- and out-of-distribution means of everything rolled out, as it comes in.

The tables are computed from the stored episodes; this is for whoever watches.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the actor, which only averages lists, would load torch for it
    from orchestrator.planning.plan import Plan


@dataclass(frozen=True)
class Member:
    """Rows of one rollouts artifact that count in a group of the display: (row, in distribution)."""

    group: str
    rows: tuple[tuple[int, bool], ...]


Groups = Mapping[str, list[Member]]
"""Per rollouts key, the groups that it counts in."""
Numbers = dict[str, dict[str, float]]
"""Per group, numbers by name: specs counted, means and deviations."""


class Aggregator:
    """A Ray actor that sums up rollouts by group."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._specs: dict[str, list[tuple[float, float, bool]]] = defaultdict(list)
        self._seen: set[str] = set()

    def add(self, key: str, means: list[float], deviations: list[float]) -> None:
        """Take in one rollouts artifact: mean and deviation over the episodes of each of its specs [S]."""
        if key in self._seen:  # a worker that was restarted says it again
            return
        self._seen.add(key)
        for member in self._groups.get(key, []):
            self._specs[member.group].extend((means[row], deviations[row], inside) for row, inside in member.rows)

    def snapshot(self) -> Numbers:
        """Per group: specs counted, mean, deviation over episodes, and the means in and out of distribution."""
        return {name: _summary(specs) for name, specs in self._specs.items()}


def _summary(specs: list[tuple[float, float, bool]]) -> dict[str, float]:
    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else math.nan

    return {
        "specs": len(specs),
        "mean": mean([value for value, _, _ in specs]),
        "std_episodes": mean([deviation for _, deviation, _ in specs]),
        "in_distribution": mean([value for value, _, inside in specs if inside]),
        "out_of_distribution": mean([value for value, _, inside in specs if not inside]),
    }


def live_groups(plan: Plan) -> Groups:
    """Groups of the live display, one per benchmark, method and cell."""
    from orchestrator.planning.plan import in_brackets

    groups: dict[str, list[Member]] = defaultdict(list)
    for key, cell in plan.cells.items():
        run = plan.runs[key]
        name = f"{run.benchmark.name} {run.method}{in_brackets(cell)}"
        inside = {spec.row: spec.inside for spec in run.specs}
        for rollouts in run.rollouts:
            rows = [run.benchmark.index(spec) for spec in rollouts.specs]
            counted = tuple((place, inside[row]) for place, row in enumerate(rows) if row in inside)
            groups[rollouts.key].append(Member(name, counted))
    return dict(groups)
