"""The paper's tables over small stores: which episodes a row takes, and what is never averaged together."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from results.catalogue import grid, render
from results.formats import FORMATS, formatted
from results.problems import ResultsError
from results.statistics import Summary
from results.table_files import check_table, titles
from tests.helpers.result_rows import asked, episode_rows, expert_row, fill, run_row

SWEEPS = {
    "table18": ("layers", "policy.layers"),
    "table20": ("blocks", "hypogen.blocks"),
    "table21": ("block_depth", "hypogen.block_depth"),
    "table22": ("hidden_dim", "hypogen.hidden_dim"),
}


def table(name, store, experiment=None):
    """The rows as dicts."""
    printed = grid(name, store, experiment=experiment)
    return [dict(zip(printed.columns, row, strict=True)) for row in printed.rows]


def means(name, store, *columns, experiment=None):
    """Measured means, by the columns; rows of the paper alone are left out."""
    rows = table(name, store, experiment)
    measured = [row for row in rows if row["splits"] is not None]
    return {tuple(row[column] for column in columns): row.get("mean", row.get("ours")) for row in measured}


def quickstart(store):
    """Two splits of three specs; each tests two specs, one in and one out of distribution."""
    runs = [
        expert_row(),
        *(run_row(f"{method}-{split}", method, split) for method in ("hypogen", "hyperzero") for split in (0, 1)),
    ]
    episodes = [row for spec in range(3) for row in episode_rows("expert-run", spec, [900.0 + spec, 910.0 + spec])]
    for run, level in (("hypogen-0", 800.0), ("hypogen-1", 700.0), ("hyperzero-0", 600.0), ("hyperzero-1", 600.0)):
        train, tests = (0, (1, 2)) if run.endswith("0") else (2, (0, 1))
        episodes += episode_rows(run, train, [5000.0, 5000.0], role="train")
        episodes += episode_rows(run, tests[0], [level, level + 20.0])
        episodes += episode_rows(run, tests[1], [level - 100.0, level - 80.0], inside=False)
    fill(store, runs, episodes, [asked("quickstart", run["run"], n) for n, run in enumerate(runs)])


GOLDEN_MAIN = """\
Score on test specs: every method on every benchmark, experiment quickstart
Success (%) on benchmarks that are judged by it, return on the others.
Of an experiment, or of all runs; runs that differ in more than the seed of their split stand in rows of their own.
The expert is measured on the same test specs, split by split, as the generators that learned from it.
Conditions: expert_recipe laptop, split_kind random, train_specs 1, test_specs 2, epochs 10, batch_size 512, \
learning_rate 0.0001, selection final, seed 7.
std_episodes, std_specs, std_splits: sample deviation over a spec's episodes, over a split's specs, over splits.
low_95, high_95: 95 % bootstrap interval of the mean.
in_mean, out_mean: specs in and out of distribution.

