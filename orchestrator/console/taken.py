"""Space that the artifacts of a storage take: by kind, by experiment, and what of it may go."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.garbage import Inventory, Stored


def print_taken(store: Store, inventory: Inventory) -> None:
    """Print it."""
    console, garbage = Console(soft_wrap=True), inventory.garbage
    by_kind = _table("kind", "artifacts", "size", "not needed", "size")
    for kind in dict.fromkeys(stored.kind for stored in inventory.artifacts.values()):
        everything = [stored for stored in inventory.artifacts.values() if stored.kind == kind]
        by_kind.add_row(kind, *_sums(everything), *_sums(stored for stored in garbage if stored.kind == kind))
    by_kind.add_row("all", *_sums(inventory.artifacts.values()), *_sums(garbage))
    console.print(by_kind)
    by_experiment = _table("experiment", "needs", "size")
    for experiment in inventory.experiments:
        by_experiment.add_row(experiment, *_sums(inventory.needed_by(experiment)))
    console.print(by_experiment)
    for experiment, runs in inventory.unfinished.items():
        console.print(f"{experiment}: {runs} runs have no rows", highlight=False)
    count, size = _sums(garbage)
    console.print(f"{store.given}: no listed experiment needs {count} artifacts ({size})", highlight=False)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="dim")


def _sums(artifacts: Iterable[Stored]) -> tuple[str, str]:
    """Number and size of some artifacts."""
    sizes = [stored.size_bytes for stored in artifacts]
    return str(len(sizes)), _size(sum(sizes))


def _size(count: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
