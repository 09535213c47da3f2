"""Generator: a policy generator trained on the demonstrations of a split's training specs, and its policies."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypogen import generators, training
from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.demonstrations import Selectable
from hypogen.generators import FewShotGenerator, Generator, get_generator, parameter_count, sketch, storage
from hypogen.policy import Policy, PolicyShape
from hypogen.training import TrainingSettings
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
    settings_content,
    specs_at,
    write_curve,
)
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.demonstrations_artifact import DemonstrationsArtifact, keys, load_demonstrations

POLICY = "policy.safetensors"
"""File with a generator's final policies."""

SAMPLE_S = 3.0e-6
PARAMETER_S = 4.1e-9
"""Seconds of a training step, per sample of the batch and per parameter, with two trainings side by side."""
GPU_STEP_S = 3.0e-4
GPU_PARAMETER_S = 5.9e-11
"""The same on an H200 (``docs/performance.md``): per step, and per parameter."""


@dataclass(frozen=True)
class Method:
    """A method with its settings, for one benchmark: everything that an untrained generator is built from.

    Attributes:
        settings: The method's own settings dataclass.
    """

    name: str
    settings: Any
    shape: PolicyShape
    training: TrainingSettings

    def content(self) -> Content:
        """The part of a generator's content that is the method's."""
        return self._content

    @cached_property
    def _content(self) -> Content:
        return {
            "method": self.name,
            "settings": settings_content(self.settings),
            "policy": dataclasses.asdict(self.shape),
            "training": settings_content(self.training),
        }

    def build(self, benchmark: Benchmark, seed: int) -> Generator:
        """An untrained generator, initialised from the seed."""
        return generators.build(self.name, benchmark, self.shape, self.settings, seed=seed)

    def parameters(self, benchmark: Benchmark) -> int:
        """Number of trained parameters, counted without allocating them."""
        return _parameters(self.name, benchmark.name, self.shape, self.settings)


@cache
def _parameters(method: str, benchmark: str, shape: PolicyShape, settings: Any) -> int:
    return parameter_count(sketch(method, get_benchmark(benchmark), shape, settings))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GeneratorArtifact(PolicyArtifact):
    """A trained generator, and its policies for every spec that it can have one for.

    Attributes:
        demonstrations: Demonstrations that hold at least those of ``train`` and ``adapt``.
        train: Specs that it learns from.
        adapt: Specs that a few-shot method adapts to once it is trained, all of the split's; None for other methods.
        epochs: Epochs on the way whose policies are kept beside the final ones.
        samples: Demonstrated steps per spec, as they are estimated.
        split_seed: Seed of the split, for the label.
    """

    kind = "generator"
    version = 2
    place = Place.TRIAL
    resources = "generator"

    method: Method
    demonstrations: tuple[DemonstrationsArtifact, ...]
    train: Specs
    adapt: Specs | None
    epochs: tuple[int, ...]
    seed: int
    samples: int
    split_seed: int

    def content(self) -> Content:
        content: Content = {
            **self.method.content(),
            "benchmark": self.benchmark.identity,
            "demonstrations": keys(self.demonstrations),
            "train": self.train,
            "seed": self.seed,
        }
        if self.adapt is not None:
            content["adapt"] = self.adapt
        if self.epochs:
            content["snapshots"] = self.epochs
        return content

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return self.demonstrations

    @property
    def label(self) -> str:
        return f"{self.benchmark.name} {self.method.name} split {self.split_seed}"

    @property
    def seconds(self) -> float:
        training = self.method.training
        samples = float(training.epochs) * len(self.train) * self.samples
        steps = samples / training.batch_size
        factor = get_generator(self.method.name).step_factor
        return factor * (samples * SAMPLE_S + steps * PARAMETER_S * self.method.parameters(self.benchmark))

    @property
    def gpu_seconds(self) -> float:
        training = self.method.training
        steps = float(training.epochs) * len(self.train) * self.samples / training.batch_size
        factor = get_generator(self.method.name).step_factor
        return factor * steps * (GPU_STEP_S + GPU_PARAMETER_S * self.method.parameters(self.benchmark))

    def progress(self, values: Values) -> float | None:
        return values["epoch"] / self.method.training.epochs if "epoch" in values else None

    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        """Train, and generate the policies.

        The policies of the epochs on the way are kept beside the final ones: training goes on at once, and the rollout
        actors measure them when the artifact is there.
        """
        generator = self.method.build(self.benchmark, self.seed)
        kept = task.checkpoint / "snapshots"

        def keep(epoch: int) -> None:
            if epoch in self.epochs:
                kept.mkdir(exist_ok=True)
                self._policies(store, generator).save(kept / policy_file(epoch))

        curve = training.fit(
            generator,
            load_demonstrations(store, self.demonstrations, self.train),
            self.method.training,
            self.seed,
            checkpoint=task.checkpoint / "checkpoint",
            on_epoch=task.report,
            device=task.device,
            before_checkpoint=keep,
            stop=task.stop,
            keep_end=False,
        )
        generator.to("cpu")
        storage.save(generator, folder)
        self._policies(store, generator).save(folder / POLICY)
        for epoch in self.epochs:
            shutil.copy(kept / policy_file(epoch), folder)
        write_curve(
            folder,
            [
                {"epoch": row["epoch"], "step": row["step"], "metric": metric, "value": value}
                for row in curve
                for metric, value in row.items()
                if metric not in ("epoch", "step")
            ],
        )
        return {"parameters": parameter_count(generator), "steps": curve[-1]["step"] if curve else 0}

    def _policies(self, store: Store, generator: Generator) -> Policy:
        """The policies of all ``known_specs``; a few-shot method adapts first."""
        if isinstance(generator, FewShotGenerator) and self.adapt is not None:
            generator.adapt(load_demonstrations(store, self.demonstrations, self.adapt))
        with torch.no_grad():
            return generator.policy(np.array(self.known_specs))

    @property
    def known_specs(self) -> Specs:
        """Specs that it has policies for: the whole grid, or those that it adapted to."""
        return specs_at(self.benchmark, range(len(self.benchmark.grid))) if self.adapt is None else self.adapt

    def load(self, store: Store) -> Generator:
        """The stored generator."""
        return storage.load(self.folder(store))

    def policy(self, store: Store, specs: Specs, epoch: int | None = None) -> Selectable:
        file = POLICY if epoch is None else policy_file(epoch)
        return Policy.load(self.folder(store) / file).select(rows_of(self.known_specs, specs))


def policy_file(epoch: int) -> str:
    """Name of the file with the policies of an epoch before the last."""
    return f"policy-{epoch}.safetensors"
