"""Headroom: how far a method gets from the nearest training spec's expert to the spec's own, where that has a value."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from results.catalogue import grid, render
from results.statistics import headroom
from tests.helpers.result_rows import asked, episode_rows, expert_row, fill, run_row

COLUMNS = ("headroom", "headroom_low_95", "headroom_high_95")
FINGER = {"benchmark": "finger-speed", "environment": "finger", "context": "speed", "expert": "expert-2"}
CUBE = {"benchmark": "liftcube-stiffness", "environment": "liftcube", "context": "stiffness"}


def pair(split, method, nearest, expert):
    return {"split": split, "method": method, "nearest": nearest, "expert": expert}


def by_hand(pairs):
    """The ratio of means of splits' means, from an array of (split, method, nearest, expert) per pair."""
    rows = np.array([[row[name] for name in ("split", "method", "nearest", "expert")] for row in pairs], dtype=float)
    means = np.array([rows[rows[:, 0] == split].mean(axis=0) for split in np.unique(rows[:, 0])]).mean(axis=0)
    return (means[1] - means[2]) / (means[3] - means[2])


UNEVEN = [pair(0, 5, 2, 8), pair(0, 9, 6, 10), pair(1, 4, 4, 9), pair(1, 1, 2, 3), pair(1, 8, 3, 10)]


def test_headroom_is_a_ratio_of_means_over_splits_that_weigh_the_same():
    """Gains are (3, 3) and (0, -1, 5), leads (6, 4) and (5, 1, 7): no mean of ratios, nor one mean over all specs."""
    expected = (3 + 4 / 3) / (5 + 13 / 3)
    assert by_hand(UNEVEN) == pytest.approx(expected)
    assert headroom(UNEVEN)["headroom"] == pytest.approx(expected)
    assert headroom(UNEVEN)["headroom_unclear"] is False


