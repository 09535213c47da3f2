"""TD3 (Fujimoto et al., 2018) for a whole population: one update of all S experts in a few batched products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hypogen.experts.networks import PassBuffers, StackedMLP
from hypogen.experts.settings import Schedule, TD3Settings
from hypogen.policy import Policy, stacked_mlp


class TransitionBatch(NamedTuple):
    """Transitions for one update of S experts, float32.

    observations ``[S, B, D]``, actions ``[S, B, A]``, returns ``[S, B]`` (discounted rewards of the next n steps),
    discounts ``[S, B]`` of the value at next_observations ``[S, B, D]``.
    """

    observations: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    next_observations: Tensor


class PopulationTD3:
    """S independent TD3 agents that are updated at the same time and share nothing else.

    Each agent has an actor and twin critics with two hidden layers, target networks of all three, and Adam.
    ``settings.precision`` must be resolved. Deterministic on CPU: the same generator state and batches give the same
    weights.
    """

    def __init__(
        self,
        specs: int,
        observation_dim: int,
        action_dim: int,
        settings: TD3Settings,
        generator: torch.Generator,
    ) -> None:
        device, dtype = generator.device, getattr(torch, settings.precision)
        hidden, rows = (settings.hidden_dim, settings.hidden_dim), settings.batch_size
        actor_sizes = (observation_dim, *hidden, action_dim)
        critic_sizes = (observation_dim + action_dim, *hidden, 1)
        self._specs, self._observation_dim, self._settings = specs, observation_dim, settings

        def networks(count: int, sizes: tuple[int, ...]) -> tuple[StackedMLP, StackedMLP]:
            online, target = (StackedMLP(count, sizes, dtype, device) for _ in range(2))
            online.initialise(generator)
            _move(target, online, 1.0)
            return online, target

        # The leading axis of the critics is [2 S]: all first critics, then all second ones.
        self.actor, self.target_actor = networks(specs, actor_sizes)
        self.critic, self.target_critic = networks(2 * specs, critic_sizes)
        self._actor_adam, self._critic_adam = self.actor.adam(), self.critic.adam()
        self._actor_space, self._critic_space = PassBuffers(self.actor, rows), PassBuffers(self.critic, rows)
        self._q1_space = PassBuffers(self.critic, rows, specs)
        self._updates = 0

    @property
    def networks(self) -> tuple[StackedMLP, ...]:
        """Actor, target actor, critics, target critics."""
        return self.actor, self.target_actor, self.critic, self.target_critic

    def policy(self) -> Policy:
        """Copy of the actors on the CPU."""
        weights, biases = self.actor.export()
        return Policy(weights, biases)

    def act(self, observations: Tensor) -> Tensor:
        """Actions ``[S, E, A]`` of the actors, without noise, for observations ``[S, E, D]``."""
        return torch.tanh(stacked_mlp(*self.actor.linear(), observations))

    def q1(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Copy of the first critics on the CPU: weights ``[S, out, in]`` and biases ``[S, out]`` of each layer."""
        return self.critic.export(self._specs)

    @torch.no_grad()
    def update(self, batch: TransitionBatch, noise: Tensor, now: Schedule) -> None:
        """Update every expert once.

        Args:
            batch: transitions that each expert learns from.
            noise: standard normal numbers ``[S, B, A]`` that smooth the target actions.
            now: learning rate, standard deviation of the noise before clipping, and penalty.
        """
        settings = self._settings
        self._updates += 1
        targets = self._targets(batch, noise, now.exploration_std)
        self._update_critics(batch, targets, now.learning_rate)
        if self._updates % settings.actor_every == 0:
            self._update_actors(batch, now)
        if self._updates % settings.target_every == 0:
            _move(self.target_actor, self.actor, settings.tau)
            _move(self.target_critic, self.critic, settings.tau)

    def finite(self) -> bool:
        """Whether every weight is finite."""
        return all(bool(torch.isfinite(network.flat).all()) for network in (self.actor, self.critic))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """State that determines the next updates: weights, targets, optimisers, number of updates."""
        return {"updates": np.asarray(self._updates)} | {name: t.cpu().numpy() for name, t in self._tensors().items()}

    def load_state(self, state: Mapping[str, npt.NDArray[Any] | Tensor]) -> None:
        """Restore a ``state``."""
        self._updates = int(state["updates"])
        for name, tensor in self._tensors().items():
            tensor.copy_(torch.as_tensor(state[name]))
        for network in self.networks:
            network.refresh()

    def _targets(self, batch: TransitionBatch, noise: Tensor, std: float) -> Tensor:
        """Targets of the critics: ``y = r + γ min_i Q'_i(s', clip(π'(s') + clip(ε)))``, ``[S, B, 1]``."""
        clip = self._settings.noise_clip
        self._actor_space.inputs.copy_(batch.next_observations)
        actions = self.target_actor.forward(self._actor_space).tanh_()
        actions.add_(noise.mul(std).clamp_(-clip, clip)).clamp_(-1, 1)
        self._fill(self._critic_space, batch.next_observations, actions)
        first, second = self.target_critic.forward(self._critic_space).chunk(2)
        value = torch.minimum(first, second)
        return torch.addcmul(batch.returns.unsqueeze(-1), batch.discounts.unsqueeze(-1), value)

    def _update_critics(self, batch: TransitionBatch, targets: Tensor, rate: float) -> None:
        """Take one Adam step on the mean squared error of both critics."""
        self._fill(self._critic_space, batch.observations, batch.actions)
        values = self.critic.forward(self._critic_space).view(2, *targets.shape)
        slope = values.sub_(targets).mul_(2 / targets.shape[1])
        self.critic.backward(self._critic_space, slope.flatten(0, 1))
        self._critic_adam.step(rate)

    def _update_actors(self, batch: TransitionBatch, now: Schedule) -> None:
        """Take one Adam step up the first critic's mean value of the actions ``tanh(z)``, less a penalty on z."""
        self._actor_space.inputs.copy_(batch.observations)
        outputs = self.actor.forward(self._actor_space)
        actions = outputs.tanh()
        self._fill(self._q1_space, batch.observations, actions)
        self.critic.forward(self._q1_space, self._specs)  # only for its activations
        slope = actions.new_full((*actions.shape[:2], 1), -1 / actions.shape[1])
        by_action = self.critic.input_gradient(self._q1_space, slope, self._specs)[:, :, self._observation_dim :]
        by_output = by_action * (1 - actions.square())
        if now.saturation_penalty:
            by_output.add_(outputs, alpha=2 * now.saturation_penalty / actions.shape[1])
        self.actor.backward(self._actor_space, by_output)
        self._actor_adam.step(now.learning_rate)

    def _fill(self, space: PassBuffers, observations: Tensor, actions: Tensor) -> None:
        inputs = space.inputs.view(-1, *observations.shape[:2], space.inputs.shape[-1])
        inputs[..., : self._observation_dim] = observations
        inputs[..., self._observation_dim :] = actions

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {"target_actor": self.target_actor.flat, "target_critic": self.target_critic.flat}
        for name, network, adam in (
            ("actor", self.actor, self._actor_adam),
            ("critic", self.critic, self._critic_adam),
        ):
            tensors[name] = network.flat
            tensors |= {f"{name}_{key}": value for key, value in adam.state.items()}
        return tensors


def _move(target: StackedMLP, online: StackedMLP, tau: float) -> None:
    target.flat.lerp_(online.flat, tau)
    target.refresh()
