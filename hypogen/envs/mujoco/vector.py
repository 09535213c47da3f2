"""Many MuJoCo worlds stepped natively on threads, equal to dm_control bit for bit.

Every world has its own spec; worlds of one length share a model (:mod:`hypogen.envs.mujoco.models`). MuJoCo's own
``Batch`` steps them all in one call.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium
import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space
from mujoco.batch import Batch, SimulationError

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.envs.mujoco import get_environment
from hypogen.envs.mujoco.models import get_model, start_episode
from hypogen.envs.worlds import specs_array, world_seeds

Array = npt.NDArray[Any]

_UP_TO_VELOCITIES = mujoco.mjtStage.mjSTAGE_VEL.value  # what dm_control brings up to date after a step: mj_step1
_NOT_RUNNING = -1


class MujocoVectorEnv(gymnasium.vector.VectorEnv[Array, Array, Array]):
    """W worlds of a MuJoCo benchmark, one per row of ``specs`` [W, C].

    Observations are float64 [W, D], actions float64 [W, A]. All worlds end together, truncated after
    ``episode_steps``; there is no autoreset. The rewards are computed from ``infos["features"]`` float64 [W, F]:
    ``reward(environment, features, speed, tolerance)``.

    Raises ValueError for an unknown or non-MuJoCo benchmark, one with a variable that its environment does not consume,
    specs that mean nothing, or fewer than 1 thread.
    """

    metadata = {"render_modes": [], "autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, benchmark: str, specs: Array | Sequence[Sequence[float]], threads: int = 1) -> None:
        self.benchmark: Benchmark = get_benchmark(benchmark)
        self._environment = get_environment(self.benchmark)
        self.specs = specs_array(self.benchmark, specs)
        values = [self.benchmark.values(spec) for spec in self.specs]
        self.speeds = np.array([value["speed"] for value in values])
        self.model_values = [self._environment.model_values(value) for value in values]
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.num_envs = len(self.specs)
        entry = self.benchmark
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (entry.observation_dim,), np.float64)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (entry.action_dim,), np.float64)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        models = [get_model(self._environment, values) for values in self.model_values]
        self._batch = Batch(models[0], self.num_envs, min(threads, self.num_envs), persistent=True)
        self._batch.set_models(models)
        self._views = self._environment.views(self._batch)
        self._physics_step_s = models[0].opt.timestep
        self._tasks = [self._environment.task(speed, entry.tolerance) for speed in self.speeds]
        self._steps = _NOT_RUNNING

    def reset(
        self, *, seed: int | Sequence[int] | Array | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts an episode in every world: observations [W, D] and infos.

        World i seeded s starts as a dm_control environment with ``random=RandomState(s)`` does. One number seeds world
        i with ``seed + i``; without a seed the worlds' random streams continue. Takes no options.
        """
        if options:
            raise ValueError(f"worlds start together and take no options, got {options}")
        if seed is not None:
            for task, world_seed in zip(self._tasks, world_seeds(seed, self.num_envs), strict=True):
                task.reseed(int(world_seed))
        self._steps = _NOT_RUNNING
        start = functools.partial(start_episode, self._environment)
        with ThreadPoolExecutor(self._batch.nthread) as pool:  # dm_control lets each cheetah settle for 200 steps
            states, raw = zip(*pool.map(start, self._tasks, self.model_values), strict=True)
        self._batch.state[...] = states
        self._steps = 0
        return self._seen(np.stack(raw))

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """One control step with ``actions`` [W, A]: observations, rewards [W], terminated, truncated [W], infos.

        MuJoCo clips actions to [-1, 1]. Raises ValueError for a wrong shape, NaN or infinite actions, or outside an
        episode; FloatingPointError when a world's physics has diverged (dm_control: ``PhysicsError``) or failed.
        """
        self._check_step(actions)
        self._batch.ctrl[...] = actions
        steps, self._steps = self._steps + 1, _NOT_RUNNING  # a failed step leaves no episode to continue
        try:
            self._batch.step(nstep=self._environment.substeps, stage=_UP_TO_VELOCITIES)
        except SimulationError as error:  # which does not survive being sent by Ray
            spec = self.specs[error.ids[0]]
            raise FloatingPointError(f"{self.benchmark.name}: the physics of spec {spec} failed: {error}") from None
        self._check_clocks(steps * self._environment.substeps)
        over = steps == self.benchmark.episode_steps
        self._steps = _NOT_RUNNING if over else steps
        observations, infos = self._seen(
            np.concatenate([view.reshape(self.num_envs, -1) for view in self._views], axis=1)
        )
        rewards = self._environment.rewards(infos["features"], self.speeds, self.benchmark.tolerance)
        return observations, rewards, np.zeros(self.num_envs, bool), np.full(self.num_envs, over), infos

    @property
    def positions(self) -> Array:
        """Joint positions [W, Q] of the worlds, in the model's order."""
        return self._batch.qpos.copy()

    @property
    def control_step_s(self) -> float:
        """Simulated seconds of a control step."""
        return self._environment.substeps * self._physics_step_s

    def get_state(self) -> dict[str, Array]:
        """Everything that the worlds' future depends on, their random streams included, as numpy arrays.

        ``set_state`` of a vector with the same specs, in this or another process, continues to the same bits.
        """
        streams = [task.random.get_state() for task in self._tasks]
        return {
            "specs": self.specs.copy(),
            "steps": np.array(self._steps),
            "physics": self._batch.state.copy(),
            "random_keys": np.stack([stream[1] for stream in streams]),
            "random_position": np.array([stream[2] for stream in streams]),
            "random_has_gauss": np.array([stream[3] for stream in streams]),
            "random_gauss": np.array([stream[4] for stream in streams]),
        }

    def set_state(self, state: dict[str, Array]) -> None:
        """Continues from what ``get_state`` returned. Raises ValueError when that vector had other specs."""
        if not np.array_equal(state["specs"], self.specs):
            raise ValueError(f"the state is of specs {state['specs'].tolist()}, not {self.specs.tolist()}")
        self._batch.state[...] = state["physics"]
        streams = zip(
            state["random_keys"],
            state["random_position"],
            state["random_has_gauss"],
            state["random_gauss"],
            strict=True,
        )
        for task, (keys, position, has_gauss, gauss) in zip(self._tasks, streams, strict=True):
            task.random.set_state(("MT19937", keys, int(position), int(has_gauss), float(gauss)))
        self._steps = int(state["steps"])

    def _seen(self, raw: Array) -> tuple[Array, dict[str, Any]]:
        """Observations [W, D], and infos, of raw numbers [W, R]."""
        return self._environment.observe(raw), {"features": self._environment.features(raw)}

    def _check_clocks(self, physics_steps: int) -> None:
        """MuJoCo resets a world that has blown up, and its clock with it."""
        early = self._batch.time < (physics_steps - 0.5) * self._physics_step_s
        if early.any():
            spec = self.specs[np.argmax(early)]
            raise FloatingPointError(f"{self.benchmark.name}: the physics of spec {spec} has diverged")

    def _check_step(self, actions: Array) -> None:
        if self._steps == _NOT_RUNNING:
            raise ValueError("call reset before step: no episode is running")
        if np.shape(actions) != self.action_space.shape:
            raise ValueError(f"actions must have shape {self.action_space.shape}, got {np.shape(actions)}")
        if not np.isfinite(actions).all():
            row = int(np.argmax(~np.isfinite(actions).all(axis=1)))
            raise ValueError(f"actions of world {row} are not finite: {np.asarray(actions)[row]}")