def test_the_interval_is_that_of_all_samples_that_there_are():
    """Four draws of two splits, and of each drawn split every way to draw its two or three specs again."""
    splits = [[row for row in UNEVEN if row["split"] == split] for split in (0, 1)]
    samples = [[list(draw) for draw in product(split, repeat=len(split))] for split in splits]
    ratios, weights = [], []
    for one, other in product((0, 1), repeat=2):
        for first, second in product(samples[one], samples[other]):
            drawn = [{**row, "split": 0} for row in first] + [{**row, "split": 1} for row in second]
            ratios.append(by_hand(drawn))
            weights.append(1 / len(samples[one]) / len(samples[other]))
    order = np.argsort(ratios)
    chances = np.cumsum(np.array(weights)[order]) / np.sum(weights)
    low, high = (np.array(ratios)[order][np.searchsorted(chances, level)] for level in (0.025, 0.975))
    found = headroom(UNEVEN)
    assert (found["headroom_low_95"], found["headroom_high_95"]) == (
        pytest.approx(low, abs=0.03),
        pytest.approx(high, abs=0.03),
    )


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Truth 0.4: splits and specs differ, in how far nearest lags behind and in how much of it the method gains."""
    random, hits = np.random.default_rng(4), 0
    for _ in range(100):
        pairs = []
        for split in range(8):
            lead, share = random.normal(100, 25), random.normal(0.4, 0.1)
            for _ in range(16):
                hard, own_lead = random.normal(700, 200), random.normal(lead, 60)
                method = hard + share * own_lead + random.normal(0, 20)
                pairs.append(pair(split, method, hard, hard + own_lead))
        found = headroom(pairs)
        hits += found["headroom_low_95"] <= 0.4 <= found["headroom_high_95"]
    assert 88 <= hits <= 100


def test_pairing_makes_the_interval_far_narrower_than_that_of_unpaired_returns():
    random = np.random.default_rng(1)
    hard = random.normal(700, 200, size=96)
    paired = [pair(n // 32, value + 50, value, value + 100) for n, value in enumerate(hard)]
    found = headroom(paired)
    assert (found["headroom_low_95"], found["headroom_high_95"]) == (pytest.approx(0.5), pytest.approx(0.5))


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [pair(0, 5, 2, 8)],
        [pair(0, 5, 2, None), pair(0, 5, None, 8), pair(0, None, 2, 8)],
        [pair(0, 9, 8, 8), pair(1, 7, 8, 8)],
        [pair(0, 9, 8, 9), pair(0, 7, 9, 8), pair(1, 9, 8, 10), pair(1, 7, 8, 8)],
        [pair(0, 1, 9, 2), pair(0, 1, 9, 2)],
    ],
)
def test_without_a_clear_lead_of_the_experts_there_is_no_headroom(pairs):
    assert headroom(pairs) == {**dict.fromkeys(COLUMNS), "headroom_unclear": True}


def test_a_pair_without_a_score_is_left_out():
    assert headroom([*UNEVEN, pair(1, None, 2, 3)]) == headroom(UNEVEN)


LEVELS = {"nearest": 800.0, "hypogen": 825.0, "hyperzero": 850.0, "pearl": 899.0}


def lookups(store, nearest_splits=(0, 1), methods=("nearest", "hypogen"), own=900.0, **changes):
    """Two splits of two test specs: the experts at 900 and 910, a method at its level and ten points more."""
    prefix = changes.get("benchmark", "")
    runs = [expert_row(f"{prefix}e", **changes)]
    episodes = [row for spec in (0, 1) for row in episode_rows(f"{prefix}e", spec, [own + 10 * spec] * 2)]
    for method in methods:
        for split in nearest_splits if method == "nearest" else (0, 1):
            of_lookup = {"epochs": None, "batch_size": None, "learning_rate": None} if method == "nearest" else {}
            few_shot = {"few_shot": method == "pearl"}
            run = run_row(f"{prefix}{method}{split}", method, split, **{**changes, **of_lookup, **few_shot})
            runs.append(run)
            for spec in (0, 1):
                episodes += episode_rows(run["run"], spec, [LEVELS[method] + 10 * spec] * 2)
    fill(store, runs, episodes)
    store.write("experiments", f"{prefix}all", [asked("all", run["run"], n) for n, run in enumerate(runs)])


def table(name, store, **scope):
    printed = grid(name, store, **scope)
    return [dict(zip(printed.columns, row, strict=True)) for row in printed.rows]


def measured(name, store, **scope):
    return {row["method"]: row for row in table(name, store, **scope) if row["splits"] is not None}


@pytest.mark.parametrize("name", ["main", "table1", "table24", "table26", "ablation"])
def test_headroom_stands_beside_the_return(store, name):
    lookups(store)
    rows = measured(name, store)
    assert {method: row["headroom"] for method, row in rows.items() if method != "expert"} == {
        "nearest": 0.0,
        "hypogen": 0.25,
    }
    assert rows["hypogen"]["headroom_low_95"] == rows["hypogen"]["headroom_high_95"] == 0.25
    assert "headroom: (method - nearest) / (expert - nearest)" in render(name, store)


@pytest.mark.parametrize("name", ["main", "table1", "table2", "table24", "table20", "ablation"])
def test_without_nearest_no_table_speaks_of_headroom(store, name):
    lookups(store, methods=("hypogen", "hyperzero"))
    assert "headroom" not in render(name, store)


def test_a_spec_on_which_nearest_never_succeeds_is_left_out_where_only_successes_count(store):
    lookups(store)
    failures = episode_rows("nearest0", 1, [10.0, 20.0], success=False, failed=True)
    store.write("episodes", "nearest0", [*episode_rows("nearest0", 0, [800.0, 800.0]), *failures], replace=True)
    assert measured("table24", store)["hypogen"]["headroom"] == 0.25
    assert measured("table1", store)["hypogen"]["headroom"] > 0.25


def test_a_sweep_has_headroom_per_value(store):
    lookups(store)
    other = [run_row(f"k{split}", split=split, settings={"hypogen.blocks": 4}) for split in (0, 1)]
    fill(store, other, [row for run in other for spec in (0, 1) for row in episode_rows(run["run"], spec, [850.0] * 2)])
    found = {row["blocks"]: row["headroom"] for row in table("table20", store) if row["splits"] is not None}
    assert found == {4: pytest.approx(0.45), 8: 0.25}


def test_deviations_have_no_headroom(store):
    lookups(store)
    assert "headroom" not in render("table13", store)


@pytest.mark.parametrize(
    "changes",
    [
        {"expert": "expert-2"},
        {"split_kind": "explicit"},
        {"test_specs": 3},
        {"seed": 1},
        {"settings": {"split.test_fraction": 0.5}},
        {"settings": {"evaluation.episodes": 3}},
    ],
)
def test_a_method_under_other_conditions_than_nearest_has_a_gap(store, changes):
    lookups(store)
    fill(store, [run_row("z", "hyperzero", **changes)], episode_rows("z", 0, [850.0, 850.0]))
    rows = measured("main", store)
    assert [rows["hyperzero"][column] for column in COLUMNS] == [None] * 3
    assert rows["hypogen"]["headroom"] == 0.25


def test_a_method_has_headroom_only_where_nearest_was_rolled_out_on_all_its_splits(store):
    lookups(store, nearest_splits=(0,), methods=("nearest", "hypogen"))
    rows = measured("main", store)
    assert (rows["nearest"]["headroom"], rows["hypogen"]["headroom"], rows["expert"]["headroom"]) == (0.0, None, None)


def test_of_an_experiment_without_nearest_there_is_none_though_the_store_has_it(store):
    lookups(store)
    store.write("experiments", "part", [asked("part", "hypogen0"), asked("part", "e")])
    assert "headroom" not in render("main", store, experiment="part")


def test_where_the_experts_are_not_clearly_ahead_cells_are_empty_and_say_why(store):
    lookups(store, own=800.0)
    rows = measured("main", store)
    assert [rows["hypogen"][column] for column in COLUMNS] == [None] * 3
    assert rows["hypogen"]["headroom_unclear"] is True
    assert "headroom_unclear: the 95 % interval of expert - nearest is not above 0" in render("main", store)


def test_of_nearest_in_two_forms_the_first_is_the_reference_of_both(store):
    lookups(store)
    forms = [run_row(f"n{split}", "nearest", split, {"nearest.same_direction": True}) for split in (0, 1)]
    fill(
        store,
        forms,
        [row for run in forms for s in (0, 1) for row in episode_rows(run["run"], s, [850.0 + 10 * s] * 2)],
    )
    store.write(
        "runs", "nearest0", [run_row("nearest0", "nearest", 0, {"nearest.same_direction": False})], replace=True
    )
    store.write(
        "runs", "nearest1", [run_row("nearest1", "nearest", 1, {"nearest.same_direction": False})], replace=True
    )
    found = {row["mean"]: row["headroom"] for row in table("main", store) if row["method"] == "nearest"}
    assert found == {805.0: 0.0, 855.0: 0.5}


def test_fewer_steps_are_better_and_success_counts_as_it_is(store):
    """Success in 60 and 80 steps of 200: nearest succeeds half as often as the experts, the method in three of four."""
    runs = [expert_row("e", **CUBE), run_row("n", "nearest", **CUBE), run_row("a", **CUBE)]
    lengths = {"e": [60] * 4, "n": [60, 60, None, None], "a": [60, 60, 60, None]}
    episodes = []
    for run, of_run in lengths.items():
        for spec in (0, 1):
            for row, length in zip(episode_rows(run, spec, [1.0] * 4), of_run, strict=True):
                ends = {"length": length or 200, "success": length is not None, "failed": length is None}
                episodes.append({**row, **ends})
    fill(store, runs, episodes)
    rows = {(row["metric"], row["method"]): row for row in table("table2", store) if row["splits"] is not None}
    assert {key: row["headroom"] for key, row in rows.items()} == {
        (metric, method): value
        for metric in ("success", "steps")
        for method, value in (("expert", 1.0), ("nearest", 0.0), ("hypogen", 0.5))
    }
    (row,) = table("headroom", store)
    assert (row["experts"], row["nearest"], row["share"], row["best_mean"]) == (100.0, 50.0, 0.5, 75.0)
    store.write("experiments", "cube", [asked("cube", run, place) for place, run in enumerate(("e", "n", "a"))])
    for name in ("main", "ablation"):
        rows = {row["method"]: (row["mean"], row["headroom"]) for row in table(name, store, experiment="cube")}
        assert rows == {"expert": (100.0, 1.0), "nearest": (50.0, 0.0), "hypogen": (75.0, 0.5)}, name


@pytest.mark.parametrize("name", ["main", "ablation", "leaderboard"])
def test_each_benchmark_counts_by_its_own_score_and_the_table_names_it(store, name):
    runs = [run_row("cube", **CUBE), run_row("cheetah")]
    episodes = [row for run in runs for row in episode_rows(run["run"], 0, [300.0, 500.0])]
    fill(store, runs, episodes, [asked("both", run["run"], place) for place, run in enumerate(runs)])
    found = {row["benchmark"]: (row["metric"], row["mean"]) for row in table(name, store, experiment="both")}
    assert found == {CUBE["benchmark"]: ("success", 100.0), "cheetah-speed": ("return", 400.0)}


def test_the_table_of_headroom_has_a_row_per_benchmark(store):
    """HyperZero is ahead of HyPoGen; PEARL, which saw the test specs, does not count, nor do lookups."""
    lookups(store, methods=("nearest", "hypogen", "hyperzero", "pearl"))
    lookups(store, methods=("nearest",), own=1000.0, **FINGER)
    cheetah, finger = table("headroom", store)
    assert (cheetah["benchmark"], cheetah["experts"], cheetah["nearest"]) == ("cheetah-speed", 905.0, 805.0)
    assert cheetah["share"] == pytest.approx(805 / 905)
    assert (cheetah["best"], cheetah["best_mean"], cheetah["headroom"], cheetah["verdict"]) == (
        "hyperzero",
        855.0,
        0.5,
        "yes",
    )
    assert (cheetah["splits"], cheetah["specs"], cheetah["best_splits"]) == (2, 4, 2)
    assert (finger["share"], finger["best"], finger["headroom"]) == (pytest.approx(805 / 1005), None, None)
    assert "share is below 0.9" in render("headroom", store)


@pytest.mark.parametrize(("own", "verdict"), [(889.0, "no"), (900.0, "yes"), (700.0, "no"), (-100.0, "no")])
def test_the_verdict_asks_for_a_tenth_and_a_clear_lead(store, own, verdict):
    lookups(store, own=own)
    (row,) = table("headroom", store)
    assert (row["verdict"], row["share"] is None) == (verdict, own < 0)


def test_without_lookups_the_table_of_headroom_is_empty(store):
    lookups(store, methods=("hypogen",))
    assert "(no rows)" in render("headroom", store)


def test_the_key_of_the_experts_shows_only_where_it_tells_rows_of_one_benchmark_apart(store):
    lookups(store)
    lookups(store, **FINGER)
    assert "expert" not in grid("main", store).columns
    assert not [note for note in grid("main", store).notes if "expert-" in note]
    fill(store, [run_row("other", expert="expert-3")], episode_rows("other", 0, [1.0, 1.0]))
    assert "expert" in grid("main", store).columns
