"""Means, deviations and intervals, against numbers worked out by hand and against rliable."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rliable import library as rly
from rliable import metrics

from results.statistics import compare, headroom, improvement, interval, ranks, summarise, t_interval


def score(split, episodes, inside=True, **more):
    deviation = float(np.std(episodes, ddof=1)) if len(episodes) > 1 else None
    return {
        "split": split,
        "mean": float(np.mean(episodes)),
        "deviation": deviation,
        "episodes": len(episodes),
        "in_distribution": inside,
        **more,
    }


def splits_of(*values):
    """Splits of one training seed each, from the values of their specs."""
    return [np.array(of_split, dtype=np.float64).reshape(1, 1, -1, 1) for of_split in values]


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
    """Two splits can be drawn again in 4 ways; their two and three specs in 4 and 27."""
    low, high = interval(splits_of([2.0, 6.0], [10.0, 12.0, 20.0]), repetitions=50_000)
    means = [[np.mean(draw) for draw in product(specs, repeat=len(specs))] for specs in ([2, 6], [10, 12, 20])]
    drawn = [np.add.outer(means[one], means[other]).ravel() / 2 for one, other in product(range(2), repeat=2)]
    weights = np.concatenate([np.full(len(some), 1 / len(some)) for some in drawn])
    order = np.argsort(np.concatenate(drawn))
    reached = np.cumsum(weights[order]) / weights.sum()
    exact = np.concatenate(drawn)[order][np.searchsorted(reached, [0.025, 0.975])]
    assert (low, high) == (pytest.approx(exact[0], abs=0.7), pytest.approx(exact[1], abs=0.7))


def test_training_seeds_worked_out_by_hand():
    summary = summarise(
        [
            score(0, [1.0, 1.0], run="a", spec="0"),
            score(0, [3.0, 3.0], run="a", spec="1"),  # seed a has mean 2, deviation sqrt(2)
            score(0, [5.0, 5.0], run="b", spec="0"),
            score(0, [11.0, 11.0], run="b", spec="1"),  # seed b has mean 8, deviation sqrt(18)
            score(1, [7.0, 7.0], run="c", spec="0"),
            score(1, [7.0, 7.0], run="c", spec="2"),
        ]
    )
    assert summary["mean"] == (5.0 + 7.0) / 2
    assert summary["std_specs"] == pytest.approx(((np.sqrt(2.0) + np.sqrt(18.0)) / 2 + 0.0) / 2)
    assert summary["std_seeds"] == pytest.approx(np.sqrt(18.0))  # of 2 and 8; split 1 has one
    assert summary["std_splits"] == pytest.approx(np.sqrt(2.0))
    assert (summary["splits"], summary["seeds"], summary["specs"], summary["episodes"]) == (2, 2, 4, 12)
    assert summarise([score(0, [1.0, 2.0], run="a"), score(1, [1.0, 2.0], run="b")])["seeds"] is None


def test_what_one_number_cannot_tell_is_absent_not_zero():
    summary = summarise([score(None, [5.0])])
    assert (summary["mean"], summary["in_mean"]) == (5.0, 5.0)
    absent = ("std_episodes", "std_specs", "std_seeds", "std_splits", "low_95", "high_95", "out_mean", "seeds")
    assert [summary[name] for name in absent] == [None] * 8


def test_a_split_without_specs_out_of_distribution_does_not_count_there():
    scores = [score(0, [1.0, 1.0]), score(1, [2.0, 2.0]), score(1, [8.0, 8.0], inside=False)]
    assert summarise(scores)["out_mean"] == 8.0


def test_a_spec_of_one_episode_does_not_count_as_one_without_deviation():
    assert summarise([score(0, [1.0]), score(0, [1.0, 3.0])])["std_episodes"] == pytest.approx(np.sqrt(2.0))


def test_the_interval_of_one_split_is_rliables():
    """There, scores are [runs, tasks] and runs are drawn again: here, specs."""
    scores = np.random.default_rng(3).normal(700, 150, size=(32, 1))
    _, intervals = rly.get_interval_estimates(
        {"hypogen": scores}, lambda x: np.array([x.mean()]), reps=20_000, random_state=np.random.RandomState(0)
    )
    (low,), (high,) = intervals["hypogen"]
    wide = 0.06 * (high - low)
    assert interval(splits_of(scores)) == (pytest.approx(low, abs=wide), pytest.approx(high, abs=wide))


def test_the_interval_is_that_of_a_plain_loop_over_splits_seeds_and_specs():
    random = np.random.default_rng(4)
    cells = [random.normal(0, 1, (3, 1, 12, 1)) + random.normal(0, 2, (3, 1, 1, 1)) + split for split in range(4)]
    drawn = []
    for _ in range(4000):
        means = []
        for split in random.choice(4, size=4):
            specs = random.choice(12, size=12)
            means.append(np.mean([cells[split][seed, 0, specs, 0] for seed in random.choice(3, size=3)]))
        drawn.append(np.mean(means))
    low, high = np.quantile(drawn, [0.025, 0.975])
    wide = 0.06 * (high - low)
    assert interval(cells) == (pytest.approx(low, abs=wide), pytest.approx(high, abs=wide))


def test_seeds_that_share_no_spec_have_an_interval():
    """Seed 0 was measured on spec a, seed 1 on spec b: a draw of seed 0 and spec b alone has no number, and is none."""
    scores = [score(0, [1.0, 1.0], run="0", spec="a"), score(0, [5.0, 5.0], run="1", spec="b")]
    random, drawn = np.random.default_rng(5), []
    for _ in range(20_000):
        seeds, specs = random.integers(2, size=2), random.integers(2, size=2)
        there = [(1.0, 5.0)[spec] for seed in seeds for spec in specs if seed == spec]
        drawn += [np.mean(there)] if there else []
    found = summarise(scores)
    assert [found["low_95"], found["high_95"]] == np.quantile(drawn, [0.025, 0.975]).tolist() == [1.0, 5.0]
    both = [*scores, score(1, [2.0, 2.0], run="2", spec="a"), score(1, [3.0, 3.0], run="2", spec="b")]
    low, high = summarise(both)["low_95"], summarise(both)["high_95"]
    assert low is not None and high is not None and 1.0 <= low < high <= 5.0
    pairs = [
        {"split": 0, "run": row["run"], "spec": row["spec"], "method": row["mean"], "nearest": 0.0, "expert": 10.0}
        for row in scores
    ]
    room = headroom(pairs)
    assert (room["headroom"], room["headroom_low_95"], room["headroom_high_95"]) == (0.3, 0.1, 0.5)
    assert headroom([{**pair, "expert": 0.0} for pair in pairs])["headroom_unclear"]


def test_a_comparison_draws_the_seeds_of_each_method_on_its_own():
    """On one spec, a has seeds of 0 and 4, b of 1 and 9: of each, two draws of two are the same seed twice."""
    pairs = [
        {"split": 0, "run_a": f"a{a}", "run_b": f"b{b}", "spec": "0", "a": [float(a)], "b": [float(b)]}
        for a, b in product((0, 4), (1, 9))
    ]
    comparison = compare(pairs)
    assert (comparison["mean_a"], comparison["mean_b"], comparison["difference"]) == (2.0, 5.0, -3.0)
    assert (comparison["low_95"], comparison["high_95"]) == (-9.0, 3.0)  # 0 - 9 and 4 - 1, each in one draw of 16
    assert (comparison["improvement"], comparison["pairs"], comparison["episodes"]) == (0.25, 1, 2)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Splits, seeds and specs each have a chance of their own; without the seeds' it would hold it far less often."""
    random = np.random.default_rng(5)
    hits, without = 0, 0
    for _ in range(200):
        seeds = random.normal(size=(10, 2, 1, 1, 1))
        cells = random.normal(size=(10, 2, 1, 15, 1)) + seeds + random.normal(0, 0.3, size=(10, 1, 1, 1, 1))
        low, high = interval(list(cells), repetitions=500)
        hits += low <= 0.0 <= high
        within = [np.ones((1, 1, 1, 1)) * cells[split].mean(axis=0) for split in range(10)]
        spread = np.mean([of_split.std() / np.sqrt(15) for of_split in within]) / np.sqrt(10)
        without += abs(cells.mean()) <= 1.96 * spread
    assert 0.88 <= hits / 200 <= 0.99
    assert without / 200 < 0.7


