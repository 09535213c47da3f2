"""Probes: does a generator that updates a policy step by step optimise it, or remember it? (paper, section 5.4)

    update_losses(generator, demonstrations)            table 4 and figure 2d: the action loss after each update
    starts = random_starts(generator, STARTS, seed)     table 3: the policies when noise replaces theta^0
    start_statistics(generator, specs, starts)
    policy_from_starts(generator, specs, starts)        the same policies, for rollouts
    update_losses(generator, demonstrations, starts)    and the action loss on the way from there

All probes examine a trained generator from outside and draw nothing from torch's global random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from hypogen.generators import HyPoGen
from hypogen.generators.base import Specs
from hypogen.policy import Policy, concatenate

if TYPE_CHECKING:  # a runtime import would load the simulators
    from hypogen.demonstrations import Demonstrations

STARTS = 10
"""Number of random starts theta^0 (the paper does not give one)."""
START_RANGE = 0.1
"""Range of the paper's random starts: every parameter is uniform in [-0.1, 0.1]."""

Start = Sequence[Tensor]
"""Flat parameters of each policy layer, in the form that `HyPoGen.policy(start=)` takes."""


@torch.no_grad()
def update_losses(generator: HyPoGen, demonstrations: Demonstrations, starts: Sequence[Start] | None = None) -> Tensor:
    """Action loss [K + 1, S] of each spec's policy after k = 0..K updates: MSE over its samples and action coordinates.

    From the learned theta^0 (table 4), or from `starts`, which the specs take in turn: a mean over many specs is
    nearly one over starts as well. Computed for one spec at a time, so that memory does not grow with their number.
    """
    observations, actions = (tensor.flatten(1, 2) for tensor in (demonstrations.observations, demonstrations.actions))
    rows = []
    for updates in range(generator.settings.blocks + 1):
        if starts is None:
            policy = generator.policy(demonstrations.specs, updates)
        else:
            policy = policy_from_starts(generator, demonstrations.specs, starts, updates)
        made = (policy.select([spec])(observations[[spec]]) for spec in range(policy.specs))
        rows.append(torch.stack([functional.mse_loss(a, actions[[spec]]) for spec, a in enumerate(made)]))
    return torch.stack(rows)


def random_starts(generator: HyPoGen, count: int, seed: int) -> list[Start]:
    """`count` starts whose parameters are uniform in [-START_RANGE, START_RANGE]; they depend on the seed alone."""
    random = torch.Generator().manual_seed(seed)
    return [
        [torch.empty(layer.shape).uniform_(-START_RANGE, START_RANGE, generator=random) for layer in generator.start]
        for _ in range(count)
    ]


@torch.no_grad()
def start_statistics(generator: HyPoGen, specs: Specs, starts: Sequence[Start]) -> dict[str, tuple[float, float]]:
    """Statistics (magnitude, deviation) over the starts for each tensor of the policy (`fc1.weight`, `fc1.bias`, ...).

    magnitude: Euclidean norm of the tensor, averaged over starts. deviation: root mean squared distance of the tensor
    from its mean over the starts; 0 for a generator that ignores its start. Both are in the unit of the parameters,
    computed per spec and averaged over `specs`. Source: table 3, which names the two and defines neither.
    """
    policies = [generator.policy(specs, start=start) for start in starts]
    statistics = {}
    for layer in range(generator.shape.layers):
        weights, biases = [p.weights[layer] for p in policies], [p.biases[layer] for p in policies]
        for name, stacked in (("weight", torch.stack(weights)), ("bias", torch.stack(biases))):
            tensors = stacked.flatten(2)  # [starts, S, numbers]
            distances = (tensors - tensors.mean(dim=0)).norm(dim=-1)
            deviation = distances.square().mean(dim=0).sqrt()
            statistics[f"fc{layer + 1}.{name}"] = (float(tensors.norm(dim=-1).mean()), float(deviation.mean()))
    return statistics


@torch.no_grad()
def policy_from_starts(generator: HyPoGen, specs: Specs, starts: Sequence[Start], updates: int | None = None) -> Policy:
    """One policy per spec of `specs`, with the starts taken in turn: a mean over specs is also one over starts.

    updates: number of updates that are made; None makes all K.
    """
    each = (generator.policy(specs[[row]], updates, starts[row % len(starts)]) for row in range(len(specs)))
    return concatenate(list(each))
