"""Pictures of an episode while a policy acts, without a display and without a GPU.

MuJoCo draws through EGL, which Mesa's software driver serves where there is no GPU. ``MUJOCO_GL`` names another way.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

import hypogen.envs  # noqa: F401 - registers the environments
from hypogen.deployment.policies import SpecPolicy
from hypogen.envs.mujoco import get_environment
from hypogen.errors import MissingPackage
from hypogen.simulators import MUJOCO

Picture = npt.NDArray[np.uint8]
"""Pixels [height, width, 3]."""
LARGEST = (640, 480)
"""Width and height that MuJoCo's buffers hold."""
TRACK_M = 10.0
"""Half length of a plane from which on it is a track to run along."""
PACKAGES = "libegl1 libgl1 libgl1-mesa-dri"
"""Debian's packages that drawing takes, a software driver included."""


@dataclass(frozen=True)
class Moment:
    """A picture of an episode.

    Attributes:
        seconds: Simulated time since the episode began.
        returned: Sum of the rewards until then.
        over: Whether the episode has ended.
    """

    picture: Picture
    seconds: float
    returned: float
    over: bool


def require_renderer(policies: Sequence[SpecPolicy]) -> None:
    """Raises ValueError for a simulator that is not drawn, MissingPackage with the remedy where nothing can be."""
    for policy in policies:
        if policy.benchmark.simulator != MUJOCO:
            raise ValueError(
                f"{policy.benchmark.name} cannot be filmed: ManiSkill2's renderer needs a GPU with Vulkan (it refuses "
                "Mesa's software driver), and its worlds are built here without anything to draw"
            )
    headless = sys.platform == "linux" and "DISPLAY" not in os.environ
    way = os.environ.get("MUJOCO_GL", "egl" if headless else None)
    try:
        _start(way)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        remedy = f"Debian: apt-get install {PACKAGES}, and MUJOCO_GL unset or egl"
        reason = str(error) or type(error).__name__
        raise MissingPackage(f"nothing can be drawn by {way or 'a display'} here ({reason}). {remedy}") from error


def _start(way: str | None) -> None:
    """Let dm_control draw by ``way``, as ``MUJOCO_GL`` names it; None leaves the choice to it."""
    given = os.environ.get("MUJOCO_GL")
    if way is not None:
        os.environ["MUJOCO_GL"] = way  # only while dm_control reads it: other processes need no EGL
    try:
        from dm_control import _render

        if way not in (None, _render.BACKEND):
            importlib.reload(_render)  # it chose before, when nobody was to draw, and would end the process
        _render.Renderer(max_width=8, max_height=8).free()
    finally:
        if given is None:
            os.environ.pop("MUJOCO_GL", None)


def moments(policy: SpecPolicy, seed: int, times_s: Sequence[float], size: tuple[int, int]) -> Iterator[Moment]:
    """One picture at each of the ascending ``times_s``, or at the end of the episode where that comes first.

    Args:
        seed: Seed of the episode's start.
        size: Width and height of the pictures in pixels.
    """
    width, height = size
    env = gymnasium.make(
        f"hypogen/{policy.benchmark.name}-v0",
        disable_env_checker=True,
        spec=policy.spec,
        render_mode="rgb_array",
        width=width,
        height=height,
    )
    rate = env.metadata["render_fps"]
    _extend_tracks(env.unwrapped)
    try:
        observation, _ = env.reset(seed=seed)
        step, returned, over = 0, 0.0, False
        for time_s in times_s:
            while step < round(time_s * rate) and not over:
                observation, reward, terminated, truncated, _ = env.step(policy.act(observation))
                step, returned, over = step + 1, returned + float(reward), terminated or truncated
            yield Moment(np.asarray(env.render()), step / rate, returned, over)
    finally:
        env.close()


def duration_s(policy: SpecPolicy) -> float:
    """Simulated time of a whole episode."""
    return get_environment(policy.benchmark).time_limit_s


def _extend_tracks(env: Any) -> None:
    """Draw grounds that are made for one way without an end: a cheetah that runs backwards leaves dm_control's.

    In the physics they have none.
    """
    from mujoco import mjtGeom

    model = env.environment.physics.model
    planes = model.geom_type == mjtGeom.mjGEOM_PLANE
    model.geom_size[planes & (model.geom_size[:, 0] > TRACK_M), 0] = 0.0
