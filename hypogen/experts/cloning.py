"""A start for PPO's experts: networks that imitate the scripted controller of the same spec."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hypogen.demonstrations import Demonstrations, collect_successes
from hypogen.errors import Stopped
from hypogen.experts.scripted import ScriptedPolicy

_NOISE = 0.1
"""Deviation of the noise on the demonstrated actions, which shows the imitator how to recover."""
_BATCH_SIZE = 512
_LEARNING_RATE = 1e-3


def clone(
    benchmark: str,
    spec: npt.ArrayLike,
    actor: nn.Module,
    critic: nn.Module,
    episodes: int,
    epochs: int,
    discount: float,
    seed: int,
    threads: int = 1,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Fit networks, in place, to successful episodes of the scripted controller of one spec.

    Args:
        benchmark: name of a ManiSkill benchmark.
        spec: raw spec values ``[C]``.
        actor: observations ``[B, D]`` to actions before their tanh ``[B, A]``.
        critic: observations ``[B, D]`` to values ``[B, 1]``, learned for episodes that go on after success, at the last
            step's reward.
        episodes: episodes to imitate.
        epochs: passes over their steps.
        discount: factor by which a reward counts less for each step that it lies ahead, in [0, 1).
        seed: seed of the episodes and of the batches.
        threads: processes that step the physics.
        stop: asked after every epoch; if it returns True, ``Stopped`` is raised.
    """
    point = np.asarray(spec, dtype=np.float64)[None]
    seeds = np.random.SeedSequence([seed, *b"clone"]).generate_state(episodes).astype(np.int64)[None]
    shown = collect_successes(
        benchmark, point, ScriptedPolicy(benchmark, point), seeds, discount, threads, noise=_NOISE
    )
    observations, actions, values = _steps(shown, discount)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(len(values), generator=generator).split(_BATCH_SIZE):
            error = (torch.tanh(actor(observations[batch])) - actions[batch]).square().mean()
            loss = error + (critic(observations[batch])[:, 0] - values[batch]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        if stop is not None and stop():
            raise Stopped(f"cloning the scripted expert of {benchmark} {point[0].tolist()} was stopped")


def _steps(shown: Demonstrations, discount: float) -> tuple[Tensor, Tensor, Tensor]:
    """Observations [N, D], actions [N, A] and values [N] of all steps; the last reward of an episode never ends."""
    rewards, lengths = shown.rewards[0], shown.lengths[0]
    ahead = lengths[:, None] - torch.arange(rewards.shape[1])  # steps that are left, this one included
    last = rewards.gather(1, lengths[:, None] - 1)
    values = shown.values[0] + discount**ahead * last / (1 - discount)
    real = ahead > 0
    return shown.observations[0][real], shown.actions[0][real], values[real]
