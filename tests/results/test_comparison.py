"""Which rows two methods are compared on: the same split, spec and conditions, and nothing else."""

from __future__ import annotations

import pytest

from results.catalogue import compare
from results.fitting import fitted
from results.formats import formatted
from results.problems import ResultsError
from tests.helpers.result_rows import asked, episode_rows, expert_row, fill, run_row


def compared(store, a="hypogen", b="hyperzero", **scope):
    grid = compare(a, b, store, **scope)
    return [dict(zip(grid.columns, row, strict=True)) for row in grid.rows]


def meet(store, **changes):
    """Both methods on specs 0 and 1 of split 0; only HyPoGen on spec 2 and on split 1."""
    runs = [run_row("a0"), run_row("a1", split=1), run_row("z0", "hyperzero", **changes)]
    episodes = [row for spec in (0, 1, 2) for row in episode_rows("a0", spec, [800.0, 900.0])]
    episodes += [row for spec in (0, 1) for row in episode_rows("z0", spec, [700.0, 850.0])]
    fill(store, runs, [*episodes, *episode_rows("a1", 0, [1.0, 1.0])])


def test_only_what_both_were_rolled_out_on_counts(store):
    meet(store)
    (row,) = compared(store)
    assert (row["splits"], row["pairs"], row["episodes"]) == (1, 2, 4)
    assert (row["mean_a"], row["mean_b"], row["difference"], row["improvement"]) == (850.0, 775.0, 75.0, 0.75)
    (back,) = compared(store, "hyperzero", "hypogen")
    assert (back["difference"], back["improvement"]) == (-75.0, 0.25)


def test_specs_in_and_out_of_distribution_are_compared_apart(store):
    lead = {(0, True): 10.0, (1, True): 30.0, (2, False): -50.0}
    episodes = [
        row
        for (spec, inside), more in lead.items()
        for run, value in (("a", 100.0 + more), ("z", 100.0))
        for row in episode_rows(run, spec, [value, value], inside)
    ]
    fill(store, [run_row("a"), run_row("z", "hyperzero")], episodes)
    found = {part: compared(store, distribution=part)[0] for part in (None, "in", "out")}
    assert {part: row["pairs"] for part, row in found.items()} == {None: 3, "in": 2, "out": 1}
    assert (found["in"]["difference"], found["out"]["difference"]) == (20.0, -50.0)
    assert "out of distribution" in compare("hypogen", "hyperzero", store, distribution="out").title


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 500},
        {"learning_rate": 1e-3},
        {"selection": "best_test"},
        {"expert": "expert-2"},
        {"expert_recipe": "paper"},
        {"test_specs": 3},
        {"split_kind": "explicit"},
        {"seed": 1},
        {"settings": {"policy.layers": 3}},
        {"settings": {"split.train": "[[1.0]]"}, "split": 1},
    ],
)
def test_methods_under_other_conditions_are_not_compared(store, changes):
    meet(store, **changes)
    if "split" in changes:  # split 1, where HyPoGen has spec 0
        assert compared(store)[0]["pairs"] == 1
        return
    with pytest.raises(ResultsError, match="hypogen and hyperzero cannot be compared"):
        compared(store)


@pytest.mark.parametrize("changes", [{"epochs": 500}, {"learning_rate": 1e-3}, {"batch_size": 64}])
def test_methods_may_be_compared_as_each_was_trained(store, changes):
    meet(store, **changes)
    with pytest.raises(ResultsError, match="own-training"):
        compared(store)
    (row,) = compared(store, own_training=True)
    assert (row["pairs"], row["difference"]) == (2, 75.0)
    ((name, value),) = changes.items()
    assert float(row["settings_b"][f"training.{name}"]) == value != float(row["settings_a"][f"training.{name}"])
    assert row.get(name) is None


def test_the_noise_on_the_specs_belongs_to_the_training(store):
    runs = [
        run_row(run, method, settings={"training.spec_noise": noise})
        for run, method, noise in (("a", "hypogen", 0.1), ("z", "hyperzero", 0.2))
    ]
    fill(store, runs, [*episode_rows("a", 0, [2.0, 2.0]), *episode_rows("z", 0, [1.0, 1.0])])
    with pytest.raises(ResultsError, match="own-training"):
        compared(store)
    (row,) = compared(store, own_training=True)
    noises = [row[side]["training.spec_noise"] for side in ("settings_a", "settings_b")]
    assert (row["difference"], noises) == (1.0, ["0.1", "0.2"])


