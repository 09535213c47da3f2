"""Rows into a checked table: the gate through which everything passes on its way to a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
import pyarrow as pa

from results.problems import ResultsError
from results.schema import FLAG, INTEGER, REAL, TEXT, TIME, Column, TableSchema

Row = Mapping[str, Any]


def to_table(schema: TableSchema, rows: Sequence[Row] | pa.Table) -> pa.Table:
    """`rows` as a table in the schema's columns and the order of its primary key.

    Raises ResultsError for an unknown or missing column, a value of another type (pyarrow alone would turn 1.5 into 1),
    a null where none may be, a value outside a column's choices or pattern, and two rows with one primary key.
    """
    records = rows.to_pylist() if isinstance(rows, pa.Table) else list(rows)
    for number, row in enumerate(records):
        _check_names(schema, number, row)
    columns = {
        column.name: [_checked(schema, column, n, row) for n, row in enumerate(records)] for column in schema.columns
    }
    order = _order(schema, columns, len(records))
    arrays = [pa.array([columns[field.name][i] for i in order], field.type) for field in schema.arrow]
    return pa.Table.from_arrays(arrays, schema=schema.arrow)


def _check_names(schema: TableSchema, number: int, row: Row) -> None:
    unknown = sorted(set(row) - set(schema.names))
    missing = [column.name for column in schema.columns if column.name not in row and not column.optional]
    if unknown or missing:
        problems = [
            f"{word} {', '.join(names)}" for word, names in (("unknown", unknown), ("missing", missing)) if names
        ]
        raise ResultsError(
            f"table {schema.name}, row {number}: {'; '.join(problems)}. Columns: {', '.join(schema.names)}"
        )


def _checked(schema: TableSchema, column: Column, number: int, row: Row) -> Any:
    value: Any = row.get(column.name)
    if value is None and column.nullable:
        return None
    if not _is(column.type, value):
        raise _refused(schema, column, number, value, f"expected {'text' if column.type == TEXT else column.type}")
    if column.choices and value not in column.choices:
        raise _refused(schema, column, number, value, f"expected one of {', '.join(column.choices)}")
    if column.pattern and not re.fullmatch(column.pattern, value):
        raise _refused(schema, column, number, value, f"expected text that matches {column.pattern}")
    if column.json:
        return _canonical(schema, column, number, value)
    return value


def _refused(schema: TableSchema, column: Column, number: int, value: object, expected: str) -> ResultsError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return ResultsError(f"table {schema.name}, row {number}, column {column.name}: {expected}, got {shown}")


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and -(2**63) <= int(value) < 2**63


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


_IS: dict[pa.DataType, Callable[[Any], bool]] = {
    INTEGER: _is_integer,
    REAL: _is_real,
    FLAG: lambda value: isinstance(value, (bool, np.bool_)),
    TEXT: lambda value: isinstance(value, str),
    TIME: lambda value: isinstance(value, datetime) and value.tzinfo is not None,
}


def _is(kind: pa.DataType, value: object) -> bool:
    if pa.types.is_list(kind):
        return isinstance(value, (list, tuple, np.ndarray)) and all(_is(kind.value_type, item) for item in value)
    return _IS[kind](value)


def _canonical(schema: TableSchema, column: Column, number: int, text: str) -> str:
    """The JSON object with sorted names and no spaces, so that equal settings are equal text."""
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise _refused(schema, column, number, text, "expected a JSON object")
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _order(schema: TableSchema, columns: Mapping[str, list[Any]], count: int) -> list[int]:
    keys = list(zip(*(columns[name] for name in schema.primary_key), strict=True))
    order = sorted(range(count), key=keys.__getitem__)
    for one, other in pairwise(order):
        if keys[one] == keys[other]:
            named = ", ".join(f"{name} {value}" for name, value in zip(schema.primary_key, keys[one], strict=True))
            raise ResultsError(f"table {schema.name}: rows {one} and {other} are both {named}")
    return order
