"""Spec and seed of every world, as each vector of worlds takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hypogen.contexts import Benchmark


def specs_array(benchmark: Benchmark, specs: npt.NDArray[Any] | Sequence[Sequence[float]]) -> npt.NDArray[Any]:
    """Specs of worlds as a read-only float64 array [W, C]; ValueError for another shape, or for no world."""
    array = np.array(specs, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(benchmark.variables) or not len(array):
        names = ", ".join(variable.name for variable in benchmark.variables)
        raise ValueError(f"{benchmark.name}: specs must be [worlds, ({names})], got an array of shape {array.shape}")
    array.setflags(write=False)
    return array


def world_seeds(seed: int | Sequence[int] | npt.NDArray[Any], worlds: int) -> npt.NDArray[Any]:
    """Seeds [W]: one number s gives world i the seed s + i. ValueError for anything but one or W whole numbers."""
    seeds = np.asarray(seed)
    if seeds.ndim == 0:
        seeds = seeds + np.arange(worlds)
    if seeds.shape != (worlds,) or not np.issubdtype(seeds.dtype, np.integer):
        raise ValueError(f"seed must be a whole number or {worlds} of them, got {seed!r}")
    return seeds
