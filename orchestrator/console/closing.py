"""Closing lines of a sweep: the table, what failed, where the results lie and what to type next."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from orchestrator.artifacts import KINDS
from orchestrator.execution.state import ExecutionState
from results import ResultStore, render


def closing(console: Console, state: ExecutionState) -> None:
    """Print them."""
    plan, store = state.plan, state.store
    experiment = plan.experiment
    made = {kind: state.counts(kind)["made"] for kind in KINDS}
    counted = ", ".join(f"{count} {kind}" for kind, count in made.items() if count) or "nothing"
    console.print(f"{experiment.name}: made {counted}; the rest was there.\n", highlight=False)
    done = len(plan.runs) - sum(not state.complete(run) for run in state.missing_runs.values())
    if done:
        console.out(render(experiment.table, ResultStore(store.results), experiment=experiment.name))
    _failures(console, state)
    option = "" if store.given == "runs" else f" --storage {store.given}"
    lines = [
        f"\nResults: {store.given}/results (Parquet). Next:",
        f"  python -m results table {experiment.table} --experiment {experiment.name}{option}",
        f"  python -m results query '{QUERY}'{option}",
    ]
    for line in lines:
        console.print(escape(line), highlight=False)


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