def test_a_line_of_a_comparison_has_its_difference_and_what_all_rows_share_stands_above(store):
    runs, episodes = [], []
    for benchmark in ("cheetah-speed", "walker-speed"):
        for method, noise in (("hypogen", 0.1), ("hyperzero", 0.2)):
            environment, context = benchmark.split("-")
            of = {"benchmark": benchmark, "environment": environment, "context": context}
            runs.append(run_row(run := benchmark + method, method, settings={"training.spec_noise": noise}, **of))
            episodes += episode_rows(run, 0, [10.0 * noise, 20.0 * noise])
    fill(store, runs, episodes)
    grid = compare("hypogen", "hyperzero", store, own_training=True)
    assert not {"settings_a", "settings_b"} & set(grid.columns)
    assert any("a's training.spec_noise 0.1, b's training.spec_noise 0.2" in note for note in grid.notes)
    fewest = fitted(grid, width=60)
    assert {"mean_a", "mean_b", "difference"} <= set(fewest.columns) and "ratio" not in fewest.columns


@pytest.mark.parametrize("changes", [{"expert": "expert-2"}, {"seed": 1}, {"settings": {"policy.layers": 3}}])
def test_what_is_not_of_the_training_must_agree_even_so(store, changes):
    meet(store, **changes)
    with pytest.raises(ResultsError, match="hypogen and hyperzero cannot be compared"):
        compared(store, own_training=True)


def test_settings_that_only_one_method_has_make_rows_of_their_own(store):
    meet(store)
    fill(store, [run_row("k", settings={"hypogen.blocks": 3})], episode_rows("k", 0, [700.0, 700.0]))
    rows = {row["settings_a"].get("hypogen.blocks"): row for row in compared(store)}
    assert {blocks: row["mean_a"] for blocks, row in rows.items()} == {"8": 850.0, "3": 700.0}
    assert "settings_b" not in rows["3"]


def test_cells_that_differ_in_a_setting_of_both_make_rows_of_their_own(store):
    returns = {("hypogen", 0.0): 850.0, ("hyperzero", 0.0): 775.0, ("hypogen", 0.2): 700.0, ("hyperzero", 0.2): 650.0}
    for (method, noise), value in returns.items():
        run = f"{method}-{noise}"
        fill(
            store,
            [run_row(run, method, settings={"training.spec_noise": noise})],
            [row for spec in (0, 1) for row in episode_rows(run, spec, [value, value])],
        )
    rows = {row["settings_a"]["training.spec_noise"]: row for row in compared(store)}
    assert {noise: (row["difference"], row["low_95"], row["high_95"]) for noise, row in rows.items()} == {
        "0.0": (75.0, 75.0, 75.0),
        "0.2": (50.0, 50.0, 50.0),
    }
    assert [row["settings_b"]["training.spec_noise"] for row in rows.values()] == list(rows)


def test_a_method_is_compared_with_its_experts_on_its_own_splits(store):
    meet(store)
    fill(
        store, [expert_row()], [row for spec in range(9) for row in episode_rows("expert-run", spec, [1000.0, 1000.0])]
    )
    (row,) = compared(store, "hypogen", "expert")
    assert (row["splits"], row["pairs"], row["mean_b"]) == (2, 4, 1000.0)
    assert row["ratio"] == pytest.approx((850.0 + 1.0) / 2 / 1000)


def test_maniskill_is_compared_by_success(store):
    where = {"benchmark": "pickcube-damping", "environment": "pickcube", "context": "damping"}
    fill(store, [run_row("a", **where), run_row("z", "hyperzero", **where)], [])
    store.write("episodes", "of-a", episode_rows("a", 0, [1.0, 1.0]))
    store.write("episodes", "of-z", episode_rows("z", 0, [2.0, 2.0], success=False, failed=True))
    (row,) = compared(store)
    assert (row["mean_a"], row["mean_b"], row["improvement"], row["benchmark"]) == (100.0, 0.0, 1.0, "pickcube-damping")
    assert row["ratio"] is None


def test_of_an_experiment_or_several_or_a_benchmark(store):
    meet(store)
    store.write("experiments", "one", [asked("one", "a1"), asked("both", "a0"), asked("both", "z0"), asked("z", "z0")])
    assert compared(store, experiments=["both"]) == compared(store, benchmark="cheetah-speed")
    assert compared(store, experiments=["both", "z"]) == compared(store, experiments=["both"])
    for alone in ("one", "z"):
        with pytest.raises(ResultsError, match="cannot be compared"):
            compared(store, experiments=[alone])
    with pytest.raises(ResultsError, match=r"unknown experiment 'bth'\. Did you mean 'both'"):
        compared(store, experiments=["both", "bth"])


def test_the_text_says_what_its_columns_mean(store):
    meet(store)
    text = formatted(compare("hypogen", "hyperzero", store), "text")
    assert text.startswith(
        "Two methods on the same test specs: hypogen (a) against hyperzero (b)\nPaired by split and spec"
    )
    assert "low_95, high_95: 95 % bootstrap interval of the difference." in text
