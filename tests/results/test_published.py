"""Published rows: the commands on their page read them, and the page says what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hypogen.benchmarks import get_benchmark
from results.__main__ import app
from results.catalogue import grid
from results.result_store import ResultStore
from results.table_files import titles

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"
STORE = ResultStore(str(FOLDER / "results"))
TITLES = dict(STORE.frame("SELECT method, title FROM methods").values.tolist())
EXPERIMENTS = STORE.frame('SELECT DISTINCT experiment, "table" FROM experiments ORDER BY ALL').values.tolist()


@pytest.mark.parametrize(("experiment", "table"), EXPERIMENTS)
def test_the_means_on_the_page_are_those_of_the_rows(experiment: str, table: str) -> None:
    words = ["table", table, "--experiment", experiment, "--storage", str(FOLDER)]
    assert CliRunner().invoke(app, words).exit_code == 0
    rows = STORE.frame(
        "SELECT benchmark, method, selection, json_merge_patch(settings, '{\"training.seed\": null}') AS settings, "
        'avg("return") AS mean, 100 * avg(success::INT) AS success, avg(if(success, length, 200)) AS steps '
        "FROM runs JOIN episodes USING (run) JOIN experiments USING (run) "
        "WHERE experiment = $experiment AND method <> 'expert' AND role = 'test' GROUP BY ALL",
        experiment=experiment,
    )
    assert len(rows)
    page = (FOLDER / "README.md").read_text().splitlines()
    for row in rows.itertuples():
        if get_benchmark(row.benchmark).simulator.score == "success":
            name, shown = TITLES[row.method], f"| {row.success:.1f} | {row.steps:.1f} |"
        else:
            name, shown = "", f"| {row.mean:.1f} |"  # a table of an ablation names its values, not the method
        assert any(name in line and shown in line for line in page), (experiment, row)


@pytest.mark.parametrize("table", titles())
def test_every_table_prints(table: str) -> None:
    assert grid(table, STORE).columns


def test_the_experiments_on_the_page_are_those_that_are_published() -> None:
    named = set(re.findall(r"`([\w-]+-laptop|references[\w-]*|joint)`", (FOLDER / "README.md").read_text()))
    assert named == {experiment for experiment, _ in EXPERIMENTS}


def test_what_is_published_is_described_there_and_nothing_else() -> None:
    for table, name in (("methods", "method"), ("benchmarks", "benchmark")):
        stored = STORE.dataset(table).to_table(columns=[name]).column(0).to_pylist()
        assert stored == STORE.frame(f"SELECT DISTINCT {name} FROM runs ORDER BY ALL")[name].tolist()


def test_it_was_made_from_commits_and_without_failures() -> None:
    assert STORE.frame("SELECT DISTINCT status FROM provenance").values.tolist() == [["done"]]
    dirty = STORE.frame("SELECT DISTINCT host FROM provenance WHERE git_dirty").values.tolist()
    with_the_gpu = STORE.frame("SELECT DISTINCT host FROM provenance WHERE device <> 'cpu'").values.tolist()
    assert dirty == with_the_gpu and "says `dirty`" in (FOLDER / "README.md").read_text(), "the page says why"
