"""``python -m orchestrator.store check``: find damaged artifacts and results, and set them aside to be made again.

Exit status: 0 when nothing is damaged (any more), 1 when something is, 2 when what was given makes no sense.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from orchestrator.sweep import DEFAULT_STORAGE, STORAGE_VARIABLE

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Look after a storage."""


@app.command()
def check(
    storage: Annotated[
        str | None,
        typer.Option(help=f"Folder or s3://… to check. Default: ${STORAGE_VARIABLE}, else ./{DEFAULT_STORAGE}."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move what is damaged to <storage>/damaged; a sweep makes it again.")
    ] = False,
) -> None:
    """Read every file of every artifact and table, and name those that are not as they were written."""
    from orchestrator.artifacts import KINDS
    from orchestrator.artifacts.artifact_store import DAMAGED, Store
    from orchestrator.artifacts.study_artifact import KIND
    from orchestrator.exceptions import UserError
    from results import ResultStore

    try:
        store = Store(storage or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE)
    except UserError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
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


if __name__ == "__main__":
    app()
