"""Means, deviations and intervals of returns, in the order: a spec's episodes, specs, training seeds, splits.

An interval is a percentile bootstrap over all that was drawn by chance: splits are drawn again, and within each its
training seeds and its specs. The specs that one split tests are the same for all seeds, so seeds and specs are drawn
crosswise. A spec's mean carries the chance of its episodes already.

All deviations are sample deviations (ddof = 1): the deviation of a single number is not zero, there is none (None).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
REPETITIONS = 5000
LEVEL = 0.95
ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
"""Quantiles at the ends of an interval."""
DECIMALS = 9
"""To so many, means are equal: sums of the same numbers in another order are not, to the last bit."""


class Summary(TypedDict):
    """Statistics of a set of scores, as tables show them; None where there is nothing to compute it from."""

    mean: float | None  # mean of the splits' means, each a mean of its specs' means
    std_episodes: float | None  # over a spec's episodes; averaged over specs, then splits
    std_specs: float | None  # over a split's specs' means; averaged over splits
    std_seeds: float | None  # over the means of a split's training seeds; averaged over splits
    std_splits: float | None  # over the splits' means
    low_95: float | None  # 95 % bootstrap interval of the mean
    high_95: float | None
    in_mean: float | None  # the mean of the specs in distribution
    out_mean: float | None  # the mean of those out of it
    splits: int
    seeds: int | None  # training seeds, of the split with the most; None where each has one
    specs: int  # specs rolled out; one that is tested in two splits counts twice, one of two seeds once
    episodes: int


def summarise(scores: Sequence[Mapping[str, Any]]) -> Summary:
    """Statistics of `scores`, one per split, run and spec: `split` (None is a split too), `run` (one training seed),
    `spec`, `mean` and `deviation` (None for one episode) over the spec's episodes, number of `episodes`,
    `in_distribution`. A score whose mean is None, of a spec without an episode that counts, is left out."""
    scores = [score for score in scores if score["mean"] is not None]
    means = np.array([score["mean"] for score in scores], dtype=np.float64)
    within = np.array([score["in_distribution"] for score in scores], dtype=bool)
    deviations = np.array([np.nan if score["deviation"] is None else score["deviation"] for score in scores])
    known = np.array([score["deviation"] is not None for score in scores], dtype=bool)
    strata = _numbers([score["split"] for score in scores])
    cells = _cells(scores, ("run",), means[:, None])
    seeds = [_seed_means(of_split) for of_split in cells]
    low, high = interval(cells)
    return Summary(
        mean=stratified_mean(means, strata),
        std_episodes=stratified_mean(deviations[known], strata[known]),
        std_specs=_average([_average([_deviation(run[~np.isnan(run)]) for run in c[:, 0, :, 0]]) for c in cells]),
        std_seeds=_average([_deviation(of_split) for of_split in seeds]),
        std_splits=_deviation(_split_means(means, strata)),
        low_95=low,
        high_95=high,
        in_mean=stratified_mean(means[within], strata[within]),
        out_mean=stratified_mean(means[~within], strata[~within]),
        splits=len(cells),
        seeds=max((len(of_split) for of_split in seeds), default=1) if any(len(s) > 1 for s in seeds) else None,
        specs=sum(of_split.shape[2] for of_split in cells),
        episodes=sum(score["episodes"] for score in scores),
    )


class Comparison(TypedDict):
    """Method a against method b over the splits and specs on which both were rolled out."""

    mean_a: float | None
    mean_b: float | None
    ratio: float | None  # of the means, a to b
    difference: float | None  # a - b, with its 95 % bootstrap interval: both are drawn on the same specs
    low_95: float | None
    high_95: float | None
    t_low_95: float | None  # its 95 % t interval from the splits' means alone; None for one split
    t_high_95: float | None
    improvement: float | None  # probability that an episode of a beats one of b on the same spec, and its interval
    improvement_low_95: float | None
    improvement_high_95: float | None
    splits: int
    pairs: int  # specs, each counted once per split
    episodes: int  # of a


def compare(pairs: Sequence[Mapping[str, Any]]) -> Comparison:
    """Statistics of `pairs`, one per split, training seed of a (`run_a`) and of b (`run_b`), and `spec`: the episodes'
    outcomes of both methods, `a` and `b`.

    The probability of improvement is rliable's (Agarwal et al. 2021, after Mann and Whitney), with specs as tasks and
    episodes as runs. The seeds of both methods are drawn again, each on its own.
    """
    a, b = (np.array([np.mean(pair[side]) for pair in pairs], dtype=np.float64) for side in ("a", "b"))
    chances = np.array([improvement(pair["a"], pair["b"]) for pair in pairs], dtype=np.float64)
    strata = _numbers([pair["split"] for pair in pairs])
    mean_a, mean_b = stratified_mean(a, strata), stratified_mean(b, strata)
    sides = ("run_a", "run_b")
    low, high = interval(_cells(pairs, sides, (a - b)[:, None]))
    lowest, highest = t_interval(_split_means(a - b, strata))
    least, most = interval(_cells(pairs, sides, chances[:, None]))
    specs = [(pair["split"], pair.get("spec", number)) for number, pair in enumerate(pairs)]
    of_a = {(spec, pair.get("run_a")): len(pair["a"]) for spec, pair in zip(specs, pairs, strict=True)}
    return Comparison(
        mean_a=mean_a,
        mean_b=mean_b,
        ratio=mean_a / mean_b if mean_a is not None and mean_b else None,
        difference=stratified_mean(a - b, strata),
        low_95=low,
        high_95=high,
        t_low_95=lowest,
        t_high_95=highest,
        improvement=stratified_mean(chances, strata),
        improvement_low_95=least,
        improvement_high_95=most,
        splits=len(set(strata.tolist())),
        pairs=len(set(specs)),
        episodes=sum(of_a.values()),
    )


class Headroom(TypedDict):
    """How far a method gets from the nearest training spec's expert (0) to the spec's own expert (1)."""

    headroom: float | None  # (method - nearest) / (expert - nearest), a ratio of means
    headroom_low_95: float | None  # its 95 % bootstrap interval
    headroom_high_95: float | None
    headroom_unclear: bool  # the 95 % interval of expert - nearest is not above 0: then there is no headroom to measure


def headroom(pairs: Sequence[Mapping[str, Any]]) -> Headroom:
    """Headroom of a method over `pairs`, one per split, run and spec: `split`, `run`, `spec`, and the scores of the
    `method`, of `nearest` and of the `expert`, where more is better. A pair that lacks a score (None) is left out.

    Means are those of `stratified_mean`. Numerator and denominator come from the same draws, which also tell
    whether the denominator is clearly positive.
    """
    known = [pair for pair in pairs if None not in (pair["method"], pair["nearest"], pair["expert"])]
    method, nearest, expert = (
        np.array([pair[side] for pair in known], dtype=np.float64) for side in ("method", "nearest", "expert")
    )
    strata = _numbers([pair["split"] for pair in known])
    gained, lead = _resampled_means(_cells(known, ("run",), np.stack([method - nearest, expert - nearest], axis=-1))).T
    mean_gained, mean_lead = (stratified_mean(side - nearest, strata) for side in (method, expert))
    if not len(lead) or mean_gained is None or mean_lead is None or min(mean_lead, np.quantile(lead, 0.025)) <= 0:
        return Headroom(headroom=None, headroom_low_95=None, headroom_high_95=None, headroom_unclear=True)
    # A lead towards 0 sends the ratio to infinity; the few draws beyond it count as there.
    ratios = np.where(lead > 0, gained / np.where(lead > 0, lead, 1.0), np.copysign(np.inf, gained))
    low, high = np.quantile(ratios, [0.025, 0.975], method="inverted_cdf")
    return Headroom(
        headroom=mean_gained / mean_lead,
        headroom_low_95=float(low) if np.isfinite(low) else None,
        headroom_high_95=float(high) if np.isfinite(high) else None,
        headroom_unclear=False,
    )


class Rank(TypedDict):
    """Place of one of several rivals, 1 for the best; rivals with equal means share one."""

    rival: str
    rank: int | None  # None for a rival that was not measured wherever another one was
    rank_low_95: float | None  # 95 % bootstrap interval
    rank_high_95: float | None


def ranks(scores: Sequence[Mapping[str, Any]]) -> list[Rank]:
    """Places of rivals by `scores`, one per `rival`, `split`, `run` and `spec`; the greater its `mean`, the better.

    Every draw takes the same splits and specs for all rivals, and of each rival its own training seeds. Where a draw
    takes only seeds and specs of a split that were not measured together, its other splits count; one of which a rival
    has nothing is none.
    """
    places = {(score["split"], score["spec"]) for score in scores}
    by_rival: dict[str, list[Mapping[str, Any]]] = {}
    for score in sorted(scores, key=lambda score: (str(score["split"]), score["spec"])):
        by_rival.setdefault(score["rival"], []).append(score)
    whole = {
        rival: _cells(own, ("run",), np.array([[score["mean"]] for score in own], dtype=np.float64))
        for rival, own in sorted(by_rival.items())
        if {(score["split"], score["spec"]) for score in own} == places
        and all(score["mean"] is not None for score in own)
    }
    found = {rival: Rank(rival=rival, rank=None, rank_low_95=None, rank_high_95=None) for rival in by_rival}
    if not whole:
        return list(found.values())
    means = np.array([np.mean([np.nanmean(split) for split in cells]) for cells in whole.values()])
    draws = np.stack(list(_drawn_together(list(whole.values()))), axis=1)
    draws = draws[~np.isnan(draws).any(axis=1)]
    (place,) = _places(means[None].round(DECIMALS))
    bounds = (
        np.quantile(_places(draws.round(DECIMALS)), [0.025, 0.975], axis=0, method="inverted_cdf")
        if len(draws)
        else None
    )
    for number, rival in enumerate(whole):
        found[rival]["rank"] = int(place[number])
        if bounds is not None:
            found[rival]["rank_low_95"], found[rival]["rank_high_95"] = map(float, bounds[:, number])
    return list(found.values())


def _places(values: Values) -> NDArray[np.int64]:
    """Place of each value [R, N] in its row: 1 for the greatest, and the same for equal ones."""
    order = np.argsort(-values, axis=1)
    falling = np.take_along_axis(values, order, axis=1)
    behind = np.arange(1, values.shape[1]) * (falling[:, 1:] < falling[:, :-1])
    first = np.maximum.accumulate(np.pad(behind, [(0, 0), (1, 0)]), axis=1)
    places = np.empty_like(order)
    np.put_along_axis(places, order, 1 + first, axis=1)
    return places


def _drawn_together(rivals: Sequence[Sequence[Values]], repetitions: int = REPETITIONS) -> Iterator[Values]:
    """Bootstrap means [R] of each rival's cells [A, 1, S, 1] per split, on splits and specs that all rivals share."""
    shapes = [of_split.shape[2] for of_split in rivals[0]]
    shared = np.random.default_rng(0)
    drawn = shared.integers(len(shapes), size=(repetitions, len(shapes)))
    places = [drawn == number for number in range(len(shapes))]
    specs = [
        _counts(shared.integers(size, size=(int(place.sum()), size)))
        for place, size in zip(places, shapes, strict=True)
    ]
    for rival, cells in enumerate(rivals):
        random, means = np.random.default_rng([1, rival]), np.empty(drawn.shape)
        for place, of_split, of_specs in zip(places, cells, specs, strict=True):
            runs = _counts(random.integers(len(of_split), size=(len(of_specs), len(of_split))))
            means[place] = _known_mean(of_split, runs, np.ones((len(runs), 1)), of_specs, whole=of_split.size)[:, 0]
        splits = (~np.isnan(means)).sum(axis=1)
        yield np.divide(np.nansum(means, axis=1), splits, out=np.full(repetitions, np.nan), where=splits > 0)


