"""Meta Policy: MAML on a policy that reads the embedded spec (Finn et al., 2017; paper, section 5.1).

The inner loop takes a few steps of gradient descent on the policy of one spec, with that spec's demonstrations. The
outer loop learns the start of these steps (the policy's weights and the spec encoder) from the loss after them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch, Specs
from hypogen.generators.conditioned import ConditionedLayers
from hypogen.generators.encoder import SPEC_SCALINGS, SpecEncoder, SpecScaling
from hypogen.generators.few_shot import FewShotGenerator, halves
from hypogen.generators.value import action_loss
from hypogen.policy import Policy, PolicyShape
from hypogen.validation import POSITIVE, later, one_of, require, whole


@dataclass(frozen=True)
class MetaPolicySettings:
    """Settings of Meta Policy. Those of the inner loop are not in the paper; they come from HyperZero's baselines.

    embedding_dim: width of the task embedding (paper: 256); a multiple of 4.
    spec_scaling: specs for the encoder, either scaled to [-1, 1] over the grid ("unit", ours) or as given ("raw", the
        authors').
    inner_steps: gradient steps on each spec's policy, in training and, without `finetune_epochs`, at test time
        (HyperZero's code: 5).
    inner_learning_rate: learning rate of those steps (HyperZero's code: 0.01).
    second_order: whether to differentiate through the inner steps (MAML, HyperZero's code); False is first-order MAML.
    adaptation_episodes: demonstrations per spec to adapt on; None for all (HyperZero's code: all 10).
    finetune_epochs: epochs of Adam on a spec's demonstrations, encoder included, in place of the inner steps once the
        training is over (HyperZero's code: 5); 0 for the inner steps.
    """

    embedding_dim: int = 256
    spec_scaling: SpecScaling = "unit"
    inner_steps: int = 5
    inner_learning_rate: float = 0.01
    second_order: bool = True
    adaptation_episodes: int | None = None
    finetune_epochs: int = later(0)

    def __post_init__(self) -> None:
        require(self, whole(4), "embedding_dim")
        require(self, one_of(*SPEC_SCALINGS), "spec_scaling")
        require(self, whole(1), "inner_steps")
        require(self, POSITIVE, "inner_learning_rate")
        require(self, whole(1).or_null(), "adaptation_episodes")
        require(self, whole(0), "finetune_epochs")


class MetaPolicy(FewShotGenerator):
    """An MLP on [embedding, observation]; all its layers adapt to the spec, the encoder does not."""

    settings: MetaPolicySettings

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: MetaPolicySettings) -> None:
        super().__init__(benchmark, shape, settings)
        sizes = shape.sizes(settings.embedding_dim + benchmark.observation_dim, benchmark.action_dim)
        self.encoder = SpecEncoder(benchmark, settings.embedding_dim, settings.spec_scaling)
        self.layers = ConditionedLayers(sizes)

    def infer(self, context: Batch) -> Policy:
        if self.settings.finetune_epochs == 0:
            return self._descend(context, differentiable=False)
        return self.finetuned(context, [self.encoder, self.layers], lambda: self._start(context.specs))

    def _start(self, specs: Specs) -> Policy:
        return Policy(*self.layers.fold(self.encoder(specs)))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        support, query = halves(batch)
        return {"action": action_loss(self._descend(support, self.settings.second_order), query)}

    def _descend(self, support: Batch, differentiable: bool) -> Policy:
        """Policy of each spec after the inner steps on its own transitions, differentiable with respect to their start.

        The steps run on the folded policies, which is equivalent and several times faster. A step on the columns W_c of
        the first layer, whose gradient is the gradient g of the bias times the embedding c, moves W_c c + b by (1 +
        c.c) times as much as the step on b alone. differentiable: whether to differentiate through the gradients too
        (second order).
        """
        with torch.enable_grad():
            embedding = self.encoder(support.specs)
            policy = Policy(*self.layers.fold(embedding))
            # c.c is the c of the gradient times the c of W_c c; first order does not differentiate gradients.
            slope_embedding = embedding if differentiable else embedding.detach()
            boost = 1.0 + (embedding * slope_embedding).sum(dim=-1, keepdim=True)
            for _ in range(self.settings.inner_steps):
                policy = self._step(policy, support, boost, differentiable)
            return policy

    def _step(self, policy: Policy, support: Batch, boost: Tensor, differentiable: bool) -> Policy:
        """Take one gradient step per spec on its own loss; `boost` [S, 1] multiplies the step of the first bias."""
        theta = [*policy.weights, *policy.biases]
        # The action loss is also a mean over specs, but each spec descends its own loss.
        slopes = torch.autograd.grad(policy.specs * action_loss(policy, support), theta, create_graph=differentiable)
        rates: list[Any] = [self.settings.inner_learning_rate] * len(theta)
        rates[len(policy.weights)] = self.settings.inner_learning_rate * boost
        moved = [value - rate * slope for value, rate, slope in zip(theta, rates, slopes, strict=True)]
        return Policy(tuple(moved[: len(policy.weights)]), tuple(moved[len(policy.weights) :]))
