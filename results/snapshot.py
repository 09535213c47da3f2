"""A store as it was at one moment, over one connection: for whoever has many questions."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from results.result_store import ResultStore

if TYPE_CHECKING:
    import duckdb


class Snapshot(ResultStore):
    """`with Snapshot(store) as store:` reads the list of files once; whatever asks it shares the connection."""

    def __init__(self, store: ResultStore) -> None:
        self.__dict__.update(store.__dict__)
        self._connection = store.connect()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def connect(self, *experiments: str) -> duckdb.DuckDBPyConnection:
        """The one connection, which leaving a `with` does not close, and which has all experiments."""
        return cast("duckdb.DuckDBPyConnection", nullcontext(self._connection))

    def table(self, sql: str, **parameters: Any) -> pa.Table:
        from results.database import answer

        return answer(self._connection, sql, parameters)
