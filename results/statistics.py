"""Means, deviations and intervals of returns, in the order: a spec's episodes, then specs, then splits.

All deviations are sample deviations (ddof = 1): the deviation of a single number is not zero, there is none (None).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
REPETITIONS = 5000


class Summary(TypedDict):
    """Statistics of a set of scores, as tables show them; None where there is nothing to compute it from."""

    mean: float | None  # mean of the splits' means, each a mean of its specs' means
    std_episodes: float | None  # over a spec's episodes; averaged over specs, then splits
    std_specs: float | None  # over a split's specs' means; averaged over splits
    std_splits: float | None  # over the splits' means
    low_95: float | None  # 95 % bootstrap interval of the mean, stratified by split
    high_95: float | None
    in_mean: float | None  # the mean of the specs in distribution
    out_mean: float | None  # the mean of those out of it
    splits: int
    specs: int  # specs rolled out; one that is tested in two splits counts twice
    episodes: int


def summarise(scores: Sequence[Mapping[str, Any]]) -> Summary:
    """Statistics of `scores`, one per spec and split (and run): `split` (None is a split too), `mean` and `deviation`
    (None for one episode) over the spec's episodes, number of `episodes`, `in_distribution`. A score whose mean is
    None, of a spec without an episode that counts, is left out."""
    scores = [score for score in scores if score["mean"] is not None]
    means = np.array([score["mean"] for score in scores], dtype=np.float64)
    within = np.array([score["in_distribution"] for score in scores], dtype=bool)
    deviations = np.array([np.nan if score["deviation"] is None else score["deviation"] for score in scores])
    known = np.array([score["deviation"] is not None for score in scores], dtype=bool)
    strata = _strata([score["split"] for score in scores])
    low, high = stratified_interval(means, strata)
    return Summary(
        mean=stratified_mean(means, strata),
        std_episodes=stratified_mean(deviations[known], strata[known]),
        std_specs=_average([_deviation(group) for group in _groups(means, strata)]),
        std_splits=_deviation(np.array([group.mean() for group in _groups(means, strata)])),
        low_95=low,
        high_95=high,
        in_mean=stratified_mean(means[within], strata[within]),
        out_mean=stratified_mean(means[~within], strata[~within]),
        splits=len(set(strata.tolist())),
        specs=len(scores),
        episodes=sum(score["episodes"] for score in scores),
    )


class Comparison(TypedDict):
    """Method a against method b over the splits and specs on which both were rolled out."""

    mean_a: float | None
    mean_b: float | None
    ratio: float | None  # of the means, a to b
    difference: float | None  # a - b, with its 95 % bootstrap interval, stratified by split: pairs are drawn together
    low_95: float | None
    high_95: float | None
    improvement: float | None  # probability that an episode of a beats one of b on the same spec, and its interval
    improvement_low_95: float | None
    improvement_high_95: float | None
    splits: int
    pairs: int  # specs, each counted once per split
    episodes: int  # of a


def compare(pairs: Sequence[Mapping[str, Any]]) -> Comparison:
    """Statistics of `pairs`, one per split and spec: `split`, and the episodes' outcomes of both methods, `a` and `b`.

    The probability of improvement is rliable's (Agarwal et al. 2021, after Mann and Whitney), with specs as tasks and
    episodes as runs; the interval here is over specs, within their splits, as in `stratified_interval`.
    """
    a, b = (np.array([np.mean(pair[side]) for pair in pairs], dtype=np.float64) for side in ("a", "b"))
    chances = np.array([improvement(pair["a"], pair["b"]) for pair in pairs], dtype=np.float64)
    strata = _strata([pair["split"] for pair in pairs])
    mean_a, mean_b = stratified_mean(a, strata), stratified_mean(b, strata)
    low, high = stratified_interval(a - b, strata)
    least, most = stratified_interval(chances, strata)
    return Comparison(
        mean_a=mean_a,
        mean_b=mean_b,
        ratio=mean_a / mean_b if mean_a is not None and mean_b else None,
        difference=stratified_mean(a - b, strata),
        low_95=low,
        high_95=high,
        improvement=stratified_mean(chances, strata),
        improvement_low_95=least,
        improvement_high_95=most,
        splits=len(set(strata.tolist())),
        pairs=len(pairs),
        episodes=sum(len(pair["a"]) for pair in pairs),
    )


class Headroom(TypedDict):
    """How far a method gets from the nearest training spec's expert (0) to the spec's own expert (1)."""

    headroom: float | None  # (method - nearest) / (expert - nearest), a ratio of means
    headroom_low_95: float | None  # its 95 % bootstrap interval: splits are drawn again, and specs within them
    headroom_high_95: float | None
    headroom_unclear: bool  # the 95 % interval of expert - nearest is not above 0: then there is no headroom to measure


def headroom(pairs: Sequence[Mapping[str, Any]]) -> Headroom:
    """Headroom of a method over `pairs`, one per split and spec (and run): `split`, and the scores of the `method`, of
    `nearest` and of the `expert`, where more is better. A pair that lacks a score (None) is left out.

    Means are those of `stratified_mean`. Numerator and denominator come from the same draws, which also tell
    whether the denominator is clearly positive.
    """
    known = [pair for pair in pairs if None not in (pair["method"], pair["nearest"], pair["expert"])]
    method, nearest, expert = (
        np.array([pair[side] for pair in known], dtype=np.float64) for side in ("method", "nearest", "expert")
    )
    strata = _strata([pair["split"] for pair in known])
    gained, lead = _resampled_means(np.stack([method - nearest, expert - nearest], axis=-1), strata).T
    if not len(lead) or np.quantile(lead, 0.025) <= 0:
        return Headroom(headroom=None, headroom_low_95=None, headroom_high_95=None, headroom_unclear=True)
    mean_gained, mean_lead = (stratified_mean(side - nearest, strata) for side in (method, expert))
    assert mean_gained is not None and mean_lead is not None
    # A lead towards 0 sends the ratio to infinity; the few draws beyond it count as there.
    ratios = np.where(lead > 0, gained / np.where(lead > 0, lead, 1.0), np.copysign(np.inf, gained))
    low, high = np.quantile(ratios, [0.025, 0.975], method="inverted_cdf")
    return Headroom(
        headroom=mean_gained / mean_lead,
        headroom_low_95=float(low) if np.isfinite(low) else None,
        headroom_high_95=float(high) if np.isfinite(high) else None,
        headroom_unclear=False,
    )


def _resampled_means(
    values: Values, strata: NDArray[np.int64], repetitions: int = REPETITIONS, seed: int = 0
) -> Values:
    """Bootstrap means [R, K] of rows `values` [N, K]: as many strata as there are, drawn again, and of each its rows.

    R is 0 where there is nothing to draw from: one value, or none.
    """
    groups = [values[strata == stratum] for stratum in np.unique(strata)]
    if len(values) < 2:
        return np.empty((0, values.shape[1]))
    random = np.random.default_rng(seed)
    drawn = random.integers(len(groups), size=(repetitions, len(groups)))
    means = np.empty((*drawn.shape, values.shape[1]))
    for stratum, group in enumerate(groups):
        places = drawn == stratum
        means[places] = group[random.integers(len(group), size=(int(places.sum()), len(group)))].mean(axis=1)
    return means.mean(axis=1)


def improvement(a: Sequence[float], b: Sequence[float]) -> float:
    """Fraction of the pairs (one of `a`, one of `b`) in which a is greater; a tie counts half."""
    differences = np.subtract.outer(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def stratified_mean(values: Values, strata: NDArray[np.int64]) -> float | None:
    """Mean of the means of `values` [N] within each of `strata` [N]: all strata weigh the same. None for no value."""
    return _average([float(group.mean()) for group in _groups(values, strata)])


def stratified_interval(
    values: Values,
    strata: NDArray[np.int64],
    level: float = 0.95,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> tuple[float | None, float | None]:
    """Percentile bootstrap interval of `stratified_mean`: values are drawn again within their stratum, strata stay.

    The method of rliable's `StratifiedBootstrap` with splits as tasks and specs as runs, for strata of any sizes. The
    same values in the same order give the same interval. (None, None) where no stratum has two values to draw from.
    """
    groups = _groups(values, strata)
    if all(len(group) < 2 for group in groups):
        return None, None
    random = np.random.default_rng(seed)
    draws = [group[random.integers(len(group), size=(repetitions, len(group)))].mean(axis=1) for group in groups]
    low, high = np.quantile(np.mean(draws, axis=0), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _strata(splits: Sequence[int | None]) -> NDArray[np.int64]:
    """Number of each split, from 0, in order of appearance."""
    numbers: dict[int | None, int] = {}
    return np.array([numbers.setdefault(split, len(numbers)) for split in splits], dtype=np.int64)


def _groups(values: Values, strata: NDArray[np.int64]) -> list[Values]:
    return [values[strata == stratum] for stratum in np.unique(strata)]


def _deviation(values: Values) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
