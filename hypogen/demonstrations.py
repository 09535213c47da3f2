"""Demonstrations: what the experts did, and what their critics thought of it. All a policy generator learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hypogen.policy import Policy
from hypogen.rollouts import rollout


@dataclass(frozen=True)
class Demonstrations:
    """Recorded episodes of one expert a spec.

    ``specs`` is float64 and holds the raw values, in the units of the benchmark's variables; all else is float32.
    ``values`` is the first critic of that spec's expert at the recorded observation and action, Q1(s, a).
    """

    specs: Tensor  # [S, C]
    observations: Tensor  # [S, E, T, D]
    actions: Tensor  # [S, E, T, A]
    rewards: Tensor  # [S, E, T]
    next_observations: Tensor  # [S, E, T, D]
    values: Tensor  # [S, E, T]

    def __post_init__(self) -> None:
        leading = self.rewards.shape
        shapes = {field.name: tuple(getattr(self, field.name).shape) for field in fields(self)}
        agree = (
            self.specs.ndim == 2
            and len(leading) == 3
            and len(self.specs) == leading[0]
            and all(tensor.shape[:-1] == leading for tensor in (self.observations, self.actions))
            and self.next_observations.shape == self.observations.shape
            and self.values.shape == leading
        )
        if not agree:
            raise ValueError(f"the fields of demonstrations disagree in shape: {shapes}")

    def select(self, indices: Sequence[int]) -> Demonstrations:
        """The demonstrations of some specs, in the order of ``indices`` (positions on the first axis)."""
        chosen = torch.as_tensor(list(indices), dtype=torch.long)
        return Demonstrations(**{name: tensor[chosen] for name, tensor in self._tensors().items()})

    @staticmethod
    def concatenate(parts: Sequence[Demonstrations]) -> Demonstrations:
        """Join demonstrations along the spec axis, in the given order.

        Raises:
            ValueError: nothing to join.
        """
        if not parts:
            raise ValueError("there are no demonstrations to concatenate")
        names = [field.name for field in fields(Demonstrations)]
        return Demonstrations(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def save(self, path: str | Path) -> None:
        """Write one safetensors file."""
        save_file({name: tensor.clone() for name, tensor in self._tensors().items()}, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Demonstrations:
        """Read what ``save`` wrote."""
        return cls(**load_file(Path(path)))

    def _tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def collect(
    benchmark: str,
    specs: npt.ArrayLike,
    policy: Policy,
    critic: Callable[[Tensor, Tensor], Tensor],
    seeds: npt.ArrayLike,
    threads: int = 1,
) -> Demonstrations:
    """Roll the experts out and note what they saw, did and earned, and what their critics expected.

    Args:
        benchmark: name of a benchmark.
        specs: raw spec values ``[S, C]``.
        policy: the experts' stacked policies, acting without noise.
        critic: Q1 of the same experts, ``(observations [S, N, D], actions [S, N, A]) -> values [S, N]``.
        seeds: one seed an episode ``[S, E]``; the paper takes ten episodes a spec.
        threads: threads that step the physics.

    Raises:
        ValueError: the shapes disagree.
    """
    _, steps = rollout(benchmark, specs, policy, seeds, threads, record=True)
    with torch.no_grad():
        values = critic(steps.observations.flatten(1, 2), steps.actions.flatten(1, 2)).view(steps.rewards.shape)
    return Demonstrations(
        specs=torch.from_numpy(np.array(specs, dtype=np.float64)),
        observations=steps.observations,
        actions=steps.actions,
        rewards=steps.rewards,
        next_observations=steps.next_observations,
        values=values.float(),
    )
