"""PEARL: a latent inferred from a spec's transitions conditions one shared policy (Rakelly et al., 2019).

PEARL never reads the spec (paper, section 5.1): the latent takes its place before the residual encoder that all methods
have. Every transition (s, a, r, s') contributes a Gaussian over the latent. The product of these Gaussians is the
posterior, kept near N(0, I) by its KL divergence. The original learns by soft actor-critic; here, as in HyperZero's
baselines, the policy and, through it, the context encoder learn by imitation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch
from hypogen.generators.conditioned import ConditionedLayers
from hypogen.generators.encoder import residual_stages
from hypogen.generators.few_shot import FewShotGenerator, halves
from hypogen.generators.value import action_loss
from hypogen.policy import Policy, PolicyShape
from hypogen.validation import POSITIVE, later, require, whole

SMALLEST_VARIANCE = 1e-7
"""Lower bound on a transition's variance, as in the original: softplus reaches 0 in float32, and we divide by it."""


@dataclass(frozen=True)
class PEARLSettings:
    """Settings of PEARL.

    embedding_dim: width of the embedded latent that the policy reads (paper: 256); a multiple of 4.
    latent_dim: width of the latent (original: 5).
    hidden_dim: width of the context encoder's three hidden layers (original: 200).
    kl_weight: weight of the KL divergence beside the action loss (HyperZero's baselines, which also imitate: 0.01). It
        is decisive: in a short training on cheetah-speed the posterior collapsed to the prior at 0.01 and did not at
        0.001.
    adaptation_episodes: demonstrations per spec to adapt on; None for all (HyperZero's code: all 10).
    finetune_epochs: epochs of Adam on a spec's demonstrations after its latent is inferred (HyperZero's code: 5).
    """

    embedding_dim: int = 256
    latent_dim: int = 5
    hidden_dim: int = 200
    kl_weight: float = 0.01
    adaptation_episodes: int | None = None
    finetune_epochs: int = later(0)

    def __post_init__(self) -> None:
        require(self, whole(4), "embedding_dim")
        require(self, whole(1), "latent_dim", "hidden_dim")
        require(self, POSITIVE, "kl_weight")
        require(self, whole(1).or_null(), "adaptation_episodes")
        require(self, whole(0), "finetune_epochs")


class PEARL(FewShotGenerator):
    """A context encoder, and an MLP on [embedded latent, observation]."""

    settings: PEARLSettings

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: PEARLSettings) -> None:
        super().__init__(benchmark, shape, settings)
        width = settings.hidden_dim
        self.context_encoder = nn.Sequential(
            nn.Linear(2 * benchmark.observation_dim + benchmark.action_dim + 1, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 2 * settings.latent_dim),
        )
        self.encoder = residual_stages(settings.latent_dim, settings.embedding_dim)
        self.layers = ConditionedLayers(
            shape.sizes(settings.embedding_dim + benchmark.observation_dim, benchmark.action_dim)
        )

    def loss_weights(self) -> dict[str, float]:
        return {"kl": self.settings.kl_weight}

    def infer(self, context: Batch) -> Policy:
        """Policies at the mean of the posterior: nothing is drawn at test time."""
        with torch.no_grad():
            mean, _ = self.posterior(context)
        return self.finetuned(context, [self.encoder, self.layers], lambda: self._policy(mean))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Action loss of one half of each spec's transitions at a latent drawn from the posterior of the other half."""
        context, query = halves(batch)
        mean, variance = self.posterior(context)
        latent = mean + variance.sqrt() * torch.randn_like(mean)
        return {
            "action": action_loss(self._policy(latent), query),
            "kl": kl_to_standard_normal(mean, variance).mean(),
        }

    def posterior(self, context: Batch) -> tuple[Tensor, Tensor]:
        """Mean and variance [S, L] of the latent, given the transitions [S, B] of each spec."""
        rewards = context.rewards[..., None]
        votes = self.context_encoder(
            torch.cat([context.observations, context.actions, rewards, context.next_observations], dim=-1)
        )
        # Converted back from autocast's type: a sum over thousands of precisions needs float32.
        means, raw = votes.to(rewards.dtype).chunk(2, dim=-1)
        return product_of_gaussians(means, functional.softplus(raw).clamp(min=SMALLEST_VARIANCE))

    def _policy(self, latent: Tensor) -> Policy:
        return Policy(*self.layers.fold(self.encoder(latent)))


def product_of_gaussians(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [S, L] of the normalised product of N Gaussian densities [S, N, L]."""
    precisions = 1.0 / variances
    variance = 1.0 / precisions.sum(dim=1)
    return variance * (precisions * means).sum(dim=1), variance


def kl_to_standard_normal(mean: Tensor, variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, I)), in nats, [S], of Gaussians [S, L] with independent coordinates."""
    return 0.5 * (variance + mean.square() - 1.0 - variance.log()).sum(dim=-1)