def test_from_three_splits_that_differ_students_interval_holds_the_truth_and_the_bootstraps_is_too_narrow():
    random, held = np.random.default_rng(6), np.zeros(2)
    for _ in range(300):
        cells = random.normal(size=(3, 1, 1, 32, 1)) + random.normal(size=(3, 1, 1, 1, 1))
        for number, (low, high) in enumerate(
            (t_interval(cells.mean(axis=(1, 2, 3, 4))), interval(list(cells), repetitions=300))
        ):
            held[number] += low <= 0.0 <= high
    assert 0.91 <= held[0] / 300 <= 0.99
    assert held[1] / 300 < 0.87
    assert t_interval(np.array([1.0])) == (None, None)


def test_a_wider_level_is_a_wider_interval():
    cells = splits_of(*np.random.default_rng(0).normal(size=(2, 20)))
    low, high = interval(cells, level=0.5)
    lower, higher = interval(cells, level=0.99)
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
    wide = 12.7062 * 3.5  # the t of one degree of freedom, and the deviation of 1 and -6 over the root of 2
    assert (comparison["t_low_95"], comparison["t_high_95"]) == pytest.approx((-2.5 - wide, -2.5 + wide), 1e-5)
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


def test_the_intervals_of_a_comparison_on_one_split_are_rliables():
    a, b = paired_scores(np.random.default_rng(11), splits=1)
    comparison = compare(as_pairs(a, b))
    chances = np.array([improvement(a[:, n], b[:, n]) for n in range(a.shape[1])])
    for values, low, high in (
        (chances, comparison["improvement_low_95"], comparison["improvement_high_95"]),
        ((a - b).mean(axis=0), comparison["low_95"], comparison["high_95"]),
    ):
        _, intervals = rly.get_interval_estimates(
            {"a": values[:, None]}, lambda x: np.array([x.mean()]), reps=5_000, random_state=np.random.RandomState(0)
        )
        (least,), (most,) = intervals["a"]
        wide = 0.06 * (most - least)
        assert (low, high) == (pytest.approx(least, abs=wide), pytest.approx(most, abs=wide))


