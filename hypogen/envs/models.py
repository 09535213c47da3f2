"""Compiled MuJoCo models, one a length and process, and dm_control's way to start an episode on them.

Worlds only ever read their model, so all worlds of a length share one, on every thread. Starting an episode is
different: dm_control's reset switches the model's actuation off and on, and some tasks write to the model. It
therefore happens in a dm_control physics of its own, whose state is then copied into the world.
"""

from __future__ import annotations

import copy
import functools
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco

from hypogen.envs import dmc


@functools.cache
def get_model(environment: str, length: float) -> mujoco.MjModel:
    """The model of ``environment`` at ``length`` (m), as dm_control has it in the middle of an episode.

    Shared by everyone in this process: not to be changed. Raises ValueError for a length that gives no valid model.
    """
    with starting_physics(environment, length) as physics:
        task = dmc.DOMAINS[environment].task(1.0, random=0)
        with physics.reset_context():
            task.initialize_episode(physics)  # finger's first episode changes the damping of its hinge
        return copy.copy(physics.model.ptr)


def start_episode(task: Any, environment: str, length: float, data: mujoco.MjData) -> None:
    """Fills ``data`` with the start of an episode, drawn from the task's random stream as dm_control does."""
    with starting_physics(environment, length) as physics:
        with physics.reset_context():
            task.initialize_episode(physics)
        mujoco.mj_copyData(data, physics.model.ptr, physics.data.ptr)


@contextmanager
def starting_physics(environment: str, length: float) -> Iterator[Any]:
    """Lends a dm_control physics that nobody else uses meanwhile; compiles one when all of them are lent."""
    idle = _idle(environment, length)
    try:
        physics = idle.get_nowait()
    except queue.Empty:
        xml = dmc.model_xml(environment, length, sky=False)
        physics = dmc.DOMAINS[environment].physics.from_xml_string(xml, dmc.common.ASSETS)
    try:
        yield physics
    finally:
        idle.put(physics)


@functools.cache
def _idle(environment: str, length: float) -> queue.SimpleQueue[Any]:
    return queue.SimpleQueue()
