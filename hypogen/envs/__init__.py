"""Environments: vectors of worlds, each with its own spec, and registered single environments.

Importing this package registers ``hypogen/<benchmark>-v0`` with gymnasium for every benchmark, so that
``gymnasium.make("hypogen/cheetah-speed-v0", spec=(5.0,))`` works. Simulators are imported only when used.
"""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np

from hypogen.benchmarks import BENCHMARKS, get_benchmark
from hypogen.envs.rewards import FEATURES, reward

__all__ = ["FEATURES", "make_vector", "reward"]


_ENTRY_POINTS = {"mujoco": "hypogen.envs.dmc:DmcEnv", "maniskill": "hypogen.envs.maniskill:ManiSkillEnv"}


def make_vector(
    benchmark: str, specs: np.ndarray | Sequence[Sequence[float]], threads: int = 1
) -> gymnasium.vector.VectorEnv:
    """Worlds of ``benchmark``, one a row of ``specs`` [W, C], stepped together on ``threads`` threads (MuJoCo) or in as
    many processes (ManiSkill; with 1, in this process).

    Specs may repeat, and may lie off the benchmark's grid. Raises ValueError for an unknown benchmark, a wrong number
    of coordinates, or a value that means nothing (NaN, a target speed of 0, a length that is not positive).
    """
    if get_benchmark(benchmark).simulator == "maniskill":  # simulators take seconds to import
        from hypogen.envs.maniskill_vector import ManiSkillVectorEnv

        return ManiSkillVectorEnv(benchmark, specs, processes=threads)
    from hypogen.envs.vector import MujocoVectorEnv

    return MujocoVectorEnv(benchmark, specs, threads=threads)


def _register() -> None:
    for benchmark in BENCHMARKS.values():
        name = f"hypogen/{benchmark.name}-v0"
        if name not in gymnasium.registry:
            entry_point = _ENTRY_POINTS[benchmark.simulator]
            gymnasium.register(name, entry_point=entry_point, kwargs={"benchmark": benchmark.name})


_register()
