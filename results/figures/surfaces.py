"""Figure 7: return over speed and length, one surface per environment and method."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from results.figures.panels import Panel, among, panels
from results.figures.specs import ENVIRONMENTS, spec_means
from results.figures.style import RETURN, one_kind, our_means, paper_means, styles
from results.result_store import ResultStore

_SCALE = Normalize(0, 1000)
_COLOURS = "viridis"


def surfaces(store: ResultStore, experiment: str | None) -> Figure:
    """A row per environment, a column per method that has rows; colour and height are the mean return."""
    benchmarks = [f"{environment}-speed-length" for environment in ENVIRONMENTS]
    rows = panels(store, experiment, benchmarks, "context = 'speed-length' AND score = 'return'")
    points = spec_means(store, one_kind(store, experiment, among(rows)))
    points, ours, paper = points[points.role == "test"], our_means(store, experiment), paper_means(store)
    looks = styles(store)
    methods = [method for method in looks if (points.method == method).any()] or _first_learner(looks)
    figure = Figure(figsize=(3.1 * len(methods) + 0.8, 3.3 * len(rows)), dpi=150)
    for number, (panel, method) in enumerate(product(rows, methods), start=1):
        axes = figure.add_subplot(len(rows), len(methods), number, projection="3d")
        key = (panel.benchmark, method)
        means = [f"{who} {mean[key]:.0f}" for who, mean in (("ours", ours), ("paper", paper)) if key in mean]
        axes.set_title(f"{panel.title}, {looks[method].title}: {', '.join(means)}", fontsize=8)
        _surface(axes, points[(points.benchmark == panel.benchmark) & (points.method == method)], panel)
    figure.subplots_adjust(left=0.02, right=0.90, bottom=0.05, top=0.92, wspace=0.12, hspace=0.22)
    bar = figure.add_axes((0.94, 0.25, 0.012, 0.5))
    figure.colorbar(ScalarMappable(_SCALE, _COLOURS), cax=bar, label=RETURN)
    return figure


def _first_learner(methods: Iterable[str]) -> list[str]:
    """The column of a figure without rows."""
    return [method for method in methods if method != "expert"][:1]


def _surface(axes: Any, points: pd.DataFrame, panel: Panel) -> None:
    """`points` as a surface with a dot per spec; specs that were never tested are holes."""
    if points.empty:
        axes.set_axis_off()
        axes.text2D(0.5, 0.5, "no rows", transform=axes.transAxes, ha="center", color="grey")
        return
    grid = points.pivot(index="y", columns="x", values="mean")
    x, y = np.meshgrid(grid.columns.to_numpy(), grid.index.to_numpy())
    if min(grid.shape) > 1:
        axes.plot_surface(x, y, grid.to_numpy(), cmap=_COLOURS, norm=_SCALE, linewidth=0, alpha=0.8)
    axes.scatter(
        points.x, points.y, points["mean"], c=points["mean"], cmap=_COLOURS, norm=_SCALE, s=5, depthshade=False
    )
    axes.set_zlim(0, 1000)
    axes.set_xlabel(panel.label(0), fontsize=7)
    axes.set_ylabel(panel.label(1), fontsize=7)
    axes.tick_params(labelsize=6)
    axes.view_init(elev=25, azim=-125)
