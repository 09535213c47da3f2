"""Commands that look after a storage.

``hypogen store check``: find damaged artifacts and results, and set them aside to be made again.
``hypogen store gc``: find artifacts that no listed experiment needs, and delete them.

Exit status: 0 when nothing is damaged (any more), 1 when something is, 2 when what was given makes no sense.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.sweep import STORAGE_DEFAULT, place_of

if TYPE_CHECKING:
    from orchestrator.artifacts.artifact_store import Store
    from orchestrator.planning.plan import Plan

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


Storage = Annotated[
    str | None,
    typer.Option(help=f"Folder or s3://… to look after. {STORAGE_DEFAULT}"),
]


@app.callback()
def main() -> None:
    """Look after a storage."""


@app.command()
def check(
    storage: Storage = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move what is damaged to <storage>/damaged; a sweep makes it again.")
    ] = False,
) -> None:
    """Read every file of every artifact and table, and name those that are not as they were written."""
    from orchestrator.artifacts import KINDS
    from orchestrator.artifacts.artifact_store import DAMAGED
    from orchestrator.artifacts.study_artifact import KIND
    from results import ResultStore

    store = _open(storage)
    found = 0
    for damaged in store.problems([*KINDS, KIND]):
        found += 1
        moved = f"; moved to {store.set_aside(damaged.kind, damaged.key)}" if repair else ""
        print(f"{damaged}{moved}")
    results = ResultStore(store.results)
    for table, key, reason in results.problems():
        found += 1
        moved = f"; moved to {results.set_aside(table, key, f'{store.root}/{DAMAGED}/results')}" if repair else ""
        print(f"results {table}/{key} is damaged: {reason}{moved}")
    print(
        f"{store.given}: {found or 'nothing'} damaged" + ("; the next sweep makes it again" if found and repair else "")
    )
    raise typer.Exit(1 if found and not repair else 0)


@app.command()
def gc(
    storage: Storage = None,
    keep: Annotated[
        list[Path] | None,
        typer.Option(help="An experiment that is kept whole, with each of its profiles: a file or a name. Repeatable."),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is not needed. Else it is only shown.")] = False,
) -> None:
    """Show what the artifacts take up, and what of them no experiment in the table `experiments` needs.

    Kept is what the runs of these experiments need, with everything that it was made from; outcomes of searches; what
    is younger than a day. While a listed run has no rows, or a sweep is at work, nothing is deleted. Tables stay.
    To give an experiment up, delete its file results/experiments/NAME.parquet in the storage.
    """
    from orchestrator.artifacts.garbage import Inventory
    from orchestrator.config.packaged import experiment_file
    from orchestrator.console.taken import print_taken
    from orchestrator.exceptions import UserError
    from results.problems import ResultsError

    store = _open(storage)
    try:
        plans = [plan for path in keep or [] for plan in _plans(experiment_file(path), store)]
        inventory = Inventory(
            store,
            kept=[key for plan in plans for key in plan.artifacts],
            accounted={run for plan in plans for run in plan.runs},
        )
        print_taken(store, inventory)
        if delete:
            inventory.delete()
            print(f"deleted {len(inventory.garbage)} artifacts")
    except (UserError, ResultsError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


def _plans(path: Path, store: Store) -> list[Plan]:
    """Plans of an experiment file and of each of its profiles; where a search comes first, as far as it is done."""
    from orchestrator.config.loading import expand, load, with_profiles
    from orchestrator.planning.plan import build
    from orchestrator.planning.study import stored

    found = (stored(source, store) for source in (load(path), *with_profiles(path)))
    return [build(expand(source)) for source in found if source is not None]


def _open(storage: str | None) -> Store:
    from orchestrator.artifacts.artifact_store import Store
    from orchestrator.exceptions import UserError

    try:
        return Store(place_of(storage, os.environ))
    except UserError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app()
