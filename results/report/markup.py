"""HTML of tables: captions, headings with a scope, numbers on the right, and the names by which rows are filtered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from results.formats import Grid, as_text

HEADINGS = {
    "low_95": "95 % interval",
    "std_episodes": "sd, episodes",
    "std_specs": "sd, specs",
    "std_splits": "sd, splits",
    "std_seeds": "sd, seeds",
    "paper_std": "paper’s sd",
    "in_mean": "in distribution",
    "out_mean": "out",
    "ours_relative": "ours, relative",
    "paper_relative": "paper, relative",
    "train_specs": "training specs",
    "test_specs": "test specs",
    "expert_recipe": "experts’ recipe",
}
_PAIRS = {"low_95": "high_95", "headroom_low_95": "headroom_high_95"}
"""Columns that are written as one interval."""


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    caption: str,
    *,
    decimals: Mapping[str, int] | None = None,
    filters: Sequence[Mapping[str, Any]] | None = None,
    titles: Mapping[str, str] | None = None,
    note: str = "",
) -> str:
    """A table in a box that scrolls sideways, with a caption.

    filters: per row, the names by which it is filtered (experiment, benchmark, method). titles: names for people, by
    method. note: what a person must know to read it.
    """
    grid = Grid(
        columns, [[_shown(name, cell, titles) for name, cell in zip(columns, row, strict=True)] for row in rows]
    )
    head = "".join(
        f'<th scope="col"{_class(numeric)}>{escape(HEADINGS.get(name, name.replace("_", " ")))}</th>'
        for name, numeric in zip(columns, grid.numeric, strict=True)
    )
    body = "".join(
        f"<tr{names}>{_cells(columns, row, grid.numeric, decimals or {})}</tr>"
        for names, row in zip(map(_attributes, filters or [{}] * len(rows)), grid.rows, strict=True)
    )
    described = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table><caption>'
        f"{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{described}"
    )


def grid_table(grid: Grid, filters: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """A printed table as HTML: intervals in one column, rows filtered by what they name."""
    at = {name: number for number, name in enumerate(grid.columns)}
    kept = [name for name in grid.columns if name not in _PAIRS.values()]
    rows = [[_value(grid, row, at, name) for name in kept] for row in grid.rows]
    of_rows = [
        {**filters, **{name: row[at[name]] for name in ("benchmark", "method") if name in at}} for row in grid.rows
    ]
    return table(
        kept, rows, grid.title, decimals=grid.decimals, filters=of_rows, titles=titles, note=" ".join(grid.notes)
    )


def interval(low: float | None, high: float | None, places: int) -> str:
    """Two numbers as one cell: 755 to 850."""
    return "–" if low is None or high is None else f"{as_text(low, places)} to {as_text(high, places)}"


def _value(grid: Grid, row: Sequence[Any], at: Mapping[str, int], name: str) -> Any:
    if name in _PAIRS:
        return interval(row[at[name]], row[at[_PAIRS[name]]], grid.decimals.get(name, 2))
    return row[at[name]]


def _shown(name: str, cell: Any, titles: Mapping[str, str] | None) -> Any:
    return (titles or {}).get(cell, cell) if name == "method" else cell


def _cells(columns: Sequence[str], row: Sequence[Any], numeric: Sequence[bool], decimals: Mapping[str, int]) -> str:
    texts = []
    for number, (name, cell) in enumerate(zip(columns, row, strict=True)):
        text = as_text(cell, decimals.get(name))
        shown = "–" if text == "-" else escape(text).replace("-", "−") if numeric[number] else escape(text)
        tag = 'th scope="row"' if not number else "td"
        right = numeric[number] or name in _PAIRS
        texts.append(f"<{tag}{_class(right)}>{shown}</{'th' if not number else 'td'}>")
    return "".join(texts)


def _class(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _attributes(names: Mapping[str, Any]) -> str:
    return "".join(f' data-{name}="{escape(str(value))}"' for name, value in names.items() if value is not None)
