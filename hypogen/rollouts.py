"""Rolling out policies: every (spec, seed) pair is one world, and all worlds step together.

Axes, always in this order: ``[S specs, E episodes, T steps, D features]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hypogen import envs
from hypogen.benchmarks import get_benchmark
from hypogen.policy import Policy

FAILURE_REWARD = 0.05
"""A step that earns less than this counts towards a failure (the paper's tables 24 and 25)."""
FAILURE_STEPS = 50
"""So many such steps in a row make the episode a failure."""


@dataclass(frozen=True)
class Episodes:
    """What one rollout measured; every field is ``[S, E]``."""

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]
    failed: npt.NDArray[np.bool_]
    success: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Transitions:
    """Every step of a rollout, float32: (next) observations [S, E, T, D], actions [S, E, T, A], rewards [S, E, T]."""

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor


class FailureRule:
    """The paper's failure of a MuJoCo episode: rewards below 0.05 for 50 consecutive steps, anywhere in the episode."""

    def __init__(self, worlds: int) -> None:
        self._run = np.zeros(worlds, dtype=np.int64)
        self.failed = np.zeros(worlds, dtype=np.bool_)

    def update(self, rewards: npt.NDArray[np.float64]) -> None:
        """Take in one step's rewards ``[W]``."""
        self._run = np.where(rewards < FAILURE_REWARD, self._run + 1, 0)
        self.failed |= self._run >= FAILURE_STEPS


class _Recorder:
    """Collects the steps of ``[S, E]`` worlds, each observation once."""

    def __init__(self, shape: tuple[int, int], steps: int, observation_dim: int, action_dim: int) -> None:
        self._shape = shape
        self._observations = torch.empty(*shape, steps + 1, observation_dim)
        self._actions = torch.empty(*shape, steps, action_dim)
        self._rewards = torch.empty(*shape, steps)

    def start(self, observations: Tensor) -> None:
        self._observations[:, :, 0] = observations

    def step(self, step: int, actions: Tensor, rewards: npt.NDArray[np.float64], observations: Tensor) -> None:
        self._actions[:, :, step] = actions
        self._rewards[:, :, step] = torch.from_numpy(rewards.reshape(self._shape))
        self._observations[:, :, step + 1] = observations

    def transitions(self) -> Transitions:
        before, after = self._observations[:, :, :-1].contiguous(), self._observations[:, :, 1:].contiguous()
        return Transitions(before, self._actions, self._rewards, after)


@overload
def rollout(
    benchmark: str,
    specs: npt.ArrayLike,
    policy: Policy,
    seeds: npt.ArrayLike,
    threads: int = ...,
    record: Literal[False] = ...,
) -> Episodes: ...
@overload
def rollout(
    benchmark: str,
    specs: npt.ArrayLike,
    policy: Policy,
    seeds: npt.ArrayLike,
    threads: int = ...,
    *,
    record: Literal[True],
) -> tuple[Episodes, Transitions]: ...
def rollout(
    benchmark: str,
    specs: npt.ArrayLike,
    policy: Policy,
    seeds: npt.ArrayLike,
    threads: int = 1,
    record: bool = False,
) -> Episodes | tuple[Episodes, Transitions]:
    """Roll one policy out for every spec: one episode a seed, all of them side by side.

    Args:
        benchmark: name of a benchmark, such as ``"cheetah-speed"``.
        specs: raw spec values ``[S, C]``, in the units of the benchmark's variables.
        policy: stacked policies, one a spec (``policy.specs == S``); it acts in float32 and without noise.
        seeds: one seed an episode ``[S, E]``.
        threads: threads that step the physics; the result does not depend on it.
        record: whether to also return every transition.

    Returns:
        ``Episodes``, with ``Transitions`` if ``record``.

    Raises:
        ValueError: the shapes disagree, or the benchmark refuses a spec.
    """
    spec_values = np.asarray(specs, dtype=np.float64)
    seed_values = np.asarray(seeds, dtype=np.int64)
    _check_shapes(spec_values, policy, seed_values)
    episodes = seed_values.shape[1]
    env = envs.make_vector(benchmark, np.repeat(spec_values, episodes, axis=0), threads=threads)
    try:
        return _run(env, benchmark, policy, seed_values, record)
    finally:
        env.close()


def _check_shapes(specs: npt.NDArray[np.float64], policy: Policy, seeds: npt.NDArray[np.int64]) -> None:
    if specs.ndim != 2:
        raise ValueError(f"specs must be [S, C], got an array of shape {specs.shape}")
    if seeds.ndim != 2 or 0 in seeds.shape:
        raise ValueError(f"seeds must be [S, E] with at least one episode a spec, got an array of shape {seeds.shape}")
    if not len(specs) == policy.specs == len(seeds):
        raise ValueError(f"{len(specs)} specs, {policy.specs} policies and {len(seeds)} rows of seeds do not match")


@torch.no_grad()  # not inference_mode: recorded tensors must be fit to learn from
def _run(
    env: gymnasium.vector.VectorEnv, benchmark: str, policy: Policy, seeds: npt.NDArray[np.int64], record: bool
) -> Episodes | tuple[Episodes, Transitions]:
    entry = get_benchmark(benchmark)
    shape = (seeds.shape[0], seeds.shape[1])
    device = policy.weights[0].device
    recorder = _Recorder(shape, entry.episode_steps, entry.observation_dim, entry.action_dim) if record else None
    rule = FailureRule(seeds.size)
    returns = np.zeros(seeds.size)

    def stacked(observations: npt.NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(observations.astype(np.float32)).view(*shape, -1)

    observations = stacked(env.reset(seed=seeds.ravel().tolist())[0])
    if recorder:
        recorder.start(observations)
    for step in range(entry.episode_steps):
        actions = policy(observations.to(device)).cpu()
        raw, rewards, _, _, _ = env.step(actions.reshape(seeds.size, -1).numpy())
        observations = stacked(raw)
        returns += rewards
        rule.update(rewards)
        if recorder:
            recorder.step(step, actions, rewards, observations)

    failed = rule.failed.reshape(shape)
    result = Episodes(returns.reshape(shape), np.full(shape, entry.episode_steps, dtype=np.int64), failed, ~failed)
    return (result, recorder.transitions()) if recorder else result
