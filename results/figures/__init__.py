"""The paper's figures, drawn from the tables: `draw("figure5", store).savefig("figure5.png")`.

A figure is a function in a module here and an entry in FIGURES. Missing rows leave a gap, never a zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from results.figures.convergence import convergence
from results.figures.specs import extrapolation, lengths, lift, pick, speeds
from results.figures.surfaces import surfaces
from results.figures.updates import updates
from results.problems import unknown
from results.result_store import ResultStore


@dataclass(frozen=True)
class Entry:
    """A figure: its title, and the function that draws it from a store and an experiment's name (None: everything)."""

    title: str
    draw: Callable[[ResultStore, str | None], Figure]


FIGURES = {
    "figure2d": Entry("Figure 2d: action loss after each update of the generated policy", updates),
    "figure4": Entry("Figure 4: return between the only two training speeds", extrapolation),
    "figure5": Entry("Figure 5: return against desired speed", speeds),
    "figure6": Entry("Figure 6: return against torso length", lengths),
    "figure7": Entry("Figure 7: return over speed and length", surfaces),
    "figure8": Entry("Figure 8: success rate on LiftCube against the spec", lift),
    "figure9": Entry("Figure 9: success rate on PickCube against the spec", pick),
    "convergence": Entry("Table 5, drawn: return on test specs during training", convergence),
}
"""Every figure, by name."""


def draw(name: str, store: ResultStore, experiment: str | None = None) -> Figure:
    """The figure `name` of one experiment or of everything in `store`.

    Raises ResultsError for a figure or experiment that is not there, and where runs would have to be averaged that
    differ in more than their split.
    """
    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    if experiment is not None:
        known = store.frame("SELECT DISTINCT experiment FROM experiments ORDER BY ALL").experiment.tolist()
        if experiment not in known:
            raise unknown("experiment", experiment, known)
    figure = FIGURES[name].draw(store, experiment)
    figure.suptitle(FIGURES[name].title + (f"\nexperiment {experiment}" if experiment else ""), fontsize=10)
    return figure
