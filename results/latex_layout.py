"""The paper's layout of a table: a row per method, a column per benchmark, the best in bold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from results.formats import Grid, as_text, escaped, latex

Column = tuple[str, str]
"""Benchmark and metric."""

_VALUES = ("ours", "mean")
_REFERENCE = "expert"
_BETTER: Mapping[str, Callable[[list[float]], float]] = {
    "return": max,
    "success": max,
    "steps": min,
    "epochs": min,
    "loss": min,
}
"""The best of a column, by its metric; where it has no such word, none is best."""


def paper_layout(grid: Grid, titles: Mapping[str, str]) -> str:
    """A LaTeX tabular for booktabs with methods by their `titles`, benchmarks grouped by environment, and our numbers.

    The best of each column, the experts aside, is bold: the most return and success, the fewest steps and epochs, the
    least loss; of any other metric, none.
    A table whose rows are not one per method, benchmark and metric is a plain tabular, as is one without measured rows.
    """
    value = next((name for name in _VALUES if name in grid.columns), None)
    if value is None or not {"method", "benchmark"} <= set(grid.columns):
        return latex(grid)
    at = {name: number for number, name in enumerate(grid.columns)}
    measured = [row for row in grid.rows if row[at[value]] is not None]
    metric_of = (lambda row: row[at["metric"]]) if "metric" in at else (lambda row: grid.metric)
    cells = {(row[at["method"]], (row[at["benchmark"]], metric_of(row))): row[at[value]] for row in measured}
    if not cells:
        return latex(grid)
    if len(cells) < len(measured):
        several = "% Several rows of one method on one benchmark: methods by benchmarks need a table without a grid.\n"
        return several + latex(grid)
    lines = [f"% {note}" for note in (grid.title, *grid.notes) if note]
    return "\n".join([*lines, *_tabular(cells, titles, grid.decimals.get(value, 2))]) + "\n"


def _tabular(cells: Mapping[tuple[str, Column], float], titles: Mapping[str, str], places: int) -> list[str]:
    methods = list(dict.fromkeys(method for method, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    best = {column: _best(cells, column) for column in columns}
    lines = [f"\\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule", *_head(columns), r"\midrule"]
    for method in sorted(methods, key=lambda name: name != _REFERENCE):
        texts = [_cell(cells.get((method, column)), best[column], method, places) for column in columns]
        lines.append(" & ".join([escaped(titles.get(method, method)), *texts]) + r" \\")
        if method == _REFERENCE and len(methods) > 1:
            lines.append(r"\midrule")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _best(cells: Mapping[tuple[str, Column], float], column: Column) -> float | None:
    values = [value for (method, where), value in cells.items() if where == column and method != _REFERENCE]
    choose = _BETTER.get(column[1])
    return choose(values) if values and choose else None


def _cell(value: float | None, best: float | None, method: str, places: int) -> str:
    shown = as_text(value, places)
    return f"\\textbf{{{shown}}}" if value is not None and value == best and method != _REFERENCE else shown


def _head(columns: Sequence[Column]) -> list[str]:
    """Environments over their contexts, and over metrics where there are several."""
    names = [benchmark.partition("-") for benchmark, _ in columns]
    groups = [(environment, len(list(of))) for environment, of in groupby(name[0] for name in names)]
    above, rules, column = [], [], 2
    for environment, count in groups:
        title = escaped(environment.replace("_", " ").capitalize())
        above.append(f"\\multicolumn{{{count}}}{{c}}{{{title}}}")
        rules.append(f"\\cmidrule(lr){{{column}-{column + count - 1}}}")
        column += count
    several = len({metric for _, metric in columns}) > 1
    labels = [
        escaped(f"{context}, {metric}" if several else context)
        for (_, _, context), (_, metric) in zip(names, columns, strict=True)
    ]
    return [" & ".join(["", *above]) + r" \\", " ".join(rules), " & ".join(["Method", *labels]) + r" \\"]
