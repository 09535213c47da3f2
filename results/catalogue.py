"""The tables that can be printed: one .sql file each under tables/, its first line a comment with the title."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow as pa

from results.errors import unknown
from results.formats import Grid, formatted
from results.statistics import Summary
from results.store import ResultStore

_FOLDER = Path(__file__).with_name("tables")
# Shown only where they tell rows apart; where all rows agree, the value stands above the table instead.
_CONDITIONS = (
    "expert_recipe",
    "expert",
    "split_kind",
    "train_specs",
    "test_specs",
    "epochs",
    "batch_size",
    "learning_rate",
    "selection",
)
_DECIMALS = {name: 2 for name, kind in get_type_hints(Summary).items() if kind is not int}
_LEGEND = (
    "std_episodes, std_specs, std_splits: sample deviation over a spec's episodes, over a split's specs, over splits.",
    "low_95, high_95: bootstrap interval of the mean. in_mean, out_mean: specs in and out of distribution.",
)

Row = dict[str, Any]


def titles() -> dict[str, str]:
    """What each table shows, by name."""
    return {path.stem: _title(path.read_text()) for path in sorted(_FOLDER.glob("*.sql"))}


def render(name: str, store: ResultStore, *, experiment: str | None = None, format: str = "text") -> str:
    """The table `name` of `store`, of one experiment or of everything in it, in one of formats.FORMATS.

    A table without rows has a header and says so. Raises ResultsError for an unknown table, experiment or format.
    """
    return formatted(grid(name, store, experiment=experiment), format)


def grid(name: str, store: ResultStore, *, experiment: str | None = None) -> Grid:
    """The same as values. Conditions that all rows share become notes; of the settings, those that differ are left."""
    path = _FOLDER / f"{name}.sql"
    if name not in titles():
        raise unknown("table", name, titles())
    if experiment is not None:
        _require_experiment(store, experiment)
    sql = path.read_text()
    answer = store.table(sql, experiment=experiment)
    values = zip(*map(_values, answer.columns), strict=True)
    rows = [dict(zip(answer.column_names, row, strict=True)) for row in values]
    columns, shared = _telling(answer.column_names, _with_differing_settings(rows))
    title = _title(sql) + (f", experiment {experiment}" if experiment else "")
    notes = [*([f"Conditions: {', '.join(shared)}."] if shared else []), *_LEGEND] if rows else _scope(sql)
    return Grid(columns, [[row[column] for column in columns] for row in rows], title, notes, _DECIMALS)


def plain_grid(answer: pa.Table) -> Grid:
    """The answer to any query, as it came; two columns may have one name."""
    return Grid(answer.column_names, list(zip(*map(_values, answer.columns), strict=True)))


def _title(sql: str) -> str:
    return sql.partition("\n")[0].removeprefix("--").strip()


def _scope(sql: str) -> list[str]:
    """The rest of the opening comment: which runs the table takes."""
    comments = takewhile(lambda line: line.startswith("--"), sql.splitlines()[1:])
    return [line.removeprefix("--").strip() for line in comments]


def _require_experiment(store: ResultStore, experiment: str) -> None:
    known = store.table("SELECT DISTINCT experiment FROM experiments ORDER BY ALL").column(0).to_pylist()
    if experiment not in known:
        raise unknown("experiment", experiment, known)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Its values, maps as dicts: pyarrow gives them as lists of pairs."""
    values = column.to_pylist()
    if not pa.types.is_map(column.type):
        return values
    return [None if value is None else dict(value) for value in values]


def _with_differing_settings(rows: Sequence[Row]) -> Sequence[Row]:
    """Leaves in each row's `settings` those that tell it from another generator's (or another expert's) row of its
    benchmark. A setting that only other methods have tells nothing; one that another row of its method lacks does."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["benchmark"], row["method"] == "expert"].append(row)
    for group in groups.values():
        telling = _differing(group)
        for row in group:
            row["settings"] = {name: value for name, value in row["settings"].items() if name in telling}
    return rows


def _differing(rows: Sequence[Row]) -> set[str]:
    values, methods = defaultdict(set), defaultdict(list)
    for row in rows:
        methods[row["method"]].append(set(row["settings"]))
        for name, value in row["settings"].items():
            values[name].add(value)
    several = {name for name, found in values.items() if len(found) > 1}
    sometimes = {name for names in methods.values() for name in set.union(*names) - set.intersection(*names)}
    return {name for name in several | sometimes if not _has_column(name)}


def _has_column(setting: str) -> bool:
    return setting.removeprefix("training.").replace("split.kind", "split_kind") in _CONDITIONS


def _telling(columns: Sequence[str], rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """The columns to show, and the conditions that all rows share, as text."""
    hidden, shared = set(), []
    for name in (column for column in columns if column in _CONDITIONS):
        values = {
            method: {row[name] for row in rows if (row["method"] == "expert") == method} for method in (True, False)
        }
        if all(len(found) <= 1 for found in values.values()):
            hidden.add(name)
            common = values[False] or values[True]
            shared += [f"{name} {value}" for value in common if value is not None and name != "expert"]
    if not any(row["settings"] for row in rows):
        hidden.add("settings")
    return [column for column in columns if column not in hidden], shared