def test_pairing_tells_what_means_alone_cannot():
    """Specs differ far more than methods: the two means' intervals overlap, the difference's is clear of zero."""
    a, b = paired_scores(np.random.default_rng(2))
    comparison = compare(as_pairs(a, b))
    of_a, of_b = (interval(splits_of(*side.mean(axis=0).reshape(5, 32))) for side in (a, b))
    assert of_a[0] < of_b[1]
    assert comparison["low_95"] > 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_one_methods_improvement_is_the_others_setback(a, b):
    assert improvement(a, b) + improvement(b, a) == pytest.approx(1.0)
    assert improvement(a, a) == 0.5


values_of_splits = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8), min_size=1, max_size=4)


@given(values_of_splits, st.floats(-100, 100))
def test_intervals_are_repeatable_hold_within_the_data_and_move_with_it(values, shift):
    cells = splits_of(*values)
    low, high = interval(cells, repetitions=50)
    if low is None or high is None:
        assert sum(map(len, values)) == 1
        return
    assert (low, high) == interval(cells, repetitions=50)
    means = [np.min(of_split) for of_split in values], [np.max(of_split) for of_split in values]
    assert min(means[0]) - 1e-6 <= low <= high <= max(means[1]) + 1e-6
    moved = interval([of_split + shift for of_split in cells], repetitions=50)
    assert moved == (pytest.approx(low + shift, abs=1e-6), pytest.approx(high + shift, abs=1e-6))