def _cells(rows: Sequence[Mapping[str, Any]], runs: Sequence[str], values: Values) -> list[Values]:
    """Per split, `values` [N, K] of its rows as an array [A, B, S, K]: of its runs (of method a, and of b where `runs`
    names two columns) and its specs, each in order of appearance; NaN where there is none. A row that names no spec is
    of one of its own."""
    strata, found = _numbers([row["split"] for row in rows]), []
    for stratum in np.unique(strata):
        places = np.flatnonzero(strata == stratum)
        axes = [_numbers([rows[place].get(name) for place in places]) for name in (*runs, "b")[:2]]
        axes.append(_numbers([rows[place].get("spec", place) for place in places]))
        cells = np.full((*(axis.max() + 1 for axis in axes), values.shape[1]), np.nan)
        cells[tuple(axes)] = values[places]
        found.append(cells)
    return found


def _seed_means(cells: Values) -> Values:
    """Mean of each training seed [A] over its specs."""
    return np.array([run[~np.isnan(run)].mean() for run in cells[:, 0, :, 0]])


def _resampled_means(cells: Sequence[Values], repetitions: int = REPETITIONS, seed: int = 0) -> Values:
    """Bootstrap means [R, K] of cells [A, B, S, K] per split: as many splits as there are, drawn again, and of each its
    runs and specs.

    R is 0 where there is nothing to draw from: one value, or none. A split of which a draw takes only runs and specs
    that were not measured together does not count in that draw, and a draw without any split is none.
    """
    if sum(of_split[..., 0].size for of_split in cells) < 2:
        return np.empty((0, cells[0].shape[-1] if cells else 2))
    means = np.empty((repetitions * len(cells), cells[0].shape[-1]))
    draws = resampling(tuple(of_split.shape[:3] for of_split in cells), repetitions, seed)
    for of_split, (places, *weights) in zip(cells, draws, strict=True):
        means[places] = _known_mean(of_split, *weights)
    drawn = means.reshape(repetitions, len(cells), -1)
    if not (gaps := np.isnan(drawn)).any():
        return drawn.mean(axis=1)
    drawn = drawn[~gaps.all(axis=(1, 2))]
    return np.nanmean(drawn, axis=1)


