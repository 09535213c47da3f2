"""Closing lines of a sweep: the table, what failed, where the results lie and what to type next."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from orchestrator.artifacts import KINDS
from orchestrator.execution.state import ExecutionState
from results import ResultStore, render
from results.fitting import WIDTH


def closing(console: Console, states: Sequence[ExecutionState]) -> str:
    """Print them, after the last of some stages; returns what the same command prints where nothing is left to make."""
    state = states[-1]
    made = {kind: sum(stage.counts(kind)["made"] for stage in states) for kind in KINDS}
    counted = ", ".join(f"{count} {kind}" for kind, count in made.items() if count) or "nothing"
    table, places = _table(state), _places(state)
    console.out(_opening(state, counted), table, sep="\n", highlight=False)
    _failures(console, state)
    console.out(places, highlight=False)
    return "\n".join([_opening(state, "nothing"), table, places])


def _opening(state: ExecutionState, counted: str) -> str:
    return f"{state.plan.experiment.name}: made {counted}; the rest was there.\n"


def _table(state: ExecutionState) -> str:
    """The experiment's table, if any of its runs is there."""
    experiment, missing = state.plan.experiment, state.missing_runs.values()
    done = len(state.plan.runs) - sum(not state.complete(run) for run in missing)
    if not done:
        return ""
    results = ResultStore(state.store.results)
    return render(experiment.table, results, experiment=experiment.name, measured=True, width=WIDTH)


def _places(state: ExecutionState) -> str:
    """Where the results lie, and the commands that read them."""
    experiment, storage = state.plan.experiment, state.store.given
    option = "" if storage == "runs" else f" --storage {storage}"
    return (
        f"\nResults: {storage}/results (Parquet). Next:\n"
        f"  hypogen results table {experiment.table} --experiment {experiment.name}{option}\n"
        f"  hypogen results query '{QUERY}'{option}"
    )


QUERY = 'SELECT method, spec, avg("return") FROM episodes JOIN runs USING (run) GROUP BY ALL ORDER BY ALL'
FAILED = "SELECT label, cell, error FROM provenance, experiments WHERE status = 'failed' AND list_contains(runs, run)"


def _failures(console: Console, state: ExecutionState) -> None:
    causes = [failure for key, failure in state.failures.items() if state.is_cause(key)]
    for failure in causes:
        console.print(f"[bold red]failed[/bold red] {escape(str(failure))}", highlight=False)
    if waited := len(state.failures) - len(causes):
        console.print(f"[bold red]failed[/bold red] {waited} more that needed what failed", highlight=False)
    if state.failures and state.store.is_full():
        root = escape(state.store.root)
        console.print(f"The disk under {root} is full: free some space, then give the same command again.")
    if state.failures:
        console.print(f"Tracebacks: {FAILED}", highlight=False)
