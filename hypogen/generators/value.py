"""Generated Q head (HyperZero and HyPoGen) and the losses that train a Q function (these two and UVFA).

Q is learned in units of 1/(1 - discount): MuJoCo rewards lie in [0, 1], so the expert's Q1 reaches 100, while the
normalised value lies in about [0, 1], like the action errors beside it. With Q in raw units and a weight of 0.01, the
squared Q error, initially in the thousands, would drown out the action loss in the encoder that both share. That is
what HyperZero's code does, and `value_loss: authors` too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch
from hypogen.generators.heads import Form, LayerHeads, unflatten
from hypogen.policy import Policy, stacked_mlp

VALUE_LAYERS = 2
"""Number of linear layers of the Q head, whatever the depth of the policy."""

ValueLoss = Literal["normalised", "authors"]
VALUE_LOSSES: tuple[str, ...] = ("normalised", "authors")


@dataclass(frozen=True)
class NormalisedCritic:
    """S stacked Q functions, in units of 1/(1 - discount) unless the losses are the authors'."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def __call__(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Q values [S, B] of observations [S, B, D] and actions [S, B, A]."""
        return stacked_mlp(self.weights, self.biases, torch.cat([observations, actions], dim=-1)).squeeze(-1)


class ValueHead(nn.Module):
    """Map from embeddings [S, F] to one Q function per spec: two linear layers, `hidden_dim` wide."""

    def __init__(self, features: int, benchmark: Benchmark, hidden_dim: int, form: Form = "scaled") -> None:
        super().__init__()
        inputs = benchmark.observation_dim + benchmark.action_dim
        self.sizes = ((inputs, hidden_dim), (hidden_dim, 1))
        self.layers = LayerHeads(features, self.sizes, form)

    def forward(self, embedding: Tensor) -> NormalisedCritic:
        stacked = unflatten(self.layers(embedding), self.sizes)
        return NormalisedCritic(stacked.weights, stacked.biases)


def action_loss(policy: Policy, batch: Batch) -> Tensor:
    """Mean squared error of the actions, over specs, samples and action coordinates (equation 1 with l2)."""
    return functional.mse_loss(policy(batch.observations), batch.actions)


def imitation_losses(
    policy: Policy,
    critic: NormalisedCritic,
    batch: Batch,
    discount: float,
    taken: Tensor | None = None,
    kind: ValueLoss = "normalised",
) -> dict[str, Tensor]:
    """Unweighted losses of a method with a Q head, by name.

    action: see `action_loss`. value: MSE between Q(s, a) and the expert's Q1. td: MSE between Q(s, a) and r + discount
    * Q(s', pi(s')), whose gradient stops at the target, so the policy learns from the action loss alone. The value of
    the next state counts unless the episode ended there for good; running out of time does not end the task. a is
    `taken` [S, B, A] if given, otherwise the expert's action.

    kind "authors" is HyperZero's code (`approximators/rl_solution.py`): Q in the rewards' own units, and a td that
    pulls r + discount * Q(s', pi(s')) towards the expert's recorded Q1, with a gradient through Q and none through pi.
    """
    predicted = critic(batch.observations, batch.actions if taken is None else taken)
    if kind == "authors":
        with torch.no_grad():
            acted = policy(batch.next_observations)
        bootstrapped = batch.rewards + discount * batch.continues * critic(batch.next_observations, acted)
        return {
            "action": action_loss(policy, batch),
            "value": functional.mse_loss(predicted, batch.values),
            "td": functional.mse_loss(bootstrapped, batch.values),
        }
    with torch.no_grad():
        following = critic(batch.next_observations, policy(batch.next_observations))
        target = (1.0 - discount) * batch.rewards + discount * batch.continues * following
    return {
        "action": action_loss(policy, batch),
        "value": functional.mse_loss(predicted, (1.0 - discount) * batch.values),
        "td": functional.mse_loss(predicted, target),
    }
