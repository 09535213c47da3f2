"""dm_control's cheetah, walker and finger with the paper's lengths and target speeds.

``load`` gives the plain dm_control environment, and ``DmcEnv`` (registered as ``hypogen/<benchmark>-v0``) the same as
a gymnasium environment that can be rendered. The worlds of :mod:`hypogen.envs.vector` equal them bit for bit.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import gymnasium
import numpy as np

from hypogen.benchmarks import get_benchmark
from hypogen.envs.rewards import VALUE_AT_MARGIN

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dm_control looks for a display, and warns where there is none
    from dm_control.rl import control
    from dm_control.suite import cheetah, common, finger, walker
    from dm_control.utils import rewards

# dm_control's cheetah uses an attribute that MuJoCo calls deprecated, once for every length that is compiled.
logging.getLogger("absl").addFilter(lambda record: "'settotalmass' is deprecated" not in record.getMessage())


def load(
    benchmark: str, spec: float | Sequence[float] | np.ndarray, random: np.random.RandomState | int | None = None
) -> control.Environment:
    """The dm_control ``control.Environment`` of ``benchmark`` at ``spec`` [C], with flat observations off.

    ``random`` is what dm_control's own ``suite.load`` takes. Raises ValueError for an unknown benchmark, one that does
    not run in MuJoCo, or a spec that means nothing (see :meth:`Benchmark.values`).
    """
    entry = get_benchmark(benchmark)
    domain = get_domain(benchmark)
    values = entry.values(spec)
    physics = domain.physics.from_xml_string(model_xml(entry.environment, values["length"]), common.ASSETS)
    task = domain.task(values["speed"], random=random)
    return control.Environment(physics, task, time_limit=domain.time_limit_s, n_sub_steps=domain.substeps)


def model_xml(environment: str, length: float, sky: bool = True) -> str:
    """dm_control's model of ``environment`` with the paper's changes for ``length`` (m), as an XML string.

    Without ``sky`` it lacks the background's texture, 11 MB a model that only pictures need.
    """
    root = ElementTree.fromstring(common.read_model(f"{environment}.xml"))
    DOMAINS[environment].resize(root, length)
    if not sky:
        root.remove(_only(root, "include[@file='./common/skybox.xml']"))
    return ElementTree.tostring(root, encoding="unicode")


def get_domain(benchmark: str) -> Domain:
    """What dm_control knows about the environment of ``benchmark``; ValueError when it does not run in MuJoCo."""
    entry = get_benchmark(benchmark)
    if entry.simulator != "mujoco":
        raise ValueError(f"{benchmark} does not run in MuJoCo but in {entry.simulator}")
    return DOMAINS[entry.environment]


class _Directed:
    """Half of a task: a target speed with a direction. The other half is dm_control's own task."""

    def __init__(self, speed: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.speed = speed

    def reseed(self, seed: int | None) -> None:
        """Starts the task's random stream again, as a new task with this seed would."""
        self._random = np.random.RandomState(seed)

    def moving(self, velocity: float) -> float:
        """1 at the target speed or beyond, 0.1 standing still."""
        return rewards.tolerance(
            np.sign(self.speed) * velocity,
            bounds=(abs(self.speed), float("inf")),
            margin=abs(self.speed),
            sigmoid="linear",
            value_at_margin=VALUE_AT_MARGIN,
        )


class CheetahTask(_Directed, cheetah.Cheetah):
    """Run at the target speed (m/s)."""

    def get_features(self, physics: cheetah.Physics) -> np.ndarray:
        """What the reward is computed from: the velocity (m/s)."""
        return np.array([physics.speed()])

    def get_reward(self, physics: cheetah.Physics) -> float:
        """Returns the paper's reward."""
        return self.moving(physics.speed())


class WalkerTask(_Directed, walker.PlanarWalker):
    """Walk upright at the target speed (m/s)."""

    def __init__(self, speed: float, random: np.random.RandomState | int | None = None) -> None:
        super().__init__(speed, move_speed=0, random=random)  # then dm_control's reward is its stand term alone

    def get_features(self, physics: walker.Physics) -> np.ndarray:
        """What the reward is computed from: the velocity (m/s) and dm_control's stand term."""
        return np.array([physics.horizontal_velocity(), super().get_reward(physics)])

    def get_reward(self, physics: walker.Physics) -> float:
        """Returns the paper's reward."""
        return super().get_reward(physics) * (5 * self.moving(physics.horizontal_velocity()) + 1) / 6


class FingerTask(_Directed, finger.Spin):
    """Spin the hinge at the target speed (rad/s)."""

    def get_features(self, physics: finger.Physics) -> np.ndarray:
        """What the reward is computed from: the hinge's velocity (rad/s)."""
        return np.array([physics.hinge_velocity()])

    def get_reward(self, physics: finger.Physics) -> float:
        """Returns the paper's reward."""
        return self.moving(physics.hinge_velocity())


def _resize_cheetah(root: ElementTree.Element, length: float) -> None:
    _only(root, ".//geom[@name='torso']").set("fromto", _numbers(-length, 0, 0, length, 0, 0))
    _only(root, ".//geom[@name='head']").set("pos", _numbers(length + 0.1, 0, 0.1))
    _only(root, ".//body[@name='bthigh']").set("pos", _numbers(-length, 0, 0))
    _only(root, ".//body[@name='fthigh']").set("pos", _numbers(length, 0, 0))


def _resize_walker(root: ElementTree.Element, length: float) -> None:
    _only(root, ".//geom[@name='torso']").set("size", _numbers(0.07, length))


def _resize_finger(root: ElementTree.Element, length: float) -> None:
    if length <= 0.07:
        raise ValueError(f"a finger's length must exceed 0.07 m, or its spinner's caps vanish; got {length:g}")
    _only(root, ".//geom[@name='distal']").set("fromto", _numbers(0, 0, 0, 0, 0, -length))
    _only(root, ".//geom[@name='fingertip']").set("fromto", _numbers(0, 0, 0.03 - length, 0, 0, -length - 0.001))
    _only(root, ".//body[@name='spinner']").set("pos", _numbers(length + 0.04, 0, 0.4))
    for cap in ("cap1", "cap2"):
        _only(root, f".//geom[@name='{cap}']").set("size", _numbers(0.04, length - 0.07))


def _only(root: ElementTree.Element, path: str) -> ElementTree.Element:
    (element,) = root.findall(path)
    return element


def _numbers(*values: float) -> str:
    """Decimals for an XML attribute: 0.6, not the 0.6000000000000001 that adding floats may give."""
    return " ".join(repr(round(value, 10)) for value in values)


@dataclass(frozen=True)
class Domain:
    """What an environment takes from dm_control.

    Attributes:
        physics: dm_control's physics class.
        task: Our task, a subclass of dm_control's own.
        resize: Changes the model's XML to a length (m).
        substeps: Physics steps of a control step.
        time_limit_s: Length of an episode in simulated seconds: 1000 control steps.
    """

    physics: Any
    task: Any
    resize: Callable[[ElementTree.Element, float], None]
    substeps: int
    time_limit_s: float


DOMAINS: dict[str, Domain] = {
    "cheetah": Domain(cheetah.Physics, CheetahTask, _resize_cheetah, substeps=1, time_limit_s=10),
    "walker": Domain(walker.Physics, WalkerTask, _resize_walker, substeps=10, time_limit_s=25),
    "finger": Domain(finger.Physics, FingerTask, _resize_finger, substeps=2, time_limit_s=20),
}
"""The MuJoCo environments, by name."""


class DmcEnv(gymnasium.Env):
    """One world as a gymnasium environment; registered as ``hypogen/<benchmark>-v0``.

    Observations float64 [D] in dm_control's order, actions float64 [A] in [-1, 1]; truncated after 1000 steps, never
    terminated. ``infos["features"]`` [F] is what the reward is computed from (see :func:`hypogen.envs.reward`).

    Args:
        benchmark: Name of a MuJoCo benchmark.
        spec: A point of its context [C]; the default of every variable when None.
        render_mode: ``rgb_array`` or None.
        width: Of the pictures, in pixels.
        height: Of the pictures, in pixels.
        camera: Camera of the model, by number.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        benchmark: str,
        spec: float | Sequence[float] | None = None,
        render_mode: str | None = None,
        width: int = 320,
        height: int = 240,
        camera: int = 0,
    ) -> None:
        entry = get_benchmark(benchmark)
        self.spec_values = entry.values([v.default for v in entry.variables] if spec is None else spec)
        self.environment = load(benchmark, [self.spec_values[variable.name] for variable in entry.variables])
        self.action_dim = entry.action_dim
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / self.environment.control_timestep())}
        self._picture = {"width": width, "height": height, "camera_id": camera}
        self._running = False
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (entry.observation_dim,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (entry.action_dim,), np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode: observation [D] and infos. Without a seed the random stream continues."""
        super().reset(seed=seed)
        if seed is not None:
            self.environment.task.reseed(seed)
        self._running = True
        return _flat(self.environment.reset().observation), self._infos()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step with ``action`` [A]. Raises ValueError for a wrong shape, NaN, or outside an episode."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (self.action_dim,) or not np.isfinite(action).all():
            raise ValueError(f"an action is {self.action_dim} finite numbers, got {action!r}")
        if not self._running:
            raise ValueError("call reset before step: no episode is running")
        timestep = self.environment.step(action)
        self._running = not timestep.last()
        return _flat(timestep.observation), float(timestep.reward), False, timestep.last(), self._infos()

    def render(self) -> Any:
        """A picture, uint8 [height, width, 3]; None without ``render_mode="rgb_array"``."""
        return self.environment.physics.render(**self._picture) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Frees the simulator."""
        self.environment.physics.free()

    def _infos(self) -> dict[str, Any]:
        return {"features": self.environment.task.get_features(self.environment.physics)}


def _flat(observation: dict[str, Any]) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in observation.values()])