@lru_cache(maxsize=16)
def resampling(
    shapes: tuple[tuple[int, ...], ...], repetitions: int = REPETITIONS, seed: int = 0
) -> list[tuple[NDArray[np.int64], Values, Values, Values]]:
    """Per split, the places [N] of the R draws that take it, each of which has as many as there are splits, and how
    often each run of a, run of b and spec is drawn there [N, A], [N, B], [N, S], as a fraction.

    They depend on nothing but the numbers of splits, runs and specs, which a table's rows share.
    """
    random = np.random.default_rng(seed)
    drawn, found = random.integers(len(shapes), size=repetitions * len(shapes)), []
    for number, shape in enumerate(shapes):
        places = np.flatnonzero(drawn == number)
        a, b, specs = (_counts(random.integers(size, size=(len(places), size))) / size for size in shape)
        found.append((places, a, b, specs))
    return found


def _counts(indices: NDArray[np.int64]) -> Values:
    """How often each of n numbers stands in each row of n [N, n]."""
    rows, size = indices.shape
    flat = np.arange(rows)[:, None] * size + indices
    return np.bincount(flat.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)


def _known_mean(cells: Values, a: Values, b: Values, specs: Values, *, whole: float = 1.0) -> Values:
    """`_weighted` means of the cells that are not NaN; NaN where none of those has any weight. The weights of all cells
    sum to `whole`."""
    there = ~np.isnan(cells)
    total = _weighted(np.where(there, cells, 0.0), a, b, specs)
    if there.all():
        return total / whole
    weight = _weighted(there.astype(np.float64), a, b, specs)
    return np.divide(total, weight, out=np.full_like(weight, np.nan), where=weight > 0)


