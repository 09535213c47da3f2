"""Figure 2d and table 4: the action loss after each update of the generated policy."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.figures.style import canvas, one_kind, styles
from results.result_store import ResultStore

_ROLES = {"loss": ("test specs", "-"), "train_loss": ("training specs", "--")}


def updates(store: ResultStore, experiment: str | None) -> Figure | None:
    """A curve per benchmark, method and kind of specs, the method in its colour; None without rows.

    Losses are fractions of that after the first update, since the paper does not say how it scales its own.
    """
    runs = one_kind(store, experiment, "run IN (SELECT run FROM curves WHERE metric = 'loss@1')")
    points = store.frame(
        "SELECT run, split_part(metric, '@', 1) AS metric, split_part(metric, '@', 2)::BIGINT AS k, value FROM curves "
        "WHERE regexp_full_match(metric, '(train_)?loss@[0-9]+') ORDER BY ALL"
    ).merge(runs, on="run")
    if points.empty:
        return None
    figure, (axes,) = canvas(1, width=6.0)
    looks = styles(store)
    several = points.method.nunique() > 1
    for (benchmark, method, metric), group in points.groupby(["benchmark", "method", "metric"]):
        table = group.pivot(index="run", columns="k", values="value")
        relative = table.div(table[1], axis=0)
        (role, line), style = _ROLES[metric], looks[method]
        who = f"{benchmark}, {style.title}" if several else benchmark
        mean, deviation = relative.mean(), relative.std()
        name = f"ours, {who}, {role} (after 1 update: {table[1].mean():.3g})"
        axes.plot(mean.index, mean, line, marker=style.marker, markersize=3, color=style.color, label=name)
        axes.fill_between(mean.index, mean - deviation, mean + deviation, color=style.color, alpha=0.15, linewidth=0)
    _paper(axes, store)
    axes.set_yscale("log")
    axes.set_xlabel("updates of the policy's parameters")
    axes.set_ylabel("action loss, as a fraction of that after 1 update")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7)
    return figure


def _paper(axes: Axes, store: ResultStore) -> None:
    rows = store.frame(
        "SELECT environment, split_part(setting, '=', 2)::BIGINT AS k, value FROM paper "
        "WHERE \"table\" = 'table4' AND metric = 'loss' ORDER BY ALL"
    )
    for (environment, group), marker in zip(rows.groupby("environment"), "sD", strict=True):
        first = group.value[group.k == 1].iloc[0]
        label = f"paper, {environment} (after 1 update: {first:g})"
        axes.plot(group.k, group.value / first, ":", color="grey", marker=marker, markersize=3, label=label)
