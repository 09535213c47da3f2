"""Rollouts: episodes of the policies of a few specs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from hypogen.rollouts import rollout
from orchestrator.artifacts.artifact import Artifact, Content, PolicyArtifact, Seeds, Specs, Summary, Task, span
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.experts_artifact import ExpertsArtifact

FILE = "episodes.safetensors"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RolloutsArtifact(Artifact):
    """Episodes of the policies of some specs.

    Attributes:
        acting: Experts, a generator or a probe: whose policies act.
        epoch: An epoch before the last, whose policies act; None for the final ones.
        name: Name of what acts, for the label.
    """

    kind = "rollouts"

    acting: PolicyArtifact
    specs: Specs
    seeds: Seeds
    epoch: int | None
    name: str

    def content(self) -> Content:
        content: Content = {
            "benchmark": self.benchmark.identity,
            "policy": self.acting.key,
            "policy_kind": self.acting.kind,
            "specs": self.specs,
            "seeds": self.seeds,
        }
        if self.epoch is not None:
            content["snapshot"] = self.epoch
        return content

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return (self.acting,)

    @property
    def label(self) -> str:
        return f"{self.benchmark.name} {self.name} rollouts {span(self.specs)}"

    @property
    def seconds(self) -> float:
        simulator = self.benchmark.simulator
        factor = 1.0 if isinstance(self.acting, ExpertsArtifact) else simulator.generated_factor
        return len(self.specs) * len(self.seeds[0]) * self.benchmark.usual_steps * simulator.step_s * factor

    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        policy = self.acting.policy(store, self.specs, self.epoch)
        episodes = rollout(self.benchmark.name, self.specs, policy, self.seeds, threads=task.threads)
        arrays = {
            "returns": episodes.returns,
            "lengths": episodes.lengths,
            "failed": episodes.failed,
            "success": episodes.success,
        }
        save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, folder / FILE)
        return {"mean_return": float(episodes.returns.mean())}

    def load(self, store: Store) -> dict[str, npt.NDArray[Any]]:
        """The arrays [S, E] that were measured: returns, lengths, failed, success."""
        return {name: tensor.numpy() for name, tensor in load_file(self.folder(store) / FILE).items()}
