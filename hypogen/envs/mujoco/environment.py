"""Declaration of a MuJoCo environment, and helpers to write its file with. Imports no simulator."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from xml.etree import ElementTree

import numpy.typing as npt

from hypogen.contexts import Tolerance
from hypogen.envs.environment import Environment
from hypogen.simulators import MUJOCO, Simulator


@dataclass(frozen=True, kw_only=True, eq=False)
class MujocoEnvironment(Environment):
    """One environment of dm_control's suite with a target speed, and its contexts. Shapes: W worlds, R raw numbers.

    dm_control builds an observation in a dozen Python calls per world. Here a few slices of all worlds' memory are put
    together into one raw array [W, R], and everything else is done once for all rows.

    Attributes:
        name: dm_control's name of the domain, whose ``<name>.xml`` is the model.
        suite_task: dm_control's own task in that domain; at the defaults, states and observations equal its own.
        dm_control_classes: dm_control's physics class, and its task with the paper's reward and this target speed: a
            subclass of :class:`hypogen.envs.mujoco.tasks.Directed`. Imports the simulator, and is called only for that.
        changes: Change of the model's XML to a value of each variable but ``speed``, by the variable's name.
        views: Slices that make up the raw numbers, in order, of the memory of one world (MuJoCo's ``MjData``) or of all
            (its ``Batch``, whose arrays have one dimension more, the first). They stay valid as the worlds step.
        observe: Raw numbers [W, R] to observations [W, D], in dm_control's order.
        features: Raw numbers [W, R] to the numbers that the reward is computed from [W, F].
        feature_names: Name of each feature.
        reward: Features [..., F], target speeds [...] and perhaps a tolerance to rewards [...]: the same operations on
            numpy arrays and torch tensors, in the order in which dm_control does them, to the same bits.
        substeps: Physics steps per control step.
        time_limit_s: Length of an episode in simulated seconds: ``episode_steps`` control steps.
    """

    suite_task: str
    dm_control_classes: Callable[[], tuple[Any, Any]]
    changes: Mapping[str, Callable[[ElementTree.Element, float], None]] = field(default_factory=dict)
    views: Callable[[Any], list[npt.NDArray[Any]]]
    observe: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    features: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    feature_names: tuple[str, ...]
    reward: Callable[..., Any]
    substeps: int
    time_limit_s: float
    simulator: Simulator = MUJOCO
    episode_steps: int = 1000
    policy_layers: int = 2
    success: str = "the reward never stays below 0.05 for 50 consecutive steps"
    train_fraction: float = 0.2
    split: Literal["random", "evenly_spaced"] = "random"
    episodes: int = 10
    demonstrations: int = 10

    @property
    def variables(self) -> tuple[str, ...]:
        """``speed``, which the task consumes, and the variables that change the model."""
        return ("speed", *self.changes)

    @property
    def physics_class(self) -> Any:
        """dm_control's physics class. Imports the simulator."""
        return self._classes[0]

    @property
    def task_class(self) -> Any:
        """dm_control's task with the paper's reward: called with a target speed. Imports the simulator."""
        return self._classes[1]

    def rewards(self, features: Any, speed: Any, tolerance: Tolerance | None = None) -> Any:
        """Rewards [...] from features [..., F] at target speeds [...], to be kept within ``tolerance`` if given."""
        return self.reward(features, speed) if tolerance is None else self.reward(features, speed, tolerance)

    def task(self, speed: float, tolerance: Tolerance | None = None, random: Any = None) -> Any:
        """A new dm_control task with this target and random stream. Imports the simulator."""
        task = self.task_class(speed, random=random)
        task.tolerance = tolerance
        return task

    def model_values(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """Those of a spec's ``values`` that change the model, in the order of ``changes``."""
        return tuple(values[name] for name in self.changes)

    @cached_property
    def _classes(self) -> tuple[Any, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dm_control looks for a display, and warns where there is none
            return self.dm_control_classes()


def only(root: ElementTree.Element, path: str) -> ElementTree.Element:
    """The one element at ``path``; ValueError when there are none or several."""
    (element,) = root.findall(path)
    return element


def decimals(*values: float) -> str:
    """Numbers as an XML attribute: 0.6, not the 0.6000000000000001 that adding floats may give."""
    return " ".join(repr(round(value, 10)) for value in values)
