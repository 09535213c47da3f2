"""HyperZero: MLP hypernetwork from the spec to the policy's weights (Rezaei-Shoshtari et al., AAAI 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch, Generator, Specs
from hypogen.generators.encoder import SPEC_SCALINGS, SpecEncoder, SpecScaling
from hypogen.generators.heads import FORMS, Form, LayerHeads, unflatten
from hypogen.generators.value import VALUE_LOSSES, ValueHead, ValueLoss, imitation_losses
from hypogen.policy import Policy, PolicyShape
from hypogen.validation import DISCOUNT, later, one_of, require, whole


@dataclass(frozen=True)
class HyperZeroSettings:
    """Settings of HyperZero.

    embedding_dim: width of the task embedding (paper: 256); a multiple of 4.
    spec_scaling: specs for the encoder, either scaled to [-1, 1] over the grid ("unit", ours) or as given ("raw", the
        authors').
    discount: discount of the Q head's temporal-difference target (paper's table 10: 0.99).
    heads: generated layers in units of their size ("scaled", ours), or HyperZero's own ("authors").
    value_loss: Q in units of 1/(1 - discount) ("normalised", ours), or as in HyperZero's code ("authors").
    """

    embedding_dim: int = 256
    spec_scaling: SpecScaling = "unit"
    discount: float = 0.99
    heads: Form = later("scaled")
    value_loss: ValueLoss = later("normalised")

    def __post_init__(self) -> None:
        require(self, whole(4), "embedding_dim")
        require(self, one_of(*SPEC_SCALINGS), "spec_scaling")
        require(self, DISCOUNT, "discount")
        require(self, one_of(*FORMS), "heads")
        require(self, one_of(*VALUE_LOSSES), "value_loss")


class HyperZero(Generator):
    """The shared spec encoder, one linear head per policy layer, and the same heads for a Q function."""

    settings: HyperZeroSettings

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: HyperZeroSettings) -> None:
        super().__init__(benchmark, shape, settings)
        self.sizes = shape.sizes(benchmark.observation_dim, benchmark.action_dim)
        self.encoder = SpecEncoder(benchmark, settings.embedding_dim, settings.spec_scaling)
        self.policy_head = LayerHeads(settings.embedding_dim, self.sizes, settings.heads)
        self.value_head = ValueHead(settings.embedding_dim, benchmark, shape.hidden_dim, settings.heads)

    def policy(self, specs: Specs) -> Policy:
        return self._policy(self.encoder(specs))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        embedding, discount, kind = self.encoder(batch.specs), self.settings.discount, self.settings.value_loss
        return imitation_losses(self._policy(embedding), self.value_head(embedding), batch, discount, kind=kind)

    def _policy(self, embedding: Tensor) -> Policy:
        return unflatten(self.policy_head(embedding), self.sizes)
