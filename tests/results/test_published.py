"""What lies in results/published can be read by the commands that its page names, and says what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hypogen.benchmarks import get_benchmark
from results.__main__ import app
from results.store import ResultStore

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"
STORE = ResultStore(str(FOLDER / "results"))
EXPERIMENTS = STORE.frame('SELECT DISTINCT experiment, "table" FROM experiments ORDER BY ALL').values.tolist()


@pytest.mark.parametrize(("experiment", "table"), EXPERIMENTS)
def test_the_means_on_the_page_are_those_of_the_rows(experiment: str, table: str) -> None:
    words = ["table", table, "--experiment", experiment, "--storage", str(FOLDER)]
    assert CliRunner().invoke(app, words).exit_code == 0
    rows = STORE.frame(
        'SELECT benchmark, method, settings, avg("return") AS mean, 100 * avg(success::INT) AS success, '
        "avg(if(success, length, 200)) AS steps "
        "FROM runs JOIN episodes USING (run) JOIN experiments USING (run) "
        "WHERE experiment = $experiment AND method <> 'expert' GROUP BY ALL",
        experiment=experiment,
    )
    assert len(rows)
    page = (FOLDER / "README.md").read_text()
    for row in rows.itertuples():
        succeeds = get_benchmark(row.benchmark).simulator == "maniskill"
        shown = f"| {row.success:.1f} | {row.steps:.1f} |" if succeeds else f"| {row.mean:.1f} |"
        assert shown in page, (experiment, row)


def test_it_was_made_from_commits_and_without_failures() -> None:
    made = STORE.frame("SELECT DISTINCT git_dirty, status FROM provenance")
    assert made.values.tolist() == [[False, "done"]]
