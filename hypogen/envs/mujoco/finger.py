"""Finger: spin a hinge at a target speed (rad/s), with a finger of a given length (m). dm_control's, 2 actuators.

The paper's table 6 states a target of 15 rad/s for the lengths. Its own numbers contradict that: a higher target never
raises the reward, so over the lengths experts cannot return more at 15 rad/s than on average at 1 to 15 rad/s; yet
table 1 has them at 959.42, against 913.40 on speed-length. The authors' code sets the target of its length experiments
to 1. So ``finger-length`` asks for 1 rad/s, and ``finger-length-at-15`` for what the table states.

``finger-exact-speed`` is ours, outside the paper's tables: spinning faster than asked earns less. The band is wide and
the grid coarse, since no agent can keep a speed closely: left alone, the spinner slows from 10 to 5 rad/s in 0.4 s, and
the observation does not hold its angle, by which the finger would have to time its pushes.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from hypogen.contexts import Tolerance, spaced
from hypogen.envs.environment import Terms
from hypogen.envs.mujoco.environment import MujocoEnvironment, decimals, only
from hypogen.envs.mujoco.rewards import moving

_SENSORS = (
    *("proximal", "distal", "tip", "spinner"),
    *("proximal_velocity", "distal_velocity", "hinge_velocity"),
    *("touchtop", "touchbottom"),
)


def resize(root: ElementTree.Element, length: float) -> None:
    """Makes the last link ``length`` (m) long; the spinner and its caps move and grow with it.

    Raises ValueError for a length of 0.07 m or less.
    """
    if length <= 0.07:
        raise ValueError(f"a finger's length must exceed 0.07 m, or its spinner's caps vanish; got {length:g}")
    only(root, ".//geom[@name='distal']").set("fromto", decimals(0, 0, 0, 0, 0, -length))
    only(root, ".//geom[@name='fingertip']").set("fromto", decimals(0, 0, 0.03 - length, 0, 0, -length - 0.001))
    only(root, ".//body[@name='spinner']").set("pos", decimals(length + 0.04, 0, 0.4))
    for cap in ("cap1", "cap2"):
        only(root, f".//geom[@name='{cap}']").set("size", decimals(0.04, length - 0.07))


def views(data: Any) -> list[npt.NDArray[Any]]:
    """Sensors: two joints, tip and spinner [3] each, three velocities (the last is the hinge's), two touches."""
    return [data.sensor(name).data for name in _SENSORS]


def observe(raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Joints [W, 2], tip relative to the spinner [W, 2], velocities [W, 3] and log of touches [W, 2]."""
    joints, tip, spinner, velocities, touch = np.split(raw, [2, 5, 8, 11], axis=1)
    return np.concatenate([joints, tip[:, ::2] - spinner[:, ::2], velocities, np.log1p(touch)], axis=1)


def features(raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Velocity of the hinge [W, 1] (rad/s)."""
    return raw[:, 10:11]


def reward(features: Any, speed: Any, tolerance: Tolerance | None = None) -> Any:
    """Rewards [...] from features [..., 1] and target speeds [...] (rad/s)."""
    return moving(features[..., 0], speed, tolerance)


def dm_control_classes() -> tuple[Any, Any]:
    """dm_control's physics, and its task with the paper's reward."""
    from dm_control.suite import finger

    from hypogen.envs.mujoco.tasks import Directed

    class FingerTask(Directed, finger.Spin):
        """Spin the hinge at the target speed (rad/s)."""

        def get_features(self, physics: finger.Physics) -> npt.NDArray[Any]:
            return np.array([physics.hinge_velocity()])

        def get_reward(self, physics: finger.Physics) -> float:
            return self.moving(physics.hinge_velocity())

    return finger.Physics, FingerTask


ENVIRONMENT = MujocoEnvironment(
    name="finger",
    suite_task="spin",
    defaults={"speed": 15.0, "length": 0.16},
    units={"speed": "rad/s", "length": "m"},
    contexts={
        "speed": {"speed": spaced(-15, 15, 1, without=(0.0,))},
        "length": {"length": spaced(0.1, 0.4, 0.01)},
        "speed-length": {"speed": spaced(1, 15, 1), "length": spaced(0.1, 0.4, 0.05)},
        "length-at-15": {"length": spaced(0.1, 0.4, 0.01)},
        "exact-speed": {"speed": spaced(-15, 15, 3, without=(0.0,))},
    },
    terms={
        "length": Terms(
            defaults={"speed": 1.0},
            revision=2,  # until then the target was 15 rad/s
            note="target 1 rad/s, at which the paper's numbers were measured; its table 6 states 15 rad/s",
        ),
        "length-at-15": Terms(
            published=False,
            note="target 15 rad/s, as the paper's table 6 states; the paper has no numbers that were measured there",
        ),
        "exact-speed": Terms(
            tolerance=Tolerance(slack=3.5, slack_share=0.2, margin=3.5, margin_share=0.3),
            published=False,
            note="ours: spinning faster than asked earns less",
        ),
    },
    observation_dim=9,
    action_dim=2,
    substeps=2,
    time_limit_s=20,
    changes={"length": resize},
    views=views,
    observe=observe,
    features=features,
    feature_names=("velocity",),
    reward=reward,
    dm_control_classes=dm_control_classes,
)
"""The finger, with the grids of the paper's tables 6 to 9, and two contexts that the paper does not have."""
