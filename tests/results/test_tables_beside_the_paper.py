"""Every table of the paper: ours beside its numbers, from small stores whose means can be worked out by hand."""

from __future__ import annotations

import pytest

from results.catalogue import grid, render
from results.formats import FORMATS, formatted
from results.paper_tables import paper
from results.table_files import titles
from tests.helpers.result_rows import asked, episode_rows, expert_row, fill, run_row

MEASURED = [name for name in titles() if name.startswith("table")]
PROBED = ("table3", "table4", "table5")
ENDS = ["ours", "paper", "difference", "low_95", "high_95"]


def table(name, store, experiment=None):
    """The rows as dicts, by column."""
    printed = grid(name, store, experiment=experiment)
    return [dict(zip(printed.columns, row, strict=True)) for row in printed.rows]


def ours(name, store, *columns, value="ours", experiment=None):
    """Measured values, by columns."""
    rows = [row for row in table(name, store, experiment) if row["ours"] is not None]
    return {tuple(row[column] for column in columns): row[value] for row in rows}


def cube(run, method="hypogen", split=0, **changes):
    where = {"benchmark": "liftcube-stiffness", "environment": "liftcube", "context": "stiffness"}
    return run_row(run, method, split, **{**where, "split_kind": "evenly_spaced", **changes})


def attempts(run, spec, lengths, **changes):
    """Episodes that succeed after so many steps; None fails."""
    rows = episode_rows(run, spec, [1.0] * len(lengths), **changes)
    return [
        {**row, "length": length or 200, "success": length is not None, "failed": length is None}
        for row, length in zip(rows, lengths, strict=True)
    ]


def point(run, metric, value, epoch=10):
    return {"run": run, "epoch": epoch, "step": 100 * epoch, "metric": metric, "value": value}


def test_every_table_from_1_to_29_that_measures_is_there():
    assert [f"table{n}" for n in (1, 2, 3, 4, 5, *range(13, 30))] == MEASURED


@pytest.mark.parametrize("name", MEASURED)
def test_without_rows_of_ours_the_papers_all_show_and_every_other_cell_is_empty(store, name):
    printed = grid(name, store)
    rows = table(name, store)
    numbers = [row["value"] for row in paper().to_pylist() if row["table"] == name]
    deviations = [row["paper_std"] for row in rows if row.get("paper_std") is not None]
    assert sorted([row["paper"] for row in rows] + deviations) == sorted(numbers)
    empty = printed.columns[printed.columns.index("ours") :]
    empty = [column for column in empty if column not in ("paper", "paper_std", "paper_relative")]
    assert {row[column] for row in rows for column in empty} == {None}
    assert all(formatted(printed, form) for form in FORMATS)


@pytest.mark.parametrize("name", [name for name in MEASURED if name not in (*PROBED, "table15")])
def test_every_table_ends_in_the_same_columns(store, name):
    columns = [column for column in grid(name, store).columns if column not in ("paper_std", "failed")]
    assert columns[-11:] == [*ENDS, "std_episodes", "std_specs", "std_splits", "splits", "specs", "episodes"]


def two_splits(store, **changes):
    """Means 760 in and 660 out of distribution of both splits, one episode of four failed, at 100."""
    runs = [run_row(f"a{split}", split=split, **changes) for split in (0, 1)]
    episodes = []
    for run in ("a0", "a1"):
        episodes += episode_rows(run, 0, [5000.0, 5000.0], role="train")
        episodes += episode_rows(run, 1, [750.0, 770.0])
        episodes += episode_rows(run, 2, [650.0, 670.0], inside=False)
        episodes += [
            {**row, "episode": 2, "success": False, "failed": True} for row in episode_rows(run, 2, [100.0], False)
        ]
    fill(store, runs, episodes, [asked("small", run["run"]) for run in runs])


ROOT = 2**0.5 * 10  # deviation of two numbers that differ by 20


