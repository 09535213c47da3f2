"""Figures 4, 5, 6, 8 and 9: return or success rate against one variable of the context, a curve per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    empty,
    limit_returns,
    one_kind,
    our_means,
    paper_means,
    styles,
)
from results.result_store import ResultStore

Key = tuple[str, str]
"""Benchmark and method."""

ENVIRONMENTS = ("cheetah", "finger", "walker")
"""The first panels of figures 5 to 7, in the paper's order."""

_IN_LEGEND = 8
"""Methods that a legend below a panel has space for; more methods make the figure higher."""

_CONTEXTS = ("cube-size", "stiffness", "damping", "arm-length")
"""The first panels of figures 8 and 9, in the paper's order."""


def speeds(store: ResultStore, experiment: str | None) -> Figure:
    """Figure 5: the test specs of every split, by environment."""
    return _panels(store, experiment, "speed")


def lengths(store: ResultStore, experiment: str | None) -> Figure:
    """Figure 6."""
    return _panels(store, experiment, "length")


def extrapolation(store: ResultStore, experiment: str | None) -> Figure:
    """Figure 4: an explicit split of cheetah-speed, training specs included and marked; the experts on the same."""
    figure, (axes,) = canvas(1, width=6.0)
    where = (
        "benchmark = 'cheetah-speed' AND (split_kind = 'explicit' OR method = 'expert' AND expert IN "
        "(SELECT expert FROM runs WHERE benchmark = 'cheetah-speed' AND split_kind = 'explicit'))"
    )
    points = spec_means(store, one_kind(store, experiment, where))
    learners = points[points.method != "expert"]
    points = points[points.x.isin(learners.x)]
    _curves(axes, points, styles(store))
    for number, speed in enumerate(sorted(set(learners[learners.role == "train"].x))):
        label = None if number else "training speeds"
        axes.axvline(speed, color="grey", linewidth=6, alpha=0.25, zorder=0, label=label)
    (panel,) = panels(store, experiment, ["cheetah-speed"], "false")
    _finish(axes, panel, points)
    if len(points):
        axes.legend(fontsize=8)
    return figure


def lift(store: ResultStore, experiment: str | None) -> Figure:
    """Figure 8: the four contexts of LiftCube."""
    return _successes(store, experiment, "liftcube")


def pick(store: ResultStore, experiment: str | None) -> Figure:
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


def _panels(store: ResultStore, experiment: str | None, variable: str) -> Figure:
    """Returns on the test specs with the mean over them, a panel per environment."""
    benchmarks = [f"{environment}-{variable}" for environment in ENVIRONMENTS]
    shown = panels(store, experiment, benchmarks, f"context = '{variable}' AND score = 'return'")
    points = spec_means(store, one_kind(store, experiment, among(shown)))
    more = max([0, *points.groupby("benchmark").method.nunique() - _IN_LEGEND])
    figure, all_axes = canvas(len(shown), height=4.0 + 0.08 * more)
    means, looks = our_means(store, experiment), styles(store)
    for axes, panel in zip(all_axes, shown, strict=True):
        here = points[(points.benchmark == panel.benchmark) & (points.role == "test")]
        methods = _curves(axes, here, looks)
        _finish(axes, panel, here)
        if len(here):
            _label_means(axes, [(panel.benchmark, method) for method in methods], means, paper_means(store))
    return figure


def _successes(store: ResultStore, experiment: str | None, environment: str) -> Figure:
    """Success rates in % with a band of one standard error, a panel per context."""
    benchmarks = [f"{environment}-{context}" for context in _CONTEXTS]
    shown = panels(store, experiment, benchmarks, f"environment = '{environment}'")
    figure, all_axes = canvas(len(shown))
    points = spec_means(store, one_kind(store, experiment, among(shown)), "success")
    points["mean"] *= 100.0
    points["deviation"] *= 100.0 / points["episodes"] ** 0.5
    looks = styles(store)
    for axes, panel in zip(all_axes, shown, strict=True):
        here = points[(points.benchmark == panel.benchmark) & (points.role == "test")]
        learners = here[here.method != "expert"]
        if len(learners):  # every split tests the same specs; the experts are measured on all of them
            here = here[here.x.isin(learners.x)]
        _curves(axes, here, looks)
        axes.set(title=panel.context.replace("-", " "), xlabel=panel.label(0), ylabel=SUCCESS, ylim=(-3, 103))
        axes.locator_params(axis="x", nbins=5)  # so that ticks such as 0.0225 stay apart
        axes.grid(alpha=0.25)
        if here.empty:
            empty(axes)
        else:
            axes.legend(fontsize=7)
    return figure


def _curves(axes: Axes, points: pd.DataFrame, looks: Mapping[str, Style]) -> list[str]:
    """A curve per method over all specs of the panel: a spec that a method was not rolled out on is a gap.

    Returns the methods that were drawn, in the order of their curves.
    """
    everywhere = sorted(set(points.x))
    methods = [method for method in looks if (points.method == method).any()]
    for method in methods:
        along = points[points.method == method].groupby("x")[["mean", "deviation"]].mean().reindex(everywhere)
        curve(axes, looks[method], everywhere, along["mean"].tolist(), along.deviation.tolist())
    return methods


def _finish(axes: Axes, panel: Panel, points: pd.DataFrame) -> None:
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.label(0))
    axes.set_ylabel(RETURN)
    limit_returns(axes, points["mean"])
    axes.grid(alpha=0.25)
    if points.empty:
        empty(axes)


def _label_means(axes: Axes, keys: Sequence[Key], ours: Mapping[Key, float], paper: Mapping[Key, float]) -> None:
    """A legend below the panel: the mean over the test specs of each curve's benchmark and method, and the paper's."""
    handles, labels = axes.get_legend_handles_labels()
    texts = []
    for label, key in zip(labels, keys, strict=True):
        theirs = f" ({paper[key]:.0f})" if key in paper else ""
        texts.append(f"{label} {ours[key]:.0f}{theirs}")
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
