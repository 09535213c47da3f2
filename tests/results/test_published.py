"""Published rows: the commands on their page read them, and the page says what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hypogen.benchmarks import get_benchmark
from results.__main__ import app
from results.catalogue import compare, grid
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
        "SELECT benchmark, method, selection, settings, avg(mean) mean, avg(success) success, avg(steps) steps "
        "FROM (SELECT benchmark, method, selection, split_seed, "
        "json_merge_patch(settings, '{\"training.seed\": null}') AS settings, "
        'avg("return") AS mean, 100 * avg(success::INT) AS success, avg(if(success, length, 200)) AS steps '
        "FROM runs JOIN episodes USING (run) JOIN experiments USING (run) "
        "WHERE experiment = $experiment AND method <> 'expert' AND role = 'test' GROUP BY ALL) GROUP BY ALL",
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


def lead(row: dict[str, Any]) -> str:
    return f"{row['difference']:+.1f} ({row['low_95']:.1f} to {row['high_95']:.1f})"


def by_the_splits(row: dict[str, Any]) -> str:
    return f"{row['t_low_95']:.1f} to {row['t_high_95']:.1f}"


def comparisons(a: str, b: str, **scope: Any) -> list[dict[str, Any]]:
    """What is published of two methods, each as it was trained."""
    found = compare(a, b, STORE, own_training=True, **scope)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def compared(a: str, b: str, **scope: Any) -> dict[str, dict[str, Any]]:
    """The same by benchmark."""
    return {row["benchmark"]: row for row in comparisons(a, b, **scope)}


def test_leads_on_the_page_are_those_of_compare() -> None:
    lines = (FOLDER / "README.md").read_text().splitlines()
    rivals = [("hypogen", "hyperzero"), *((method, "nearest") for method in ("hyperzero", "hypogen", "pearl", "uvfa"))]
    columns = [compared(*pair, experiments=["track-laptop"]) for pair in rivals]
    inside, outside = (compared(*rivals[0], experiments=["track-laptop"], distribution=part) for part in ("in", "out"))
    for benchmark in inside:
        leads = [lead(column[benchmark]) for column in columns]
        apart = [text for part in (inside, outside) for text in (lead(part[benchmark]), by_the_splits(part[benchmark]))]
        for cells in (leads, apart):
            assert f"| {benchmark} | {' | '.join(cells)} |" in [line.replace("**", "") for line in lines], cells
    assert len(inside) == 12


def test_leads_at_equal_compute_are_those_of_compare() -> None:
    lines = (FOLDER / "README.md").read_text().splitlines()
    rows = comparisons("hypogen", "hyperzero", experiments=["track-laptop", "equal-compute-laptop"])
    longer = [row for row in rows if row["settings_b"].get("training.epochs") == "66"]
    assert len(longer) == 12
    for row in longer:
        cells = [
            line.split("|") for line in lines if line.startswith(f"| {row['benchmark']} |") and line.count("|") == 10
        ]
        ((_, _, mean, _, _, difference, splits, *_),) = cells
        assert mean.strip() == f"{row['mean_a']:.1f}"
        assert difference.replace("**", "").strip() == lead(row), row["benchmark"]
        assert splits.strip() == by_the_splits(row)


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
