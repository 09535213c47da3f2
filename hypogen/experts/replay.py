"""Replay of all worlds together: each observation is stored once, and sampling needs no loop over specs or worlds.

All worlds of a population reset and end together, so one row of the replay holds one moment of every world:
``[observation, action, features]``. An episode of T steps takes T + 1 rows; the last one holds its final observation.
The reward is computed from the features, so a transition can be rewarded for any spec.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Windows(NamedTuple):
    """Windows of up to n consecutive steps, sampled for S experts.

    observations ``[S, B, D]`` and actions ``[S, B, A]`` of the first step, features ``[S, B, n, F]`` of every step,
    valid bool ``[S, B, n]`` (False past the end of the episode or of the stored steps), and next_observations ``[S, B,
    D]`` after the last valid step.
    """

    observations: Tensor
    actions: Tensor
    features: Tensor
    valid: Tensor
    next_observations: Tensor


def n_step_returns(rewards: Tensor, valid: Tensor, discount: float) -> tuple[Tensor, Tensor]:
    """Discounted sum ``[S, B]`` of the valid rewards ``[S, B, n]``, and discount ``[S, B]`` of the value after them."""
    powers = discount ** torch.arange(rewards.shape[-1] + 1, device=rewards.device, dtype=rewards.dtype)
    returns = (rewards * valid * powers[:-1]).sum(-1)
    return returns, powers[valid.sum(-1)]


class Replay:
    """Ring buffer of the latest whole episodes of W worlds.

    Args:
        sizes: lengths of an observation, of an action and of the features.
        sources: worlds that each expert learns from.
        worlds: number of worlds W.
        episode_steps: number of steps T of every episode.
        capacity: steps per world to keep, rounded down to whole episodes, at least one episode.
        device: device that stores the rows.
    """

    def __init__(
        self,
        sizes: tuple[int, int, int],
        sources: Sequence[Sequence[int]],
        worlds: int,
        episode_steps: int,
        capacity: int,
        device: str | torch.device = "cpu",
    ) -> None:
        self._sizes = sizes
        self._steps = episode_steps
        self._blocks = max(1, capacity // episode_steps)
        self._episode, self._time = -1, episode_steps
        self._flushed = 0
        self.rows = torch.zeros(self._blocks * (episode_steps + 1), worlds, sum(sizes), device=device)
        longest = max(len(source) for source in sources)
        padded = [[*source, *[source[0]] * (longest - len(source))] for source in sources]
        self._sources = torch.tensor(padded, device=device)
        self._source_sizes = torch.tensor([[len(source)] for source in sources], device=device)

    @property
    def position(self) -> tuple[int, int]:
        """Number of the episode that is being written (-1 before the first) and of the steps taken in it."""
        return self._episode, self._time

    @property
    def episode_over(self) -> bool:
        """Whether the next call must be ``start``."""
        return self._time == self._steps

    def __len__(self) -> int:
        """Number of steps per world that can be sampled."""
        if self._episode < 0:
            return 0
        if self._episode < self._blocks:
            return self._episode * self._steps + self._time
        return self._blocks * self._steps - (not self.episode_over)

    @property
    def observations(self) -> Tensor:
        """Current observation of every world ``[W, D]``."""
        return self.rows[self._cursor, :, : self._sizes[0]]

    def start(self, observations: Tensor) -> None:
        """Begin an episode in every world, at ``observations [W, D]``."""
        self._episode, self._time = self._episode + 1, 0
        self.observations.copy_(observations)

    def append(self, actions: Tensor, features: Tensor, observations: Tensor) -> None:
        """Add one step: actions ``[W, A]``, their features ``[W, F]``, and the observations ``[W, D]`` after them."""
        split, end = self._sizes[0], self._sizes[0] + self._sizes[1]
        self.rows[self._cursor, :, split:end] = actions
        self.rows[self._cursor, :, end:] = features
        self._time += 1
        self.observations.copy_(observations)

    def sample(self, batch: int, n_step: int, generator: torch.Generator) -> Windows:
        """Sample ``batch`` windows of up to ``n_step`` steps per expert, uniformly over the steps of its worlds."""
        shape, device = (len(self._sources), batch), self.rows.device
        rows = self._rows(torch.randint(len(self), shape, generator=generator, device=device))
        pick = torch.rand(shape, generator=generator, device=device) * self._source_sizes
        worlds = self._sources.gather(1, torch.minimum(pick.long(), self._source_sizes - 1))

        offsets = torch.arange(n_step + 1, device=device)
        ends = self._ends(rows).unsqueeze(-1)
        moments = torch.minimum(rows.unsqueeze(-1) + offsets, ends)
        index = moments * self.rows.shape[1] + worlds.unsqueeze(-1)
        window = self.rows.flatten(0, 1).index_select(0, index.flatten()).view(*index.shape, -1)
        observations, actions, features = window.split(self._sizes, dim=-1)
        valid = rows.unsqueeze(-1) + offsets[:-1] < ends
        return Windows(observations[:, :, 0], actions[:, :, 0], features[:, :, :-1], valid, observations[:, :, -1])

    def flush(self, path: Path) -> None:
        """Append the missing rows to the file at ``path``, so that it holds every row since the first, in order.

        If used at all, it must be called at the end of every episode, since the ring overwrites its oldest rows. The
        file then holds at least the rows up to ``position``; rows past that (from a run that was killed) are rewritten
        later.
        """
        if self._episode < 0:
            return
        first = self._flushed - self._episode * (self._steps + 1)
        if first < 0:
            raise RuntimeError("an episode ended without a flush, and the file would lack it")
        rows = self.rows[self._block_start + first : self._cursor + 1]
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(self._flushed * self.rows[0].nbytes)
            file.write(rows.cpu().numpy().tobytes())
        self._flushed = self._unsettled_row()

    def restore(self, path: Path, position: tuple[int, int]) -> None:
        """Restore the state at ``position`` of a replay that was written to ``path`` by ``flush``.

        Raises:
            ValueError: the file ends before ``position``.
        """
        self._episode, self._time = position
        row_bytes, block_rows = self.rows[0].nbytes, self._steps + 1
        with path.open("rb") as file:
            for episode in range(max(0, self._episode - self._blocks), self._episode + 1):
                count = block_rows if episode < self._episode else self._time + 1
                file.seek(episode * block_rows * row_bytes)
                data = np.frombuffer(file.read(count * row_bytes), dtype=np.float32)
                if data.nbytes != count * row_bytes:
                    raise ValueError(f"{path} ends before step {self._time} of episode {self._episode}")
                start = episode % self._blocks * block_rows
                self.rows[start : start + count] = torch.tensor(data).view(count, *self.rows.shape[1:])
        self._flushed = self._unsettled_row()

    def _unsettled_row(self) -> int:
        """Number (since the start) of the first row that can still change: the current one until it has an action."""
        return self._episode * (self._steps + 1) + self._time + self.episode_over

    @property
    def _block_start(self) -> int:
        return self._episode % self._blocks * (self._steps + 1)

    @property
    def _cursor(self) -> int:
        return self._block_start + self._time

    def _rows(self, steps: Tensor) -> Tensor:
        """Rows of the sampled steps; steps are numbered over the ring without the final rows and the current one."""
        if self._episode >= self._blocks and not self.episode_over:
            current = self._episode % self._blocks * self._steps + self._time
            steps = steps + (steps >= current)
        return steps + steps.div(self._steps, rounding_mode="floor")

    def _ends(self, rows: Tensor) -> Tensor:
        """Last row of the episode that each of ``rows`` belongs to."""
        length = self._steps + 1
        ends = rows.div(length, rounding_mode="floor") * length + self._steps
        current = (rows >= self._block_start) & (rows <= self._cursor)
        return torch.where(current, self._cursor, ends)
