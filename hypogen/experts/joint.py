"""One TD3 agent for all specs, its networks told the spec: what every expert can start from.

Neighbouring specs move alike, so one network that serves all of them learns from a fraction of the updates that as
many networks of their own would need. A network on [spec, observation] is, for one spec, exactly a network on the
observation with another first bias (``hypogen.policy.fold_condition``), so the agent falls apart into one expert a
spec without any loss, and those can go on learning apart.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from hypogen.experts.networks import StackedMLP
from hypogen.experts.settings import Schedule, TD3Settings
from hypogen.experts.td3 import Batch, PopulationTD3
from hypogen.policy import Policy, fold_condition


class JointTD3:
    """Acts and learns for S experts as ``PopulationTD3`` does, with one agent on [spec, observation].

    Args:
        conditions: what the networks are told of each spec ``[S, C]``, around [-1, 1].
        observation_dim, action_dim, settings, generator: as for ``PopulationTD3``; an update learns from
            ``settings.joint_batch_size`` transitions of every spec.
    """

    def __init__(
        self,
        conditions: Tensor,
        observation_dim: int,
        action_dim: int,
        settings: TD3Settings,
        generator: torch.Generator,
    ) -> None:
        specs, size = conditions.shape
        self._conditions, self._sizes = conditions, (observation_dim, action_dim)
        self._settings, self._generator = settings, generator
        together = dataclasses.replace(settings, batch_size=specs * settings.joint_batch_size)
        self._agent = PopulationTD3(1, size + observation_dim, action_dim, together, generator)

    def act(self, observations: Tensor) -> Tensor:
        """Actions ``[S, E, A]``, without noise, for observations ``[S, E, D]``."""
        return self._agent.act(self._conditioned(observations)).view(*observations.shape[:2], -1)

    def update(self, batch: Batch, noise: Tensor, now: Schedule) -> None:
        """Update the agent once with the batches of all specs."""
        together = Batch(
            self._conditioned(batch.observations),
            _together(batch.actions),
            _together(batch.returns),
            _together(batch.discounts),
            self._conditioned(batch.next_observations),
        )
        self._agent.update(together, _together(noise), now)

    def policy(self) -> Policy:
        """A copy of the actor, one a spec, on the CPU."""
        return Policy(*_first(*self._parts(self._agent.actor)))

    def q1(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """A copy of the first critic on the CPU, one a spec: weights ``[S, out, in]`` and biases ``[S, out]``."""
        return _first(*self._parts(self._agent.critic))

    def part(self) -> PopulationTD3:
        """Independent experts that act and value as the agent does; their optimisers start afresh."""
        population = PopulationTD3(len(self._conditions), *self._sizes, self._settings, self._generator)
        for agent, experts in zip(self._agent.networks, population.networks, strict=True):
            for theirs, ours in zip(experts.linear(), self._parts(agent), strict=True):
                for target, source in zip(theirs, ours, strict=True):
                    target.copy_(source.flatten(0, 1))
            experts.refresh()
        return population

    def finite(self) -> bool:
        """Whether every weight is a number."""
        return self._agent.finite()

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next updates depend on."""
        return self._agent.state()

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Go back to a ``state``."""
        self._agent.load_state(state)

    def _conditioned(self, observations: Tensor) -> Tensor:
        conditions = self._conditions.unsqueeze(1).expand(-1, observations.shape[1], -1)
        return _together(torch.cat([conditions, observations], dim=-1))

    def _parts(self, network: StackedMLP) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What each of N stacked networks is for every spec: weights ``[N, S, out, in]`` and biases ``[N, S, out]``."""
        weights, biases = network.linear()
        folded = [fold_condition(w, b, self._conditions) for w, b in zip(weights[0], biases[0], strict=True)]
        first = tuple(torch.stack(tensors) for tensors in zip(*folded, strict=True))

        def repeat(layer: Tensor) -> Tensor:
            return layer.unsqueeze(1).expand(-1, len(self._conditions), *layer.shape[1:])

        return (first[0], *map(repeat, weights[1:])), (first[1], *map(repeat, biases[1:]))


def _together(tensor: Tensor) -> Tensor:
    """Rows ``[S, B, …]`` of all specs as those of one network, ``[1, S * B, …]``."""
    return tensor.flatten(0, 1).unsqueeze(0)


def _first(weights: tuple[Tensor, ...], biases: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Copies on the CPU of the first of N networks."""

    def copies(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor[0].cpu().clone(memory_format=torch.contiguous_format) for tensor in tensors)

    return copies(weights), copies(biases)