benchmark      method       mean  std_episodes  std_specs  std_splits  low_95  high_95  in_mean  out_mean  splits  specs  episodes
-------------  ---------  ------  ------------  ---------  ----------  ------  -------  -------  --------  ------  -----  --------
cheetah-speed  expert     906.00          7.07       0.71        0.71  905.25   906.75   905.50    906.50       2      4         8
cheetah-speed  hypogen    710.00         14.14      70.71       70.71  635.00   785.00   760.00    660.00       2      4         8
cheetah-speed  hyperzero  560.00         14.14      70.71        0.00  510.00   610.00   610.00    510.00       2      4         8
"""  # noqa: E501


def test_training_seeds_are_averaged_and_counted(store):
    quickstart(store)
    again = run_row("hypogen-again", "hypogen", 0, settings={"training.seed": 1})
    episodes = [
        *episode_rows("hypogen-again", 1, [600.0, 620.0]),
        *episode_rows("hypogen-again", 2, [500.0, 520.0], inside=False),
    ]
    store.write("runs", "again", [again])
    store.write("episodes", "again", episodes)
    rows = {row["method"]: row for row in table("main", store)}
    of_splits = ((800 + 10 - 50) + (600 + 10 - 50)) / 2, 700 + 10 - 50
    assert rows["hypogen"]["mean"] == sum(of_splits) / 2
    assert rows["hypogen"]["std_seeds"] == pytest.approx(200 / 2**0.5)
    assert [rows[name]["seeds"] for name in ("hypogen", "hyperzero", "expert")] == [2, None, None]
    assert (rows["hypogen"]["specs"], rows["hypogen"]["episodes"]) == (4, 12)


def test_main_golden(store):
    quickstart(store)
    assert render("main", store, experiment="quickstart") == GOLDEN_MAIN
    assert table("main", store) == table("main", store, "quickstart")


def test_the_expert_is_measured_on_the_generators_test_specs_split_by_split(store):
    """Specs 1 and 2 in split 0, 0 and 1 in split 1: spec 1 counts twice, as it does for the generators."""
    quickstart(store)
    expert = table("main", store)[0]
    assert expert["mean"] == pytest.approx(((906 + 907) / 2 + (905 + 906) / 2) / 2)
    assert (expert["in_mean"], expert["out_mean"]) == (pytest.approx((906 + 905) / 2), pytest.approx((907 + 906) / 2))


def test_of_experiments_that_share_experts_one_run_counts_where_it_covers_the_split(store):
    """The first was rolled out on a part of the specs, the second less often, the third is the quickstart's again."""
    quickstart(store)
    less = expert_row("a-less", settings=json.dumps({"td3.steps": 1000, "evaluation.episodes": 1}))
    part, again = expert_row("a-part"), expert_row("again")
    episodes = [row for spec in (0, 1) for row in episode_rows("a-part", spec, [900.0 + spec, 910.0 + spec])]
    episodes += [row for spec in range(3) for row in episode_rows("again", spec, [900.0 + spec, 910.0 + spec])]
    episodes += [row for spec in range(3) for row in episode_rows("a-less", spec, [1.0])]
    fill(store, [part, less, again], episodes)
    whole = render("main", store)
    assert whole.splitlines()[1:] == GOLDEN_MAIN.splitlines()[1:]


def test_an_expert_that_nobody_learned_from_keeps_its_own_test_specs(store):
    quickstart(store)
    fill(store, [expert_row("other", expert="expert-2")], episode_rows("other", 5, [1.0, 2.0]))
    experts = [row for row in table("main", store) if row["method"] == "expert"]
    assert [(row["expert"], row["mean"], row["specs"]) for row in experts] == [
        ("expert-1", 906.0, 4),
        ("expert-2", 1.5, 1),
    ]


def test_rows_do_not_depend_on_the_order_of_writing(store, tmp_path):
    quickstart(store)
    other = type(store)(tmp_path / "other")
    for name in ("experiments", "episodes", "runs"):
        for key in reversed(store.keys(name)):
            rows = store.table(f"SELECT * FROM {name} WHERE $key IN (run, 'all') ORDER BY ALL DESC", key=key)
            other.write(name, key, rows)
    assert {form: render("main", other, format=form) for form in FORMATS} == {
        form: render("main", store, format=form) for form in FORMATS
    }


def test_a_method_without_out_of_distribution_specs_has_a_gap_there(store):
    fill(store, [run_row("a")], episode_rows("a", 0, [1.0, 3.0]))
    (row,) = table("main", store)
    assert (row["in_mean"], row["out_mean"], row["std_splits"], row["low_95"]) == (2.0, None, None, None)
    assert render("main", store, format="csv").splitlines()[1].count(",,") > 0


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("epochs", 10, 500),
        ("selection", "final", "best_test"),
        ("expert_recipe", "laptop", "paper"),
        ("expert", "expert-1", "expert-2"),
        ("learning_rate", 1e-4, 5e-4),
        ("batch_size", 512, 2048),
        ("test_specs", 2, 32),
        ("split_kind", "random", "explicit"),
        ("seed", 0, 1),
    ],
)
def test_runs_under_other_conditions_stand_apart_and_say_how(store, column, one, other):
    fill(store, [run_row("a", **{column: one}), run_row("b", **{column: other})], [])
    assert table("main", store) == []  # no episodes: no rows, no zeros
    fill(store, [], [])
    for run, value in (("a", 1.0), ("b", 3.0)):
        store.write("episodes", f"of-{run}", episode_rows(run, 0, [value, value]))
    assert means("main", store, column) == {(one,): 1.0, (other,): 3.0}


