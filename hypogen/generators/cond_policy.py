"""Cond Policy: one shared policy that reads the embedded spec beside the observation (paper, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch, Generator, Specs
from hypogen.generators.conditioned import ConditionedLayers
from hypogen.generators.encoder import SPEC_SCALINGS, SpecEncoder, SpecScaling
from hypogen.generators.value import action_loss
from hypogen.policy import Policy, PolicyShape
from hypogen.validation import one_of, require, whole


@dataclass(frozen=True)
class CondPolicySettings:
    """Settings of Cond Policy.

    embedding_dim: width of the task embedding (paper: 256); a multiple of 4.
    spec_scaling: specs for the encoder, either scaled to [-1, 1] over the grid ("unit", ours) or as given ("raw", the
        authors').
    """

    embedding_dim: int = 256
    spec_scaling: SpecScaling = "unit"

    def __post_init__(self) -> None:
        require(self, whole(4), "embedding_dim")
        require(self, one_of(*SPEC_SCALINGS), "spec_scaling")


class CondPolicy(Generator):
    """An MLP on [embedding, observation]; its first layer folds the embedding into one bias per spec."""

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: CondPolicySettings) -> None:
        super().__init__(benchmark, shape, settings)
        sizes = shape.sizes(settings.embedding_dim + benchmark.observation_dim, benchmark.action_dim)
        self.encoder = SpecEncoder(benchmark, settings.embedding_dim, settings.spec_scaling)
        self.layers = ConditionedLayers(sizes)

    def policy(self, specs: Specs) -> Policy:
        return Policy(*self.layers.fold(self.encoder(specs)))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"action": action_loss(self.policy(batch.specs), batch)}
