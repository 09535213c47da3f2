"""Nearest: the expert of the nearest training spec acts, unchanged. It bounds what generalisation can mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hypogen.benchmarks import Benchmark
from hypogen.demonstrations import Selectable
from hypogen.references.base import Array, ExpertPolicies, distances


@dataclass(frozen=True)
class NearestSettings:
    """Settings of Nearest.

    same_direction: whether only training specs with the signs of the asked one count, where there are any: a cheetah
        that runs backwards is no neighbour of one that runs forwards.
    """

    same_direction: bool = False


def nearest_policy(
    benchmark: Benchmark, settings: NearestSettings, train: Array, experts: ExpertPolicies, specs: Array
) -> Selectable:
    """One policy per row of ``specs`` [S, C]; of two equally near training specs [N, C] the first in order counts."""
    return experts(train[nearest_rows(benchmark, settings, train, specs)])


def nearest_rows(benchmark: Benchmark, settings: NearestSettings, train: Array, specs: Array) -> npt.NDArray[Any]:
    """Rows [S] of the training specs whose experts act."""
    gaps = distances(benchmark, train, specs)
    if settings.same_direction:
        alike = (np.sign(specs)[:, None] == np.sign(train)[None]).all(axis=-1)
        gaps = np.where(alike | ~alike.any(axis=1, keepdims=True), gaps, np.inf)
    return gaps.argmin(axis=1)
