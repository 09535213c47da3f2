"""Joint TD3 agents: each serves several neighbouring specs and reads the spec; they are the start of the experts.

The worlds of neighbouring specs behave alike, so one network for several of them needs a fraction of the updates that
as many separate networks would need. For one spec, a network on [spec, observation] is exactly a network on the
observation with another first bias (``hypogen.policy.fold_condition``). An agent can therefore be split into one expert
per spec without any loss, and those experts can continue to learn alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hypogen.experts.networks import StackedMLP
from hypogen.experts.settings import Schedule, TD3Settings
from hypogen.experts.td3 import PopulationTD3, TransitionBatch
from hypogen.policy import Policy, fold_condition


class JointTD3:
    """Learner for S experts with the interface of ``PopulationTD3`` but fewer agents, which read [spec, observation].

    Args:
        conditions: inputs of the networks for each spec ``[S, C]``, roughly in [-1, 1].
        observation_dim, action_dim, settings, generator: as for ``PopulationTD3``. Each of the
            ``settings.joint_agents`` agents serves an equal share of the specs, in their order, and learns from
            ``settings.joint_batch_size`` transitions of each spec.
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
        agents = min(settings.joint_agents, specs)
        self._conditions, self._sizes = conditions, (observation_dim, action_dim)
        self._settings, self._generator = settings, generator
        # Specs of each agent [G, P], distributed as evenly as possible; an agent with fewer serves its last one twice.
        shares = np.array_split(np.arange(specs), agents)
        most = len(shares[0])
        padded = np.stack([np.resize(np.append(share, share[-1]), most) for share in shares])
        self._members = torch.as_tensor(padded, device=conditions.device)
        places = [most * agent + place for agent, share in enumerate(shares) for place in range(len(share))]
        self._places = torch.as_tensor(places, device=conditions.device)
        together = dataclasses.replace(settings, batch_size=most * settings.joint_batch_size)
        self._agents = PopulationTD3(agents, size + observation_dim, action_dim, together, generator)

    def act(self, observations: Tensor) -> Tensor:
        """Actions ``[S, E, A]``, without noise, for observations ``[S, E, D]``."""
        actions = self._agents.act(self._conditioned(observations))
        return actions.view(self._members.numel(), observations.shape[1], -1)[self._places]

    def update(self, batch: TransitionBatch, noise: Tensor, now: Schedule) -> None:
        """Update every agent once, with the batches of all its specs."""
        together = TransitionBatch(
            self._conditioned(batch.observations),
            self._together(batch.actions),
            self._together(batch.returns),
            self._together(batch.discounts),
            self._conditioned(batch.next_observations),
        )
        self._agents.update(together, self._together(noise), now)

    def policy(self) -> Policy:
        """Copy of the actors on the CPU, one per spec."""
        return Policy(*_first(*self._parts(self._agents.actor)))

    def q1(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Copy of the first critics on the CPU, one per spec: weights ``[S, out, in]`` and biases ``[S, out]``."""
        return _first(*self._parts(self._agents.critic))

    def part(self) -> PopulationTD3:
        """Independent experts that act and value like the agents, with fresh optimisers."""
        population = PopulationTD3(len(self._conditions), *self._sizes, self._settings, self._generator)
        for agents, experts in zip(self._agents.networks, population.networks, strict=True):
            for theirs, ours in zip(experts.linear(), self._parts(agents), strict=True):
                for target, source in zip(theirs, ours, strict=True):
                    target.copy_(source.flatten(0, 1))
            experts.refresh()
        return population

    def finite(self) -> bool:
        """Whether every weight is finite."""
        return self._agents.finite()

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """State that determines the next updates."""
        return self._agents.state()

    def load_state(self, state: Mapping[str, npt.NDArray[Any] | Tensor]) -> None:
        """Restore a ``state``."""
        self._agents.load_state(state)

    def _conditioned(self, observations: Tensor) -> Tensor:
        conditions = self._conditions.unsqueeze(1).expand(-1, observations.shape[1], -1)
        return self._together(torch.cat([conditions, observations], dim=-1))

    def _together(self, tensor: Tensor) -> Tensor:
        """Rows ``[S, B, …]`` of the specs, grouped by the agents that serve them: ``[G, P * B, …]``."""
        if self._members.numel() != len(tensor):
            tensor = tensor[self._members.flatten()]
        return tensor.reshape(len(self._members), -1, *tensor.shape[2:])

    def _parts(self, network: StackedMLP) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Networks of N agents (actors or twin critics), rewritten for every spec, with leading axes ``[N / G, S]``."""
        weights, biases = network.linear()
        size = network.count // len(self._members)
        told = self._conditions[self._members].repeat(size, 1, 1)
        folded = [fold_condition(*layer) for layer in zip(weights[0], biases[0], told, strict=True)]
        first = tuple(torch.stack(tensors) for tensors in zip(*folded, strict=True))

        def of_specs(layer: Tensor) -> Tensor:
            return layer.reshape(size, -1, *layer.shape[2:])[:, self._places]

        def repeat(layer: Tensor) -> Tensor:
            return of_specs(layer.unsqueeze(1).expand(-1, self._members.shape[1], *layer.shape[1:]))

        return (of_specs(first[0]), *map(repeat, weights[1:])), (of_specs(first[1]), *map(repeat, biases[1:]))


def _first(weights: tuple[Tensor, ...], biases: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """CPU copies of the first entry of each tensor."""

    def copies(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor[0].cpu().clone(memory_format=torch.contiguous_format) for tensor in tensors)

    return copies(weights), copies(biases)
