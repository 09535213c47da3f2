"""Rollouts of policies: every (spec, seed) pair is one world, and all worlds step together.

Axes, always in this order: ``[S specs, E episodes, T steps, D features]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, overload

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hypogen import envs
from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.simulators import Simulator

FAILURE_REWARD = 0.05
"""Reward below which a step counts towards a failure (the paper's tables 24 and 25)."""
FAILURE_STEPS = 50
"""Number of consecutive steps below it that makes an episode a failure."""


class Actor(Protocol):
    """Policies for a rollout: S of them behind one call, such as :class:`hypogen.policy.Policy`."""

    @property
    def specs(self) -> int:
        """Number of policies S."""

    @property
    def device(self) -> torch.device:
        """Device on which the policies expect their observations."""

    def __call__(self, observations: Tensor) -> Tensor:
        """Actions [S, E, A], within [-1, 1], for observations [S, E, D]."""


@dataclass(frozen=True)
class Episodes:
    """Measurements of one rollout; every field is ``[S, E]``.

    lengths: number of steps; in ManiSkill the steps until success, or all 200 without it. failed: in MuJoCo the paper's
    failure (see FailureRule), in ManiSkill a task that was not solved in time. success: not failed.
    """

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]
    failed: npt.NDArray[np.bool_]

    @property
    def success(self) -> npt.NDArray[np.bool_]:
        return ~self.failed

    def mean_score(self, simulator: Simulator) -> float:
        """Mean over all episodes of the measure by which benchmarks of that simulator are judged.

        In ManiSkill that is the share of successes, since success ends an episode: a policy that hovers below its goal
        for 200 steps earns a higher return than one that reaches it in 30.
        """
        return float((self.success if simulator.score == "success" else self.returns).mean())


