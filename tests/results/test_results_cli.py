"""`python -m results`, as a person types it."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from results.__main__ import app
from tests.helpers.result_rows import asked, episode_rows, fill, run_row


@pytest.fixture
def storage(store, tmp_path):
    runs = [run_row("a", settings={"hypogen.blocks": 2}), run_row("b", settings={"hypogen.blocks": 4})]
    episodes = [*episode_rows("a", 0, [1.0, 2.0]), *episode_rows("b", 0, [3.0, 4.0])]
    fill(store, runs, episodes, [asked("k", "a"), asked("k", "b", 1), asked("one", "a")])
    return str(tmp_path / "runs")


def call(*arguments, **environment):
    return CliRunner().invoke(app, list(arguments), env={"HYPOGEN_STORAGE": None, **environment})


def test_query_in_all_formats(storage):
    sql = 'SELECT run, avg("return") AS mean FROM episodes GROUP BY run ORDER BY run'
    printed = {
        flag: call("query", sql, "--storage", storage, *flag).output for flag in [(), ("--markdown",), ("--csv",)]
    }
    assert printed == {
        (): "run  mean\n---  ----\na     1.5\nb     3.5\n",
        ("--markdown",): "| run | mean |\n| --- | ---: |\n| a | 1.5 |\n| b | 3.5 |\n",
        ("--csv",): "run,mean\na,1.5\nb,3.5\n",
    }
    assert "\\begin{tabular}{lr}" in call("query", sql, "--storage", storage, "--latex").output


def test_two_columns_of_one_name_both_show(storage):
    output = call("query", "SELECT 1 AS a, 2 AS a", "--storage", storage, "--csv").output
    assert output == "a,a\n1,2\n"


def test_a_table_has_what_was_measured_and_with_all_the_papers_rows(storage):
    words = ("table", "table20", "--csv", "--storage", storage)
    whole, part = ([*call(*words, "--all", *of).output.splitlines()] for of in ((), ("--experiment", "one")))
    rows = [[row[name] for name in ("blocks", "method", "ours", "paper")] for row in csv.DictReader(whole)]
    assert rows[1:4] == [["2", "hypogen", "1.5", ""], ["3", "hypogen", "", "775.55"], ["4", "hypogen", "3.5", ""]]
    assert [row["blocks"] for row in csv.DictReader(part)] == ["1", "2", "3", "5", "8", "10", "20"]
    measured = list(csv.DictReader(call(*words).output.splitlines()))
    assert [(row["blocks"], row["ours"]) for row in measured] == [("2", "1.5"), ("4", "3.5")]
    nothing = call("table", "table18", "--storage", storage).output
    assert "Nothing measured here. The paper's own rows: 10; --all shows them." in nothing and "(no rows)" in nothing


def test_csv_has_every_column_and_setting_whatever_the_rows_share(storage):
    (first, *_) = csv.DictReader(call("table", "main", "--csv", "--storage", storage).output.splitlines())
    assert (first["metric"], first["epochs"], first["split_kind"], first["few_shot"]) == (
        "return",
        "10",
        "random",
        "false",
    )
    assert json.loads(first["settings"])["split.train_fraction"] == "0.2"
    text = call("table", "main", "--storage", storage).output
    assert "epochs 10" in text and "metric" not in text


def test_a_table_of_one_benchmark(storage, store):
    where = {"benchmark": "cheetah-length", "environment": "cheetah", "context": "length"}
    fill(store, [run_row("l", **where)], episode_rows("l", 0, [7.0, 9.0]))
    lines = call("table", "main", "--csv", "--benchmark", "cheetah-length", "--storage", storage).output.splitlines()
    assert [line.split(",")[0] for line in lines] == ["benchmark", "cheetah-length"]
    assert (
        "Conditions: expert_recipe laptop"
        in call("table", "main", "--benchmark", "cheetah-length", "--storage", storage).output
    )


def test_tables_fit_100_columns_and_all_has_every_column(storage):
    for name in ("main", "table20", "leaderboard"):
        narrow, wide = (call("table", name, "--storage", storage, *of).output for of in ((), ("--all",)))
        assert max(map(len, narrow.splitlines())) <= 100 < max(map(len, wide.splitlines()))
        assert "to fit 100 columns: " in narrow and "--all has everything." in narrow.replace("\n", " ")
        left_out = narrow.replace("\n", " ").partition("to fit 100 columns: ")[2].partition(". --all")[0].split(", ")
        left_out.append("paper_std")  # of rows that only the paper has
        header = next(line for line in wide.splitlines() if line.startswith("benchmark ")).split()
        kept = next(line for line in narrow.splitlines() if line.startswith("benchmark ")).split()
        assert [column for column in header if column not in left_out] == kept


def test_a_column_that_alone_tells_rows_apart_stays_in_a_narrow_table(storage, store):
    cube = {"benchmark": "liftcube-stiffness", "environment": "liftcube", "context": "stiffness"}
    runs = [run_row("final", **cube), run_row("best", selection="best_test", **cube)]
    fill(store, runs, [row for run in runs for row in episode_rows(run["run"], 0, [7.0, 9.0])])
    for name, columns in (("main", ["selection"]), ("table2", ["selection", "metric"])):
        words = ("table", name, "--benchmark", "liftcube-stiffness", "--storage", storage)
        narrow = call(*words).output
        header = next(line for line in narrow.splitlines() if line.startswith("benchmark ")).split()
        assert set(columns) <= set(header) and "to fit 100 columns: " in narrow, name


def test_compare(storage, store):
    fill(store, [run_row("z", "hyperzero")], episode_rows("z", 0, [0.0, 2.0]))
    store.write("experiments", "pair", [asked("pair", "a"), asked("pair", "z")])
    output = call("compare", "hypogen", "hyperzero", "--experiment", "pair", "--csv", "--storage", storage).output
    (row,) = csv.DictReader(output.splitlines())
    assert json.loads(row["settings_a"]) and (row["epochs"], row["metric"]) == ("10", "return")
    assert (row["benchmark"], row["difference"], row["improvement"], row["low_95"]) == (
        "cheetah-speed",
        "0.5",
        "0.625",
        "",
    )


def test_storage_from_the_environment_or_under_this_folder(storage, tmp_path, monkeypatch):
    assert call("query", "SELECT 1 AS one", HYPOGEN_STORAGE=storage).exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert call("query", "SELECT 1 AS one").output == "one\n---\n  1\n"


def test_tables_lists_names_titles_and_columns():
    output = call("tables").output
    assert re.search(r"^table20 +Table 20: number K of hypernet blocks", output, re.MULTILINE)
    assert re.search(r"^main +Score on test specs", output, re.MULTILINE)
    assert "  episodes: run, spec_index, spec, role" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "tabel20"], "error: unknown table 'tabel20'. Did you mean 'table20'"),
        (["table", "main", "--experiment", "kk"], "error: unknown experiment 'kk'. Did you mean 'k'? Known: k, one"),
        (
            ["table", "main", "--benchmark", "cheetah-sped"],
            "unknown benchmark 'cheetah-sped'. Did you mean 'cheetah-speed'",
        ),
        (["table", "main", "--csv", "--latex"], "error: one format at a time: --latex or --csv"),
        (
            ["compare", "hypogen", "hypergen"],
            "error: unknown method 'hypergen'. Did you mean 'hypogen'? Known: hypogen",
        ),
        (["compare", "hypogen", "hypogen"], "error: hypogen against itself says nothing"),
        (["compare", "hypogen", "hypogen", "--benchmark", "cheetah"], "error: unknown benchmark 'cheetah'"),
        (["query", "SELEC"], "error: Parser Error: syntax error"),
        (["query", "FROM episode"], "error: Catalog Error: Table with name episode does not exist!"),
        (["query", "DROP VIEW runs"], "error: results are only read"),
        (["query", "SELECT 1", "--storage", "/does/not/exist"], "error: storage /does/not/exist does not exist"),
        (["query"], "Missing argument"),
    ],
)
def test_a_mistake_is_a_plain_message_and_status_2(storage, arguments, message):
    result = call(*arguments, HYPOGEN_STORAGE=storage)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_storage_without_results_says_so(tmp_path):
    result = call("table", "main", "--storage", str(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nothing in" in result.stderr


def test_help_is_quick_and_an_error_leaves_nothing_else_on_stderr(storage):
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "results", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "query" in done.stdout
    assert time.monotonic() - start < 5
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"duckdb", "pyarrow", "pandas", "numpy"}
    command = [sys.executable, "-m", "results", "query", "FROM episode", "--storage", storage]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Catalog Error") and len(done.stderr.splitlines()) == 12
