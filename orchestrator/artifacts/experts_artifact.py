"""Experts: trained together, one by one, scripted, or the zoo's. One kind on disk, one class per way to get them."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from hypogen import zoo
from hypogen.demonstrations import Selectable
from hypogen.experts import (
    ControllerAlgorithm,
    Experts,
    PopulationAlgorithm,
    SpecAlgorithm,
    Training,
    get_algorithm,
)
from orchestrator.artifacts.artifact import (
    Artifact,
    Content,
    Place,
    PolicyArtifact,
    Specs,
    Summary,
    Task,
    Values,
    rows_of,
    span,
    write_curve,
)
from orchestrator.artifacts.artifact_store import Store

COPY_S = 1.0
"""Seconds for experts that are only copied, joined or named."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ExpertsArtifact(PolicyArtifact):
    """Experts of some specs."""

    kind = "experts"

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return ()

    @property
    def seconds(self) -> float:
        return COPY_S

    @abstractmethod
    def get(self, store: Store, task: Task) -> Experts:
        """The experts, by training them or from where they are."""

    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        population = self.get(store, task)
        population.save(folder)
        curve = _mean_curve(population)
        write_curve(folder, curve)
        return {
            "parameters": policy_parameters(population),
            "steps": max(cast(int, row["step"]) for row in curve),
            "mean_return": float(np.mean(population.returns)),
        }

    def load(self, store: Store, specs: Specs) -> Experts:
        """The stored experts of ``specs``."""
        population = Experts.load(self.folder(store))
        return population.select(rows_of(population.specs, specs))

    def policy(self, store: Store, specs: Specs, epoch: int | None = None) -> Selectable:
        return self.load(store, specs).actor

    def progress(self, values: Values) -> float | None:
        return values["update"] / max(values["updates"], 1) if {"update", "updates"} <= values.keys() else None


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PopulationExperts(ExpertsArtifact):
    """Experts that an algorithm such as TD3 trains together."""

    place = Place.TRIAL
    resources = "expert"

    algorithm: str
    specs: Specs
    settings: Any  # the algorithm's own dataclass
    seed: int

    @property
    def _algorithm(self) -> PopulationAlgorithm:
        return cast(PopulationAlgorithm, get_algorithm(self.algorithm))

    def content(self) -> Content:
        return {
            **self._algorithm.identity,
            "benchmark": self.benchmark.identity,
            "specs": self.specs,
            "settings": dataclasses.asdict(self.settings),
            "seed": self.seed,
        }

    @property
    def label(self) -> str:
        return f"{self.benchmark.name} experts ({len(self.specs)} specs)"

    @property
    def seconds(self) -> float:
        return self._algorithm.seconds(self.settings, len(self.specs))

    @property
    def gpu_seconds(self) -> float | None:
        return self._algorithm.gpu_seconds(self.settings, len(self.specs))

    def get(self, store: Store, task: Task) -> Experts:
        return self._algorithm.train(self.benchmark.name, self.specs, self.settings, self.seed, _training(task))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SpecExpert(ExpertsArtifact):
    """One spec's expert, trained alone by an algorithm such as PPO, perhaps from a neighbour's weights."""

    place = Place.TRIAL
    resources = "expert"

    algorithm: str
    spec: tuple[float, ...]
    settings: Any  # the algorithm's own dataclass
    start: SpecExpert | None
    seed: int

    @property
    def _algorithm(self) -> SpecAlgorithm:
        return cast(SpecAlgorithm, get_algorithm(self.algorithm))

    def content(self) -> Content:
        return {
            **self._algorithm.identity,
            "benchmark": self.benchmark.identity,
            "spec": self.spec,
            "settings": dataclasses.asdict(self.settings),
            "start": self.start.key if self.start else None,
            "seed": self.seed,
        }

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return (self.start,) if self.start else ()

    @property
    def label(self) -> str:
        return f"{self.benchmark.name} {self.algorithm.upper()} expert {span((self.spec,))}"

    @property
    def seconds(self) -> float:
        return self._algorithm.seconds(self.settings)

    @property
    def gpu_seconds(self) -> float | None:
        return self._algorithm.gpu_seconds(self.settings)

    @property
    def runners(self) -> int:
        return self._algorithm.runners(self.settings)

    def get(self, store: Store, task: Task) -> Experts:
        start = self.start.load(store, (self.start.spec,)) if self.start else None
        return self._algorithm.train(self.benchmark.name, self.spec, self.settings, self.seed, start, _training(task))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class JoinedExperts(ExpertsArtifact):
    """Experts that were trained one by one, taken together."""

    parts: tuple[SpecExpert, ...]

    def content(self) -> Content:
        return {"benchmark": self.benchmark.identity, "parts": [part.key for part in self.parts]}

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return self.parts

    @property
    def label(self) -> str:
        return f"{self.benchmark.name} experts ({len(self.parts)} specs)"

    def get(self, store: Store, task: Task) -> Experts:
        return Experts.concatenate([Experts.load(part.folder(store)) for part in self.parts])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ZooExperts(ExpertsArtifact):
    """Experts of the benchmark's whole grid that come with the project, by their name there."""

    name: str
    digest: str

    def content(self) -> Content:
        return {"benchmark": self.benchmark.identity, "zoo": self.digest}

    @property
    def label(self) -> str:
        return f"{self.benchmark.name} experts (zoo{self.name.removeprefix(self.benchmark.name)})"

    def get(self, store: Store, task: Task) -> Experts:
        return zoo.load(self.name)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ControllerExperts(ExpertsArtifact):
    """Control laws that act without training: nothing is stored but their name."""

    algorithm: str
    specs: Specs

    def content(self) -> Content:
        return {"benchmark": self.benchmark.identity, "specs": self.specs, **get_algorithm(self.algorithm).identity}

    @property
    def label(self) -> str:
        return f"{self.benchmark.name} experts ({len(self.specs)} specs), {self.algorithm}"

    def get(self, store: Store, task: Task) -> Experts:
        raise TypeError("control laws have no weights")

    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        write_curve(folder, [])
        return {"parameters": 0, "steps": 0}

    def policy(self, store: Store, specs: Specs, epoch: int | None = None) -> Selectable:
        return cast(ControllerAlgorithm, get_algorithm(self.algorithm)).policy(self.benchmark.name, specs)


def policy_parameters(population: Experts) -> int:
    """Numbers in one spec's policy."""
    return sum(tensor[0].numel() for tensor in (*population.actor.weights, *population.actor.biases))


def _training(task: Task) -> Training:
    return Training(task.checkpoint, task.report, task.stop, task.threads, task.device)


def _mean_curve(population: Experts) -> list[Mapping[str, float | str]]:
    """Rows of the table ``curves``: means over the specs that were evaluated after the same number of updates."""
    values: dict[tuple[int, str], list[float]] = {}
    for row in population.curve:
        for metric in row.keys() & {"return", "success"}:
            values.setdefault((row["update"], metric), []).append(row[metric])
    return [
        {"epoch": 0, "step": update, "metric": metric, "value": float(np.mean(values[update, metric]))}
        for update, metric in sorted(values)
    ]
