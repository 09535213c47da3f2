"""Means, deviations and intervals, against numbers worked out by hand and against rliable."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rliable import library as rly
from rliable import metrics

from results.statistics import compare, improvement, stratified_interval, stratified_mean, summarise


def score(split, episodes, inside=True):
    deviation = float(np.std(episodes, ddof=1)) if len(episodes) > 1 else None
    return {
        "split": split,
        "mean": float(np.mean(episodes)),
        "deviation": deviation,
        "episodes": len(episodes),
        "in_distribution": inside,
    }


def test_the_statistics_of_an_example_worked_out_by_hand():
    summary = summarise(
        [
            score(0, [1.0, 3.0]),  # mean 2, deviation sqrt(2)
            score(0, [6.0, 6.0], inside=False),  # mean 6, deviation 0: split 0 has mean 4
            score(1, [9.0, 11.0]),  # mean 10, deviation sqrt(2)
            score(1, [10.0, 14.0], inside=False),  # mean 12, deviation sqrt(8)
            score(1, [20.0, 20.0], inside=False),  # mean 20, deviation 0: split 1 has mean 14
        ]
    )
    root = np.sqrt(2.0)
    assert summary["mean"] == pytest.approx(9.0)  # of 4 and 14, not 10 = the mean over all specs
    assert summary["std_episodes"] == pytest.approx((root / 2 + (root + 2 * root + 0) / 3) / 2)
    assert summary["std_specs"] == pytest.approx((np.sqrt(8.0) + np.sqrt((16 + 4 + 36) / 2)) / 2)
    assert summary["std_splits"] == pytest.approx(np.sqrt(50.0))
    assert summary["in_mean"] == pytest.approx((2 + 10) / 2)
    assert summary["out_mean"] == pytest.approx((6 + 16) / 2)
    assert (summary["splits"], summary["specs"], summary["episodes"]) == (2, 5, 10)


def test_the_interval_is_that_of_all_samples_that_there_are():
    """Two and three specs can be drawn again in 4 x 27 ways, all as likely."""
    low, high = stratified_interval(np.array([2.0, 6.0, 10.0, 12.0, 20.0]), np.array([0, 0, 1, 1, 1]))
    one, other = product([2.0, 6.0], repeat=2), product([10.0, 12.0, 20.0], repeat=3)
    means = [(np.mean(first) + np.mean(second)) / 2 for first, second in product(one, other)]
    exact = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    assert (low, high) == (pytest.approx(exact[0]), pytest.approx(exact[1]))


def test_what_one_number_cannot_tell_is_absent_not_zero():
    summary = summarise([score(None, [5.0])])
    assert (summary["mean"], summary["in_mean"]) == (5.0, 5.0)
    absent = ("std_episodes", "std_specs", "std_splits", "low_95", "high_95", "out_mean")
    assert [summary[name] for name in absent] == [None] * 6


def test_a_split_without_specs_out_of_distribution_does_not_count_there():
    scores = [score(0, [1.0, 1.0]), score(1, [2.0, 2.0]), score(1, [8.0, 8.0], inside=False)]
    assert summarise(scores)["out_mean"] == 8.0


def test_a_spec_of_one_episode_does_not_count_as_one_without_deviation():
    assert summarise([score(0, [1.0]), score(0, [1.0, 3.0])])["std_episodes"] == pytest.approx(np.sqrt(2.0))


def test_the_interval_is_rliables():
    """There, scores are [runs, tasks] and runs are drawn again within each task: here, specs within each split."""
    random = np.random.default_rng(3)
    scores = random.normal(700, 150, size=(32, 5)) + random.normal(0, 100, size=5)
    values, strata = scores.T.ravel(), np.repeat(np.arange(5), 32)
    theirs, intervals = rly.get_interval_estimates(
        {"hypogen": scores}, lambda x: np.array([x.mean()]), reps=20_000, random_state=np.random.RandomState(0)
    )
    (low,), (high,) = intervals["hypogen"]
    mine = stratified_interval(values, strata, repetitions=20_000)
    assert stratified_mean(values, strata) == pytest.approx(theirs["hypogen"][0])
    assert mine == (pytest.approx(low, abs=0.02 * (high - low)), pytest.approx(high, abs=0.02 * (high - low)))
    few = stratified_interval(values, strata)
    assert few == (pytest.approx(low, abs=0.06 * (high - low)), pytest.approx(high, abs=0.06 * (high - low)))


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    strata = np.repeat(np.arange(3), 30)
    hits = 0
    for _ in range(200):
        low, high = stratified_interval(random.normal(size=90), strata, repetitions=500)
        hits += low <= 0.0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_a_wider_level_is_a_wider_interval():
    values, strata = np.random.default_rng(0).normal(size=40), np.repeat([0, 1], 20)
    low, high = stratified_interval(values, strata, level=0.5)
    lower, higher = stratified_interval(values, strata, level=0.99)
    assert lower < low < high < higher


def test_a_comparison_worked_out_by_hand():
    comparison = compare(
        [
            {"split": 0, "a": [1.0, 3.0], "b": [2.0, 2.0]},  # a wins one of two, by 0
            {"split": 0, "a": [9.0, 9.0], "b": [9.0, 5.0]},  # ties one, wins one: 0.75, by 2
            {"split": 1, "a": [4.0], "b": [10.0]},  # loses, by -6
        ]
    )
    assert (comparison["mean_a"], comparison["mean_b"]) == ((5.5 + 4.0) / 2, (4.5 + 10.0) / 2)
    assert comparison["difference"] == (1.0 - 6.0) / 2
    assert comparison["ratio"] == pytest.approx(4.75 / 7.25)
    assert comparison["improvement"] == (0.625 + 0.0) / 2
    assert (comparison["splits"], comparison["pairs"], comparison["episodes"]) == (2, 3, 5)


def paired_scores(random, episodes=10, specs=32, splits=5):
    """Two methods' returns [episodes, specs x splits]; hard specs are hard for both."""
    difficulty = random.normal(0, 200, size=specs * splits)
    return tuple(
        np.round(random.normal(level, 80, size=(episodes, specs * splits)) + difficulty) for level in (700, 670)
    )


