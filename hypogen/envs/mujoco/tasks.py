"""Target speed of a dm_control task, to be reached or to be kept. Imports dm_control."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from hypogen.contexts import Tolerance
from hypogen.envs.mujoco.rewards import VALUE_AT_MARGIN

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dm_control looks for a display, and warns where there is none
    from dm_control.utils import rewards


class Directed:
    """Half of a task: a target speed with a direction. The other half is dm_control's own task.

    A subclass adds ``get_features(physics) -> [F]``, the numbers that the reward is computed from, and ``get_reward``.

    Attributes:
        speed: Target speed.
        tolerance: Band around it that is rewarded; None where faster is as good.
    """

    tolerance: Tolerance | None = None

    def __init__(self, speed: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.speed = speed

    def reseed(self, seed: int | None) -> None:
        """Starts the task's random stream again, as a new task with this seed would."""
        self._random = np.random.RandomState(seed)

    def moving(self, velocity: float) -> float:
        """Reward for one number, by dm_control's own function: what :mod:`hypogen.envs.mujoco.rewards` gives."""
        target = abs(self.speed)
        bounds, margin = (target, float("inf")), target
        if self.tolerance is not None:
            slack = self.tolerance.slack_at(target)
            bounds, margin = (target - slack, target + slack), self.tolerance.margin_at(target)
        along = np.sign(self.speed) * velocity
        return rewards.tolerance(along, bounds, margin, sigmoid="linear", value_at_margin=VALUE_AT_MARGIN)
