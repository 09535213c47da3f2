"""Measurements: the tables of runs and episodes, their statistics, and the paper's tables as SQL.

    store = ResultStore("runs/results")            # or "s3://bucket/runs/results"
    store.write("episodes", key, rows)             # one Parquet file per writer
    store.frame("SELECT method, avg(return) FROM episodes JOIN runs USING (run) GROUP BY method")
    print(render("main", store, experiment="quickstart"))

Names load when first used, so that `hypogen results --help` answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.catalogue import render
    from results.problems import ResultsError
    from results.result_store import ResultStore
    from results.schema import TABLES
    from results.table_files import check_table, titles

__all__ = ["TABLES", "ResultStore", "ResultsError", "check_table", "render", "titles"]

_HOMES = {
    "TABLES": "results.schema",
    "ResultStore": "results.result_store",
    "ResultsError": "results.problems",
    "render": "results.catalogue",
    "check_table": "results.table_files",
    "titles": "results.table_files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'results' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
