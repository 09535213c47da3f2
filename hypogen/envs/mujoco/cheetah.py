"""Cheetah: run at a target speed (m/s), with a torso of a given half length (m). dm_control's, with 6 actuators.

The paper's table 6 states a target of 10 m/s for the lengths, but its numbers were measured at 1 m/s: its experts
return 963.07 there, where no agent of this task passes 900 at 10 m/s, and the authors' code sets the target to 1. So
``cheetah-length`` asks for 1 m/s, and ``cheetah-length-at-10`` for what the table states.

``cheetah-exact-speed`` is ours, outside the paper's tables: running faster than asked earns less.
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


def resize(root: ElementTree.Element, length: float) -> None:
    """Makes the torso reach ``length`` (m) to both sides; head and thighs move along."""
    only(root, ".//geom[@name='torso']").set("fromto", decimals(-length, 0, 0, length, 0, 0))
    only(root, ".//geom[@name='head']").set("pos", decimals(length + 0.1, 0, 0.1))
    only(root, ".//body[@name='bthigh']").set("pos", decimals(-length, 0, 0))
    only(root, ".//body[@name='fthigh']").set("pos", decimals(length, 0, 0))


def views(data: Any) -> list[npt.NDArray[Any]]:
    """Positions without x, since the ground is the same everywhere; velocities; the torso's velocity along x."""
    return [data.qpos[..., 1:], data.qvel, data.sensor("torso_subtreelinvel").data[..., :1]]


def observe(raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Positions [W, 8] and velocities [W, 9]."""
    return raw[:, :17]


def features(raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Velocity along x [W, 1] (m/s)."""
    return raw[:, 17:]


def reward(features: Any, speed: Any, tolerance: Tolerance | None = None) -> Any:
    """Rewards [...] from features [..., 1] and target speeds [...] (m/s)."""
    return moving(features[..., 0], speed, tolerance)


def dm_control_classes() -> tuple[Any, Any]:
    """dm_control's physics, and its task with the paper's reward."""
    from dm_control.suite import cheetah

    from hypogen.envs.mujoco.tasks import Directed

    class CheetahTask(Directed, cheetah.Cheetah):
        """Run at the target speed (m/s)."""

        def get_features(self, physics: cheetah.Physics) -> npt.NDArray[Any]:
            return np.array([physics.speed()])

        def get_reward(self, physics: cheetah.Physics) -> float:
            return self.moving(physics.speed())

    return cheetah.Physics, CheetahTask


ENVIRONMENT = MujocoEnvironment(
    name="cheetah",
    suite_task="run",
    defaults={"speed": 10.0, "length": 0.5},
    units={"speed": "m/s", "length": "m"},
    contexts={
        "speed": {"speed": spaced(-10, 10, 0.5, without=(0.0,))},
        "length": {"length": spaced(0.3, 0.7, 0.01)},
        "speed-length": {"speed": spaced(1, 10, 1), "length": spaced(0.3, 0.7, 0.05)},
        "length-at-10": {"length": spaced(0.3, 0.7, 0.01)},
        "exact-speed": {"speed": spaced(-5, 5, 0.25, without=(0.0,))},
    },
    terms={
        "length": Terms(
            defaults={"speed": 1.0},
            revision=2,  # until then the target was 10 m/s
            note="target 1 m/s, at which the paper's numbers were measured; its table 6 states 10 m/s",
        ),
        "length-at-10": Terms(
            published=False,
            note="target 10 m/s, as the paper's table 6 states; the paper has no numbers that were measured there",
        ),
        "exact-speed": Terms(
            defaults={"speed": 5.0},
            tolerance=Tolerance(slack=0.1, slack_share=0.05, margin=0.25, margin_share=0.35),
            published=False,
            revision=2,  # until then the margin grew by 0.45 of the target, and copying reached 0.80 on one split
            note="ours: running faster than asked earns less",
        ),
    },
    observation_dim=17,
    action_dim=6,
    substeps=1,
    time_limit_s=10,
    changes={"length": resize},
    views=views,
    observe=observe,
    features=features,
    feature_names=("velocity",),
    reward=reward,
    dm_control_classes=dm_control_classes,
)
"""The cheetah, with the grids of the paper's tables 6 to 9, and two contexts that the paper does not have."""
