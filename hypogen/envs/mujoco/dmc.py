"""One MuJoCo world: dm_control's own environment at a spec, and the same for gymnasium.

``load`` gives the plain dm_control environment, and ``DmcEnv`` (registered as ``hypogen/<benchmark>-v0``) the same as
a gymnasium environment that can be rendered. The worlds of :mod:`hypogen.envs.mujoco.vector` equal them bit for bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from hypogen.benchmarks import get_benchmark
from hypogen.envs.mujoco import get_environment
from hypogen.envs.mujoco.models import new_physics

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dm_control looks for a display, and warns where there is none
    from dm_control.rl import control


def load(
    benchmark: str, spec: float | Sequence[float] | npt.NDArray[Any], random: np.random.RandomState | int | None = None
) -> control.Environment:
    """The dm_control ``control.Environment`` of ``benchmark`` at ``spec`` [C], with flat observations off.

    ``random`` is what dm_control's own ``suite.load`` takes. Raises ValueError for an unknown benchmark, one that does
    not run in MuJoCo or has a variable that nothing consumes, or a spec that means nothing (see
    :meth:`Benchmark.values`).
    """
    entry = get_benchmark(benchmark)
    environment, values = get_environment(entry), entry.values(spec)
    physics = new_physics(environment, environment.model_values(values))
    task = environment.task(values["speed"], entry.tolerance, random)
    return control.Environment(physics, task, time_limit=environment.time_limit_s, n_sub_steps=environment.substeps)


class DmcEnv(gymnasium.Env[npt.NDArray[Any], npt.NDArray[Any]]):
    """One world as a gymnasium environment; registered as ``hypogen/<benchmark>-v0``.

    Observations float64 [D] in dm_control's order, actions float64 [A] in [-1, 1]; truncated after 1000 steps, never
    terminated. The reward is computed from ``infos["features"]`` [F] (see :func:`hypogen.envs.reward`).

    Args:
        benchmark: Name of a MuJoCo benchmark.
        spec: Point of its context [C]; the default of every variable when None.
        render_mode: ``rgb_array`` or None.
        width: Width of the pictures in pixels.
        height: Height of the pictures in pixels.
        camera: Camera of the model, by number.

    Raises ValueError for an unknown benchmark, one that does not run in MuJoCo or has a variable that nothing consumes,
    or a spec that means nothing.
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
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Starts an episode: observation [D] and infos. Without a seed the random stream continues."""
        super().reset(seed=seed)
        if seed is not None:
            self.environment.task.reseed(seed)
        self._running = True
        return _flat(self.environment.reset().observation), self._infos()

    def step(self, action: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float, bool, bool, dict[str, Any]]:
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


def _flat(observation: dict[str, Any]) -> npt.NDArray[Any]:
    return np.concatenate([np.ravel(part) for part in observation.values()])
