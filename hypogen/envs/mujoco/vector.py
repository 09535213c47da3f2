"""Many MuJoCo worlds stepped natively on threads, equal to dm_control bit for bit.

Every world has its own spec; worlds of one length share a model (:mod:`hypogen.envs.mujoco.models`). MuJoCo releases
Python's lock while it steps, so threads run in parallel: nearly twice as fast on two cores for the walker's 10 physics
steps a control step, but with nothing to win for the cheetah, whose single step takes 5 microseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.envs.mujoco import get_environment
from hypogen.envs.mujoco.models import get_model, start_episode
from hypogen.envs.worlds import specs_array, world_seeds

Array = npt.NDArray[Any]

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION  # everything a step depends on, the solver's warm start included
_NOT_RUNNING = -1


class _World(NamedTuple):
    """One world: its memory, and views that connect it with its rows of the vector's arrays."""

    row: int
    model: mujoco.MjModel
    data: mujoco.MjData
    control: Array
    action: Array
    copies: list[tuple[Array, Array]]  # (row of the raw array, memory of the world)


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
        self._pool: ThreadPoolExecutor | None = None  # first: an unfinished vector is closed as well
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
        self._actions = np.zeros((self.num_envs, entry.action_dim))
        self._worlds = self._build_worlds()
        self._physics_step_s = self._worlds[0].model.opt.timestep
        parts = np.array_split(np.arange(self.num_envs), min(threads, self.num_envs))
        self._chunks = [[self._worlds[row] for row in part] for part in parts]
        self._tasks = [self._environment.task(speed, entry.tolerance) for speed in self.speeds]
        if len(self._chunks) > 1:
            self._pool = ThreadPoolExecutor(len(self._chunks) - 1)
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
        self._on_every_chunk(self._start)
        self._steps = 0
        return self._environment.observe(self._raw), {"features": self._environment.features(self._raw)}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """One control step with ``actions`` [W, A]: observations, rewards [W], terminated, truncated [W], infos.

        MuJoCo clips actions to [-1, 1]. Raises ValueError for a wrong shape, NaN or infinite actions, or outside an
        episode; FloatingPointError when a world's physics has diverged (dm_control: ``PhysicsError``).
        """
        self._check_step(actions)
        self._actions[...] = actions
        steps, self._steps = self._steps + 1, _NOT_RUNNING  # a failed step leaves no episode to continue
        clock = (steps * self._environment.substeps - 0.5) * self._physics_step_s
        self._on_every_chunk(functools.partial(self._advance, clock=clock))
        over = steps == self.benchmark.episode_steps
        self._steps = _NOT_RUNNING if over else steps
        features = self._environment.features(self._raw)
        rewards = self._environment.rewards(features, self.speeds, self.benchmark.tolerance)
        terminated, truncated = np.zeros(self.num_envs, dtype=bool), np.full(self.num_envs, over)
        return self._environment.observe(self._raw), rewards, terminated, truncated, {"features": features}

    @property
    def positions(self) -> Array:
        """Joint positions [W, Q] of the worlds, in the model's order."""
        return np.stack([world.data.qpos for world in self._worlds])

    @property
    def control_step_s(self) -> float:
        """Simulated seconds of a control step."""
        return self._environment.substeps * self._physics_step_s

    def get_state(self) -> dict[str, Array]:
        """Everything that the worlds' future depends on, their random streams included, as numpy arrays.

        ``set_state`` of a vector with the same specs, in this or another process, continues to the same bits.
        """
        size = mujoco.mj_stateSize(self._worlds[0].model, _STATE)
        physics = np.empty((self.num_envs, size))
        for world in self._worlds:
            mujoco.mj_getState(world.model, world.data, physics[world.row], _STATE)
        streams = [task.random.get_state() for task in self._tasks]
        return {
            "specs": self.specs.copy(),
            "steps": np.array(self._steps),
            "physics": physics,
            "random_keys": np.stack([stream[1] for stream in streams]),
            "random_position": np.array([stream[2] for stream in streams]),
            "random_has_gauss": np.array([stream[3] for stream in streams]),
            "random_gauss": np.array([stream[4] for stream in streams]),
        }

    def set_state(self, state: dict[str, Array]) -> None:
        """Continues from what ``get_state`` returned. Raises ValueError when that vector had other specs."""
        if not np.array_equal(state["specs"], self.specs):
            raise ValueError(f"the state is of specs {state['specs'].tolist()}, not {self.specs.tolist()}")
        for world in self._worlds:
            mujoco.mj_setState(world.model, world.data, state["physics"][world.row], _STATE)
            mujoco.mj_step1(world.model, world.data)  # what the next mj_step2 expects to be up to date
            self._tasks[world.row].random.set_state(
                (
                    "MT19937",
                    state["random_keys"][world.row],
                    int(state["random_position"][world.row]),
                    int(state["random_has_gauss"][world.row]),
                    float(state["random_gauss"][world.row]),
                )
            )
        self._steps = int(state["steps"])

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _build_worlds(self) -> list[_World]:
        models = [get_model(self._environment, values) for values in self.model_values]
        memories = [mujoco.MjData(model) for model in models]
        views = [self._environment.views(model, data) for model, data in zip(models, memories, strict=True)]
        ends = np.cumsum([view.size for view in views[0]])
        self._raw = np.zeros((self.num_envs, ends[-1]))
        targets = [np.split(row, ends[:-1]) for row in self._raw]
        return [
            _World(
                row,
                model,
                data,
                control=data.ctrl,
                action=self._actions[row],
                copies=[
                    (target.reshape(view.shape), view) for target, view in zip(targets[row], views[row], strict=True)
                ],
            )
            for row, (model, data) in enumerate(zip(models, memories, strict=True))
        ]

    def _on_every_chunk(self, work: Callable[[list[_World]], None]) -> None:
        first, *others = self._chunks
        futures = [self._pool.submit(work, chunk) for chunk in others] if self._pool is not None else []
        try:
            work(first)
        finally:
            wait(futures)
        for future in futures:
            future.result()

    def _start(self, chunk: list[_World]) -> None:
        for world in chunk:
            start_episode(self._tasks[world.row], self._environment, self.model_values[world.row], world.data)
            for target, source in world.copies:
                target[...] = source

    def _advance(self, chunk: list[_World], clock: float) -> None:
        """Steps as dm_control does, so that velocities and sensors are those of the new state."""
        step1, step, step2 = mujoco.mj_step1, mujoco.mj_step, mujoco.mj_step2
        between = self._environment.substeps - 1
        for row, model, data, control, action, copies in chunk:
            control[...] = action
            step2(model, data)
            if between:
                step(model, data, between)
            step1(model, data)
            if data.time < clock:  # MuJoCo resets a world that has blown up, and its clock with it
                raise FloatingPointError(f"{self.benchmark.name}: the physics of spec {self.specs[row]} has diverged")
            for target, source in copies:
                target[...] = source

    def _check_step(self, actions: Array) -> None:
        if self._steps == _NOT_RUNNING:
            raise ValueError("call reset before step: no episode is running")
        if np.shape(actions) != self._actions.shape:
            raise ValueError(f"actions must have shape {self._actions.shape}, got {np.shape(actions)}")
        if not np.isfinite(actions).all():
            row = int(np.argmax(~np.isfinite(actions).all(axis=1)))
            raise ValueError(f"actions of world {row} are not finite: {np.asarray(actions)[row]}")