def test_mujoco_tables_on_an_example_worked_out_by_hand(store):
    two_splits(store)
    key = ("cheetah-speed", "hypogen")
    failing = (650 + 670 + 100) / 3
    assert ours("table1", store, "benchmark", "method") == {key: pytest.approx((760 + failing) / 2)}
    assert ours("table13", store, "benchmark", "method")[key] == pytest.approx((ROOT + 323.4707) / 2, abs=1e-3)
    assert ours("table24", store, "benchmark", "method") == {key: 710.0}
    assert ours("table24", store, "benchmark", "method", value="failed") == {key: pytest.approx(100 / 6)}
    assert ours("table26", store, "benchmark", "method") == {key: 760.0}
    assert ours("table27", store, "benchmark", "method") == {key: 660.0}
    (row,) = (row for row in table("table27", store) if row["ours"] is not None)
    assert (row["paper"], row["difference"]) == (857.70, pytest.approx(660 - 857.70))
    assert (row["std_episodes"], row["paper_std"]) == (pytest.approx(ROOT), 74.0)
    assert (row["splits"], row["specs"], row["episodes"]) == (2, 2, 4)


def test_the_interval_of_the_mean_stands_beside_it(store):
    two_splits(store)
    (row,) = (row for row in table("table24", store) if row["ours"] is not None)
    assert 660 <= row["low_95"] < 710 < row["high_95"] <= 760


def test_a_spec_without_a_success_counts_as_a_failure_and_nowhere_else(store):
    failures = [{**row, "success": False, "failed": True} for row in episode_rows("a", 1, [1.0, 2.0])]
    fill(store, [run_row("a")], [*episode_rows("a", 0, [500.0, 600.0]), *failures])
    (row,) = (row for row in table("table24", store) if row["splits"] is not None)
    assert (row["ours"], row["failed"], row["specs"], row["episodes"]) == (550.0, 50.0, 1, 2)


def test_a_method_that_always_fails_has_an_empty_cell_not_zero(store):
    fill(store, [cube("a")], attempts("a", 0, [None, None]))
    (row,) = (row for row in table("table25", store) if row["splits"] is not None)
    assert (row["ours"], row["difference"], row["failed"], row["episodes"]) == (None, None, 100.0, 0)


def test_maniskill_tables_on_an_example_worked_out_by_hand(store):
    inside, outside = attempts("a", 0, [10, 20, 30, None]), attempts("a", 1, [40, None, None, None], inside=False)
    fill(store, [cube("a")], [*inside, *outside])
    assert ours("table2", store, "metric") == {("success",): 50.0, ("steps",): pytest.approx((65 + 160) / 2)}
    assert ours("table14", store, "method")[("hypogen",)] == pytest.approx((90.37 + 80.0) / 2, abs=0.01)
    assert ours("table23", store, "method") == {("hypogen",): 50.0}
    assert ours("table23", store, "method", value="std_specs")[("hypogen",)] == pytest.approx(50 / 2**0.5)
    assert ours("table25", store, "method") == {("hypogen",): 30.0}
    assert ours("table28", store, "metric") == {("success",): 75.0, ("steps",): 20.0}
    assert ours("table29", store, "metric") == {("success",): 25.0, ("steps",): 40.0}
    assert ours("table1", store, "method") == {}


def test_a_table_takes_only_the_papers_benchmarks_but_a_sweep_any(store):
    walker = {"benchmark": "walker-length", "environment": "walker", "context": "length"}
    runs = [run_row(str(n), settings={"hypogen.blocks": n}, **walker) for n in (3, 8)]
    fill(store, runs, [row for run in runs for row in episode_rows(run["run"], 0, [1.0, 1.0])])
    rows = {(row["benchmark"], row["blocks"]): (row["ours"], row["paper"]) for row in table("table20", store)}
    assert rows["walker-length", 3] == (1.0, None)
    assert rows["cheetah-speed", 3] == (None, 775.55)
    assert ours("table2", store, "benchmark") == {}


def test_a_sweep_stands_beside_the_papers_value_of_the_same_setting(store):
    for n, fraction in enumerate((0.05, 0.5)):
        run = run_row(
            str(n), settings={"split.train_fraction": fraction}, train_fraction=fraction, train_specs=2 + 18 * n
        )
        fill(store, [run], episode_rows(str(n), 0, [600.0, 700.0]))
    rows = {row["train_fraction"]: (row["ours"], row["paper"]) for row in table("table19", store) if row["ours"]}
    assert rows == {0.05: (650.0, 644.85), 0.5: (650.0, 884.44)}