def as_pairs(a, b, specs=32):
    return [{"split": n // specs, "a": a[:, n].tolist(), "b": b[:, n].tolist()} for n in range(a.shape[1])]


def test_the_probability_of_improvement_is_rliables():
    """Its tasks are our pairs of a spec and a split, its runs the episodes there."""
    a, b = paired_scores(np.random.default_rng(11))
    assert (a[:, :, None] == np.moveaxis(b, 0, -1)).any()  # ties are among them
    assert compare(as_pairs(a, b))["improvement"] == pytest.approx(metrics.probability_of_improvement(a, b))
    assert improvement(a[:, 0], b[:, 0]) == pytest.approx(metrics.probability_of_improvement(a[:, :1], b[:, :1]))


def test_the_intervals_of_a_comparison_are_rliables_over_specs_within_splits():
    a, b = paired_scores(np.random.default_rng(11))
    comparison = compare(as_pairs(a, b))
    chances = np.array([improvement(a[:, n], b[:, n]) for n in range(a.shape[1])])
    for values, low, high in (
        (chances, comparison["improvement_low_95"], comparison["improvement_high_95"]),
        ((a - b).mean(axis=0), comparison["low_95"], comparison["high_95"]),
    ):
        scores = values.reshape(5, 32).T
        _, intervals = rly.get_interval_estimates(
            {"a": scores}, lambda x: np.array([x.mean()]), reps=5_000, random_state=np.random.RandomState(0)
        )
        (least,), (most,) = intervals["a"]
        wide = 0.06 * (most - least)
        assert (low, high) == (pytest.approx(least, abs=wide), pytest.approx(most, abs=wide))


def test_pairing_tells_what_means_alone_cannot():
    """Specs differ far more than methods: the two means' intervals overlap, the difference's is clear of zero."""
    a, b = paired_scores(np.random.default_rng(2))
    comparison, strata = compare(as_pairs(a, b)), np.repeat(np.arange(5), 32)
    of_a, of_b = (stratified_interval(side.mean(axis=0), strata) for side in (a, b))
    assert of_a[0] < of_b[1]
    assert comparison["low_95"] > 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_one_methods_improvement_is_the_others_setback(a, b):
    assert improvement(a, b) + improvement(b, a) == pytest.approx(1.0)
    assert improvement(a, a) == 0.5


values_in_strata = st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(0, 3)), min_size=1, max_size=20)


@given(values_in_strata, st.floats(-100, 100))
def test_intervals_are_repeatable_hold_within_the_data_and_move_with_it(pairs, shift):
    values, strata = np.array([value for value, _ in pairs]), np.array([stratum for _, stratum in pairs])
    low, high = stratified_interval(values, strata, repetitions=50)
    if low is None or high is None:
        assert np.unique(strata, return_counts=True)[1].max() == 1
        return
    assert (low, high) == stratified_interval(values, strata, repetitions=50)
    assert values.min() - 1e-6 <= low <= high <= values.max() + 1e-6
    moved = stratified_interval(values + shift, strata, repetitions=50)
    assert moved == (pytest.approx(low + shift, abs=1e-6), pytest.approx(high + shift, abs=1e-6))
