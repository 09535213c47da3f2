"""Demonstrations: recorded episodes of the experts with their critics' values, the only data for generators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hypogen.benchmarks import get_benchmark
from hypogen.rollouts import Actor, Episodes, Transitions, rollout


@dataclass(frozen=True)
class Demonstrations:
    """Recorded episodes of one expert per spec.

    ``specs`` is float64 and holds the raw values, in the units of the benchmark's variables; everything else is
    float32. ``values`` is Q(s, a) of that spec's expert at the recorded observation and action: in MuJoCo the value of
    its first critic, in ManiSkill the discounted sum of the rewards that remain in the episode.

    Episodes may end early: only the first ``lengths`` steps of each are real, and the rest is 0. ``terminated`` says
    whether the last of them ended the episode for good (success), so that no further reward was possible; otherwise
    time ran out. If both are omitted, every episode has T steps and ended when time ran out.
    """

    specs: Tensor  # [S, C]
    observations: Tensor  # [S, E, T, D]
    actions: Tensor  # [S, E, T, A]
    rewards: Tensor  # [S, E, T]
    next_observations: Tensor  # [S, E, T, D]
    values: Tensor  # [S, E, T]
    lengths: Tensor = None  # type: ignore[assignment]  # [S, E], int64
    terminated: Tensor = None  # type: ignore[assignment]  # [S, E], bool

    def __post_init__(self) -> None:
        leading = self.rewards.shape
        if self.lengths is None:
            object.__setattr__(self, "lengths", torch.full(leading[:2], leading[-1], dtype=torch.int64))
        if self.terminated is None:
            object.__setattr__(self, "terminated", torch.zeros(leading[:2], dtype=torch.bool))
        shapes = {field.name: tuple(getattr(self, field.name).shape) for field in fields(self)}
        agree = (
            self.specs.ndim == 2
            and len(leading) == 3
            and len(self.specs) == leading[0]
            and all(tensor.shape[:-1] == leading for tensor in (self.observations, self.actions))
            and self.next_observations.shape == self.observations.shape
            and self.values.shape == leading
            and self.lengths.shape == self.terminated.shape == leading[:2]
        )
        if not agree:
            raise ValueError(f"the fields of demonstrations disagree in shape: {shapes}")

    @property
    def continues(self) -> Tensor:
        """Whether the task goes on after each step [S, E, T]: 0 at a step that ended an episode for good, else 1."""
        last = torch.arange(self.rewards.shape[2]) == self.lengths[:, :, None] - 1
        return 1.0 - (last & self.terminated[:, :, None]).float()

    def select(self, indices: Sequence[int]) -> Demonstrations:
        """Demonstrations of the specs at ``indices`` (positions on the first axis), in that order."""
        chosen = torch.as_tensor(list(indices), dtype=torch.long)
        return Demonstrations(**{name: tensor[chosen] for name, tensor in self._tensors().items()})

    def pick(self, episodes: Sequence[int] | npt.NDArray[np.int64]) -> Demonstrations:
        """The same episodes of every spec: those at ``episodes`` (positions on the axis E), in that order."""
        chosen = torch.as_tensor(np.asarray(episodes), dtype=torch.long)
        rest = {name: tensor[:, chosen] for name, tensor in self._tensors().items() if name != "specs"}
        return Demonstrations(self.specs, **rest)

    @staticmethod
    def join(parts: Sequence[Demonstrations]) -> Demonstrations:
        """Join episodes of the same specs along the axis E, in the given order; T as in ``concatenate``."""
        padded = _padded(parts)
        rest = {name: torch.cat([part[name] for part in padded], dim=1) for name in padded[0] if name != "specs"}
        return Demonstrations(parts[0].specs, **rest)

    @staticmethod
    def concatenate(parts: Sequence[Demonstrations]) -> Demonstrations:
        """Join demonstrations along the spec axis, in the given order; T becomes the length of the longest episode.

        Raises:
            ValueError: there is nothing to join.
        """
        if not parts:
            raise ValueError("there are no demonstrations to concatenate")
        padded = _padded(parts)
        return Demonstrations(**{name: torch.cat([part[name] for part in padded]) for name in padded[0]})

    def save(self, path: str | Path) -> None:
        """Write one safetensors file."""
        save_file({name: tensor.clone() for name, tensor in self._tensors().items()}, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Demonstrations:
        """Read a file that ``save`` wrote."""
        return cls(**load_file(Path(path)))

    def _tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Selectable(Actor, Protocol):
    """Policies of several specs from which some specs can be selected."""

    def select(self, indices: Sequence[int]) -> Actor:
        """Policies of the specs at ``indices``, in that order."""


def _padded(parts: Sequence[Demonstrations]) -> list[dict[str, Tensor]]:
    """Fields of each part; the axis T of those that have one is padded with zeros to the longest episode."""
    longest = max(int(part.lengths.max()) for part in parts)
    return [{name: _pad(tensor, longest) for name, tensor in part._tensors().items()} for part in parts]


def _pad(tensor: Tensor, steps: int) -> Tensor:
    if tensor.ndim < 3:
        return tensor
    if tensor.shape[2] >= steps:
        return tensor[:, :, :steps]
    return torch.cat([tensor, tensor.new_zeros(*tensor.shape[:2], steps - tensor.shape[2], *tensor.shape[3:])], dim=2)


def collect(
    benchmark: str,
    specs: npt.ArrayLike,
    policy: Actor,
    critic: Callable[[Tensor, Tensor], Tensor],
    seeds: npt.ArrayLike,
    threads: int = 1,
    noise: float = 0.0,
) -> Demonstrations:
    """Roll out the experts, and record observations, actions and rewards together with the values of their critics.

    Args:
        benchmark: name of a benchmark.
        specs: raw spec values ``[S, C]``.
        policy: stacked policies of the experts, which act without noise.
        critic: Q1 of the same experts, ``(observations [S, N, D], actions [S, N, A]) -> values [S, N]``.
        seeds: one seed per episode ``[S, E]``; the paper takes ten episodes per spec.
        threads: threads that step the physics.
        noise: standard deviation of the normal noise on the actions that are carried out (the paper: 0). The actions
            that the expert chose are recorded and valued, so that the demonstrations show how to recover from
            disturbances (DART, Laskey et al., 2017). ``rewards`` and ``next_observations`` follow from the disturbed
            actions.

    Raises:
        ValueError: the shapes disagree.
    """
    episodes, steps = rollout(benchmark, specs, policy, seeds, threads, record=True, noise=noise)
    with torch.no_grad():
        values = critic(steps.observations.flatten(1, 2), steps.actions.flatten(1, 2)).view(steps.rewards.shape)
    return _demonstrations(benchmark, specs, episodes, steps, values)


def collect_successes(
    benchmark: str,
    specs: npt.ArrayLike,
    policy: Selectable,
    seeds: npt.ArrayLike,
    discount: float = 0.99,
    threads: int = 1,
    attempts: int = 100,
    noise: float = 0.0,
) -> Demonstrations:
    """Record one successful episode of each spec's expert per seed; the paper has 1000 per spec in ManiSkill.

    A failed episode is replaced by another, whose seed follows from the first seed and the number of the attempt.
    ``values`` are the discounted rewards that remain in the episode: the exact Q of an expert that acts without noise,
    however it was trained, for a generator that learns values with the same ``discount``.

    Args:
        benchmark: name of a ManiSkill benchmark.
        specs: raw spec values ``[S, C]``.
        policy: policies of the experts; ``policy.select([s])`` is that of one spec.
        seeds: one seed per episode ``[S, E]``.
        discount: factor by which a reward counts less for each step that it lies ahead, in [0, 1].
        threads: processes that step the physics.
        attempts: number of episodes that may fail in a row before the expert is given up.
        noise: as in ``collect``; the successful episodes, and so ``rewards`` and ``values``, are the disturbed ones.

    Raises:
        ValueError: the shapes disagree, or an expert fails too often.
    """
    points, wanted = np.asarray(specs, dtype=np.float64), np.asarray(seeds, dtype=np.int64)
    return Demonstrations.concatenate(
        [
            _successes(benchmark, spec[None], policy.select([row]), row_seeds, discount, threads, attempts, noise)
            for row, (spec, row_seeds) in enumerate(zip(points, wanted, strict=True))
        ]
    )


def _successes(
    benchmark: str,
    spec: npt.NDArray[np.float64],
    expert: Actor,
    seeds: npt.NDArray[np.int64],
    discount: float,
    threads: int,
    attempts: int,
    noise: float,
) -> Demonstrations:
    """One successful episode per seed ``[E]`` of one spec ``[1, C]``."""
    found, places = [], []
    open_places = np.arange(len(seeds))
    for attempt in range(attempts):
        tried = [_retry_seed(int(seed), attempt) for seed in seeds[open_places]]
        episodes, steps = rollout(benchmark, spec, expert, [tried], threads, record=True, noise=noise)
        shown = _demonstrations(benchmark, spec, episodes, steps, returns_to_go(steps.rewards, discount))
        succeeded = episodes.success[0]
        if succeeded.any():
            found.append(shown.pick(np.flatnonzero(succeeded)))
            places.append(open_places[succeeded])
        open_places = open_places[~succeeded]
        if not len(open_places):
            return Demonstrations.join(found).pick(np.argsort(np.concatenate(places)))
    raise ValueError(f"{benchmark}: the expert of spec {spec[0].tolist()} failed {attempts} episodes in a row")


def _retry_seed(seed: int, attempt: int) -> int:
    """Seed itself at first, then others that follow from it."""
    return int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0]) if attempt else seed


def returns_to_go(rewards: Tensor, discount: float) -> Tensor:
    """Discounted sum of the current and all later rewards at each step of ``rewards [..., T]``."""
    values = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[..., 0])
    for step in reversed(range(rewards.shape[-1])):
        following = rewards[..., step] + discount * following
        values[..., step] = following
    return values


def _demonstrations(
    benchmark: str, specs: npt.ArrayLike, episodes: Episodes, steps: Transitions, values: Tensor
) -> Demonstrations:
    ends_at_success = get_benchmark(benchmark).simulator.terminates
    return Demonstrations(
        specs=torch.from_numpy(np.array(specs, dtype=np.float64)),
        observations=steps.observations,
        actions=steps.actions,
        rewards=steps.rewards,
        next_observations=steps.next_observations,
        values=values.float(),
        lengths=torch.from_numpy(episodes.lengths.copy()),
        terminated=torch.from_numpy(episodes.success & ends_at_success),
    )
