"""``hypogen sweep experiments/quickstart.yaml``: one experiment file, from nothing to its table.

Exit status: 0 when every run is there, 1 when some could not be made, 2 when what was given makes no sense, 3 when the
budget is used up, and 128 and the number of the signal that ended it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
STORAGE_DEFAULT = f"Default: ${STORAGE_VARIABLE}, else ./{DEFAULT_STORAGE}."
"""End of the help of every ``--storage``."""


EXPERIMENT = typer.Argument(
    help="An experiment file, or the name of one that comes with the project, such as quickstart.",
    autocompletion=packaged.completed,
)
PROFILE = typer.Option(help="A profile of the file, such as smoke or laptop.")
SET = typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as training.epochs=10. Repeatable.")
STORAGE = typer.Option(help=f"Folder or s3://… for artifacts and results. {STORAGE_DEFAULT}")
ADDRESS = typer.Option(
    help="host:port of a Ray head, or 'local'. Default: $RAY_ADDRESS, this host's cluster, or a private Ray."
)
BUDGET = typer.Option(help="End before so much is used, with status 3: 2h, 90m, or 20usd where nodes say their price.")
DRY_RUN = typer.Option(
    "--dry-run", help="Print what is there, what is missing and how long it will take; start nothing."
)
NODES = typer.Option(help="With --dry-run: nodes to simulate the schedule on, such as 32xg5.2xlarge or 4xcpu:8,gpu:1.")
SINK = typer.Option(
    metavar="NAME=PLACE", help="Copy runs there as they finish: tensorboard=boards, mlflow=…, trackio=…. Repeatable."
)
WHY = typer.Option("--why", help="Print what tells that which is missing from what is there; start nothing.")


@dataclass(frozen=True)
class Command:
    """What was given on the command line.

    Attributes:
        most: Trainings at once; 0 for as many as fit.
        nodes: Nodes of a dry run.
        sinks: Tools that runs are copied to, as NAME=PLACE.
    """

    path: Path
    storage: str
    profile: str | None = None
    assignments: tuple[str, ...] = ()
    address: str | None = None
    most: int = 0
    dry_run: bool = False
    nodes: str | None = None
    why: bool = False
    sinks: tuple[str, ...] = ()


def place_of(given: str | None, environment: Mapping[str, str]) -> str:
    """The storage that was named, the environment's, or the default."""
    return given or environment.get(STORAGE_VARIABLE) or DEFAULT_STORAGE


@app.command()
def main(
    experiment: Annotated[Path, EXPERIMENT],
    profile: Annotated[str | None, PROFILE] = None,
    assignments: Annotated[list[str] | None, SET] = None,
    storage: Annotated[str | None, STORAGE] = None,
    address: Annotated[str | None, ADDRESS] = None,
    max_concurrent: Annotated[int, typer.Option(min=0, help="Trainings at once; 0: as many as fit.")] = 0,
    budget: Annotated[str | None, BUDGET] = None,
    dry_run: Annotated[bool, DRY_RUN] = False,
    nodes: Annotated[str | None, NODES] = None,
    why: Annotated[bool, WHY] = False,
    sink: Annotated[list[str] | None, SINK] = None,
) -> None:
    """Make every run that EXPERIMENT asks for and that is not there yet, and print its table."""
    from orchestrator.exceptions import Interrupted, SweepFailed, UserError
    from orchestrator.execution.budget import Budget
    from orchestrator.execution.stopping import StopRequest
    from results.problems import ResultsError

    place = place_of(storage, os.environ)
    given = tuple(assignments or ())
    try:
        file = packaged.experiment_file(experiment)
        command = Command(file, place, profile, given, address, max_concurrent, dry_run, nodes, why, tuple(sink or ()))
        with StopRequest(None if budget is None else Budget(budget)).listening() as stop:
            sys.exit(sweep(command, stop))
    except (UserError, ResultsError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except SweepFailed as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.status)


