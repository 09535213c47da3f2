"""Queries: what is answered, what is refused, and that no statement changes a file or reads one outside the store."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from results.problems import ResultsError
from tests.helpers.result_rows import asked, episode_rows, fill, run_row


@pytest.fixture
def filled(store):
    fill(store, [run_row("a")], episode_rows("a", 0, [1.0, 2.0]))
    return store


def test_of_one_experiment_only_what_its_runs_measured_is_there(store):
    fill(store, [run_row("a"), run_row("b")], [*episode_rows("a", 0, [1.0, 2.0]), *episode_rows("b", 0, [3.0])])
    for name, runs in (("one", ["a"]), ("both", ["a", "b"])):
        store.write("experiments", name, [asked(name, run, place) for place, run in enumerate(runs)])
    every = [1.0, 2.0, 3.0]
    asked_for = {("one",): [1.0, 2.0], ("both",): every, ("none",): [], ("one", "both"): every, (): every}
    for names, returns in asked_for.items():
        with store.connect(*names) as connection:
            assert (
                connection.sql('SELECT "return" FROM episodes ORDER BY ALL').fetchnumpy()["return"].tolist() == returns
            )


WRITES = [
    "COPY runs TO '{folder}/stolen.csv'",
    "EXPORT DATABASE '{folder}/stolen'",
    "ATTACH '{folder}/stolen.db'",
    "INSERT INTO runs SELECT * FROM runs",
    "DELETE FROM runs",
    "UPDATE runs SET run = 'b'",
    "DROP VIEW runs",
    "CREATE TABLE mine AS SELECT * FROM runs",
    "SET enable_external_access = true",
    "INSTALL httpfs",
]


@pytest.mark.parametrize("sql", WRITES)
def test_a_statement_that_writes_is_refused(filled, tmp_path, sql):
    before = _files(tmp_path)
    with pytest.raises(ResultsError, match=r"results are only read: a query is a SELECT, not [A-Z]+"):
        filled.frame(sql.format(folder=tmp_path))
    assert _files(tmp_path) == before


@pytest.mark.parametrize("sql", [sql for sql in WRITES if "stolen" in sql or "SET enable" in sql])
def test_the_bare_connection_cannot_touch_files_either(filled, tmp_path, sql):
    before = _files(tmp_path)
    with filled.connect() as connection, pytest.raises(duckdb.Error, match=r"disabled by configuration|locked"):
        connection.execute(sql.format(folder=tmp_path))
    assert _files(tmp_path) == before


def test_a_query_cannot_read_other_files_or_pythons_variables(filled):
    outside = filled.table("SELECT 1 AS secret")  # noqa: F841
    with pytest.raises(ResultsError, match="Permission Error"):
        filled.frame(f"FROM read_parquet('{filled.root}/runs/a.parquet')")
    with pytest.raises(ResultsError, match="outside does not exist"):
        filled.frame("FROM outside")


@pytest.mark.parametrize("sql", ["DESCRIBE runs", "SUMMARIZE episodes", "SHOW TABLES", "WITH x AS (FROM runs) FROM x"])
def test_other_ways_to_ask_are_answered(filled, sql):
    assert filled.table(sql).num_rows > 0


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("FROM episode", "Catalog Error: Table with name episode does not exist!"),
        ("SELECT returns FROM episodes", 'Binder Error: Referenced column "returns" not found in FROM clause!'),
    ],
)
def test_a_name_that_is_not_found_brings_the_names_that_there_are(filled, sql, message):
    with pytest.raises(ResultsError) as caught:
        filled.frame(sql)
    lines = str(caught.value).splitlines()
    assert lines[0] == message
    assert [line.split(":")[0] for line in lines[2:]] == [
        "  runs",
        "  episodes",
        "  curves",
        "  trajectories",
        "  experiments",
        "  decisions",
        "  provenance",
        "  methods",
        "  benchmarks",
        "  paper",
    ]
    assert "in_distribution, episode, seed, return" in lines[3]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "Parser Error: syntax error"),
        ("", "expected one query, got 0"),
        ("SELECT 1; SELECT 2", "expected one query, got 2"),
        ("SELECT $x", "Values were not provided for the following parameters: x"),
    ],
)
def test_other_mistakes_are_one_line(filled, sql, message):
    with pytest.raises(ResultsError, match=message) as caught:
        filled.frame(sql)
    assert "\n" not in str(caught.value)


def test_the_macros_answer_queries_too(filled):
    answer = filled.frame("SELECT score.mean AS mean, success, length FROM scores(NULL)")
    assert answer.to_dict("list") == {"mean": [1.5], "success": [1.0], "length": [1000.0]}


@pytest.mark.parametrize(
    ("among", "count"),
    [("NULL", 1), ("(SELECT list(benchmark) FROM runs)", 1), ("['another', NULL]", 0), ("[]", 0)],
)
def test_scores_and_what_is_made_of_them_are_those_of_some_benchmarks(filled, among, count):
    for macro in ("scores", "paired_scores", "summaries"):
        assert len(filled.frame(f"FROM {macro}(NULL, among := {among})")) == count


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