def scores_of(rival: str, means: list[list[float]], runs: int = 1) -> list[dict]:
    """Scores of a rival whose specs' means are `means` [splits, specs], the same for all its training seeds."""
    return [
        {"rival": rival, "split": split, "run": f"{rival} {split} {run}", "spec": str(spec), "mean": mean}
        for split, of_split in enumerate(means)
        for spec, mean in enumerate(of_split)
        for run in range(runs)
    ]


def test_rivals_are_ranked_on_the_same_specs() -> None:
    """b is behind a by the same on every spec, and so in every draw, however much specs differ; c's mean is b's."""
    easy_and_hard = [[900.0, 100.0], [500.0, 20.0, 700.0]]
    behind = [[mean - 1.0 for mean in split] for split in easy_and_hard]
    found = ranks([*scores_of("b", behind, runs=3), *scores_of("a", easy_and_hard), *scores_of("c", behind)])
    by_rival = {place["rival"]: (place["rank"], place["rank_low_95"], place["rank_high_95"]) for place in found}
    assert by_rival == {"a": (1, 1, 1), "b": (2, 2, 2), "c": (2, 2, 2)}


def test_equal_rivals_share_a_place_however_their_means_are_summed() -> None:
    """Shares of successes are thirds and sevenths of 100, whose sums depend on their order in the last bit."""
    shares = [[100 * share for share in (1 / 3, 2 / 7, 2 / 3, 6 / 7, 1 / 7)], [100 / 7, 100 / 3, 500 / 7]]
    found = ranks([score for runs in (1, 2, 3, 5, 7) for score in scores_of(f"{runs} seeds", shares, runs=runs)])
    assert {(place["rank"], place["rank_low_95"], place["rank_high_95"]) for place in found} == {(1, 1, 1)}


def test_a_rank_is_as_uncertain_as_specs_and_training_seeds_make_it() -> None:
    one, other = [[0.0, 10.0, 0.0, 10.0]], [[9.0, 0.0, 9.0, 0.0]]
    found = ranks([*scores_of("one", one), *scores_of("other", other)])
    assert [(place["rank"], place["rank_low_95"], place["rank_high_95"]) for place in found] == [(1, 1, 2), (2, 1, 2)]
    lucky = scores_of("other", [[4.0] * 4], runs=2)
    for score in lucky:
        score["mean"] *= 2 if score["run"].endswith("1") else 0.5
    steady = scores_of("one", [[4.5] * 4])
    found = ranks([*steady, *lucky])
    assert [(place["rank"], place["rank_low_95"], place["rank_high_95"]) for place in found] == [(2, 1, 2), (1, 1, 2)]


def test_seeds_that_were_measured_on_other_specs_cost_no_rank() -> None:
    ahead = [score for score in scores_of("ahead", [[2.0, 2.0]], runs=2) if score["run"][-1] == score["spec"]]
    found = ranks([*ahead, *scores_of("behind", [[1.0, 1.0]])])
    places = [(place["rank"], place["rank_low_95"], place["rank_high_95"]) for place in found]
    assert len(ahead) == 2 and places == [(1, 1, 1), (2, 2, 2)]


def test_of_many_rivals_with_such_seeds_no_draw_may_be_left() -> None:
    """Each rival has one seed per spec, of twenty: hardly any draw has something of all of them."""
    rivals = [
        [
            score
            for score in scores_of(f"{number}", [[float(number)] * 20], runs=20)
            if score["run"].split()[-1] == score["spec"]
        ]
        for number in range(40)
    ]
    found = ranks([score for rival in rivals for score in rival])
    assert sorted(place["rank"] for place in found) == list(range(1, 41))


def test_a_rival_that_was_not_measured_everywhere_has_no_rank() -> None:
    found = ranks([*scores_of("all", [[1.0, 2.0]]), *scores_of("some", [[5.0]])])
    assert [(place["rival"], place["rank"]) for place in found] == [("all", 1), ("some", None)]
    assert ranks([]) == []
