"""The paper's figures, drawn from the tables: `draw("figure5", store).savefig("figure5.png")`.

A figure is a function in a module here and an entry in FIGURES. Missing rows leave a gap, never a zero; a panel without
rows is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from results.figures.convergence import convergence
from results.figures.specs import extrapolation, lengths, lift, pick, speeds
from results.figures.surfaces import surfaces
from results.figures.updates import updates
from results.problems import ResultsError, unknown
from results.result_store import ResultStore


@dataclass(frozen=True)
class Entry:
    """A figure.

    Attributes:
        draw: Draws it from a store and an experiment's name (None: everything); None where there is nothing to draw.
        needs: What must have been measured for it.
        file: The experiment file that measures it.
    """

    title: str
    draw: Callable[[ResultStore, str | None], Figure | None]
    needs: str
    file: str


FIGURES = {
    "figure2d": Entry(
        "Figure 2d: action loss after each update of the generated policy",
        updates,
        "a HyPoGen that was probed",
        "probes",
    ),
    "figure4": Entry(
        "Figure 4: return between the only two training speeds",
        extrapolation,
        "an explicit split of cheetah-speed",
        "figure4",
    ),
    "figure5": Entry(
        "Figure 5: return against desired speed", speeds, "episodes on a benchmark whose context is speed", "table1"
    ),
    "figure6": Entry(
        "Figure 6: return against torso length", lengths, "episodes on a benchmark whose context is length", "table1"
    ),
    "figure7": Entry(
        "Figure 7: return over speed and length",
        surfaces,
        "episodes on a benchmark whose context is speed and length",
        "table1",
    ),
    "figure8": Entry(
        "Figure 8: success rate on LiftCube against the spec", lift, "episodes of LiftCube on test specs", "table2"
    ),
    "figure9": Entry(
        "Figure 9: success rate on PickCube against the spec", pick, "episodes of PickCube on test specs", "table2"
    ),
    "convergence": Entry(
        "Table 5, drawn: return on test specs during training",
        convergence,
        "a generator that was rolled out while it trained",
        "probes",
    ),
}
"""Every figure, by name."""


def draw(name: str, store: ResultStore, experiment: str | None = None) -> Figure:
    """The figure `name` of one experiment or of everything in `store`.

    Raises ResultsError for a figure or experiment that is not there, where there is nothing to draw, and where runs
    would have to be averaged that differ in more than their split.
    """
    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    if experiment is not None:
        known = store.frame("SELECT DISTINCT experiment FROM experiments ORDER BY ALL").experiment.tolist()
        if experiment not in known:
            raise unknown("experiment", experiment, known)
    entry = FIGURES[name]
    figure = entry.draw(store, experiment)
    if figure is None:
        where = f"experiment {experiment}" if experiment else store.root
        raise ResultsError(
            f"{name} has nothing to draw: it needs {entry.needs}, and {where} has none. Measure some: "
            f"hypogen sweep experiments/{entry.file}.yaml --profile laptop"
        )
    figure.suptitle(entry.title + (f"\nexperiment {experiment}" if experiment else ""), fontsize=10)
    return figure
