"""What the figures share: colours that colour-blind people tell apart, names, units, and one way to draw a band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.problems import ResultsError
from results.result_store import ResultStore

METHODS = {
    "expert": ("Expert", "#000000", "--"),
    "hypogen": ("HyPoGen", "#D55E00", "-"),
    "hyperzero": ("HyperZero", "#0072B2", "-"),
    "pearl": ("PEARL", "#CC79A7", "-."),
    "meta_policy": ("Meta Policy", "#009E73", "-."),
    "uvfa": ("UVFA", "#E69F00", ":"),
    "cond_policy": ("Cond Policy", "#56B4E9", ":"),
}
"""Name, colour (Okabe and Ito's palette) and line of each method, in the order in which they are drawn."""

ENVIRONMENTS = {"cheetah": "Cheetah", "finger": "Finger", "walker": "Walker"}
"""The panels of figures 5 to 7, in the paper's order."""

MANISKILL = {
    "cube-size": "cube's half size (m)",
    "stiffness": "stiffness of the arm's joints",
    "damping": "damping of the arm's joints",
    "arm-length": "arm length (ratio)",
}
"""The panels of figures 8 and 9 with their axes, in the paper's order."""

SUCCESS = "success rate (%)"
RETURN = "return (sum of rewards)"


def axis_label(environment: str, variable: str) -> str:
    """A variable of the context with its unit."""
    unit = {"speed": "rad/s" if environment == "finger" else "m/s", "length": "m"}[variable]
    return f"{'torso length' if variable == 'length' else 'desired speed'} ({unit})"


def canvas(panels: int, width: float = 4.2, height: float = 4.0) -> tuple[Figure, Sequence[Axes]]:
    """A figure with panels side by side."""
    figure = Figure(figsize=(width * panels, height), layout="constrained", dpi=150)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def curve(axes: Axes, method: str, x: Sequence[float], mean: Sequence[float], deviation: Sequence[float]) -> None:
    """A line with points, gaps where `mean` is NaN, and a band of one deviation (none where that is NaN)."""
    label, colour, line = METHODS[method]
    middle, half = np.asarray(mean, dtype=float), np.asarray(deviation, dtype=float)
    axes.plot(x, middle, line, color=colour, marker="o", markersize=2.5, linewidth=1.4, label=label)
    axes.fill_between(x, middle - half, middle + half, color=colour, alpha=0.15, linewidth=0)


def empty(axes: Axes) -> None:
    """Say that there is nothing to draw."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, "no rows", ha="center", va="center", transform=axes.transAxes, color="grey")


def one_kind(store: ResultStore, experiment: str | None, condition: str) -> pd.DataFrame:
    """The runs for which the SQL `condition` holds: run, benchmark, environment, method and split.

    Raises ResultsError where one method has runs on one benchmark that differ in more than their split: their mean
    would say nothing, and curves of the same name could not be told apart.
    """
    runs = store.frame(
        "SELECT * REPLACE (settings::VARCHAR AS settings), split_part(benchmark, '-', 1) AS environment "
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
    return runs[["run", "benchmark", "environment", "method", "split"]]


def our_means(store: ResultStore, experiment: str | None) -> dict[tuple[str, str], float]:
    """Table 1 as measured: mean return on the test specs by benchmark and method."""
    rows = store.frame(
        "SELECT benchmark, method, summary.mean AS mean FROM summaries($experiment)", experiment=experiment
    )
    return {(row.benchmark, row.method): row.mean for row in rows.itertuples()}


def paper_means(store: ResultStore) -> dict[tuple[str, str], float]:
    """The paper's table 1: mean return by benchmark and method."""
    rows = store.frame("SELECT benchmark, method, value FROM paper WHERE \"table\" = 'table1'")
    return {(row.benchmark, row.method): row.value for row in rows.itertuples()}
