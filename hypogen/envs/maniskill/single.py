"""ManiSkill2's LiftCube and PickCube with the paper's contexts, without a GPU or a display.

``ManiSkillEnv`` is registered as ``hypogen/<benchmark>-v0``. At the default spec its states, observations and rewards
equal those of ManiSkill2's own environment bit for bit: only what is drawn is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from hypogen.benchmarks import get_benchmark
from hypogen.envs.maniskill import get_environment
from hypogen.errors import MissingPackage
from hypogen.simulators import MANISKILL

MANISKILL.require()
if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
    raise MissingPackage(
        f"ManiSkill2 is silently wrong with numpy {np.__version__} (set_qpos writes zeros): install numpy<2"
    )

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # sapien imports pkg_resources, which is deprecated
    import mani_skill2.envs  # noqa: F401 - before anything else of the package, which imports itself in a circle
    import sapien.core as sapien
    from mani_skill2.envs.pick_and_place.pick_cube import LiftCubeEnv, PickCubeEnv

    from hypogen.envs.maniskill.panda import BASE_X_M, CONTROL_MODE, REST, PandaConfig, start_pose

_NO_SERVER = {"address": "127.0.0.1:1", "process_index": 0}  # nothing ever connects to it


class _Undrawn(PickCubeEnv):
    """A ManiSkill2 environment where nothing can be drawn: no renderer, no looks."""

    def __init__(self) -> None:
        super().__init__(obs_mode="state", control_mode=CONTROL_MODE, renderer="client", renderer_kwargs=_NO_SERVER)

    def _setup_scene(self, scene_config: sapien.SceneConfig | None = None) -> None:
        self._engine.set_renderer(None)
        super()._setup_scene(scene_config)

    def _setup_cameras(self) -> None:
        pass

    def _setup_lighting(self) -> None:
        pass

    def _add_ground(self, altitude: float = 0.0, render: bool = True) -> sapien.ActorStatic:
        return super()._add_ground(altitude, render=False)

    def _build_cube(self, half_size: npt.NDArray[Any], **looks: Any) -> sapien.Actor:
        builder = self._scene.create_actor_builder()
        builder.add_box_collision(half_size=half_size)
        return builder.build("cube")

    def _build_sphere_site(self, radius: float, **looks: Any) -> sapien.ActorStatic:
        return self._scene.create_actor_builder().build_static("goal_site")


class StockPickCube(_Undrawn):
    """ManiSkill2's own environment, undrawn: the reference for ours, in states and in speed."""


class StockLiftCube(_Undrawn, LiftCubeEnv):
    """ManiSkill2's own environment, undrawn."""


class _AtSpec(_Undrawn):
    """A ManiSkill2 environment with a spec's values in its physics."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = values
        super().__init__()

    @property
    def cube_half_size(self) -> npt.NDArray[Any]:
        """Half the cube's edge along each axis, float32 [3] (m)."""
        return np.full(3, self._values["cube_size"], np.float32)

    @cube_half_size.setter
    def cube_half_size(self, default: npt.NDArray[Any]) -> None:
        """ManiSkill2's constructor sets its default here; the spec's value stands."""

    def step_action(self, action: npt.NDArray[Any]) -> None:
        """ManiSkill2's control step for a controller that does not interpolate, without the calls that do nothing."""
        self.agent.set_action(action)
        robot, scene = self.agent.robot, self._scene
        for _ in range(self._sim_steps_per_control):
            robot.set_qf(robot.compute_passive_force(external=False))
            scene.step()

    def _configure_agent(self) -> None:
        values = self._values
        self._agent_cfg = PandaConfig(values["stiffness"], values["damping"], values["arm_length"])

    def _initialize_agent(self) -> None:
        super()._initialize_agent()
        ratio = self._values["arm_length"]
        if ratio != 1:
            angles = self.agent.robot.get_qpos()
            angles[:7] += start_pose(ratio) - REST  # keeps the noise
            self.agent.reset(angles)
            self.agent.robot.set_pose(sapien.Pose([BASE_X_M * ratio, 0, 0]))


class LiftCube(_AtSpec, LiftCubeEnv):
    """Lift the cube by 0.2 m."""


class PickCube(_AtSpec):
    """Carry the cube to a point and hold it there."""


WORLDS = {"liftcube": LiftCube, "pickcube": PickCube}
"""The ManiSkill environments, by name."""


class ManiSkillEnv(gymnasium.Env[npt.NDArray[Any], npt.NDArray[Any]]):
    """One world as a gymnasium environment; registered as ``hypogen/<benchmark>-v0``.

    Observations float32 [D] in ManiSkill2's order, actions float32 [7] in [-1, 1]: the tool's displacement in its own
    frame, in units of 0.1 m and 0.1 rad, and the gripper (-1 closed, 1 open). An episode terminates at success, unless
    ``ends_at_success`` is false, and is truncated after ``episode_steps``. Rewards are ManiSkill2's normalised dense
    ones, at most 1 per step. ``infos["success"]`` says whether the task is done.

    ``world`` is the ManiSkill2 environment, with the whole simulator behind it.

    Args:
        benchmark: Name of a ManiSkill benchmark.
        spec: Point of its context [C]; the default of every variable when None.
        episode_steps: Control steps of an episode at most; the benchmark's when None.
        ends_at_success: Whether success ends an episode, as where policies are measured. Where they learn from rewards
            it must not: every step earns, so that one who stops just short of the goal would earn the most.

    Raises ValueError for an unknown benchmark, one that does not run in ManiSkill or has a variable that nothing
    consumes, or a spec that means nothing.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        benchmark: str,
        spec: float | Sequence[float] | None = None,
        episode_steps: int | None = None,
        ends_at_success: bool = True,
    ) -> None:
        entry = get_benchmark(benchmark)
        environment = get_environment(entry)
        self.spec_values = entry.values([v.default for v in entry.variables] if spec is None else spec)
        self.episode_steps, self.ends_at_success = episode_steps or entry.episode_steps, ends_at_success
        self.world = WORLDS[environment.name](self.spec_values)
        self.action_dim = entry.action_dim
        self._running = False
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (entry.observation_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (entry.action_dim,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Starts an episode: observation [D] and infos. Without a seed the random stream continues.

        The scene is built anew: PhysX keeps contacts that make the same seed start other episodes otherwise.
        """
        super().reset(seed=seed)
        observation, _ = self.world.reset(seed=seed, options={"reconfigure": True})
        self._running = True
        return observation.astype(np.float32), {"success": False}

    def step(self, action: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One control step (1/20 s) with ``action`` [7].

        Raises ValueError for a wrong shape, NaN, or outside an episode; FloatingPointError when the physics diverged.
        """
        action = np.asarray(action, dtype=np.float32)
        if action.shape != (self.action_dim,) or not np.isfinite(action).all():
            raise ValueError(f"an action is {self.action_dim} finite numbers, got {action!r}")
        if not self._running:
            raise ValueError("call reset before step: no episode is running")
        observation, reward, success, _, _ = self.world.step(action)
        if not np.isfinite(observation).all():
            raise FloatingPointError(f"the physics of {self.spec_values} has diverged")
        over = self.world.elapsed_steps >= self.episode_steps
        terminated = success and self.ends_at_success
        self._running = not (terminated or over)
        return observation.astype(np.float32), float(reward), terminated, over and not terminated, {"success": success}

    def close(self) -> None:
        """Frees the simulator."""
        self.world.close()
