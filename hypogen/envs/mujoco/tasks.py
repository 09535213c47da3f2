"""Target speed of a dm_control task. Imports dm_control."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from hypogen.envs.mujoco.rewards import VALUE_AT_MARGIN

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dm_control looks for a display, and warns where there is none
    from dm_control.utils import rewards


class Directed:
    """Half of a task: a target speed with a direction. The other half is dm_control's own task.

    A subclass adds ``get_features(physics) -> [F]``, the numbers that the reward is computed from, and ``get_reward``.
    """

    def __init__(self, speed: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.speed = speed

    def reseed(self, seed: int | None) -> None:
        """Starts the task's random stream again, as a new task with this seed would."""
        self._random = np.random.RandomState(seed)

    def moving(self, velocity: float) -> float:
        """1 at the target speed or beyond, 0.1 standing still: by dm_control's own function, for one number."""
        return rewards.tolerance(
            np.sign(self.speed) * velocity,
            bounds=(abs(self.speed), float("inf")),
            margin=abs(self.speed),
            sigmoid="linear",
            value_at_margin=VALUE_AT_MARGIN,
        )
