"""Trained generators and experts by the name that a person gives: the zoo's, a folder, or a run of a storage."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from hypogen import zoo
from hypogen.benchmarks import get_benchmark
from hypogen.deployment.policies import KNOWN, KnownPolicies, Trained, TrainedGenerator
from hypogen.generators import storage as generators

ZOO = "zoo:"
STORAGES = "hypogen.storages"
"""Group of entry points whose functions look a run up in a storage: this package knows no storage."""


def load(run: str | Path, storage: str | None = None) -> Trained:
    """A trained generator, or experts, that make policies: ``hypogen.load(run).policy(speed=3.7).act(observation)``.

    Args:
        run: Key of a run, or a prefix that no other run has; a folder that ``save`` or ``hypogen export`` wrote;
            ``zoo:NAME`` for the experts that come with the project.
        storage: Folder or ``s3://…`` that the sweep was given. Default: ``$HYPOGEN_STORAGE``, else ``./runs``.

    Raises ValueError when there is none, with what there is.
    """
    name, folder = str(run), Path(run)
    if name.startswith(ZOO):
        card, experts = zoo.card(name.removeprefix(ZOO)), zoo.load(name.removeprefix(ZOO))
        return KnownPolicies(get_benchmark(card.benchmark), "expert", experts.specs, experts.actor)
    if (folder / generators.DESCRIPTION).is_file():
        return TrainedGenerator(generators.load(folder))
    if (folder / KNOWN).is_file():
        return KnownPolicies.load(folder)
    for entry in entry_points(group=STORAGES):
        found: Trained = entry.load()(name, storage)
        return found
    raise ValueError(f"{name} is no folder with a generator, and no package that knows storages is installed")


def is_elsewhere(run: str) -> bool:
    """Whether the name is the zoo's or a folder's, not that of a run in a storage."""
    return run.startswith(ZOO) or any((Path(run) / name).is_file() for name in (generators.DESCRIPTION, KNOWN))
