"""Tables that fit a page or a terminal: which columns give way, and cells and notes that go over several lines."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence

from results.formats import Grid, text
from results.statistics import Comparison, Headroom, Rank, Summary

WIDTH = 100
"""Characters of a line of text that everybody's terminal has."""

_GIVE_WAY = (
    *("std_episodes", "std_seeds", "std_specs", "std_splits", "paper_std", "failed", "improvement_low_95"),
    *("improvement_high_95", "headroom_unclear", "best_splits", "headroom_low_95", "headroom_high_95", "test_specs"),
    *("train_specs", "batch_size", "few_shot", "device", "episodes", "specs", "seeds", "splits", "pairs", "metric"),
    *("split_kind", "expert", "expert_recipe", "learning_rate", "rank_low_95", "rank_high_95", "epochs", "selection"),
    *("ratio", "t_low_95", "t_high_95", "headroom", "in_mean", "out_mean", "ours_relative", "paper_relative"),
    *("seconds", "difference"),
)
"""Columns that are left out, one after the other, until the rest fits; one that alone tells two rows apart stays."""

_MEASURED = {
    *(name for kind in (Summary, Comparison, Headroom, Rank) for name in kind.__annotations__),
    *("ours", "ours_relative", "paper", "paper_std", "paper_relative", "failed", "share", "seconds", "device"),
}
"""Columns that hold what was measured of a row, and not what the row is about."""

_WRAPPED = ("settings", "settings_a", "settings_b")
_LEAST = 24
"""Characters of a column of settings at least."""


def fitted(grid: Grid, width: int = WIDTH) -> Grid:
    """`grid` in lines of `width` characters: settings go over several lines, and columns that matter less are left out.

    A note names those. A table whose other columns alone are wider stays so.
    """
    left_out: list[str] = []
    asked_for = {"difference"} if "mean_a" in grid.columns else set()  # it is what a comparison is about
    narrow, about = _with_settings_wrapped(grid, width), _about(grid)
    for name in (name for name in _GIVE_WAY if name in grid.columns and name not in asked_for):
        if _width(narrow) <= width:
            break
        rest = {other: cells for other, cells in about.items() if other != name}
        if _distinct(rest) == _distinct(about):
            about = rest
            left_out.append(name)
            narrow = _with_settings_wrapped(_without(grid, left_out), width)
    notes = [note for note in grid.notes if note.partition(": ")[0].split(", ")[0] not in left_out]
    if left_out:
        named = ", ".join(name for name in grid.columns if name in left_out)
        notes.append(f"Left out, to fit {width} columns: {named}. --all has everything.")
    wrapped = [line for note in _sentences(notes) for line in textwrap.wrap(note, width) or [""]]
    return dataclasses.replace(narrow, title="\n".join(textwrap.wrap(grid.title, width)), notes=wrapped)


def _about(grid: Grid) -> dict[str, list[str]]:
    """The columns that say what a row is about, by name."""
    texts = grid.texts
    return {name: [row[n] for row in texts] for n, name in enumerate(grid.columns) if name not in _MEASURED}


def _distinct(about: dict[str, list[str]]) -> int:
    """Number of rows that these columns tell apart."""
    return len(set(zip(*about.values(), strict=True)))


def _sentences(notes: Sequence[str]) -> list[str]:
    """Notes of which each ends where a sentence does."""
    whole: list[str] = []
    for note in notes:
        if whole and not whole[-1].endswith("."):
            whole[-1] += f" {note}"
        else:
            whole.append(note)
    return whole


def _without(grid: Grid, names: Sequence[str]) -> Grid:
    kept = [number for number, name in enumerate(grid.columns) if name not in names]
    rows = [[row[number] for number in kept] for row in grid.rows]
    return dataclasses.replace(grid, columns=[grid.columns[number] for number in kept], rows=rows)


def _with_settings_wrapped(grid: Grid, width: int) -> Grid:
    """Settings in what the other columns leave, shared out evenly."""
    wide = [name for name in grid.columns if name in _WRAPPED]
    if not wide or _width(grid) <= width:
        return grid
    others = _width(_without(grid, wide))
    each = max(_LEAST, (width - others) // len(wide) - 2)
    return dataclasses.replace(grid, widths=dict.fromkeys(wide, each))


def _width(grid: Grid) -> int:
    """Characters of the widest line below title and notes."""
    bare = dataclasses.replace(grid, title="", notes=())
    return max(map(len, text(bare).splitlines()))
