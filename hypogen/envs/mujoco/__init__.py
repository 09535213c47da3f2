"""The MuJoCo environments: dm_control's, with the paper's lengths and target speeds.

One file is one environment, complete: contexts and sizes, what a context changes in the model, where its observations
lie in MuJoCo's memory, its reward, and its dm_control task. To add one, write its file beside the others and add its
name to ``ENVIRONMENTS``. Its benchmarks then exist, and the contract tests cover them.

    ============  =====================================================================
    environment   declaration of an environment, and helpers to write its file with
    rewards       the reward for a target speed, and the reward of any environment
    tasks         the part of a dm_control task that knows the target speed
    models        compiled models, and dm_control's way to start an episode on them
    dmc           one world: dm_control's own environment, and the same for gymnasium
    vector        many worlds, stepped natively on threads
    ============  =====================================================================

Importing this package imports no simulator: only ``tasks``, ``models``, ``dmc`` and ``vector`` do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TypeVar

from hypogen.contexts import Benchmark, Tolerance
from hypogen.envs.mujoco.environment import MujocoEnvironment
from hypogen.errors import did_you_mean

__all__ = ["ENVIRONMENTS", "FEATURES", "get_environment", "reward"]

Array = TypeVar("Array")

ENVIRONMENTS: dict[str, MujocoEnvironment] = {
    name: import_module(f"{__name__}.{name}").ENVIRONMENT
    for name in (
        "cheetah",
        "walker",
        "finger",
    )
}
"""Every MuJoCo environment, by name: its file beside this one. The order is that of the benchmarks."""

FEATURES: dict[str, int] = {name: len(environment.feature_names) for name, environment in ENVIRONMENTS.items()}
"""Number of features F that the reward of each environment is computed from."""


def reward(environment: str, features: Array, speed: Array | float, tolerance: Tolerance | None = None) -> Array:
    """The reward [...] of ``environment`` from ``features`` [..., F] at target ``speed`` [...], which broadcast.

    ``features`` are those of a step's ``infos["features"]``: a numpy array or a torch tensor, ``speed`` of the same
    kind or a number. ``tolerance`` is the benchmark's: None where at least that speed is asked for, else the band
    around it. Speeds of 0 have no direction and give NaN. Raises ValueError for an unknown environment or a wrong
    number of features. Source: the reward in the environment's file.
    """
    if environment not in ENVIRONMENTS:
        raise ValueError(f"no reward for environment {environment!r}; known: {', '.join(ENVIRONMENTS)}")
    entry = ENVIRONMENTS[environment]
    shape: tuple[int, ...] = tuple(features.shape)  # type: ignore[attr-defined]
    if shape[-1] != len(entry.feature_names):
        raise ValueError(f"{environment} has {len(entry.feature_names)} feature(s), got shape {shape}")
    rewards: Array = entry.rewards(features, speed, tolerance)
    return rewards


def get_environment(benchmark: Benchmark) -> MujocoEnvironment:
    """The environment of ``benchmark``.

    Raises ValueError when it does not run in MuJoCo, or does not consume a variable of the benchmark.
    """
    if benchmark.environment not in ENVIRONMENTS:
        hint = did_you_mean(benchmark.environment, ENVIRONMENTS)
        raise ValueError(f"{benchmark.name} does not run in MuJoCo but in {benchmark.simulator}: {hint}")
    environment = ENVIRONMENTS[benchmark.environment]
    environment.check(benchmark)
    return environment