def test_checkpoints_chosen_on_test_specs_stand_apart_and_say_so(store):
    fill(store, [run_row("f"), run_row("b", selection="best_test")], [])
    for run, value in (("f", 1.0), ("b", 3.0)):
        store.write("episodes", f"of-{run}", episode_rows(run, 0, [value, value]))
    assert ours("table1", store, "method", "selection") == {("hypogen", "final"): 1.0, ("hypogen", "best_test"): 3.0}


def test_profiles_and_recipes_stand_apart_and_an_experiment_shows_its_own(store):
    runs = [run_row("s", epochs=3, expert="fast-experts", expert_recipe="fast"), run_row("p", epochs=500)]
    fill(
        store,
        runs,
        [*episode_rows("s", 0, [1.0]), *episode_rows("p", 0, [9.0])],
        [asked("x-smoke", "s"), asked("x", "p")],
    )
    assert ours("table1", store, "expert_recipe", "epochs") == {("fast", 3): 1.0, ("laptop", 500): 9.0}
    assert ours("table1", store, "method", experiment="x-smoke") == {("hypogen",): 1.0}
    assert "expert_recipe fast" in render("table1", store, experiment="x-smoke")


def test_few_shot_methods_are_marked_also_where_only_the_paper_has_them(store):
    fill(store, [run_row("p", "pearl", few_shot=True)], episode_rows("p", 0, [1.0]))
    marks = {(row["method"], row["few_shot"]) for row in table("table1", store)}
    assert {method for method, marked in marks if marked} == {"pearl", "meta_policy"}
    assert len(marks) == 7


def test_the_response_to_a_random_start(store):
    fill(store, [run_row("a0"), run_row("a1", split=1)], [])
    points = {
        "return@start=learned": (800.0, 820.0),
        "return@start=random": (700.0, 500.0),
        "magnitude@fc1.bias": (5.0, 7.0),
        "random_loss@0": (1.0, 1.2),
        "random_loss@8": (1.1, 1.4),
        "loss@8": (0.1, 0.2),
    }
    for n, run in enumerate(("a0", "a1")):
        early = [point(run, "return@start=learned", 1.0, epoch=1)]
        store.write("curves", run, [*early, *(point(run, metric, both[n]) for metric, both in points.items())])
    rows = {(row["metric"], row["setting"]): row for row in table("table3", store)}
    assert rows["return", "start=learned"]["ours"] == 810.0
    assert rows["return", "start=random"]["ours"] == 600.0
    assert [rows["random_loss", k]["ours"] for k in ("0", "8")] == pytest.approx([1.1, 1.25])
    assert ("loss", "8") not in rows, "that is table 4's"
    bias = rows["magnitude", "fc1.bias"]
    assert (bias["ours"], bias["paper"], bias["std_splits"], bias["splits"]) == (6.0, 6.17, pytest.approx(2**0.5), 2)
    assert (bias["low_95"], bias["high_95"]) == (5.0, 7.0)


def test_the_loss_after_each_update_and_its_shape(store):
    fill(store, [run_row("a"), cube("c")], [])
    for run in "ac":
        store.write("curves", run, [point(run, f"loss@{k}", 0.8 / 2**k) for k in range(9)])
    rows = {(row["benchmark"], row["updates"]): row for row in table("table4", store)}
    assert [rows["cheetah-speed", k]["ours_relative"] for k in (0, 1, 3)] == [2.0, 1.0, 0.25]
    assert (rows["cheetah-speed", 0]["paper"], rows["cheetah-speed", 8]["paper"]) == (None, 1.61)
    assert (rows["liftcube-stiffness", 8]["paper"], rows["liftcube-stiffness", 8]["ours"]) == (0.123, 0.8 / 256)
    assert rows["cheetah-speed", 8]["paper_relative"] == pytest.approx(1.61 / 71.49)


