"""Tables and comparisons of methods, answered from a store and laid out to be printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from results.formats import Grid, formatted
from results.presentation import presented
from results.problems import ResultsError, unknown
from results.result_store import ResultStore
from results.table_files import scope_of, statement, title_of

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
    if experiment is not None:
        _require(store, "experiment", experiment, "experiments")
    return _answered(store, sql, title_of(sql), {"experiment": experiment}, places=4 if name == "table4" else 2)


def compare(a: str, b: str, store: ResultStore, *, benchmark: str | None = None, experiment: str | None = None) -> Grid:
    """Method `a` against method `b` on the splits and specs where both were rolled out under the same conditions.

    One row per benchmark and set of conditions, with the columns of statistics.Comparison. Raises ResultsError for a
    method, benchmark or experiment that is not there, for a method against itself, and where nothing can be paired.
    """
    if experiment is not None:
        _require(store, "experiment", experiment, "experiments")
    if benchmark is not None:
        _require(store, "benchmark", benchmark, "runs")
    for method in (a, b):
        _require(store, "method", method, "runs")
    if a == b:
        raise ResultsError(f"{a} against itself says nothing: name two methods")
    asked = {"a": a, "b": b, "benchmark": benchmark, "experiment": experiment}
    sql = _COMPARISON.read_text()
    answer = _answered(store, sql, f"{title_of(sql)}: {a} (a) against {b} (b)", asked)
    if not answer.rows:
        raise ResultsError(
            f"{a} and {b} cannot be compared: there is no split and test spec on which both were rolled out with the "
            "same experts, training and other settings that both have. Run an experiment with both under `methods:`"
        )
    return answer


def plain_grid(answer: pa.Table) -> Grid:
    """The answer to any query, as it came; two columns may have one name."""
    return Grid(answer.column_names, list(zip(*map(_values, answer.columns), strict=True)))


def _answered(store: ResultStore, sql: str, title: str, parameters: Mapping[str, Any], places: int = 2) -> Grid:
    answer = store.table(sql, **parameters)
    values = zip(*map(_values, answer.columns), strict=True)
    rows = [dict(zip(answer.column_names, row, strict=True)) for row in values]
    experiment = parameters["experiment"]
    whole_title = title + (f", experiment {experiment}" if experiment else "")
    return presented(answer.column_names, rows, whole_title, scope_of(sql), places)


def _require(store: ResultStore, column: str, value: str, table: str) -> None:
    known = store.table(f"SELECT DISTINCT {column} FROM {table} ORDER BY ALL").column(0).to_pylist()
    if value not in known:
        raise unknown(column, value, known)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Values of a column, maps as dicts: pyarrow gives them as lists of pairs."""
    values = column.to_pylist()
    if not pa.types.is_map(column.type):
        return values
    return [None if value is None else dict(value) for value in values]