def _weighted(cells: Values, a: Values, b: Values, specs: Values) -> Values:
    """Means [N, K] of cells [A, B, S, K] under N weights each of runs [N, A], [N, B] and specs [N, S]."""
    over_specs = (specs @ cells.transpose(2, 0, 1, 3).reshape(cells.shape[2], -1)).reshape(len(a), *cells.shape[:2], -1)
    return np.einsum("na,nb,nabk->nk", a, b, over_specs)


def interval(
    cells: Sequence[Values], level: float = LEVEL, repetitions: int = REPETITIONS, seed: int = 0
) -> tuple[float | None, float | None]:
    """Percentile bootstrap interval of the mean of the splits' means, of cells [A, B, S, 1] per split.

    The same values in the same order give the same interval. (None, None) where there is nothing to draw from.
    """
    means = _resampled_means(cells, repetitions, seed)
    if not len(means):
        return None, None
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def t_interval(values: Values, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Student's interval of the mean of normally distributed `values` [N]; (None, None) for fewer than two.

    Of splits' means it holds the truth as often as it says however much splits differ. It is wide where they are few,
    and `interval` is too narrow there.
    """
    from scipy.special import stdtrit  # a tenth of a second, for comparisons alone

    if (deviation := _deviation(values)) is None:
        return None, None
    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * deviation / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def improvement(a: Sequence[float], b: Sequence[float]) -> float:
    """Fraction of the pairs (one of `a`, one of `b`) in which a is greater; a tie counts half."""
    differences = np.subtract.outer(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def stratified_mean(values: Values, strata: NDArray[np.int64]) -> float | None:
    """Mean of the means of `values` [N] within each of `strata` [N]: all strata weigh the same. None for no value."""
    return _average(_split_means(values, strata).tolist())


def _numbers(names: Sequence[object]) -> NDArray[np.int64]:
    """Number of each name (None is one, too), from 0, in order of appearance."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _split_means(values: Values, strata: NDArray[np.int64]) -> Values:
    """Mean of `values` [N] within each of `strata` [N], in the order of their numbers."""
    return np.array([values[strata == stratum].mean() for stratum in np.unique(strata)])


def _deviation(values: Values) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
