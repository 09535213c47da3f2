"""UVFA: a shared policy and a shared Q function that read the embedded spec (Schaul et al., 2015; paper, section 5.1).

One branch for the action, as in Cond Policy, and one branch for Q(s, a^), where a^ is the predicted action, learned
from the action values that the experts' critics recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch, Generator, Specs
from hypogen.generators.conditioned import ConditionedLayers
from hypogen.generators.encoder import SPEC_SCALINGS, SpecEncoder, SpecScaling
from hypogen.generators.value import VALUE_LAYERS, VALUE_LOSSES, NormalisedCritic, ValueLoss, imitation_losses
from hypogen.policy import Policy, PolicyShape
from hypogen.validation import DISCOUNT, later, one_of, require, whole


@dataclass(frozen=True)
class UVFASettings:
    """Settings of UVFA.

    embedding_dim: width of the task embedding (paper: 256); a multiple of 4.
    spec_scaling: specs for the encoder, either scaled to [-1, 1] over the grid ("unit", ours) or as given ("raw", the
        authors').
    value_action: action at which Q is learned: "predicted" (paper: Q(s, a^)) or "expert" (the demonstrated action, as
        in HyperZero's baselines, which the paper takes over).
    discount: discount of the temporal-difference target (paper's table 10: 0.99).
    value_loss: Q in units of 1/(1 - discount) ("normalised", ours), or as in HyperZero's baselines ("authors").
    """

    embedding_dim: int = 256
    spec_scaling: SpecScaling = "unit"
    value_action: Literal["predicted", "expert"] = "predicted"
    discount: float = 0.99
    value_loss: ValueLoss = later("normalised")

    def __post_init__(self) -> None:
        require(self, whole(4), "embedding_dim")
        require(self, one_of(*SPEC_SCALINGS), "spec_scaling")
        require(self, one_of("predicted", "expert"), "value_action")
        require(self, DISCOUNT, "discount")
        require(self, one_of(*VALUE_LOSSES), "value_loss")


class UVFA(Generator):
    """The shared spec encoder, one MLP on [embedding, observation], and one on [embedding, observation, action]."""

    settings: UVFASettings

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: UVFASettings) -> None:
        super().__init__(benchmark, shape, settings)
        inputs = settings.embedding_dim + benchmark.observation_dim
        value_shape = PolicyShape(VALUE_LAYERS, shape.hidden_dim)
        self.encoder = SpecEncoder(benchmark, settings.embedding_dim, settings.spec_scaling)
        self.action_branch = ConditionedLayers(shape.sizes(inputs, benchmark.action_dim))
        self.value_branch = ConditionedLayers(value_shape.sizes(inputs + benchmark.action_dim, 1))

    def policy(self, specs: Specs) -> Policy:
        return Policy(*self.action_branch.fold(self.encoder(specs)))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        embedding = self.encoder(batch.specs)
        policy = Policy(*self.action_branch.fold(embedding))
        critic = NormalisedCritic(*self.value_branch.fold(embedding))
        # Detached: a Q function that is still wrong must not influence the action; both branches shape the embedding.
        predicted = policy(batch.observations).detach()
        taken = predicted if self.settings.value_action == "predicted" else batch.actions
        return imitation_losses(policy, critic, batch, self.settings.discount, taken, self.settings.value_loss)
