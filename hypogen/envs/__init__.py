"""Environments: vectors of worlds, each with its own spec, and registered single environments.

Importing this package registers ``hypogen/<benchmark>-v0`` with gymnasium for every MuJoCo benchmark, so that
``gymnasium.make("hypogen/cheetah-speed-v0", spec=(5.0,))`` works. Simulators are imported only when used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from hypogen.benchmarks import BENCHMARKS, get_benchmark
from hypogen.envs.rewards import FEATURES, reward

if TYPE_CHECKING:
    from hypogen.envs.vector import MujocoVectorEnv

__all__ = ["FEATURES", "make_vector", "reward"]


def make_vector(benchmark: str, specs: np.ndarray | Sequence[Sequence[float]], threads: int = 1) -> MujocoVectorEnv:
    """Worlds of ``benchmark``, one a row of ``specs`` [W, C], stepped together on ``threads`` threads.

    Specs may repeat, and may lie off the benchmark's grid. Raises ValueError for an unknown benchmark, a wrong number
    of coordinates, a value that means nothing (NaN, a target speed of 0, a length that is not positive), or a
    benchmark whose simulator is not MuJoCo.
    """
    if get_benchmark(benchmark).simulator != "mujoco":
        raise ValueError(f"{benchmark} runs in ManiSkill, whose environments hypogen does not have yet")
    from hypogen.envs.vector import MujocoVectorEnv  # MuJoCo takes a second to import

    return MujocoVectorEnv(benchmark, specs, threads=threads)


def _register() -> None:
    for benchmark in BENCHMARKS.values():
        name = f"hypogen/{benchmark.name}-v0"
        if benchmark.simulator == "mujoco" and name not in gymnasium.registry:
            gymnasium.register(name, entry_point="hypogen.envs.dmc:DmcEnv", kwargs={"benchmark": benchmark.name})


_register()
