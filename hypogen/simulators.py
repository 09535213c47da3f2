"""Simulators as data: the differences between their benchmarks, so that nobody else asks for a simulator's name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from hypogen.errors import MissingPackage


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """A physics engine and the protocol of the benchmarks that run in it. ``str(simulator)`` is its name.

    Attributes:
        name: Key in ``SIMULATORS``.
        label: Name as its makers write it, for messages.
        single_env: Class of one world as a gymnasium environment, ``"module:Class"``; imported only when used.
        vector_env: Class of many worlds that step together, ``"module:Class"``; called with the benchmark's name, specs
            [W, C] and the number of threads or processes.
        specs_per_task: Specs in one demonstrations or rollouts artifact: seconds to minutes of work. Fixed, so that
            results do not depend on the number of workers.
        usual_steps: Estimated control steps of an expert's episode; None where every episode lasts to its limit.
        step_s: Seconds per control step of a rollout on one core of the reference machine, the policy included.
        generated_factor: Length of a generated policy's episodes over that of the expert's, as estimated.
        score: Measure by which a benchmark is judged: ``return`` or ``success``.
        higher_is_better: Whether a larger score is a better one.
        only_successes: Whether demonstrations are successful episodes only, with discounted returns as values.
        episodes_at_once: Worlds per spec in one vector at most, since a world takes memory; None without a limit.
        terminates: Whether success ends an episode. An episode has then failed when nothing ended it before its limit;
            otherwise the paper's rule on low rewards decides (:class:`hypogen.rollouts.FailureRule`).
        packages: Modules that it takes.
        extra: Extra of this project that brings them; empty where they always come along.
    """

    name: str
    label: str
    single_env: str
    vector_env: str
    specs_per_task: int
    usual_steps: int | None
    step_s: float
    generated_factor: float
    score: str
    higher_is_better: bool = True
    only_successes: bool
    episodes_at_once: int | None
    terminates: bool
    packages: tuple[str, ...] = ()
    extra: str = ""

    def require(self) -> None:
        """Raises MissingPackage, with the remedy, unless its packages are installed. Imports none of them."""
        missing = [name for name in self.packages if not _is_installed(name)]
        if missing:
            raise MissingPackage(
                f"benchmarks of {self.label} need {' and '.join(missing)}, not installed here: "
                f"pip install 'hypogen[{self.extra}]' (Python 3.11)"
            )

    def __str__(self) -> str:
        return self.name


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:
        return False


MUJOCO = Simulator(
    name="mujoco",
    label="MuJoCo",
    single_env="hypogen.envs.mujoco.dmc:DmcEnv",
    vector_env="hypogen.envs.mujoco.vector:MujocoVectorEnv",
    specs_per_task=4,
    usual_steps=None,
    step_s=2.0e-5,
    generated_factor=1.0,
    score="return",
    only_successes=False,
    episodes_at_once=None,
    terminates=False,
)
MANISKILL = Simulator(
    name="maniskill",
    label="ManiSkill",
    single_env="hypogen.envs.maniskill.single:ManiSkillEnv",
    vector_env="hypogen.envs.maniskill.processes:ManiSkillVectorEnv",
    specs_per_task=1,
    usual_steps=30,
    step_s=4.0e-3,
    generated_factor=2.5,
    score="success",
    only_successes=True,
    episodes_at_once=20,
    terminates=True,
    packages=("mani_skill2", "sapien"),
    extra="maniskill",
)

SIMULATORS: dict[str, Simulator] = {simulator.name: simulator for simulator in (MUJOCO, MANISKILL)}
"""Every simulator, by name."""
