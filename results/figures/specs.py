"""Figures 4, 5, 6, 8 and 9: return or success rate against one variable of the context, a curve a method."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.figures.style import (
    ENVIRONMENTS,
    MANISKILL,
    METHODS,
    RETURN,
    SUCCESS,
    axis_label,
    canvas,
    curve,
    empty,
    one_kind,
    our_means,
    paper_means,
)
from results.result_store import ResultStore


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
    _curves(axes, points)
    for number, speed in enumerate(sorted(set(learners[learners.role == "train"].x))):
        label = None if number else "training speeds"
        axes.axvline(speed, color="grey", linewidth=6, alpha=0.25, zorder=0, label=label)
    _finish(axes, "cheetah", "speed", points)
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
    """One row a benchmark, method and spec: mean and sample deviation of a column over all splits' episodes.

    Columns: environment, benchmark, method, role, x (the spec's first coordinate), y (its second, NaN where there is
    none), mean, deviation (NaN for one episode), episodes.
    """
    episodes = store.frame(f'SELECT run, spec, role, episode, "{column}"::DOUBLE AS value FROM episodes ORDER BY ALL')
    joined = episodes.merge(runs, on="run")
    joined["x"] = [float(spec[0]) for spec in joined.spec]
    joined["y"] = [float(spec[1]) if len(spec) > 1 else float("nan") for spec in joined.spec]
    keys = ["environment", "benchmark", "method", "role", "x", "y"]
    grouped = joined.groupby(keys, dropna=False).value.agg(["mean", "std", "count"]).reset_index()
    return grouped.rename(columns={"std": "deviation", "count": "episodes"})


def _panels(store: ResultStore, experiment: str | None, variable: str) -> Figure:
    figure, panels = canvas(len(ENVIRONMENTS))
    benchmarks = ", ".join(f"'{environment}-{variable}'" for environment in ENVIRONMENTS)
    runs = one_kind(store, experiment, f"benchmark IN ({benchmarks})")
    points = spec_means(store, runs)
    means = our_means(store, experiment)
    for axes, environment in zip(panels, ENVIRONMENTS, strict=True):
        here = points[(points.environment == environment) & (points.role == "test")]
        _curves(axes, here)
        _finish(axes, environment, variable, here)
        if len(here):
            _label_means(axes, f"{environment}-{variable}", means, paper_means(store))
    return figure


def _successes(store: ResultStore, experiment: str | None, environment: str) -> Figure:
    """Success rates in % with a band of one standard error, a panel a context."""
    figure, panels = canvas(len(MANISKILL))
    benchmarks = ", ".join(f"'{environment}-{context}'" for context in MANISKILL)
    points = spec_means(store, one_kind(store, experiment, f"benchmark IN ({benchmarks})"), "success")
    points["mean"] *= 100.0
    points["deviation"] *= 100.0 / points["episodes"] ** 0.5
    for axes, (context, label) in zip(panels, MANISKILL.items(), strict=True):
        here = points[(points.benchmark == f"{environment}-{context}") & (points.role == "test")]
        learners = here[here.method != "expert"]
        if len(learners):  # every split tests the same specs; the experts are measured on all of them
            here = here[here.x.isin(learners.x)]
        _curves(axes, here)
        axes.set(title=context.replace("-", " "), xlabel=label, ylabel=SUCCESS, ylim=(-3, 103))
        axes.locator_params(axis="x", nbins=5)  # so that ticks such as 0.0225 stay apart
        axes.grid(alpha=0.25)
        if here.empty:
            empty(axes)
        else:
            axes.legend(fontsize=7)
    return figure


def _curves(axes: Axes, points: pd.DataFrame) -> None:
    """A curve a method over all specs of the panel: a spec that a method was not rolled out on is a gap."""
    everywhere = sorted(set(points.x))
    for method in METHODS:
        here = points[points.method == method]
        if len(here):
            along = here.groupby("x")[["mean", "deviation"]].mean().reindex(everywhere)
            curve(axes, method, everywhere, along["mean"].tolist(), along.deviation.tolist())


def _finish(axes: Axes, environment: str, variable: str, points: pd.DataFrame) -> None:
    axes.set_title(ENVIRONMENTS[environment], fontsize=10)
    axes.set_xlabel(axis_label(environment, variable))
    axes.set_ylabel(RETURN)
    axes.set_ylim(0, 1000)
    axes.grid(alpha=0.25)
    if points.empty:
        empty(axes)


def _label_means(
    axes: Axes, benchmark: str, ours: dict[tuple[str, str], float], paper: dict[tuple[str, str], float]
) -> None:
    """A legend below the panel: each method's mean over the test specs, and the paper's."""
    handles, labels = axes.get_legend_handles_labels()
    names = {label: method for method, (label, _, _) in METHODS.items()}
    texts = []
    for label in labels:
        key = (benchmark, names[label])
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
