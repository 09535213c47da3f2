"""Where observations and reward features lie in MuJoCo's memory, for many worlds at once.

dm_control builds an observation in a dozen Python calls a world. Here a world only copies a few slices of its memory
into its row of one raw array, and everything else is done once for all rows. Shapes: W worlds, R raw numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

from hypogen.envs.rewards import stand


@dataclass(frozen=True)
class Readout:
    """How an environment's observations come out of its raw numbers.

    Attributes:
        views: The slices of a world's memory that make up its raw numbers, in order. They stay valid as it steps.
        observe: Raw numbers [W, R] to observations [W, D], in dm_control's order.
        features: Raw numbers [W, R] to what the reward is computed from [W, F].
    """

    views: Callable[[mujoco.MjModel, mujoco.MjData], list[np.ndarray]]
    observe: Callable[[np.ndarray], np.ndarray]
    features: Callable[[np.ndarray], np.ndarray]


def _cheetah_views(model: mujoco.MjModel, data: mujoco.MjData) -> list[np.ndarray]:
    velocity = _sensor(model, data, "torso_subtreelinvel")
    return [data.qpos[1:], data.qvel, velocity[:1]]  # the position without x: the ground is the same everywhere


def _walker_views(model: mujoco.MjModel, data: mujoco.MjData) -> list[np.ndarray]:
    velocity, torso = _sensor(model, data, "torso_subtreelinvel"), model.body("torso").id
    orientations = data.xmat[1:, 0:3:2]  # xx and xz of every body
    return [orientations, data.xpos[torso, 2:], data.qvel, velocity[:1], data.xmat[torso, 8:]]


def _walker_features(raw: np.ndarray) -> np.ndarray:
    return np.stack([raw[:, 24], stand(height=raw[:, 14], upright=raw[:, 25])], axis=1)


_FINGER_SENSORS = (
    *("proximal", "distal", "tip", "spinner"),
    *("proximal_velocity", "distal_velocity", "hinge_velocity"),
    *("touchtop", "touchbottom"),
)


def _finger_views(model: mujoco.MjModel, data: mujoco.MjData) -> list[np.ndarray]:
    return [_sensor(model, data, name) for name in _FINGER_SENSORS]


def _finger_observe(raw: np.ndarray) -> np.ndarray:
    joints, tip, spinner, velocities, touch = np.split(raw, [2, 5, 8, 11], axis=1)
    return np.concatenate([joints, tip[:, ::2] - spinner[:, ::2], velocities, np.log1p(touch)], axis=1)


def _sensor(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> np.ndarray:
    sensor = model.sensor(name)
    return data.sensordata[sensor.adr[0] : sensor.adr[0] + sensor.dim[0]]


READOUTS: dict[str, Readout] = {
    "cheetah": Readout(_cheetah_views, lambda raw: raw[:, :17].copy(), lambda raw: raw[:, 17:].copy()),
    "walker": Readout(_walker_views, lambda raw: raw[:, :24].copy(), _walker_features),
    "finger": Readout(_finger_views, _finger_observe, lambda raw: raw[:, 10:11].copy()),
}
"""One a MuJoCo environment, by name."""
