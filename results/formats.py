"""A table as text, Markdown, LaTeX or CSV. Empty cells (None) are a dash, in CSV nothing; never a zero."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from results.problems import unknown


@dataclass(frozen=True)
class Grid:
    """A table to print: rows of plain values under `columns`.

    Attributes:
        decimals: Of a column, where it has a fixed number.
        widths: Characters of a column of text, where its cells go over several lines.
        metric: What all rows measure, where they have one metric and no column says so.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    notes: Sequence[str] = ()
    decimals: Mapping[str, int] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    metric: str = ""

    @property
    def texts(self) -> list[list[str]]:
        """Every cell as a person reads it."""
        digits = [self.decimals.get(name) for name in self.columns]
        return [[as_text(value, places) for value, places in zip(row, digits, strict=True)] for row in self.rows]

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers, and nothing else but gaps: to be aligned on the right."""
        values = [[row[i] for row in self.rows if row[i] is not None] for i in range(len(self.columns))]
        return [bool(column) and all(map(_is_number, column)) for column in values]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def as_text(value: object, decimals: int | None = None) -> str:
    """One value for a person: floats with `decimals` places or six digits, lists and maps by their items."""
    if value is None or value == {}:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if decimals is None else f"{value:.{decimals}f}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={as_text(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(as_text(item) for item in value)}]"
    return str(value)


def text(grid: Grid) -> str:
    """Columns aligned by spaces, numbers on the right."""
    cells = [[" ".join(cell.split()) for cell in row] for row in grid.texts]
    lines_of = [
        [_broken(cell, grid.widths.get(name)) for name, cell in zip(grid.columns, row, strict=True)] for row in cells
    ]
    widths = [
        max([len(name), *(len(part) for row in lines_of for part in row[number])])
        for number, name in enumerate(grid.columns)
    ]
    pads = [str.rjust if numeric else str.ljust for numeric in grid.numeric]

    def line(row: Sequence[str]) -> str:
        return "  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)).rstrip()

    above = [*([grid.title] if grid.title else []), *grid.notes]
    lines = [*above, *([""] if above else []), line(grid.columns), "  ".join("-" * width for width in widths)]
    body = [line(parts) for row in lines_of for parts in zip_longest(*row, fillvalue="")]
    return "\n".join([*lines, *body, *([] if cells else ["(no rows)"])]) + "\n"


def _broken(cell: str, width: int | None) -> list[str]:
    """A cell in lines of so many characters, where it has a width; never within a word."""
    return (width and textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False)) or [cell]


def markdown(grid: Grid) -> str:
    """A pipe table, with the title in bold and the notes above it."""

    def line(row: Sequence[str]) -> str:
        return (
            "| " + " | ".join(" ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|") for cell in row) + " |"
        )

    rule = "| " + " | ".join("---:" if numeric else "---" for numeric in grid.numeric) + " |"
    above = [*([f"**{grid.title}**", ""] if grid.title else []), *(part for note in grid.notes for part in (note, ""))]
    return "\n".join([*above, line(grid.columns), rule, *map(line, grid.texts)]) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{special: f"\\{special}" for special in "&%$#_{}"},
}


def escaped(cell: str) -> str:
    """Text for LaTeX."""
    return "".join(_LATEX.get(character, character) for character in " ".join(cell.split()))


def latex(grid: Grid) -> str:
    """A tabular with the rules of the booktabs package; title and notes are comments."""

    def line(row: Sequence[str]) -> str:
        return " & ".join(map(escaped, row)) + r" \\"

    alignment = "".join("r" if numeric else "l" for numeric in grid.numeric)
    above = [f"% {note}" for note in (grid.title, *grid.notes) if note]
    body = [r"\toprule", line(grid.columns), r"\midrule", *map(line, grid.texts), r"\bottomrule"]
    return "\n".join([*above, f"\\begin{{tabular}}{{{alignment}}}", *body, r"\end{tabular}"]) + "\n"


def comma_separated(grid: Grid) -> str:
    """CSV with every digit, settings as JSON, nothing where there is no value, and neither title nor notes."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(grid.columns)
    writer.writerows([["" if value is None or value == {} else _exact(value) for value in row] for row in grid.rows])
    return sink.getvalue()


def _exact(value: object) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True)
    return repr(value) if isinstance(value, float) else as_text(value)


FORMATS: dict[str, Callable[[Grid], str]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
    "csv": comma_separated,
}


def formatted(grid: Grid, name: str) -> str:
    """`grid` in the format called `name`. Raises ResultsError for one that is not among FORMATS."""
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)
    return FORMATS[name](grid)
