"""An experiment's rows, copied into a storage small enough to keep in git: one file per table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from results.database import answer
from results.problems import ResultsError, unknown
from results.result_store import ResultStore
from results.schema import TABLES, TableSchema

_KEY = "published"
_OF_RUNS = "SELECT * FROM {} WHERE run IN (SELECT run FROM experiments WHERE experiment = $experiment)"
_OF_NAMES = """
    SELECT * FROM {table}
    WHERE {name} IN (SELECT {name} FROM runs JOIN experiments USING (run) WHERE experiment = $experiment)
"""
_ROWS = {
    **{table: _OF_RUNS.format(table) for table in ("runs", "episodes", "curves", "trajectories")},
    **{table: f"SELECT * FROM {table} WHERE experiment = $experiment" for table in ("experiments", "decisions")},
    # What the runs rolled out, its rollouts, and everything that these were made from. A storage into which others'
    # rows were copied may have several of one artifact: last the one that is told of, the first that did not fail.
    "provenance": """
        WITH RECURSIVE rolled_out AS (
            SELECT artifact FROM runs JOIN experiments USING (run) WHERE experiment = $experiment
        ),
        made AS (
            FROM rolled_out
            UNION
            SELECT artifact FROM provenance
            WHERE kind = 'rollouts' AND list_has_any(parents, (SELECT list(artifact) FROM rolled_out))
            UNION
            SELECT unnest(parents) AS artifact FROM provenance JOIN made USING (artifact)
        )
        SELECT * FROM provenance WHERE artifact IN (FROM made)
        ORDER BY artifact, status = 'failed' DESC, started DESC, host
    """,
    "methods": _OF_NAMES.format(table="methods", name="method"),
    "benchmarks": _OF_NAMES.format(table="benchmarks", name="benchmark"),
}


def publish(source: ResultStore, experiment: str, target: ResultStore) -> dict[str, int]:
    """Copy the rows of `experiment` to `target`, beside those of other experiments there; how many rows, by table.

    The same call again changes nothing; rows of the experiment that were published before are replaced. Raises
    ResultsError for an unknown experiment, for one without a finished run, for a run that another experiment
    published with other rows, and for a training that another experiment's rows rest on but that was done anew here;
    then nothing is written.
    """
    known = source.table("SELECT DISTINCT experiment FROM experiments ORDER BY ALL").column(0).to_pylist()
    if experiment not in known:
        raise unknown("experiment", experiment, known)
    found = _rows(source, experiment, "=")
    if not found["runs"].num_rows:
        raise ResultsError(f"experiment {experiment} has no finished run in {source.root}: there is nothing to publish")
    others = _rows(target, experiment, "<>")
    _check_trainings(others, found, target.root)
    merged = {table: _merged(TABLES[table], others[table], rows, target.root) for table, rows in found.items()}
    for table, rows in merged.items():
        if rows.num_rows or target.keys(table):
            target.write(table, _KEY, rows, replace=True)
    return {table: rows.num_rows for table, rows in found.items()}


def _rows(store: ResultStore, experiment: str, which: str) -> dict[str, pa.Table]:
    """Rows by table, of the experiment (`which` is =) or of the others (<>)."""
    with store.connect() as connection:
        return {
            table: answer(connection, sql.replace("experiment =", f"experiment {which}"), {"experiment": experiment})
            for table, sql in _ROWS.items()
        }


def _check_trainings(published: dict[str, pa.Table], found: dict[str, pa.Table], where: str) -> None:
    """ResultsError for a generator that was trained twice, unless a run of both shows that it came out the same.

    A training elsewhere rounds differently, and its provenance can be told of one of the two only.
    """
    runs_of_both = set(published["runs"].column("run").to_pylist()) & set(found["runs"].column("run").to_pylist())
    same = {row["artifact"] for row in found["runs"].to_pylist() if row["run"] in runs_of_both}
    before = {row["artifact"]: row for row in published["provenance"].to_pylist()}
    for row in found["provenance"].to_pylist():
        old = before.get(row["artifact"], row)
        if row["kind"] == "generator" and row["started"] != old["started"] and row["artifact"] not in same:
            raise ResultsError(
                f"{where} has rows of another training of {row['label']} (generator {row['artifact']}, begun"
                f" {old['started']:%F %T} on {old['device']}), and no run of both to compare: publish to another folder"
            )


def _merged(schema: TableSchema, published: pa.Table, rows: pa.Table, where: str) -> pa.Table:
    """Both tables' rows, each once. Where descriptions may change the new one stays; of provenance the old: that of the
    trainings whose rows are there (see `_check_trainings`), and one making of demonstrations and rollouts."""
    old, new = _by_key(schema, published), _by_key(schema, rows)
    changed = [key for key in new.keys() & old.keys() if new[key] != old[key]]
    if changed and schema.deterministic:
        named = ", ".join(f"{name} {value}" for name, value in zip(schema.primary_key, min(changed), strict=True))
        raise ResultsError(f"{where} has another row of {schema.name} for {named}: publish to another folder")
    both = {**new, **old} if schema.name == "provenance" else {**old, **new}
    return pa.Table.from_pylist(list(both.values()), schema=schema.arrow)


def _by_key(schema: TableSchema, rows: pa.Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[name] for name in schema.primary_key): row for row in rows.to_pylist()}
