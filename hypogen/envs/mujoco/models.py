"""Compiled MuJoCo models, one per process and values that shape it, and dm_control's way to start an episode on them.

Worlds only ever read their model, so all worlds of a length share one, on every thread. Starting an episode is
different: dm_control's reset switches the model's actuation off and on, and some tasks write to the model. It
therefore happens in a dm_control physics of its own, whose state is then copied into the world.

``values`` are everywhere those of a spec that change the model (:meth:`MujocoEnvironment.model_values`).
"""

from __future__ import annotations

import copy
import functools
import logging
import queue
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import mujoco
import numpy as np
import numpy.typing as npt

from hypogen.envs.mujoco.environment import MujocoEnvironment, only

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dm_control looks for a display, and warns where there is none
    from dm_control.suite import common

Array = npt.NDArray[Any]

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION

# dm_control's cheetah uses an attribute that MuJoCo calls deprecated, once for every length that is compiled.
logging.getLogger("absl").addFilter(lambda record: "'settotalmass' is deprecated" not in record.getMessage())


def model_xml(environment: MujocoEnvironment, values: tuple[float, ...], sky: bool = True) -> str:
    """dm_control's model of ``environment``, changed to ``values``, as an XML string.

    Without ``sky`` it lacks the background's texture, 11 MB per model that only pictures need. Raises ValueError for
    values that give no valid model.
    """
    root = ElementTree.fromstring(common.read_model(f"{environment.name}.xml"))
    for change, value in zip(environment.changes.values(), values, strict=True):
        change(root, value)
    if not sky:
        root.remove(only(root, "include[@file='./common/skybox.xml']"))
    return ElementTree.tostring(root, encoding="unicode")


def new_physics(environment: MujocoEnvironment, values: tuple[float, ...], sky: bool = True) -> Any:
    """A freshly compiled dm_control physics of ``environment``; arguments and errors as for ``model_xml``."""
    return environment.physics_class.from_xml_string(model_xml(environment, values, sky), common.ASSETS)


@functools.cache
def get_model(environment: MujocoEnvironment, values: tuple[float, ...]) -> mujoco.MjModel:
    """The model of ``environment`` at ``values``, as dm_control has it in the middle of an episode.

    Shared by everyone in this process: not to be changed. Raises ValueError for values that give no valid model.
    """
    with starting_physics(environment, values) as physics:
        task = environment.task_class(1.0, random=0)
        with physics.reset_context():
            task.initialize_episode(physics)  # finger's first episode changes the damping of its hinge
        return copy.copy(physics.model.ptr)


def start_episode(environment: MujocoEnvironment, task: Any, values: tuple[float, ...]) -> tuple[Array, Array]:
    """State [N] and raw numbers [R] of the start of an episode, drawn from the task's random stream as dm_control does.

    The state is all that MuJoCo integrates (``mjSTATE_INTEGRATION``), the solver's warm start included.
    """
    with starting_physics(environment, values) as physics:
        with physics.reset_context():
            task.initialize_episode(physics)
        model, data = physics.model.ptr, physics.data.ptr
        state = np.empty(mujoco.mj_stateSize(model, _STATE))
        mujoco.mj_getState(model, data, state, _STATE)
        return state, np.concatenate([np.ravel(view) for view in environment.views(data)])


@contextmanager
def starting_physics(environment: MujocoEnvironment, values: tuple[float, ...]) -> Iterator[Any]:
    """Lends a dm_control physics that nobody else uses meanwhile; compiles one when all of them are lent."""
    idle = _idle(environment, values)
    try:
        physics = idle.get_nowait()
    except queue.Empty:
        physics = new_physics(environment, values, sky=False)
    try:
        yield physics
    finally:
        idle.put(physics)


@functools.cache
def _idle(environment: MujocoEnvironment, values: tuple[float, ...]) -> queue.SimpleQueue[Any]:
    return queue.SimpleQueue()
