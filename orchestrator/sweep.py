"""``python -m orchestrator.sweep experiments/quickstart.yaml``: one experiment file, from nothing to its table.

Exit status: 0 when every run is there, 1 when some could not be made, 2 when what was given makes no sense.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.config import packaged

if TYPE_CHECKING:  # PyTorch and Ray take seconds to import: --help does not wait for them
    from rich.console import Console

    from orchestrator.artifacts.artifact_store import Store
    from orchestrator.config.loading import Cell
    from orchestrator.config.yaml_source import YamlSource
    from orchestrator.console.remembered import Remembered
    from orchestrator.execution.cluster import Address
    from orchestrator.execution.execution import Session
    from orchestrator.execution.state import ExecutionState
    from orchestrator.execution.stopping import StopRequest
    from orchestrator.planning.plan import Plan

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

STORAGE_VARIABLE = "HYPOGEN_STORAGE"
DEFAULT_STORAGE = "runs"


Named = Annotated[
    Path,
    typer.Argument(
        help="An experiment file, or the name of one that comes with the project, such as quickstart.",
        autocompletion=packaged.completed,
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as training.epochs=10. Repeatable."),
]


@app.command()
def main(
    experiment: Named,
    profile: Annotated[str | None, typer.Option(help="A profile of the file, such as smoke or laptop.")] = None,
    assignments: Assignments = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help=f"Folder or s3://… for artifacts and results. Default: ${STORAGE_VARIABLE}, else ./{DEFAULT_STORAGE}."
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="host:port of a Ray head, or 'local'. Default: $RAY_ADDRESS, this host's cluster, or a private Ray."
        ),
    ] = None,
    max_concurrent: Annotated[int, typer.Option(min=0, help="Trainings at once; 0: as many as fit.")] = 0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what is there, what is missing and how long it will take; start nothing."
        ),
    ] = False,
    why: Annotated[
        bool,
        typer.Option("--why", help="Print what tells that which is missing from what is there; start nothing."),
    ] = False,
) -> None:
    """Make every run that EXPERIMENT asks for and that is not there yet, and print its table."""
    from orchestrator.exceptions import Interrupted, SweepFailed, UserError
    from orchestrator.execution.stopping import StopRequest
    from results.problems import ResultsError

    try:
        place = storage or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
        with StopRequest().listening() as stop:
            file = packaged.experiment_file(experiment)
            sys.exit(sweep(file, profile, assignments or [], place, address, max_concurrent, dry_run, why, stop))
    except (UserError, ResultsError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except SweepFailed as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.status)


def sweep(
    path: Path,
    profile: str | None,
    assignments: list[str],
    storage: str,
    address: str | None,
    max_concurrent: int,
    dry_run: bool,
    why: bool,
    stop: StopRequest,
) -> int:
    """The command without its command line; returns the exit status. UserError for what makes no sense."""
    from rich.console import Console

    from orchestrator.console.remembered import Remembered
    from orchestrator.execution.cluster import authenticate, choose

    where, console = choose(address), Console(soft_wrap=True)
    remembered = Remembered(storage, path, profile, assignments)
    if not (dry_run or why):
        authenticate(where)  # before anything imports Ray
        if (lines := remembered.recall()) is not None:
            console.out(*where.notes, lines, sep="\n", highlight=False)
            return 0

    from orchestrator.artifacts.artifact_store import Store
    from orchestrator.config import loading
    from orchestrator.console.dry_run import state_of
    from orchestrator.console.progress import Progress
    from orchestrator.execution import search
    from orchestrator.execution.execution import Session
    from orchestrator.planning.plan import build

    source = loading.load(path, profile, assignments)
    cells = loading.expand(source)  # everything that can be wrong with the file is found here
    loading.check_profiles(path)
    store = Store(storage)
    if dry_run or why:
        _show(console, state_of(console, source, cells, store), where, dry_run, why)
        return 0
    _check_place(cells, store)
    for note in where.notes:
        console.print(note, highlight=False, markup=False)
    session = Session(store, console, stop, Progress, max_concurrent)
    found, plan = search.stored(source, store), None
    if found is not None:
        plan = build(cells if found is source else loading.expand(found))
        if (made := _made(plan, store)) is not None:
            return _close(made, session, remembered)
    return _on_ray(where, session, partial(_execute, source, plan, session, remembered))


def _check_place(cells: list[Cell], store: Store) -> None:
    """UserError where a simulator is missing here, or the storage cannot be written."""
    from orchestrator.config.checks import check_simulators

    check_simulators(cell.experiment for cell in cells)
    store.check_writable()


def _show(console: Console, state: ExecutionState, where: Address, dry_run: bool, why: bool) -> None:
    """Print what is missing, or why it is, or both."""
    from orchestrator.console.dry_run import print_plan
    from orchestrator.console.why import print_reasons

    if dry_run:
        print_plan(console, state, where)
    if why:
        print_reasons(console, state)


def _made(plan: Plan, store: Store) -> ExecutionState | None:
    """The state of a plan whose runs are all there; None where something is missing."""
    from orchestrator.execution.measured import write_experiment
    from orchestrator.execution.state import ExecutionState

    state = ExecutionState(plan, store)
    if state.missing_runs:
        return None
    write_experiment(store, plan)
    return state


def _on_ray(where: Address, session: Session, work: Callable[[], int]) -> int:
    """Do the work on Ray; where a private one dies, the command begins again."""
    from orchestrator.execution.cluster import PRIVATE, connected
    from orchestrator.execution.guard import guarded

    with connected(where):
        session.stop.install()  # Ray takes the signals when it starts
        session.console.print(f"Ray: {where.value} ({where.reason})", highlight=False, markup=False)
        with guarded(session.stop, session.console) if where.value == PRIVATE else contextlib.nullcontext():
            return work()


def _execute(source: YamlSource, plan: Plan | None, session: Session, remembered: Remembered) -> int:
    """Make what is missing on the connected Ray; without a plan, search for it first."""
    from orchestrator.config.loading import expand
    from orchestrator.execution import search
    from orchestrator.execution.measured import write_experiment
    from orchestrator.planning.plan import build

    if plan is None:
        plan = build(expand(search.run(source, session)))
    write_experiment(session.store, plan)
    return _close(session.execute(plan), session, remembered)


def _close(state: ExecutionState, session: Session, remembered: Remembered) -> int:
    """Print the table, where everything lies, and what failed; remember what was printed where nothing did."""
    from orchestrator.artifacts.content_index import record
    from orchestrator.console.closing import closing

    record(state.store, [state.plan.artifacts[key] for key in state.made])
    seen = remembered.seen()
    lines = closing(session.console, state)
    if state.failures:
        return 1
    remembered.keep(seen, lines)
    return 0


if __name__ == "__main__":
    app()