def test_runs_with_other_settings_stand_apart_and_name_only_those(store):
    runs = [
        run_row("a"),
        run_row("b", split=1),
        run_row("c", settings={"hypogen.blocks": 4}),
        run_row("z", "hyperzero"),
    ]
    fill(store, runs, [row for run in runs for row in episode_rows(run["run"], 0, [1.0, 1.0])])
    rows = {(row["method"], row["settings"].get("hypogen.blocks")): row for row in table("main", store)}
    assert {key: row["splits"] for key, row in rows.items()} == {
        ("hypogen", "8"): 2,
        ("hypogen", "4"): 1,
        ("hyperzero", None): 1,
    }
    assert rows["hypogen", "4"]["settings"] == {"hypogen.blocks": "4"}
    assert rows["hyperzero", None]["settings"] == {}


def test_a_setting_that_only_some_runs_of_a_method_have_tells_them_apart(store):
    runs = [run_row("a"), run_row("b", settings={"hypogen.new": 1})]
    fill(store, runs, [row for run in runs for row in episode_rows(run["run"], 0, [1.0, 1.0])])
    settings = [row["settings"] for row in table("main", store)]
    assert {} in settings and {"hypogen.new": "1"} in settings and len(settings) == 2


@pytest.mark.parametrize(("name", "column", "setting"), [(name, *names) for name, names in SWEEPS.items()])
def test_a_sweep_has_a_row_a_value(store, name, column, setting):
    runs = [
        run_row(f"{value}-{split}", split=split, settings={setting: value}) for value in (16, 2, 8) for split in (0, 1)
    ]
    episodes = [row for run in runs for row in episode_rows(run["run"], 1, [float(run["run"].split("-")[0])] * 2)]
    fill(store, [*runs, expert_row()], [*episodes, *episode_rows("expert-run", 1, [900.0])])
    assert list(means(name, store, column).items()) == [((2,), 2.0), ((8,), 8.0), ((16,), 16.0)]
    assert {row["splits"] for row in table(name, store)} == {2, None}
    assert "settings" not in grid(name, store).columns


def test_the_data_fraction_is_a_sweep_too(store):
    runs = []
    for method in ("hypogen", "hyperzero"):
        for fraction, count in ((0.1, 4), (0.5, 20)):
            settings = {"split.train_fraction": fraction}
            runs.append(run_row(f"{method}-{count}", method, 0, settings, train_fraction=fraction, train_specs=count))
    fill(store, runs, [row for run in runs for row in episode_rows(run["run"], 1, [run["train_fraction"]] * 2)])
    assert list(means("table19", store, "train_fraction", "method", "train_specs")) == [
        (0.1, "hypogen", 4),
        (0.1, "hyperzero", 4),
        (0.5, "hypogen", 20),
        (0.5, "hyperzero", 20),
    ]


def test_a_sweep_of_the_whole_store_takes_only_what_was_swept_with_all_else_equal(store):
    """K swept at 10 epochs; one K at 500 epochs; another K only together with another depth."""
    blocks = "hypogen.blocks"
    runs = [
        run_row("a", settings={blocks: 2}),
        run_row("b", settings={blocks: 4}),
        run_row("c", settings={blocks: 4}, epochs=500),
        run_row("d", settings={blocks: 16, "hypogen.block_depth": 5}),
    ]
    experiments = [asked("k", "a"), asked("k", "b"), asked("alone", "c")]
    fill(store, runs, [row for run in runs for row in episode_rows(run["run"], 0, [1.0, 1.0])], experiments)
    assert list(means("table20", store, "blocks")) == [(2,), (4,)]
    assert "epochs" not in grid("table20", store).columns
    assert list(means("table20", store, "blocks", experiment="alone")) == [(4,)]


def test_a_sweep_made_at_two_lengths_of_training_has_both_apart(store):
    runs = [
        run_row(f"{blocks}-{epochs}", settings={"hypogen.blocks": blocks, "training.epochs": epochs}, epochs=epochs)
        for blocks in (2, 4)
        for epochs in (10, 500)
    ]
    fill(store, runs, [row for run in runs for row in episode_rows(run["run"], 0, [float(run["epochs"])] * 2)])
    assert means("table20", store, "blocks", "epochs") == {
        (2, 10): 10.0,
        (2, 500): 500.0,
        (4, 10): 10.0,
        (4, 500): 500.0,
    }