def sweep(command: Command, stop: StopRequest) -> int:
    """The command without its command line; returns the exit status. UserError for what makes no sense."""
    from rich.console import Console

    from orchestrator.console.remembered import Remembered
    from orchestrator.exceptions import UserError
    from orchestrator.execution.cluster import authenticate, choose

    if command.nodes is not None and not command.dry_run:
        raise UserError("--nodes says where to simulate the schedule: add --dry-run, or leave it out")
    where, console = choose(command.address), Console(soft_wrap=True)
    remembered = Remembered(command.storage, command.path, command.profile, list(command.assignments))
    if not (command.dry_run or command.why):
        authenticate(where)  # before anything imports Ray
        if not command.sinks and (lines := remembered.recall()) is not None:
            console.out(*where.notes, lines, sep="\n", highlight=False)
            return 0

    from orchestrator.artifacts.artifact_store import Store
    from orchestrator.config import loading
    from orchestrator.console.dry_run import state_of
    from orchestrator.console.progress import Progress
    from orchestrator.execution import deciding
    from orchestrator.execution.execution import Session
    from orchestrator.planning import study
    from orchestrator.sending import Target, sending

    targets = [Target.parse(sink) for sink in command.sinks]
    source = loading.load(command.path, command.profile, command.assignments)
    cells = loading.expand(source)  # everything that can be wrong with the file is found here
    loading.check_profiles(command.path)
    store = Store(command.storage)
    if command.dry_run or command.why:
        _show(console, state_of(console, source, cells, store), where, command)
        return 0
    _check_place(cells, store)
    session = Session(store, console, stop, Progress, command.most)
    for note in where.notes:
        session.say(note)
    with sending(targets, command.storage, cells[0].experiment.name, session.say):
        found, stages = study.stored(source, store), None
        if found is not None:
            whole = cells if found is source else loading.expand(found)
            made, stages = _made(deciding.stages(found, whole, store, session.say), store)
            if made is not None:
                return _close([made], session, remembered)
        return _on_ray(where, session, partial(_execute, source, stages, session, remembered))


def _check_place(cells: list[Cell], store: Store) -> None:
    """UserError where a simulator is missing here, or the storage cannot be written."""
    from orchestrator.config.checks import check_simulators

    check_simulators(cell.experiment for cell in cells)
    store.check_writable()


def _show(console: Console, state: ExecutionState, where: Address, command: Command) -> None:
    """Print what is missing, or why it is, or both."""
    from orchestrator.console.dry_run import print_plan
    from orchestrator.console.why import print_reasons

    if command.dry_run:
        print_plan(console, state, where, command.nodes, command.most)
    if command.why:
        print_reasons(console, state)


def _made(stages: Iterator[Plan], store: Store) -> tuple[ExecutionState | None, Iterator[Plan]]:
    """The state after the last stage, if the runs of all are there; and the stages from the first that lacks some."""
    from orchestrator.execution.measured import write_experiment
    from orchestrator.execution.state import ExecutionState

    state = None
    for plan in stages:
        state = ExecutionState(plan, store)
        if state.missing_runs:
            return None, itertools.chain([plan], stages)
    assert state is not None
    write_experiment(store, state.plan)
    return state, stages


def _on_ray(where: Address, session: Session, work: Callable[[], int]) -> int:
    """Do the work on Ray; where a private one dies, the command begins again."""
    from orchestrator.execution.cluster import PRIVATE, connected
    from orchestrator.execution.guard import guarded

    with connected(where):
        session.stop.install()  # Ray takes the signals when it starts
        session.stop.check_budget()
        session.say(f"Ray: {where.value} ({where.reason})")
        with guarded(session.stop, session.console) if where.value == PRIVATE else contextlib.nullcontext():
            return work()


def _execute(source: YamlSource, stages: Iterator[Plan] | None, session: Session, remembered: Remembered) -> int:
    """Make what is missing on the connected Ray, stage by stage; where there are none yet, search for them first."""
    from orchestrator.config.loading import expand
    from orchestrator.execution import deciding, search
    from orchestrator.execution.measured import write_experiment

    if stages is None:
        found = search.run(source, session)
        stages = deciding.stages(found, expand(found), session.store, session.say)
    states = []
    for stage in stages:
        write_experiment(session.store, stage)
        states.append(session.execute(stage))
    return _close(states, session, remembered)


def _close(states: list[ExecutionState], session: Session, remembered: Remembered) -> int:
    """Print the table, where everything lies, and what failed; remember what was printed where nothing did."""
    from orchestrator.artifacts.content_index import record
    from orchestrator.console.closing import closing

    record(session.store, [state.plan.artifacts[key] for state in states for key in state.made])
    seen = remembered.seen()
    lines = closing(session.console, states)
    if states[-1].failures:
        return 1
    remembered.keep(seen, lines)
    return 0


if __name__ == "__main__":
    app()
