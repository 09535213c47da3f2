"""What a sink is given, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

Value = str | int | float | bool


@dataclass(frozen=True)
class Heading:
    """One run of one experiment: `key` as in the table `runs`; `name` says it to people, and is unique as well."""

    experiment: str
    key: str
    name: str


@dataclass(frozen=True)
class SentRun(Heading):
    """A run with what was measured of it.

    `settings`: every setting, the dotted names of `runs.settings`, and the run's other columns. `curves`: (step, value)
    by metric, steps ascending. `final`: what its episodes came to. `started`: when its artifact was made, in UTC, and
    how many seconds that took.
    """

    settings: Mapping[str, Value]
    curves: Mapping[str, Sequence[tuple[int, float]]]
    final: Mapping[str, float]
    started: datetime
    seconds: float

    @property
    def last_step(self) -> int:
        """Step of the final numbers: the last of any curve."""
        return max((points[-1][0] for points in self.curves.values()), default=0)


class Sink(Protocol):
    """A place of one of the tools. A run is there whole or not at all, or is sent again."""

    place: str

    def has(self, run: Heading) -> bool:
        """Whether the run is there, whole."""

    def add(self, run: SentRun) -> None:
        """Put a run there that is not."""
