"""Hopper: hop at a target speed (m/s), under a given gravity (m/s²). dm_control's, with 4 actuators.

Written as a contributor would, to test that one file is enough. Such a file belongs into ``hypogen/envs/mujoco``; this
one is registered by the tests only.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np

from hypogen.contexts import spaced
from hypogen.envs.mujoco.environment import MujocoEnvironment, decimals
from hypogen.envs.mujoco.rewards import moving

_STAND_HEIGHT_M = (0.6, 2.0)


def set_gravity(root: ElementTree.Element, gravity: float) -> None:
    """Changes the downward acceleration to ``gravity`` (m/s²)."""
    ElementTree.SubElement(root, "option").set("gravity", decimals(0, 0, -gravity))


def views(data: Any) -> list[np.ndarray]:
    """Positions without x, velocities, touches; velocity along x, and heights of torso and foot."""
    touches = [data.sensor(name).data for name in ("touch_toe", "touch_heel")]
    heights = [data.body(name).xipos[..., 2:] for name in ("torso", "foot")]
    return [data.qpos[..., 1:], data.qvel, *touches, data.sensor("torso_subtreelinvel").data[..., :1], *heights]


def observe(raw: np.ndarray) -> np.ndarray:
    """Positions [W, 6], velocities [W, 7] and log of touches [W, 2]."""
    return np.concatenate([raw[:, :13], np.log1p(raw[:, 13:15])], axis=1)


def features(raw: np.ndarray) -> np.ndarray:
    """Velocity along x (m/s), and whether the hopper stands [W, 2]."""
    low, high = _STAND_HEIGHT_M
    height = raw[:, 16] - raw[:, 17]
    return np.stack([raw[:, 15], (low <= height) & (height <= high)], axis=1)


def reward(features: Any, speed: Any) -> Any:
    """Rewards [...] from features [..., 2] and target speeds [...] (m/s)."""
    return features[..., 1] * moving(features[..., 0], speed)


def dm_control_classes() -> tuple[Any, Any]:
    """dm_control's physics, and its task with this reward."""
    from dm_control.suite import hopper
    from dm_control.utils import rewards

    from hypogen.envs.mujoco.tasks import Directed

    class HopperTask(Directed, hopper.Hopper):
        """Hop at the target speed (m/s)."""

        def __init__(self, speed: float, random: np.random.RandomState | int | None = None) -> None:
            super().__init__(speed, hopping=True, random=random)

        def get_features(self, physics: hopper.Physics) -> np.ndarray:
            return np.array([physics.speed(), rewards.tolerance(physics.height(), _STAND_HEIGHT_M)])

        def get_reward(self, physics: hopper.Physics) -> float:
            return rewards.tolerance(physics.height(), _STAND_HEIGHT_M) * self.moving(physics.speed())

    return hopper.Physics, HopperTask


ENVIRONMENT = MujocoEnvironment(
    name="hopper",
    suite_task="hop",
    defaults={"speed": 2.0, "gravity": 9.81},
    units={"speed": "m/s", "gravity": "m/s²"},
    contexts={
        "speed": {"speed": spaced(-2, 2, 0.5, without=(0.0,))},
        "gravity": {"gravity": spaced(5.81, 13.81, 1)},
    },
    observation_dim=15,
    action_dim=4,
    substeps=4,
    time_limit_s=20,
    changes={"gravity": set_gravity},
    views=views,
    observe=observe,
    features=features,
    feature_names=("velocity", "standing"),
    reward=reward,
    dm_control_classes=dm_control_classes,
)
"""The hopper, which the paper does not have."""
