"""Figure 7: return over speed and length, one surface per environment and method."""

from __future__ import annotations

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
_CELL = (3.2, 3.2)
"""Width and height of one surface, in inches."""
_MARGIN, _HEAD = 1.3, 0.75
"""Inches for the scale on the right, and for the title above."""


def surfaces(store: ResultStore, experiment: str | None) -> Figure | None:
    """A row per environment and a column per method that have rows; colour and height are the mean return."""
    benchmarks = [f"{environment}-speed-length" for environment in ENVIRONMENTS]
    among_them = panels(store, experiment, benchmarks, "context = 'speed-length' AND score = 'return'")
    points = spec_means(store, one_kind(store, experiment, among(among_them)))
    points, ours, paper = points[points.role == "test"], our_means(store, experiment), paper_means(store)
    rows = [panel for panel in among_them if (points.benchmark == panel.benchmark).any()]
    if not rows:
        return None
    looks = styles(store)
    methods = [method for method in looks if (points.method == method).any()]
    width, height = _CELL[0] * len(methods) + _MARGIN, _CELL[1] * len(rows) + _HEAD
    figure = Figure(figsize=(width, height), dpi=150)
    for number, (panel, method) in enumerate(product(rows, methods), start=1):
        axes = figure.add_subplot(len(rows), len(methods), number, projection="3d")
        key = (panel.benchmark, method)
        means = [f"{who} {mean[key]:.0f}" for who, mean in (("ours", ours), ("paper", paper)) if key in mean]
        axes.set_title(f"{panel.title}, {looks[method].title}\n{', '.join(means)}", fontsize=8, y=0.96)
        _surface(axes, points[(points.benchmark == panel.benchmark) & (points.method == method)], panel)
    right = 1 - _MARGIN / width
    figure.subplots_adjust(left=0.03, right=right, bottom=0.22 / height, top=1 - _HEAD / height, wspace=0.1, hspace=0.1)
    bar = figure.add_axes((right + 0.3 / width, 0.2, 0.13 / width, 0.5))
    figure.colorbar(ScalarMappable(_SCALE, _COLOURS), cax=bar).set_label(RETURN, fontsize=8)
    bar.tick_params(labelsize=8)
    return figure


def _surface(axes: Any, points: pd.DataFrame, panel: Panel) -> None:
    """`points` as a surface with a dot per spec; specs that were never tested are holes."""
    if points.empty:  # another environment has rows of this method
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
    axes.set_xlabel(panel.label(0), fontsize=7, labelpad=-4)
    axes.set_ylabel(panel.label(1), fontsize=7, labelpad=-2)
    axes.locator_params(axis="both", nbins=5)  # ticks stay apart from each other and from the labels
    axes.tick_params(labelsize=6, pad=-2)
    axes.set_box_aspect(None, zoom=0.84)
    axes.view_init(elev=25, azim=-125)
