"""Environments: vectors of worlds, each with its own spec, and registered single environments.

Importing this package registers ``hypogen/<benchmark>-v0`` with gymnasium for every benchmark, so that
``gymnasium.make("hypogen/cheetah-speed-v0", spec=(5.0,))`` works. Simulators are imported only when used.

One file is one environment: see :mod:`hypogen.envs.mujoco` and :mod:`hypogen.envs.maniskill`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import gymnasium
import numpy.typing as npt

from hypogen.contexts import Benchmark
from hypogen.envs import maniskill, mujoco
from hypogen.envs.environment import Environment
from hypogen.envs.mujoco import FEATURES, reward
from hypogen.errors import did_you_mean

__all__ = ["ENVIRONMENTS", "FEATURES", "check", "make_vector", "reward"]

ENVIRONMENTS: dict[str, Environment] = {**mujoco.ENVIRONMENTS, **maniskill.ENVIRONMENTS}
"""Every environment, by name."""


def make_vector(
    benchmark: str, specs: npt.NDArray[Any] | Sequence[Sequence[float]], threads: int = 1
) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """Worlds of ``benchmark``, one per row of ``specs`` [W, C], that step together.

    They step on ``threads`` threads (MuJoCo) or in as many processes (ManiSkill; with 1, in this process). Specs may
    repeat, and may lie off the benchmark's grid.

    Raises ValueError for an unknown benchmark, one with a variable that its environment does not consume, a wrong
    number of coordinates, or a value that means nothing (NaN, a target speed of 0, a length that is not positive).
    """
    from hypogen.benchmarks import get_benchmark  # that module builds on this package's environments

    module, name = get_benchmark(benchmark).simulator.vector_env.split(":")
    worlds: gymnasium.vector.VectorEnv[Any, Any, Any] = getattr(import_module(module), name)(benchmark, specs, threads)
    return worlds


def check(benchmark: Benchmark) -> None:
    """Raises ValueError unless the environment of ``benchmark`` exists and consumes all of its variables.

    The message names the benchmark, the variable and the known ones. Imports no simulator.
    """
    if benchmark.environment not in ENVIRONMENTS:
        hint = did_you_mean(benchmark.environment, ENVIRONMENTS)
        raise ValueError(f"{benchmark.name}: unknown environment {benchmark.environment!r}: {hint}")
    ENVIRONMENTS[benchmark.environment].check(benchmark)


def _register() -> None:
    for environment in ENVIRONMENTS.values():
        for benchmark in environment.benchmarks():
            name = f"hypogen/{benchmark.name}-v0"
            if name not in gymnasium.registry:
                entry_point = benchmark.simulator.single_env
                gymnasium.register(name, entry_point=entry_point, kwargs={"benchmark": benchmark.name})


_register()
