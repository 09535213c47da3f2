"""Figures 4, 5, 6, 8 and 9: return or success rate against one variable of the context, a curve per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.figures.panels import Panel, among, panels
from results.figures.style import (
    RETURN,
    SUCCESS,
    Style,
    canvas,
    curve,
    limit_returns,
    one_kind,
    our_means,
    paper_means,
    styles,
)
from results.result_store import ResultStore
from results.training_specs import training_specs

Key = tuple[str, str]
"""Benchmark and method."""

ENVIRONMENTS = ("cheetah", "finger", "walker")
"""The first panels of figures 5 to 7, in the paper's order."""

_IN_LEGEND = 8
"""Methods that a legend below a panel has space for; more methods make the figure higher."""

_BANDS = 4
"""Curves whose bands can still be told apart in one panel; more have a small panel each below it."""

_TRAINED = "training specs, a row per split"

_CONTEXTS = ("cube-size", "stiffness", "damping", "arm-length")
"""The first panels of figures 8 and 9, in the paper's order."""


def speeds(store: ResultStore, experiment: str | None) -> Figure | None:
    """Figure 5: the test specs of every split, by environment."""
    return _panels(store, experiment, "speed")


def lengths(store: ResultStore, experiment: str | None) -> Figure | None:
    """Figure 6."""
    return _panels(store, experiment, "length")


def extrapolation(store: ResultStore, experiment: str | None) -> Figure | None:
    """Figure 4: an explicit split of cheetah-speed, training specs included and marked; the experts on the same."""
    where = (
        "benchmark = 'cheetah-speed' AND (split_kind = 'explicit' OR method = 'expert' AND expert IN "
        "(SELECT expert FROM runs WHERE benchmark = 'cheetah-speed' AND split_kind = 'explicit'))"
    )
    points = spec_means(store, one_kind(store, experiment, where))
    learners = points[points.method != "expert"]
    points = points[points.x.isin(learners.x)]
    if points.empty:
        return None
    figure, (axes,) = canvas(1, width=6.0)
    _curves(axes, points, styles(store))
    for number, speed in enumerate(sorted(set(learners[learners.role == "train"].x))):
        label = None if number else "training speeds"
        axes.axvline(speed, color="grey", linewidth=6, alpha=0.25, zorder=0, label=label)
    (panel,) = panels(store, experiment, ["cheetah-speed"], "false")
    _finish(axes, panel, points)
    axes.legend(fontsize=8)
    return figure


def lift(store: ResultStore, experiment: str | None) -> Figure | None:
    """Figure 8: the four contexts of LiftCube."""
    return _successes(store, experiment, "liftcube")


def pick(store: ResultStore, experiment: str | None) -> Figure | None:
    """Figure 9."""
    return _successes(store, experiment, "pickcube")


def spec_means(store: ResultStore, runs: pd.DataFrame, column: str = "return") -> pd.DataFrame:
    """One row per benchmark, method, role and spec: mean and sample deviation of a column over all splits' episodes.

    Columns: benchmark, method, role, x (the spec's first coordinate), y (its second, NaN where there is
    none), mean, deviation (NaN for one episode), episodes.
    """
    episodes = store.frame(f'SELECT run, spec, role, episode, "{column}"::DOUBLE AS value FROM episodes ORDER BY ALL')
    joined = episodes.merge(runs, on="run")
    joined["x"] = [float(spec[0]) for spec in joined.spec]
    joined["y"] = [float(spec[1]) if len(spec) > 1 else float("nan") for spec in joined.spec]
    keys = ["benchmark", "method", "role", "x", "y"]
    grouped = joined.groupby(keys, dropna=False).value.agg(["mean", "std", "count"]).reset_index()
    return grouped.rename(columns={"std": "deviation", "count": "episodes"})


def _panels(store: ResultStore, experiment: str | None, variable: str) -> Figure | None:
    """Returns on the test specs with the mean over them, a column per environment that has rows.

    Where a column has more than _BANDS curves, each has a small panel for its band below the panel of all means.
    """
    benchmarks = [f"{environment}-{variable}" for environment in ENVIRONMENTS]
    among_them = panels(store, experiment, benchmarks, f"context = '{variable}' AND score = 'return'")
    runs = one_kind(store, experiment, among(among_them))
    points = spec_means(store, runs)
    points = points[points.role == "test"]
    shown = _with_rows(among_them, points)
    if not shown:
        return None
    trained = _trained(store, runs)
    figure, columns = _columns(points.groupby("benchmark").method.nunique().reindex([p.benchmark for p in shown]))
    ours, paper, looks = our_means(store, experiment), paper_means(store), styles(store)
    for (axes, facets), panel in zip(columns, shown, strict=True):
        here, marks = (frame[frame.benchmark == panel.benchmark] for frame in (points, trained))
        methods = _curves(axes, here, looks, bands=not facets)
        _finish(axes, panel, here)
        _mark(axes, marks)
        _label_means(axes, [(panel.benchmark, method) for method in methods], ours, paper)
        for small, method in zip(facets, methods, strict=False):
            _facet(small, here, method, looks, axes.get_ylim())
            _mark(small, marks)
    return figure


def _with_rows(among_them: Sequence[Panel], points: pd.DataFrame) -> list[Panel]:
    return [panel for panel in among_them if (points.benchmark == panel.benchmark).any()]


