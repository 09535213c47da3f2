"""Splits of a benchmark's specs into training and test specs, and test specs within the training distribution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hypogen.benchmarks import Benchmark

_Specs = Iterable[float | Sequence[float]]


@dataclass(frozen=True)
class Split:
    """Rows of a benchmark's grid for training and for testing, sorted and disjoint; all other rows are unused.

    Raises ValueError when there is no training spec, or when a row repeats or is on both sides.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("the split leaves no spec to train on")
        for side, rows in (("train", self.train), ("test", self.test)):
            if list(rows) != sorted(set(rows)):
                raise ValueError(f"the {side} specs of a split must be sorted and distinct, got rows {rows}")
        shared = sorted(set(self.train) & set(self.test))
        if shared:
            raise ValueError(f"specs cannot both train and test: grid rows {shared}")


def random_split(
    count: int,
    train_fraction: float,
    seed: int,
    test_fraction: float | None = None,
    among: Sequence[int] | None = None,
) -> Split:
    """Random split of ``count`` specs, or of the rows ``among`` them.

    Both fractions refer to the specs that are split. If ``test_fraction`` is None, all specs that are not for training
    are for testing. For one seed (and test fraction), a smaller training set is a subset of a larger one; with a test
    fraction, the test set is also the same for every train fraction. Curves over the train fraction therefore compare
    like with like.

    Raises ValueError for fractions outside (0, 1), fractions that add up to more than 1, no training or no test spec.
    """
    _check_fraction("train_fraction", train_fraction)
    rows = _rows(count, among)
    order = np.random.default_rng(seed).permutation(rows)
    train_count = _part(train_fraction, len(rows))
    if test_fraction is None:
        test_count = len(rows) - train_count
    else:
        _check_fraction("test_fraction", test_fraction)
        if train_fraction + test_fraction > 1 + 1e-9:
            raise ValueError(f"train_fraction {train_fraction:g} and test_fraction {test_fraction:g} exceed 1 together")
        test_count = _part(test_fraction, len(rows))
        train_count = min(train_count, len(rows) - test_count)  # both halves of an odd count round up
    _check_counts(train_count, test_count, len(rows))
    return _split(order[:train_count], order[len(rows) - test_count :])


def evenly_spaced_split(count: int, train_fraction: float) -> Split:
    """Split with training specs spread evenly over the sorted grid, both ends included; all others are test specs.

    Raises ValueError for a fraction outside (0, 1), no training or no test spec.
    """
    _check_fraction("train_fraction", train_fraction)
    rows = _rows(count, None)
    train_count = _part(train_fraction, count)
    _check_counts(train_count, count - train_count, count)
    spaced = np.linspace(0, count - 1, train_count) if train_count > 1 else np.array([(count - 1) / 2])
    train = np.floor(spaced + 0.5).astype(int)
    return _split(train, np.setdiff1d(rows, train))


def explicit_split(benchmark: Benchmark, train_specs: _Specs, test_specs: _Specs) -> Split:
    """Split with exactly these specs, such as that of figure 4: training at speeds 1 and 10, testing at 2 to 9.

    Each spec is a sequence of coordinates, or a single number if the context has one variable.
    Raises ValueError for a spec that is not on the grid, is given twice, or is on both sides.
    """
    sides = {"train": [benchmark.index(spec) for spec in train_specs], "test": [benchmark.index(s) for s in test_specs]}
    for side, rows in sides.items():
        repeated = sorted({row for row in rows if rows.count(row) > 1})
        if repeated:
            raise ValueError(f"{benchmark.name}: {side} spec given twice: {_specs_text(benchmark, repeated)}")
    shared = sorted(set(sides["train"]) & set(sides["test"]))
    if shared:
        raise ValueError(f"{benchmark.name}: spec both trains and tests: {_specs_text(benchmark, shared)}")
    return _split(sides["train"], sides["test"])


def in_distribution(train_specs: npt.NDArray[Any], specs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Whether ``specs`` [S, C] lie within one standard deviation of the mean of ``train_specs`` [N, C]: bool [S].

    Every coordinate of a spec must lie there (bounds included); the deviation is that of a population (``ddof=0``).
    Source: the paper's in/out-of-distribution tables.
    """
    train = np.asarray(train_specs, dtype=np.float64)
    points = np.asarray(specs, dtype=np.float64)
    if train.ndim != 2 or points.ndim != 2 or train.shape[1] != points.shape[1] or not len(train):
        raise ValueError(f"specs must be [N, C] and [S, C] with N > 0, got {train.shape} and {points.shape}")
    distance = np.abs(points - train.mean(axis=0))
    return np.all(distance <= train.std(axis=0) + 1e-9, axis=1)


def _check_fraction(name: str, fraction: float) -> None:
    if not 0 < fraction < 1:
        raise ValueError(f"{name} must lie between 0 and 1 (neither included), got {fraction:g}")


def _check_counts(train_count: int, test_count: int, count: int) -> None:
    for side, part in (("train", train_count), ("test", test_count)):
        if part < 1:
            raise ValueError(f"the fractions leave no spec to {side} on, of {count}")


def _rows(count: int, among: Sequence[int] | None) -> npt.NDArray[Any]:
    if count < 2:
        raise ValueError(f"a split needs at least 2 specs, got {count}")
    if among is None:
        return np.arange(count)
    rows = np.unique(np.asarray(among, dtype=int))
    if len(rows) != len(among):
        raise ValueError("`among` names a spec twice")
    if len(rows) < 2 or rows[0] < 0 or rows[-1] >= count:
        raise ValueError(f"`among` must name at least 2 of the specs 0 to {count - 1}, got {list(among)}")
    return rows


def _part(fraction: float, count: int) -> int:
    """Number of specs in ``fraction`` of ``count``, with halves rounded up despite errors in its last bit."""
    return int(fraction * count + 0.5 + 1e-9)


def _split(train: Iterable[int], test: Iterable[int]) -> Split:
    return Split(tuple(sorted(int(row) for row in train)), tuple(sorted(int(row) for row in test)))


def _specs_text(benchmark: Benchmark, rows: Iterable[int]) -> str:
    return ", ".join(str(tuple(float(value) for value in benchmark.grid[row])) for row in rows)
