"""Demonstrations behind a run of a storage, with where they come from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from hypogen.demonstrations import Demonstrations
from hypogen.generators import GENERATORS
from orchestrator.artifacts.artifact import rows_of
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.demonstrations_artifact import FILE, DemonstrationsArtifact
from orchestrator.artifacts.generator_artifact import GeneratorArtifact
from orchestrator.artifacts.manifest import Manifest
from orchestrator.stored_runs import find
from orchestrator.sweep import place_of


@dataclass(frozen=True)
class Shown:
    """What a generator learned from.

    Attributes:
        about: Provenance as plain JSON: run, keys of demonstrations and experts, noise, commit, versions, machine.
        seeds: Seed of each episode's start [S, E].
    """

    demonstrations: Demonstrations
    benchmark: str
    about: dict[str, object]
    seeds: npt.NDArray[np.int64]


def demonstrations_of(run: str, place: str | None) -> Shown:
    """The demonstrations of the training specs of the one ``run`` whose key begins so.

    Raises ValueError where there is no such run, or one that learns from no demonstrations; Damaged.
    """
    place = place_of(place, os.environ)
    row, store = find(run, place), Store(place)
    if row.method not in GENERATORS:
        raise ValueError(f"{row} has learned from no demonstrations: take the run of a generator")
    learned: dict[str, Any] = dict(Manifest.load(store, GeneratorArtifact.kind, row.artifact).payload)
    keys = cast("list[str]", learned["demonstrations"])
    kind = DemonstrationsArtifact.kind
    loaded = Demonstrations.concatenate([Demonstrations.load(store.folder(kind, key) / FILE) for key in keys])
    made = [Manifest.load(store, kind, key) for key in keys]
    contents: list[dict[str, Any]] = [dict(one.payload) for one in made]
    rows = rows_of(loaded.specs.numpy(), tuple(tuple(spec) for spec in learned["train"]))
    about = {
        "run": row.run,
        "method": row.method,
        "split_seed": row.split,
        "demonstrations": keys,
        "experts": sorted({content["experts"] for content in contents}),
        "noise": contents[0].get("noise", 0.0),
        **made[0].surroundings,
    }
    seeds = np.concatenate([np.array(content["seeds"], dtype=np.int64) for content in contents])[rows]
    return Shown(loaded.select(rows), row.benchmark, about, seeds)
