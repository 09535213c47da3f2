"""Probes: a look at a trained generator. Measured numbers become curves of the run; policies can be rolled out.

A probe of any kind is asked for by its name under ``probes:`` in an experiment file.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from hypogen import probes
from hypogen.demonstrations import Selectable
from hypogen.generators import GeneratorEntry, HyPoGen
from hypogen.policy import Policy
from orchestrator.artifacts.artifact import (
    Artifact,
    Content,
    PolicyArtifact,
    Specs,
    Summary,
    Task,
    derive_seed,
    read_curve,
    rows_of,
    specs_at,
    write_curve,
)
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.demonstrations_artifact import DemonstrationsArtifact, keys, load_demonstrations
from orchestrator.artifacts.generator_artifact import POLICY, GeneratorArtifact


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ProbeArtifact(Artifact):
    """A probe of one generator.

    Class attributes:
        name: Name in experiment files.
        needs_demonstrations: Whether it looks at demonstrations of all the split's specs.

    Attributes:
        train: The split's training specs.
        test: The split's test specs.
        demonstrations: Demonstrations of both, where the probe needs them.
    """

    kind = "probe"
    name: ClassVar[str]
    needs_demonstrations: ClassVar[bool] = False

    generator: GeneratorArtifact
    train: Specs
    test: Specs
    demonstrations: tuple[DemonstrationsArtifact, ...] = ()

    @staticmethod
    def applies(method: GeneratorEntry) -> bool:
        """Whether the probe means anything for a method."""
        return True

    @abstractmethod
    def measure(self, store: Store, folder: Path) -> Mapping[str, float]:
        """Numbers by name: they become curves of the run, at its last epoch."""

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return (self.generator, *self.demonstrations)

    @property
    def label(self) -> str:
        method, split = self.generator.method.name, self.generator.split_seed
        return f"{self.benchmark.name} {method} split {split} {self.name.replace('_', ' ')}"

    @property
    def seconds(self) -> float:
        specs = len(self.train) + len(self.test)
        return specs * self.benchmark.usual_steps * self.benchmark.simulator.step_s

    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        measured = self.measure(store, folder)
        write_curve(folder, [{"metric": name, "value": value} for name, value in measured.items()])
        return {}

    def curve(self, store: Store) -> list[dict[str, float | str]]:
        """Measured numbers: rows of ``metric`` and ``value``."""
        return read_curve(self, store)


class UpdatesProbe(ProbeArtifact):
    """A probe of a method that makes its policies update by update."""

    @staticmethod
    def applies(method: GeneratorEntry) -> bool:
        return method.has_updates

    def _load(self, store: Store) -> HyPoGen:
        return cast(HyPoGen, self.generator.load(store))


class PolicyProbe(ProbeArtifact, PolicyArtifact):
    """A probe that makes policies of its own, to be rolled out.

    Class attributes:
        metrics: Names of the curves with the mean return of the generator's own policies, and of the probe's.
    """

    metrics: ClassVar[tuple[str, str]]


def random_starts_seed(generator: GeneratorArtifact) -> int:
    """Seed of a generator's random starts, the same for all probes."""
    return derive_seed("random_start", generator.seed)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RandomStartProbe(UpdatesProbe, PolicyProbe):
    """Table 3, on the test specs; and the policies from random starts for the whole grid, to be rolled out."""

    name = "random_start"
    metrics = ("return@start=learned", "return@start=random")

    def content(self) -> Content:
        return {
            "probe": self.name,
            "benchmark": self.benchmark.identity,
            "generator": self.generator.key,
            "seed": random_starts_seed(self.generator),
            "specs": {"test": self.test},
        }

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return (self.generator,)

    def measure(self, store: Store, folder: Path) -> Mapping[str, float]:
        generator = self._load(store)
        starts = probes.random_starts(generator, probes.STARTS, random_starts_seed(self.generator))
        probes.policy_from_starts(generator, self.benchmark.grid.copy(), starts).save(folder / POLICY)
        measured = {}
        for name, (magnitude, deviation) in probes.start_statistics(generator, np.array(self.test), starts).items():
            measured[f"magnitude@{name}"], measured[f"magnitude_std@{name}"] = magnitude, deviation
        return measured

    def policy(self, store: Store, specs: Specs, epoch: int | None = None) -> Selectable:
        known = specs_at(self.benchmark, range(len(self.benchmark.grid)))
        return Policy.load(self.folder(store) / POLICY).select(rows_of(known, specs))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class UpdateLossesProbe(UpdatesProbe):
    """Table 4: ``loss@k`` on the demonstrations of the test specs, ``train_loss@k`` on those of the training specs.

    For table 3 the same from its random starts: ``random_loss@k`` and ``random_train_loss@k``.
    """

    name = "update_losses"
    needs_demonstrations = True

    def content(self) -> Content:
        return {
            "probe": self.name,
            "benchmark": self.benchmark.identity,
            "generator": self.generator.key,
            "demonstrations": keys(self.demonstrations),
            "seed": random_starts_seed(self.generator),
            "specs": {"train": self.train, "test": self.test},
        }

    def measure(self, store: Store, folder: Path) -> Mapping[str, float]:
        generator = self._load(store)
        random = probes.random_starts(generator, probes.STARTS, random_starts_seed(self.generator))
        measured = {}
        for specs, on in ((self.test, "loss"), (self.train, "train_loss")):
            shown = load_demonstrations(store, self.demonstrations, specs)
            for starts, name in ((None, on), (random, f"random_{on}")):
                losses = probes.update_losses(generator, shown, starts).mean(dim=1)
                measured.update({f"{name}@{k}": float(value) for k, value in enumerate(losses)})
        return measured
