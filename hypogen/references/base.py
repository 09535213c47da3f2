"""Interface of a reference method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hypogen.benchmarks import Benchmark
from hypogen.demonstrations import Selectable

Array = npt.NDArray[np.float64]
ExpertPolicies = Callable[[Array], Selectable]
"""Policies of the experts of some training specs [N, C], which may repeat."""


@dataclass(frozen=True)
class Reference:
    """A reference method as the registry knows it.

    Attributes:
        settings: Frozen dataclass of its settings.
        policy: Policies for ``specs`` [S, C] of a benchmark, from its settings, the training specs [N, C] and their
            experts.
        title: Name in tables and figures.
        color: Colour in figures, ``#rrggbb``; None takes the next free one.
        algorithm: Algorithm by which it trains experts of its own, on the training specs alone, with
            ``settings.training()``; None for a lookup among the experts that are there.
    """

    settings: type
    policy: Callable[[Benchmark, Any, Array, ExpertPolicies, Array], Selectable]
    title: str
    color: str | None = None
    algorithm: str | None = None


def distances(benchmark: Benchmark, train: Array, specs: Array) -> Array:
    """Euclidean distances [S, N] of ``specs`` [S, C] to the training specs [N, C], scaled to [-1, 1] over the grid.

    Rounded, so that equal distances on a regular grid are equal numbers.
    """
    gaps = benchmark.scale(specs)[:, None] - benchmark.scale(train)[None]
    return np.round(np.sqrt((gaps**2).sum(axis=-1)), 9)
