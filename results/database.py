"""A DuckDB connection over the store's tables that cannot change a file, and errors that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from duckdb.func import PythonUDFType

from results.problems import ResultsError
from results.schema import described
from results.statistics import Comparison, Headroom, Rank, Summary, compare, headroom, ranks
from results.summaries import summarise_all

_FOLDER = Path(__file__).parent
_DEFINITIONS = ("dimensions.sql", "macros.sql")
_SCORE = (
    "STRUCT(split BIGINT, run VARCHAR, spec VARCHAR, mean DOUBLE, deviation DOUBLE, episodes BIGINT, "
    "in_distribution BOOLEAN)"
)
_PAIR = "STRUCT(split BIGINT, run_a VARCHAR, run_b VARCHAR, spec VARCHAR, a DOUBLE[], b DOUBLE[])"
_BETWEEN = "STRUCT(split BIGINT, run VARCHAR, spec VARCHAR, method DOUBLE, nearest DOUBLE, expert DOUBLE)"
_RIVAL = "STRUCT(rival VARCHAR, split BIGINT, run VARCHAR, spec VARCHAR, mean DOUBLE)"
_TYPES = {str: "VARCHAR", int: "BIGINT", int | None: "BIGINT", bool: "BOOLEAN"}
# The datasets are registered before this: pyarrow reads their files, DuckDB itself can then open none, local or remote,
# to read or to write, and no statement can undo it. Replacement scans would resolve names to Python's own variables.
_LOCK = """
    SET enable_progress_bar = false;
    SET TimeZone = 'UTC';
    SET python_enable_replacements = false;
    SET temp_directory = '';
    SET enable_external_access = false;
    SET lock_configuration = true;
"""


def connect(tables: Mapping[str, ds.Dataset | pa.Table]) -> duckdb.DuckDBPyConnection:
    """A connection with one view per table, what dimensions.sql and macros.sql define, and results.statistics'
    `summarise`, `compare`, `headroom` and `ranks`."""
    connection = duckdb.connect(":memory:")
    for name, table in tables.items():
        connection.register(name, table)
    connection.create_function("summarise", summarise_all, [f"{_SCORE}[]"], _struct(Summary), type=PythonUDFType.ARROW)
    connection.create_function("compare", compare, [f"{_PAIR}[]"], _struct(Comparison))
    connection.create_function("ranks", ranks, [f"{_RIVAL}[]"], f"{_struct(Rank)}[]")
    connection.create_function("headroom", headroom, [f"{_BETWEEN}[]"], _struct(Headroom))
    for name in _DEFINITIONS:
        connection.execute((_FOLDER / name).read_text())
    connection.execute(_LOCK)
    return connection


def _struct(kind: type) -> str:
    """DuckDB's type for a TypedDict of numbers and flags."""
    fields = get_type_hints(kind).items()
    return f"STRUCT({', '.join(f'{name} ' + _TYPES.get(of, 'DOUBLE') for name, of in fields)})"


def answer(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
    """The answer to one SELECT; to DuckDB, DESCRIBE, SHOW and SUMMARIZE are some.

    Raises ResultsError for any other statement and for what DuckDB refuses, with the first line of its message; the
    tables and columns that there are follow where it does not find a name.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise ResultsError(f"expected one query, got {len(statements)} statements")
        if statements[0].type != duckdb.StatementType.SELECT:
            raise ResultsError(f"results are only read: a query is a SELECT, not {statements[0].type.name}")
        return connection.sql(sql, params=dict(parameters)).to_arrow_table()
    except duckdb.Error as error:
        message = str(error).strip().splitlines()[0]
        if isinstance(error, (duckdb.CatalogException, duckdb.BinderException)):
            message += f"\nTables and their columns:\n{described()}"
        raise ResultsError(message) from error
