"""Table 5 as a figure: the return on the test specs while the generators train."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from results.figures.style import RETURN, Style, canvas, curve, limit_returns, one_kind, styles
from results.result_store import ResultStore

_EVALUATED = "run IN (SELECT run FROM curves WHERE metric = 'return') AND method <> 'expert'"


def convergence(store: ResultStore, experiment: str | None) -> Figure | None:
    """A panel per benchmark, None without rows; the band is the deviation over test specs, averaged over splits."""
    runs = one_kind(store, experiment, _EVALUATED)
    points = store.frame(
        "SELECT run, metric, epoch, value FROM curves WHERE metric IN ('return', 'return_std') ORDER BY ALL"
    ).merge(runs, on="run")
    benchmarks = sorted(set(points.benchmark))
    if not benchmarks:
        return None
    figure, panels = canvas(len(benchmarks), width=5.5)
    looks = styles(store)
    for axes, benchmark in zip(panels, benchmarks, strict=True):
        here = points[points.benchmark == benchmark]
        for method, style in looks.items():
            of_method = here[here.method == method]
            if len(of_method):
                along = of_method.pivot_table(index="epoch", columns="metric", values="value")
                along = along.reindex(columns=["return", "return_std"])
                curve(axes, style, along.index.tolist(), along["return"].tolist(), along.return_std.tolist())
        _paper(axes, store, benchmark, looks)
        axes.set(title=benchmark, xlabel="epochs", ylabel=RETURN, xscale="log")
        limit_returns(axes, here.value[here.metric == "return"])
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7, loc="lower right")
    return figure


def _paper(axes: Axes, store: ResultStore, benchmark: str, looks: Mapping[str, Style]) -> None:
    """The paper's numbers: the return after some epochs, and the epochs until some return."""
    rows = store.frame(
        "SELECT method, setting, value FROM paper WHERE \"table\" = 'table5' AND benchmark = $benchmark ORDER BY ALL",
        benchmark=benchmark,
    )
    for row in rows.itertuples():
        kind, _, given = row.setting.partition("=")
        epoch, value = (float(given), row.value) if kind == "epoch" else (row.value, float(given))
        style = looks[row.method]
        label = f"paper, {style.title}: {value:.0f} after {epoch:.0f} epochs"
        mark = "*" if kind == "epoch" else "P"
        axes.plot([epoch], [value], mark, color=style.color, markersize=9, markeredgecolor="black", label=label)