def test_convergence_reads_the_mean_over_splits_at_evaluated_epochs(store):
    """One split is there at epoch 100, the other at 250; their mean, 620, at 200."""
    returns = {
        "a0": {100: 610.0, 200: 700.0, 250: 710.0, 300: 730.0},
        "a1": {100: 400.0, 200: 540.0, 250: 620.0, 300: 650.0},
    }
    fill(store, [run_row("a0"), run_row("a1", split=1), run_row("z", "hyperzero"), expert_row("e")], [])
    for run, curve in {**returns, "z": {100: 300.0, 300: 590.0}, "e": {1: 900.0}}.items():
        store.write("curves", run, [point(run, "return", value, epoch) for epoch, value in curve.items()])
    rows = {(row["setting"], row["method"]): row for row in table("table5", store)}
    assert (rows["epoch=250", "hypogen"]["ours"], rows["epoch=250", "hypogen"]["difference"]) == (665.0, 665.0 - 732.9)
    assert (rows["epoch=250", "hyperzero"]["ours"], rows["epoch=last", "hyperzero"]["ours"]) == (None, 590.0)
    reached = rows["return=600", "hypogen"]
    assert (reached["metric"], reached["ours"], reached["paper"], reached["splits"]) == ("epochs", 200.0, 74.0, 2)
    never = rows["return=600", "hyperzero"]
    assert (never["ours"], never["paper"], never["splits"]) == (None, 394.0, 1)
    assert {method for _, method in rows} == {"hypogen", "hyperzero"}


def test_capacity_goes_by_the_size_beside_hypogens(store):
    sizes = {"hypogen": 40e6, "hyperzero": 10e6, "cond_policy": 0.7e6}
    runs = [run_row(method, method, parameters=int(size)) for method, size in sizes.items()]
    wide = {"cond_policy.hidden_dim": 4096}
    runs.append(run_row("wide", "cond_policy", parameters=int(38e6), settings=wide))
    episodes = [row for run in runs for row in episode_rows(run["run"], 0, [500.0], role="train")]
    episodes += [row for run in runs for row in episode_rows(run["run"], 1, [400.0])]
    fill(store, runs, episodes)
    assert ours("table15", store, "method", "capacity") == {
        ("hypogen", "original"): 40.0,
        ("hypogen", "augmented"): 40.0,
        ("hyperzero", "original"): 10.0,
        ("cond_policy", "original"): 0.7,
        ("cond_policy", "augmented"): 38.0,
    }
    assert ours("table15", store, "method", "capacity", value="paper")["cond_policy", "augmented"] == 64.1
    small, large = ours("table16", store, "method"), ours("table17", store, "method", "role")
    assert small == {(method,): 500.0 for method in sizes}
    assert large == {(m, r): v for m in ("hypogen", "cond_policy") for r, v in (("train", 500.0), ("test", 400.0))}


def test_capacity_of_maniskill_goes_by_success_beside_the_papers(store):
    fill(store, [cube("a"), cube("z", "hyperzero", parameters=72)], [])
    for run in "az":
        episodes = [*attempts(run, 0, [9, 9, 9, None], role="train"), *attempts(run, 1, [9, None])]
        store.write("episodes", f"of-{run}", episodes)
    rows = {(row["method"], row["role"]): row for row in table("table17", store) if row["ours"] is not None}
    assert (rows["hyperzero", "train"]["ours"], rows["hyperzero", "train"]["paper"]) == (75.0, 0.0)
    assert (rows["hypogen", "test"]["ours"], rows["hypogen", "test"]["paper"]) == (50.0, 97.2)


def test_experts_are_measured_on_the_same_specs_in_every_part(store):
    two_splits(store)
    episodes = [row for spec in range(3) for row in episode_rows("expert-run", spec, [900.0 + spec, 910.0 + spec])]
    fill(store, [expert_row()], episodes)
    assert {
        name: ours(name, store, "method").get(("expert",)) for name in ("table1", "table26", "table27", "table17")
    } == {
        "table1": 906.5,
        "table26": 906.0,
        "table27": 907.0,
        "table17": 906.5,
    }
