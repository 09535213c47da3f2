"""Tables and comparisons of methods, answered from a store and laid out to be printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from results.formats import Grid, formatted
from results.presentation import presented
from results.problems import ResultsError, unknown
from results.result_store import ResultStore
from results.table_files import scope_of, statement, title_of

if TYPE_CHECKING:
    import duckdb

_COMPARISON = Path(__file__).with_name("comparison.sql")


def render(name: str, store: ResultStore, *, experiment: str | None = None, format: str = "text") -> str:
    """The table `name` of `store`, of one experiment or of everything in it, in one of formats.FORMATS.

    A table without rows has a header and says so; a table of the paper has the paper's rows at least. Raises
    ResultsError for an unknown table, experiment or format.
    """
    return formatted(grid(name, store, experiment=experiment), format)


def grid(name: str, store: ResultStore, *, experiment: str | None = None) -> Grid:
    """The same table as values. Conditions that all rows share become notes; only settings that differ are shown."""
    sql = statement(name)
    with store.connect() as connection:
        if experiment is not None:
            _require(connection, "experiment", experiment, "experiments")
        asked = {"experiment": experiment}
        return _answered(connection, sql, title_of(sql), asked, places=4 if name == "table4" else 2)


def compare(
    a: str,
    b: str,
    store: ResultStore,
    *,
    benchmark: str | None = None,
    experiment: str | None = None,
    own_training: bool = False,
) -> Grid:
    """Method `a` against method `b` on the splits and specs where both were rolled out under the same conditions.

    own_training: whether each may have been trained by settings of its own (epochs, batch, rate, noise on the specs).

    One row per benchmark and set of conditions, with the columns of statistics.Comparison. Raises ResultsError for a
    method, benchmark or experiment that is not there, for a method against itself, and where nothing can be paired.
    """
    asked = {"a": a, "b": b, "benchmark": benchmark, "experiment": experiment, "own_training": own_training}
    sql = _COMPARISON.read_text()
    with store.connect() as connection:
        if experiment is not None:
            _require(connection, "experiment", experiment, "experiments")
        if benchmark is not None:
            _require(connection, "benchmark", benchmark, "runs")
        for method in (a, b):
            _require(connection, "method", method, "runs")
        if a == b:
            raise ResultsError(f"{a} against itself says nothing: name two methods")
        compared = _answered(connection, sql, f"{title_of(sql)}: {a} (a) against {b} (b)", asked)
    if not compared.rows:
        raise ResultsError(
            f"{a} and {b} cannot be compared: there is no split and test spec on which both were rolled out with the "
            "same experts, training and other settings that both have. Run an experiment with both under `methods:`"
            + ("" if own_training else ", or let each have its own training (--own-training)")
        )
    return compared


def plain_grid(answered: pa.Table) -> Grid:
    """The answer to any query, as it came; two columns may have one name."""
    return Grid(answered.column_names, list(zip(*map(_values, answered.columns), strict=True)))


def _answered(
    connection: duckdb.DuckDBPyConnection, sql: str, title: str, parameters: Mapping[str, Any], places: int = 2
) -> Grid:
    from results.database import answer

    answered = answer(connection, sql, parameters)
    values = zip(*map(_values, answered.columns), strict=True)
    rows = [dict(zip(answered.column_names, row, strict=True)) for row in values]
    experiment = parameters["experiment"]
    whole_title = title + (f", experiment {experiment}" if experiment else "")
    return presented(answered.column_names, rows, whole_title, scope_of(sql), places)


def _require(connection: duckdb.DuckDBPyConnection, column: str, value: str, table: str) -> None:
    from results.database import answer

    known = answer(connection, f"SELECT DISTINCT {column} FROM {table} ORDER BY ALL", {}).column(0).to_pylist()
    if value not in known:
        raise unknown(column, value, known)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Values of a column, maps as dicts: pyarrow gives them as lists of pairs."""
    values = column.to_pylist()
    if not pa.types.is_map(column.type):
        return values
    return [None if value is None else dict(value) for value in values]