@dataclass(frozen=True)
class Transitions:
    """All steps of a rollout, float32: (next) observations [S, E, T, D], actions [S, E, T, A], rewards [S, E, T].

    T is the length of the longest episode; everything after the end of a shorter one is 0.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor


class FailureRule:
    """Failure of a MuJoCo episode in the paper: rewards below 0.05 for 50 consecutive steps, anywhere in it."""

    def __init__(self, worlds: int) -> None:
        self._run = np.zeros(worlds, dtype=np.int64)
        self.failed = np.zeros(worlds, dtype=np.bool_)

    def update(self, rewards: npt.NDArray[np.float64]) -> None:
        """Take in the rewards ``[W]`` of one step."""
        self._run = np.where(rewards < FAILURE_REWARD, self._run + 1, 0)
        self.failed |= self._run >= FAILURE_STEPS


class _Record:
    """Measurements of ``[S, E]`` episodes of one benchmark so far, with all their steps if requested."""

    def __init__(self, benchmark: Benchmark, shape: tuple[int, int], steps: bool) -> None:
        self.returns, self.lengths = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        self.failed = np.zeros(shape, dtype=np.bool_)
        self.steps = steps
        longest = benchmark.episode_steps if steps else 0
        self.observations = torch.zeros(*shape, longest + 1, benchmark.observation_dim)  # each observation once
        self.actions = torch.zeros(*shape, longest, benchmark.action_dim)
        self.rewards = torch.zeros(*shape, longest)

    def episodes(self) -> Episodes:
        return Episodes(self.returns, self.lengths, self.failed)

    def transitions(self) -> Transitions:
        longest = int(self.lengths.max())
        over = torch.arange(longest) >= torch.from_numpy(self.lengths)[:, :, None]
        before, after = self.observations[:, :, :longest], self.observations[:, :, 1 : longest + 1]
        parts = [part.clone() for part in (before, self.actions[:, :, :longest], self.rewards[:, :, :longest], after)]
        for part in parts:
            part[over] = 0.0
        return Transitions(*parts)


@overload
def rollout(
    benchmark: str,
    specs: npt.ArrayLike,
    policy: Actor,
    seeds: npt.ArrayLike,
    threads: int = ...,
    record: Literal[False] = ...,
    noise: float = ...,
) -> Episodes: ...
@overload
def rollout(
    benchmark: str,
    specs: npt.ArrayLike,
    policy: Actor,
    seeds: npt.ArrayLike,
    threads: int = ...,
    *,
    record: Literal[True],
    noise: float = ...,
) -> tuple[Episodes, Transitions]: ...
def rollout(
    benchmark: str,
    specs: npt.ArrayLike,
    policy: Actor,
    seeds: npt.ArrayLike,
    threads: int = 1,
    record: bool = False,
    noise: float = 0.0,
) -> Episodes | tuple[Episodes, Transitions]:
    """Roll out one policy per spec: one episode per seed, side by side.

    Args:
        benchmark: name of a benchmark, such as ``"cheetah-speed"``.
        specs: raw spec values ``[S, C]``, in the units of the benchmark's variables.
        policy: stacked policies, one per spec (``policy.specs == S``); it acts in float32.
        seeds: one seed per episode ``[S, E]``.
        threads: threads (ManiSkill: processes) that step the physics; their number does not change the result. With
            more than one, set ``OMP_WAIT_POLICY=PASSIVE`` before torch is imported, or torch's own take their cores.
        record: whether to also return every transition.
        noise: standard deviation of the normal noise on each action that is carried out, drawn from the seed of the
            episode. The record holds the actions that the policy chose.

    Returns:
        ``Episodes``, with ``Transitions`` if ``record``.

    Raises:
        ValueError: the shapes disagree, or the benchmark refuses a spec.
    """
    spec_values = np.asarray(specs, dtype=np.float64)
    seed_values = np.asarray(seeds, dtype=np.int64)
    _check_shapes(spec_values, policy, seed_values)
    entry = get_benchmark(benchmark)
    done = _Record(entry, (len(spec_values), seed_values.shape[1]), steps=record)
    rounds = _rounds(entry, seed_values.shape[1])
    worlds = np.repeat(spec_values, rounds[0].stop, axis=0)
    env = envs.make_vector(benchmark, worlds, threads=threads)
    try:
        for part in rounds:
            _run(env, entry, policy, seed_values[:, part], done, part, noise)
    finally:
        env.close()
    return (done.episodes(), done.transitions()) if record else done.episodes()


def _rounds(benchmark: Benchmark, episodes: int) -> list[slice]:
    """Equally long parts of the episodes, one per vector of worlds; the last may repeat episodes of the one before."""
    rounds = -(-episodes // (benchmark.simulator.episodes_at_once or episodes))
    size = -(-episodes // rounds)
    starts = [min(number * size, episodes - size) for number in range(rounds)]
    return [slice(start, start + size) for start in starts]


def _check_shapes(specs: npt.NDArray[np.float64], policy: Actor, seeds: npt.NDArray[np.int64]) -> None:
    if specs.ndim != 2:
        raise ValueError(f"specs must be [S, C], got an array of shape {specs.shape}")
    if seeds.ndim != 2 or 0 in seeds.shape:
        raise ValueError(
            f"seeds must be [S, E] with at least one episode per spec, got an array of shape {seeds.shape}"
        )
    if not len(specs) == policy.specs == len(seeds):
        raise ValueError(f"{len(specs)} specs, {policy.specs} policies and {len(seeds)} rows of seeds do not match")


@torch.no_grad()  # not inference_mode: recorded tensors must be usable for training
def _run(
    env: gymnasium.vector.VectorEnv[Any, Any, Any],
    benchmark: Benchmark,
    policy: Actor,
    seeds: npt.NDArray[np.int64],
    done: _Record,
    part: slice,
    noise: float,
) -> None:
    """Run one episode in each world, and write it to the episodes ``part`` of the record ``done``."""
    shape = seeds.shape
    rule = FailureRule(seeds.size)
    returns, lengths = np.zeros(seeds.size), np.zeros(seeds.size, dtype=np.int64)
    running, terminated = np.ones(seeds.size, dtype=np.bool_), np.zeros(seeds.size, dtype=np.bool_)

    def stacked(observations: npt.NDArray[np.floating[Any]]) -> Tensor:
        return torch.from_numpy(observations.astype(np.float32)).view(*shape, -1)

    disturbances = _disturbances(seeds, benchmark, noise)
    observations = stacked(env.reset(seed=seeds.ravel().tolist())[0])
    if done.steps:
        done.observations[:, part, 0] = observations
    for step in range(benchmark.episode_steps):
        actions = policy(observations.to(policy.device)).cpu()
        carried_out = actions.reshape(seeds.size, -1).numpy()
        if disturbances is not None:
            carried_out = np.clip(carried_out + disturbances[step], -1.0, 1.0)
        raw, rewards, terminated, truncated, _ = env.step(carried_out)
        observations = stacked(raw)
        lengths += running
        returns += rewards  # 0 for a world whose episode is over
        rule.update(rewards)
        if done.steps:
            done.actions[:, part, step] = actions
            done.rewards[:, part, step] = torch.from_numpy(rewards.reshape(shape))
            done.observations[:, part, step + 1] = observations
        running = ~(terminated | truncated)
        if not running.any():
            break

    failed = ~terminated if benchmark.simulator.terminates else rule.failed
    done.returns[:, part], done.lengths[:, part] = returns.reshape(shape), lengths.reshape(shape)
    done.failed[:, part] = failed.reshape(shape)


def _disturbances(
    seeds: npt.NDArray[np.int64], benchmark: Benchmark, deviation: float
) -> npt.NDArray[np.float32] | None:
    """Normal noise for every step, world and action ``[T, W, A]``; the noise of a world depends on its seed alone."""
    if not deviation:
        return None
    shape = (benchmark.episode_steps, benchmark.action_dim)
    worlds = [np.random.default_rng([int(seed), 1]).normal(size=shape) for seed in seeds.ravel()]
    return (deviation * np.stack(worlds, axis=1)).astype(np.float32)
