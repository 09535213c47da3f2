"""Weight norms: mean length of each layer's weights over the policies of the test specs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hypogen.policy import Policy
from orchestrator.artifacts.artifact import Content
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.probe_artifacts import ProbeArtifact


@dataclass(frozen=True, eq=False, kw_only=True)
class WeightNorms(ProbeArtifact):
    """``norm@fc1``, ``norm@fc2``, …: Euclidean lengths of the generated weights, averaged over the test specs."""

    kind = "weight_norms"
    name = "weight_norms"

    def content(self) -> Content:
        return {"benchmark": self.benchmark.identity, "generator": self.generator.key, "specs": self.test}

    def measure(self, store: Store, folder: Path) -> Mapping[str, float]:
        policy = cast(Policy, self.generator.policy(store, self.test))
        norms = [float(weights.flatten(1).norm(dim=1).mean()) for weights in policy.weights]
        return {f"norm@fc{layer}": norm for layer, norm in enumerate(norms, start=1)}