def _columns(curves: pd.Series) -> tuple[Figure, list[tuple[Axes, list[Axes]]]]:
    """A figure, and per entry of `curves` the panel of all curves, and the small ones (none, or one a curve)."""
    rows = max((-(-int(count) // 2) for count in curves if count > _BANDS), default=0)
    height = 4.0 + 0.08 * max(0, int(curves.max()) - _IN_LEGEND) + 1.1 * rows
    figure = Figure(figsize=((4.2 if not rows else 5.0) * len(curves), height), layout="constrained", dpi=150)
    grid = figure.add_gridspec(1 + rows, 2 * len(curves), height_ratios=[3.6, *[1.0] * rows])
    mains = [figure.add_subplot(grid[0, 2 * column : 2 * column + 2]) for column in range(len(curves))]
    facets = [
        [figure.add_subplot(grid[1 + n // 2, 2 * column + n % 2]) for n in range(count)] if count > _BANDS else []
        for column, count in enumerate(map(int, curves))
    ]
    return figure, list(zip(mains, facets, strict=True))


def _facet(
    axes: Axes, points: pd.DataFrame, method: str, looks: Mapping[str, Style], limits: tuple[float, float]
) -> None:
    """One method's curve with its band, over the experts' as a thin line."""
    experts = points[points.method == "expert"].sort_values("x")
    axes.plot(experts.x, experts["mean"], linewidth=0.7, color="#888888", zorder=1)
    _curves(axes, points[points.method == method], looks, everywhere=sorted(set(points.x)))
    axes.set_title(looks[method].title, fontsize=7, pad=2)
    axes.set_ylim(limits)
    axes.tick_params(labelsize=6)
    axes.grid(alpha=0.25)


def _trained(store: ResultStore, runs: pd.DataFrame) -> pd.DataFrame:
    """Training specs of every split: benchmark, split, x and y."""
    found = training_specs(store).merge(runs, on="run")
    found["x"] = [float(spec[0]) for spec in found.spec]
    return found[["benchmark", "split", "x"]].drop_duplicates().sort_values(["benchmark", "split", "x"])


def _mark(axes: Axes, trained: pd.DataFrame) -> None:
    """Ticks just above the bottom at the training specs, one row per split."""
    splits = sorted(set(trained.split))
    for row, split in enumerate(splits):
        x = trained[trained.split == split].x
        level = np.full(len(x), 0.02 + 0.03 * row)
        axes.scatter(
            x,
            level,
            s=14,
            marker="|",
            linewidths=1.0,
            color="#555555",
            zorder=4,
            transform=axes.get_xaxis_transform(),
            label=None if row else _TRAINED,
        )


def _successes(store: ResultStore, experiment: str | None, environment: str) -> Figure | None:
    """Success rates in % with a band of one standard error, a panel per context that has rows."""
    benchmarks = [f"{environment}-{context}" for context in _CONTEXTS]
    among_them = panels(store, experiment, benchmarks, f"environment = '{environment}'")
    points = spec_means(store, one_kind(store, experiment, among(among_them)), "success")
    points = points[points.role == "test"]
    shown = _with_rows(among_them, points)
    if not shown:
        return None
    figure, all_axes = canvas(len(shown))
    points["mean"] *= 100.0
    points["deviation"] *= 100.0 / points["episodes"] ** 0.5
    looks = styles(store)
    for axes, panel in zip(all_axes, shown, strict=True):
        here = points[points.benchmark == panel.benchmark]
        learners = here[here.method != "expert"]
        if len(learners):  # every split tests the same specs; the experts are measured on all of them
            here = here[here.x.isin(learners.x)]
        _curves(axes, here, looks)
        axes.set(title=panel.context.replace("-", " "), xlabel=panel.label(0), ylabel=SUCCESS, ylim=(-3, 103))
        axes.locator_params(axis="x", nbins=5)  # so that ticks such as 0.0225 stay apart
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7)
    return figure


def _curves(
    axes: Axes,
    points: pd.DataFrame,
    looks: Mapping[str, Style],
    bands: bool = True,
    everywhere: Sequence[float] | None = None,
) -> list[str]:
    """A curve per method over all specs of the panel: a spec that a method was not rolled out on is a gap.

    Returns the methods that were drawn, in the order of their curves.
    """
    everywhere = everywhere or sorted(set(points.x))
    methods = [method for method in looks if (points.method == method).any()]
    for method in methods:
        along = points[points.method == method].groupby("x")[["mean", "deviation"]].mean().reindex(everywhere)
        curve(axes, looks[method], everywhere, along["mean"].tolist(), along.deviation.tolist() if bands else None)
    return methods


def _finish(axes: Axes, panel: Panel, points: pd.DataFrame) -> None:
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.label(0))
    axes.set_ylabel(RETURN)
    limit_returns(axes, points["mean"])
    axes.grid(alpha=0.25)


def _label_means(axes: Axes, keys: Sequence[Key], ours: Mapping[Key, float], paper: Mapping[Key, float]) -> None:
    """A legend below the panel: the mean over the test specs of each curve's benchmark and method, and the paper's."""
    handles, labels = axes.get_legend_handles_labels()
    texts = []
    for label, key in zip(labels, keys, strict=False):  # the mark of training specs, which comes last, has no mean
        theirs = f" ({paper[key]:.0f})" if key in paper else ""
        texts.append(f"{label} {ours[key]:.0f}{theirs}")
    texts += labels[len(keys) :]
    axes.legend(
        handles,
        texts,
        title="mean over test specs: ours (paper)",
        fontsize=7,
        title_fontsize=7,
        ncols=2,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        frameon=False,
    )
