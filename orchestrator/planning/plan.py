"""From cells to a plan: which artifacts an experiment needs, and the runs that they make up.

experts (a benchmark's population) ─► demonstrations (some specs) ─► generator ─► rollouts (some specs) ─► run
                                                                      └─► probe ─► rollouts ──────────────┘
"""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from hypogen.benchmarks import get_benchmark
from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact import Json
from orchestrator.config.experiment import Experiment
from orchestrator.config.loading import Cell
from orchestrator.planning import runs
from orchestrator.planning.inputs import experts_of
from orchestrator.planning.runs import Run

A = TypeVar("A", bound=Artifact)


@dataclass
class Plan:
    """Artifacts in an order in which they can be made, the runs they make up, and the cell that asked for each run.

    Attributes:
        cells: Per run, the values of the cell that asked for it; where several did, those that they agree on.
    """

    experiment: Experiment
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    cells: dict[str, dict[str, Json]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def add(self, artifact: A) -> A:
        """Plan an artifact and whatever it is made of; the one that is planned already, where its key is."""
        known = self.artifacts.get(artifact.key)
        if known is not None:
            assert isinstance(known, type(artifact))
            return known
        for parent in artifact.inputs:
            if parent.key not in self.artifacts:
                self.add(parent)
        self.artifacts[artifact.key] = artifact
        return artifact

    def add_run(self, run: Run, cell: Cell) -> None:
        """Plan a run with everything that it needs."""
        for artifact in run.needs:
            self.add(artifact)
        self.runs[run.key] = run
        before = self.cells.get(run.key, cell.values)
        self.cells[run.key] = {name: value for name, value in before.items() if cell.values.get(name) == value}

    @cached_property
    def sizes(self) -> Counter[str]:
        """Number of artifacts by kind."""
        return Counter(artifact.kind for artifact in self.artifacts.values())

    @cached_property
    def users(self) -> dict[str, list[str]]:
        """Per artifact, the keys of the runs that need it directly."""
        found: dict[str, list[str]] = {key: [] for key in self.artifacts}
        for run in self.runs.values():
            for artifact in run.needs:
                found[artifact.key].append(run.key)
        return found

    def name(self, key: str) -> str:
        """Label of an artifact with the values of the grid that it belongs to, as far as its runs agree on them."""
        if key not in self._names:
            self._names[key] = self._name(key)
        return self._names[key]

    def _name(self, key: str) -> str:
        cells = [self.cells[run] for run in self.users[key]]
        first = cells[0] if cells else {}
        common = {name: value for name, value in first.items() if all(cell.get(name) == value for cell in cells)}
        return self.artifacts[key].label + in_brackets(common)


def in_brackets(values: dict[str, Json]) -> str:
    """Values of a cell as people read them behind a name: `` (hypogen.blocks=3)``."""
    return f" ({', '.join(f'{name}={value}' for name, value in values.items())})" if values else ""


def build(cells: Sequence[Cell]) -> Plan:
    """The plan of all cells together; whatever they have in common is in it once."""
    plan = Plan(cells[0].experiment)
    with _uncollected():
        for cell in cells:
            _add_cell(plan, cell)
    return plan


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's collector from looking at all that is made here, now and later: millions of objects that stay.

    Only the first plan of a process is kept for good: DuckDB, loaded by the next one, complains at the end of the
    process when its own objects are.
    """
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        gc.enable()


def _add_cell(plan: Plan, cell: Cell) -> None:
    experiment = cell.experiment
    for name in experiment.benchmarks:
        benchmark = get_benchmark(name)
        experts = plan.add(experts_of(experiment, benchmark))
        for seed in experiment.split.seeds:
            for method in experiment.methods:
                if method == "expert":
                    run = runs.expert_run(experiment, benchmark, experts)
                else:
                    run = runs.split_run(experiment, benchmark, experts, seed, method)
                plan.add_run(run, cell)