def test_an_experiments_cells_are_rows_whatever_they_vary(store):
    runs = [run_row(f"{rate}-{split}", split=split, learning_rate=rate) for rate in (1e-3, 1e-4) for split in (0, 1)]
    cells = [{"training.learning_rate": run["learning_rate"], "split.seed": run["split_seed"]} for run in runs]
    experiments = [asked("rates", run["run"], n, cell) for n, (run, cell) in enumerate(zip(runs, cells, strict=True))]
    episodes = [row for run in runs for row in episode_rows(run["run"], 0, [run["learning_rate"]] * 2)]
    fill(store, [*runs, run_row("stranger", split=3)], [*episodes, *episode_rows("stranger", 0, [1.0])], experiments)
    rows = table("ablation", store)
    assert [(row["experiment"], row["cell"], row["mean"], row["splits"]) for row in rows] == [
        ("rates", {"training.learning_rate": "0.001"}, 1e-3, 2),
        ("rates", {"training.learning_rate": "0.0001"}, 1e-4, 2),
    ]


def test_an_experiment_that_asked_twice_for_a_run_counts_it_once(store):
    quickstart(store)
    store.write("experiments", "again", [asked("quickstart", "hypogen-0", 7), asked("wider", "hypogen-0")])
    assert render("main", store, experiment="quickstart") == GOLDEN_MAIN
    assert {row["experiment"]: row["episodes"] for row in table("ablation", store) if row["method"] == "hypogen"} == {
        "quickstart": 8,
        "wider": 4,
    }


def test_explicit_splits_of_other_specs_stand_apart(store):
    runs = [
        run_row(train, settings={"split.train": train}, split_kind="explicit", train_fraction=None) for train in "ab"
    ]
    fill(store, runs, [row for run in runs for row in episode_rows(run["run"], 0, [1.0, 1.0])])
    assert [row["settings"] for row in table("main", store)] == [{"split.train": "a"}, {"split.train": "b"}]


def test_few_shot_methods_are_marked_where_there_are_some(store):
    quickstart(store)
    assert "few_shot" not in grid("main", store).columns
    fill(store, [run_row("p", "pearl", few_shot=True)], episode_rows("p", 1, [1.0, 2.0]))
    assert {row["method"]: row["few_shot"] for row in table("main", store)} == {
        "expert": False,
        "hypogen": False,
        "hyperzero": False,
        "pearl": True,
    }
    assert "few_shot: adapts with demonstrations of the test specs" in render("main", store)


@pytest.mark.parametrize("name", ["main", "ablation"])
def test_a_plain_table_ends_in_the_statistics_with_and_without_rows(store, name):
    for fill_in, rows in ((lambda store: None, 0), (quickstart, 3)):
        fill_in(store)
        printed = grid(name, store)
        always = [name for name in Summary.__annotations__ if name not in ("std_seeds", "seeds")]
        assert list(printed.columns[-len(always) :]) == always
        assert len(printed.rows) == rows
        assert all(formatted(printed, form) for form in FORMATS)


def test_a_table_without_rows_says_what_it_would_take(store):
    printed = render("main", store)
    assert "(no rows)" in printed
    assert "runs that differ in more than the seed of their split stand in rows of their own" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "tabel20"}, "unknown table 'tabel20'. Did you mean 'table20'"),
        ({"name": "main", "experiment": "quikstart"}, "unknown experiment 'quikstart'. Did you mean 'quickstart'"),
        ({"name": "main", "format": "html"}, "unknown format 'html'.* Known: text, markdown, latex, csv"),
    ],
)
def test_unknown_names_are_errors_with_the_nearest(store, arguments, message):
    quickstart(store)
    with pytest.raises(ResultsError, match=message):
        render(store=store, **arguments)


@pytest.mark.parametrize("name", titles())
def test_every_table_that_is_listed_can_be_asked_for(name):
    check_table(name)


def test_a_table_that_is_not_there_is_refused_before_anything_heavy_is_imported():
    with pytest.raises(
        ResultsError,
        match=r"unknown table 'tabel20'. Did you mean 'table20'\? Known: ablation, decisions, headroom, leader",
    ):
        check_table("tabel20")
    program = (
        "import sys\nfrom results import check_table\ncheck_table('table20')\n"
        "print(sorted({'pyarrow', 'numpy', 'pandas', 'duckdb', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
