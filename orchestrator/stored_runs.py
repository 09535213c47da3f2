"""Runs of a storage by their key: the trained generator, or the experts, behind a row of the table ``runs``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import cast

import numpy as np

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.deployment import lookup
from hypogen.deployment.cards import Measured
from hypogen.deployment.policies import KnownPolicies, Trained, TrainedGenerator
from hypogen.experts import Experts
from hypogen.generators import GENERATORS, get_generator, storage
from hypogen.policy import Policy
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.experts_artifact import ExpertsArtifact
from orchestrator.artifacts.generator_artifact import POLICY, GeneratorArtifact
from orchestrator.sweep import place_of
from results.problems import ResultsError
from results.result_store import open_results

SHOWN = 12
"""Runs that an error lists at most."""


@dataclass(frozen=True)
class StoredRun:
    """A row of the table ``runs``, as far as it says what acts.

    Attributes:
        artifact: Key of the generator or the experts.
        split: Seed of the split; None for experts.
    """

    run: str
    benchmark: str
    method: str
    artifact: str
    split: int | None

    def __str__(self) -> str:
        split = "" if self.split is None else f" split {self.split}"
        return f"{self.run} ({self.benchmark} {self.method}{split})"


def load(run: str, place: str | None = None) -> Trained:
    """What :func:`hypogen.load` gives for the ``run`` of a storage: its key, or a prefix that no other run has.

    Args:
        run: The key, as the table ``runs`` has it.
        place: Folder or ``s3://…``. Default: ``$HYPOGEN_STORAGE``, else ``./runs``.

    Raises ValueError when there is no such run, with those that there are, or none that has policies of its own;
    UserError for a storage that cannot be read; Damaged.
    """
    place = place_of(place, os.environ)
    return trained(find(run, place), Store(place))


def load_named(name: str, place: str | None) -> Trained:
    """What a person names on a command line: a run of the storage, the zoo's experts, or a folder."""
    return lookup.load(name) if lookup.is_elsewhere(name) else load(name, place)


def find(run: str, place: str) -> StoredRun:
    """The one run whose key begins with ``run``. Raises ValueError when none does, or several."""
    try:
        rows = open_results(place).table("SELECT run, benchmark, method, artifact, split_seed AS split FROM runs")
    except ResultsError as error:
        raise ValueError(str(error)) from None
    known = [StoredRun(**row) for row in rows.to_pylist()]
    found = [row for row in known if run and row.run.startswith(run)]
    if len(found) == 1:
        return found[0]
    some = found or known
    listed = "\n".join(f"  {row}" for row in sorted(some, key=str)[:SHOWN])
    more = f"\n  and {len(some) - SHOWN} more" if len(some) > SHOWN else ""
    problem = f"{len(found)} runs of {place} begin with {run!r}" if found else f"no run of {place} begins with {run!r}"
    raise ValueError(f"{problem}:\n{listed}{more}")


def trained(row: StoredRun, store: Store) -> Trained:
    """The generator or the experts of a run, from the storage's checked files."""
    benchmark = get_benchmark(row.benchmark)
    if row.method == "expert":
        return _experts(row, benchmark, store)
    if row.method not in GENERATORS:
        raise ValueError(f"{row}: a lookup among experts, without policies of its own; take the run of method expert")
    folder = store.folder(GeneratorArtifact.kind, row.artifact)
    if not get_generator(row.method).few_shot:
        return TrainedGenerator(storage.load(folder))
    adapted = cast("dict[str, object]", store.manifest(GeneratorArtifact.kind, row.artifact)["payload"])["adapt"]
    specs = np.array(adapted, dtype=np.float64)
    return KnownPolicies(benchmark, row.method, specs, Policy.load(folder / POLICY))


def _experts(row: StoredRun, benchmark: Benchmark, store: Store) -> Trained:
    folder = store.folder(ExpertsArtifact.kind, row.artifact)
    if not (folder / "experts.json").is_file():
        raise ValueError(f"{row}: these experts are a control law, without a network to take away")
    experts = Experts.load(folder)
    return KnownPolicies(benchmark, row.method, experts.specs, experts.actor)


def facts_of(run: str, place: str | None) -> tuple[str, list[Measured], dict[str, str]]:
    """Origin, measured returns, and facts of a run for its card; the zoo and folders have nothing but the origin."""
    if lookup.is_elsewhere(run):
        return run, [], {}
    place = place_of(place, os.environ)
    row = find(run, place)
    results = open_results(place)
    episodes = results.table(
        'SELECT spec, role, avg("return") AS mean, count(*) AS episodes FROM episodes WHERE run = $run '
        "GROUP BY spec_index, spec, role ORDER BY spec_index",
        run=row.run,
    )
    measured = [Measured(tuple(one["spec"]), one["role"], one["mean"], one["episodes"]) for one in episodes.to_pylist()]
    (settings,) = results.table(
        "SELECT expert_recipe, train_specs, epochs, parameters FROM runs WHERE run = $run", run=row.run
    ).to_pylist()
    facts = {
        "experts": settings["expert_recipe"],
        "training specs": settings["train_specs"],
        "epochs": settings["epochs"],
        "parameters": settings["parameters"],
    }
    return f"run {row.run}", measured, {name: str(value) for name, value in facts.items() if value}
