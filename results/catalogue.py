"""Tables and comparisons of methods, answered from a store and laid out to be printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from results.fitting import fitted
from results.formats import Grid, formatted
from results.latex_layout import paper_layout
from results.presentation import presented
from results.problems import ResultsError, unknown
from results.result_store import ResultStore
from results.table_files import scope_of, statement, title_of

if TYPE_CHECKING:
    import duckdb

_COMPARISON = Path(__file__).with_name("comparison.sql")


def render(
    name: str,
    store: ResultStore,
    *,
    experiment: str | None = None,
    benchmark: str | None = None,
    format: str = "text",
    measured: bool = False,
    width: int | None = None,
) -> str:
    """The table `name` of `store`, of one experiment or of everything in it, in one of formats.FORMATS.

    LaTeX has the paper's layout where there is one row per method and benchmark; text fits `width` characters, if
    given; CSV has every column and setting, whatever the rows share. A table without rows has a header and says so; a
    table of the paper has the paper's rows at least, unless `measured`.
    Raises ResultsError for an unknown table, experiment, benchmark or format.
    """
    scope = {"experiment": experiment, "benchmark": benchmark}
    table = grid(name, store, **scope, measured=measured, whole=format == "csv")
    if format == "latex":
        return paper_layout(table, _titles(store))
    return formatted(fitted(table, width) if format == "text" and width else table, format)


def grid(
    name: str,
    store: ResultStore,
    *,
    experiment: str | None = None,
    benchmark: str | None = None,
    measured: bool = False,
    whole: bool = False,
) -> Grid:
    """The same table as values. Conditions that all rows share become notes; only settings that differ are shown.

    whole: for programs: every column and every setting, and neither title nor notes.

    benchmark: only its rows. measured: without rows that only the paper has; a note counts them where nothing is left.
    """
    sql = statement(name)
    with store.connect(*([] if experiment is None else [experiment])) as connection:
        if experiment is not None:
            _require(connection, "experiment", experiment, "experiments")
        if benchmark is not None:
            _require(connection, "benchmark", benchmark, "benchmarks")
        asked = {"experiment": experiment}
        columns, rows = _rows(connection, sql, asked)
    rows = [row for row in rows if benchmark in (None, row["benchmark"])]
    notes = scope_of(sql)
    if measured and "ours" in columns:
        found = [row for row in rows if row["ours"] is not None]
        notes += _unmeasured(len(rows) - len(found)) if not found else []
        rows = found
    if whole:
        return _whole(columns, rows)
    return presented(columns, rows, _titled(title_of(sql), experiment), notes, places=4 if name == "table4" else 2)


def _whole(columns: list[str], rows: list[dict[str, Any]]) -> Grid:
    return Grid(columns, [list(row.values()) for row in rows])


def _unmeasured(papers: int) -> list[str]:
    return [f"Nothing measured here. The paper's own rows: {papers}; --all shows them."] if papers else []


def _titles(store: ResultStore) -> dict[str, str]:
    """Names of the methods for people."""
    rows = store.table("SELECT method, title FROM methods").to_pylist()
    return {row["method"]: row["title"] for row in rows}


def compare(
    a: str,
    b: str,
    store: ResultStore,
    *,
    benchmark: str | None = None,
    experiments: Sequence[str] = (),
    own_training: bool = False,
    distribution: Literal["in", "out"] | None = None,
    whole: bool = False,
) -> Grid:
    """Method `a` against method `b` on the splits and specs where both were rolled out under the same conditions.

    experiments: only their runs.
    own_training: whether each may have been trained by settings of its own (epochs, batch, rate, noise on the specs).
    distribution: only the test specs in the training specs' distribution, or only those out of it.
    whole: as in `grid`.

    One row per benchmark and set of conditions, with the columns of statistics.Comparison. Raises ResultsError for a
    method, benchmark or experiment that is not there, for a method against itself, and where nothing can be paired.
    """
    inside = None if distribution is None else distribution == "in"
    scope = {"benchmark": benchmark, "experiments": list(experiments) or None, "inside": inside}
    asked = {"a": a, "b": b, "own_training": own_training, **scope}
    sql = _COMPARISON.read_text()
    with store.connect(*experiments) as connection:
        for experiment in experiments:
            _require(connection, "experiment", experiment, "experiments")
        if benchmark is not None:
            _require(connection, "benchmark", benchmark, "runs")
        for method in (a, b):
            _require(connection, "method", method, "runs")
        if a == b:
            raise ResultsError(f"{a} against itself says nothing: name two methods")
        columns, rows = _rows(connection, sql, asked)
    if not rows:
        raise ResultsError(
            f"{a} and {b} cannot be compared: there is no split and test spec on which both were rolled out with the "
            "same experts, training and other settings that both have. Run an experiment with both under `methods:`"
            + ("" if own_training else ", or let each have its own training (--own-training)")
            + ("" if distribution is None else ", or take all specs (without --distribution)")
        )
    place = {None: "", "in": ", in distribution", "out": ", out of distribution"}[distribution]
    title = _titled(f"{title_of(sql)}{place}: {a} (a) against {b} (b)", " and ".join(experiments))
    return _whole(columns, rows) if whole else presented(columns, rows, title, scope_of(sql))


def plain_grid(answered: pa.Table) -> Grid:
    """The answer to any query, as it came; two columns may have one name."""
    return Grid(answered.column_names, list(zip(*map(_values, answered.columns), strict=True)))


def _rows(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of an answer."""
    from results.database import answer

    answered = answer(connection, sql, parameters)
    values = zip(*map(_values, answered.columns), strict=True)
    return answered.column_names, [dict(zip(answered.column_names, row, strict=True)) for row in values]


def _titled(title: str, experiment: str | None) -> str:
    return title + (f", experiment {experiment}" if experiment else "")


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
