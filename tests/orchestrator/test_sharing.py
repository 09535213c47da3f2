"""Cells of a grid share what they do not vary, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from orchestrator.config.loading import expand, load
from orchestrator.config.sharing import shared
from orchestrator.planning.plan import Plan, build

GRID = {
    "training.learning_rate": [1e-4, 1e-3],
    "split.seeds": [[0], [1, 2]],
    "demonstrations.noise": [0.0, 0.1],
    "evaluation.episodes": [1, 2],
}


def keys(plan: Plan) -> tuple[list[str], list[str]]:
    return list(plan.artifacts), list(plan.runs)


def test_a_cell_is_what_its_values_alone_give(tiny: Callable[..., Path]) -> None:
    cells = expand(load(tiny(grid=GRID)))
    together = build(cells)
    assert len(cells) == 16
    for cell, values in zip(cells, itertools.product(*GRID.values()), strict=True):
        assignments = [f"{name}={value}" for name, value in zip(GRID, values, strict=True)]
        (alone,) = expand(load(tiny(), None, [*assignments, "name=other"]))
        assert cell.experiment == alone.experiment.model_copy(update={"name": "tiny"})
        artifacts, runs = keys(build([alone]))
        assert set(artifacts) <= together.artifacts.keys() and set(runs) <= together.runs.keys()
        assert keys(build([cell])) == (artifacts, runs)


def test_what_no_axis_varies_is_the_same_object(tiny: Callable[..., Path]) -> None:
    first, *others = (cell.experiment for cell in expand(load(tiny(grid={"hypogen.blocks": [1, 2, 3]}))))
    for other in others:
        assert other.split is first.split and other.experts is first.experts and other.training is first.training
        assert other.methods is not first.methods


def test_equal_is_not_the_same(tiny: Callable[..., Path]) -> None:
    """1 and 1.0 are equal, but are written differently into keys."""
    (cell,) = expand(load(tiny()))
    seen: list[object] = []

    @shared("seed")
    def note(experiment: object, value: float) -> float:
        seen.append(value)
        return value

    one = 1.0
    assert [type(note(cell.experiment, value)) for value in (1, one, 1, one, True)] == [int, float, int, float, bool]
    assert len(seen) == 3
