"""Looks that all figures share: a style per method that colour-blind people tell apart, units, and one kind of band."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb, to_hex
from matplotlib.figure import Figure

from results.problems import ResultsError
from results.result_store import ResultStore

_PALETTE = {
    "#000000": ("--", "o"),
    "#D55E00": ("-", "o"),
    "#0072B2": ("-", "o"),
    "#CC79A7": ("-.", "o"),
    "#009E73": ("-.", "o"),
    "#E69F00": (":", "o"),
    "#56B4E9": (":", "o"),
    "#332288": ("-", "s"),
    "#882255": ("--", "^"),
    "#44AA99": ("-.", "D"),
    "#999933": (":", "s"),
    "#661100": ("-", "^"),
    "#999999": ("--", "D"),
    "#AA4499": ("-.", "s"),
    "#117733": (":", "^"),
    "#F0E442": ("-", "D"),
}
"""Line and marker of each colour: Okabe and Ito's palette, then colours of Paul Tol's muted one; the yellow is last."""

_LINES, _MARKERS = ("-", "--", "-.", ":"), ("v", "P", "X", "<", ">")

SUCCESS = "success rate (%)"
RETURN = "return (sum of rewards)"


@dataclass(frozen=True)
class Style:
    """Look of one method: its title, its colour (hexadecimal), and matplotlib's line style and marker."""

    title: str
    color: str
    line: str
    marker: str


def styles(store: ResultStore) -> dict[str, Style]:
    """Style of every method in `store` and in the paper, in the order in which methods are drawn.

    A method that names no colour gets one that no other method has. Two methods of one colour differ in line or
    marker, two of one title in the name behind it. A method looks the same in all figures of a store.
    """
    rows = store.table("SELECT method, title, upper(color) AS color FROM methods ORDER BY place(method)").to_pylist()
    titles = Counter(row["title"] for row in rows)
    colors = _unused({row["color"] for row in rows})
    forms, others = dict(_PALETTE), zip(cycle(_LINES), cycle(_MARKERS), strict=False)
    found = {}
    for row in rows:
        title = row["title"] if titles[row["title"]] == 1 else f"{row['title']} ({row['method']})"
        color = row["color"] or next(colors)
        line, marker = forms.pop(color) if color in forms else next(others)
        found[row["method"]] = Style(title, color, line, marker)
    return found


def _unused(named: set[str | None]) -> Iterator[str]:
    """Colours that are not `named`: the palette's, then hues a golden section apart, without end."""
    yield from (color for color in _PALETTE if color not in named)
    hues = (to_hex(hsv_to_rgb((n * 0.618034 % 1.0, 0.7, 0.7)).tolist()).upper() for n in count())
    yield from (color for color in hues if color not in named)


def canvas(panels: int, width: float = 4.2, height: float = 4.0) -> tuple[Figure, Sequence[Axes]]:
    """A figure with panels side by side."""
    figure = Figure(figsize=(width * panels, height), layout="constrained", dpi=150)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def curve(
    axes: Axes, style: Style, x: Sequence[float], mean: Sequence[float], deviation: Sequence[float] | None
) -> None:
    """A line with points, gaps where `mean` is NaN, and a band of one deviation (none where that is NaN or None)."""
    middle = np.asarray(mean, dtype=float)
    (line,) = axes.plot(x, middle, style.line, marker=style.marker, markersize=2.5, linewidth=1.4)
    line.set(color=style.color, label=style.title)
    if deviation is None:
        return
    half = np.asarray(deviation, dtype=float)
    axes.fill_between(x, middle - half, middle + half, color=style.color, alpha=0.15, linewidth=0)


def limit_returns(axes: Axes, means: pd.Series) -> None:
    """The same limits for all returns between 0 and 1000, where those of the paper's environments lie."""
    if means.dropna().between(0, 1000).all():
        axes.set_ylim(0, 1000)


def one_kind(store: ResultStore, experiment: str | None, condition: str) -> pd.DataFrame:
    """The runs for which the SQL `condition` holds: run, benchmark, method and split.

    Raises ResultsError where one method has runs on one benchmark that differ in more than their split: their mean
    would say nothing, and curves of the same name could not be told apart.
    """
    runs = store.frame(
        "SELECT * REPLACE (settings::VARCHAR AS settings) "
        f"FROM chosen_runs($experiment) WHERE {condition} ORDER BY run",
        experiment=experiment,
    )
    for (benchmark, method), group in runs.groupby(["benchmark", "method"]):
        differing = [name for name in group.columns if name not in ("run", "split") and group[name].nunique() > 1]
        if differing:
            raise ResultsError(
                f"the runs of {method} on {benchmark} differ in {', '.join(differing)}: name an experiment without a "
                "grid, or with one selection, with --experiment"
            )
    return runs[["run", "benchmark", "method", "split"]]


def our_means(store: ResultStore, experiment: str | None) -> dict[tuple[str, str], float]:
    """Table 1 as measured: mean return on the test specs by benchmark and method."""
    rows = store.frame(
        "SELECT benchmark, method, summary.mean AS mean FROM summaries($experiment, measure := 'return')",
        experiment=experiment,
    )
    return {(row.benchmark, row.method): row.mean for row in rows.itertuples()}


def paper_means(store: ResultStore) -> dict[tuple[str, str], float]:
    """The paper's table 1: mean return by benchmark and method."""
    rows = store.frame("SELECT benchmark, method, value FROM paper WHERE \"table\" = 'table1'")
    return {(row.benchmark, row.method): row.value for row in rows.itertuples()}
