"""Reference: a lookup among the experts of a split's training specs. Nothing is trained, so only its name is stored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hypogen.demonstrations import Selectable
from hypogen.references import get_reference
from hypogen.references.base import Array
from orchestrator.artifacts.artifact import Artifact, Content, PolicyArtifact, Specs, Summary, Task, write_curve
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.experts_artifact import COPY_S, ExpertsArtifact


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ReferenceArtifact(PolicyArtifact):
    """A reference method on one split.

    Attributes:
        settings: The reference's own settings dataclass.
        train: Specs whose experts it may look at.
        split_seed: Seed of the split, for the label.
    """

    kind = "reference"

    method: str
    settings: Any
    experts: ExpertsArtifact
    train: Specs
    split_seed: int

    def content(self) -> Content:
        return {
            "benchmark": self.benchmark.identity,
            "method": self.method,
            "settings": dataclasses.asdict(self.settings),
            "experts": self.experts.key,
            "train": self.train,
        }

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return (self.experts,)

    @property
    def label(self) -> str:
        return f"{self.benchmark.name} {self.method} split {self.split_seed}"

    @property
    def seconds(self) -> float:
        return COPY_S

    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        write_curve(folder, [])
        return {"parameters": 0, "steps": 0}

    def policy(self, store: Store, specs: Specs, epoch: int | None = None) -> Selectable:
        allowed = set(self.train)

        def experts(chosen: Array) -> Selectable:
            wanted = tuple(map(tuple, chosen.tolist()))
            if not allowed.issuperset(wanted):
                raise ValueError(f"{self.method} asked for experts of specs that do not train")
            return self.experts.policy(store, wanted)

        reference = get_reference(self.method)
        return reference.policy(self.benchmark, self.settings, np.array(self.train), experts, np.array(specs))
