"""``python -m orchestrator.sweep experiments/quickstart.yaml``: one experiment file, from nothing to its table.

Exit status: 0 when every run is there, 1 when some could not be made, 2 when what was given makes no sense.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # PyTorch and Ray take seconds to import: --help does not wait for them
    from rich.console import Console

    from orchestrator.graph import Graph
    from orchestrator.plan import Plan
    from orchestrator.store import Store

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

STORAGE_VARIABLE = "HYPOGEN_STORAGE"
DEFAULT_STORAGE = "runs"


@app.command()
def main(
    experiment: Annotated[Path, typer.Argument(help="The experiment file, such as experiments/quickstart.yaml.")],
    profile: Annotated[str | None, typer.Option(help="A profile of the file, such as smoke or laptop.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as training.epochs=10. Repeatable."),
    ] = None,
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
) -> None:
    """Make every run that EXPERIMENT asks for and that is not there yet, and print its table."""
    from orchestrator.errors import SweepFailed, UserError
    from results.problems import ResultsError

    try:
        place = storage or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
        sys.exit(sweep(experiment, profile, assignments or [], place, address, max_concurrent, dry_run))
    except (UserError, ResultsError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except SweepFailed as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; the same command continues from what is done", file=sys.stderr)
        sys.exit(130)


def sweep(
    path: Path,
    profile: str | None,
    assignments: list[str],
    storage: str,
    address: str | None,
    max_concurrent: int,
    dry_run: bool,
) -> int:
    """The command without its command line; returns the exit status. UserError for what makes no sense."""
    from rich.console import Console

    from orchestrator import experiment, plan, report, search
    from orchestrator.cluster import choose, connected
    from orchestrator.graph import Graph
    from orchestrator.rows import write_experiment
    from orchestrator.store import Store

    console = Console(soft_wrap=True)
    source = experiment.load(path, profile, assignments)
    experiment.expand(source)  # everything that can be wrong with the file is found here
    store, where = Store(storage), choose(address)
    if dry_run:
        report.dry_run(console, source, store, where)
        return 0
    store.check_writable()
    for note in where.notes:
        console.print(note)
    found = search.stored(source, store)
    if found is None:
        with connected(where):
            found = search.run(source, store, console, max_concurrent)
            return _make(plan.build(experiment.expand(found)), store, console, max_concurrent)
    whole = plan.build(experiment.expand(found))
    graph = Graph(whole, store)
    if not graph.missing_runs:
        write_experiment(store, whole)
        return _close(whole, graph, store, console)
    with connected(where):
        console.print(f"Ray: {where.value} ({where.reason})", highlight=False)
        return _make(whole, store, console, max_concurrent)


def _make(plan: Plan, store: Store, console: Console, max_concurrent: int) -> int:
    import ray

    from orchestrator.estimate import Estimate
    from orchestrator.graph import Graph
    from orchestrator.progress import Progress
    from orchestrator.rows import write_experiment
    from orchestrator.schedule import execute

    graph = Graph(plan, store)
    write_experiment(store, plan)
    estimate = Estimate(graph, workers=int(ray.cluster_resources().get("CPU", 1)))
    with Progress(console, graph, estimate) as progress:
        execute(plan, graph, store, progress, max_concurrent)
    return _close(plan, graph, store, console)


def _close(plan: Plan, graph: Graph, store: Store, console: Console) -> int:
    """Print the table, where everything lies, and what failed."""
    from orchestrator import report

    report.closing(console, plan, graph, store)
    return 1 if graph.failures else 0


if __name__ == "__main__":
    app()
