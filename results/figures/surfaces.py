"""Figure 7: return over speed and length, one surface an environment and method."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from results.figures.specs import spec_means
from results.figures.style import ENVIRONMENTS, METHODS, RETURN, axis_label, one_kind, our_means, paper_means
from results.result_store import ResultStore

_SCALE = Normalize(0, 1000)
_COLOURS = "viridis"


def surfaces(store: ResultStore, experiment: str | None) -> Figure:
    """A row an environment, a column a method that has rows; colour and height are the mean return on a test spec."""
    benchmarks = ", ".join(f"'{environment}-speed-length'" for environment in ENVIRONMENTS)
    points = spec_means(store, one_kind(store, experiment, f"benchmark IN ({benchmarks})"))
    points, ours, paper = points[points.role == "test"], our_means(store, experiment), paper_means(store)
    methods = [method for method in METHODS if method in set(points.method)] or ["hypogen"]
    figure = Figure(figsize=(3.1 * len(methods) + 0.8, 3.3 * len(ENVIRONMENTS)), dpi=150)
    for row, environment in enumerate(ENVIRONMENTS):
        for column, method in enumerate(methods):
            place = row * len(methods) + column + 1
            axes = figure.add_subplot(len(ENVIRONMENTS), len(methods), place, projection="3d")
            here = points[(points.environment == environment) & (points.method == method)]
            name, key = f"{ENVIRONMENTS[environment]}, {METHODS[method][0]}", (f"{environment}-speed-length", method)
            means = [f"{who} {mean[key]:.0f}" for who, mean in (("ours", ours), ("paper", paper)) if key in mean]
            axes.set_title(f"{name}: {', '.join(means)}", fontsize=8)
            _surface(axes, here, environment)
    figure.subplots_adjust(left=0.02, right=0.90, bottom=0.05, top=0.92, wspace=0.12, hspace=0.22)
    bar = figure.add_axes((0.94, 0.25, 0.012, 0.5))
    figure.colorbar(ScalarMappable(_SCALE, _COLOURS), cax=bar, label=RETURN)
    return figure


def _surface(axes: Any, points: pd.DataFrame, environment: str) -> None:
    """`points` as a surface with a dot a spec; specs that were never tested are holes."""
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
    axes.set_xlabel(axis_label(environment, "speed"), fontsize=7)
    axes.set_ylabel(axis_label(environment, "length"), fontsize=7)
    axes.tick_params(labelsize=6)
    axes.view_init(elev=25, azim=-125)
