"""The 17 benchmarks of the paper as data: what varies, on which grid, and what stays fixed.

A benchmark is an environment and a context, such as ``cheetah-speed``; a spec is one point of its grid. The grids are
those of the paper's tables 6 to 9. Nothing here imports a simulator.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from hypogen.errors import did_you_mean

_DECIMALS = 10
_ON_GRID = 1e-9


@dataclass(frozen=True)
class Variable:
    """One coordinate of a context.

    Attributes:
        name: An identifier, such as ``speed`` or ``cube_size``.
        unit: The unit of the default and of the grid, such as ``m/s``.
        default: The value where the variable does not vary.
        grid: The values that the benchmark covers, ascending.
    """

    name: str
    unit: str
    default: float
    grid: tuple[float, ...]


@dataclass(frozen=True)
class Benchmark:
    """An environment and what varies in it.

    Attributes:
        name: Environment and context, such as ``cheetah-speed-length``.
        environment: Which robot and task, such as ``cheetah`` or ``liftcube``.
        context: Which variables vary, such as ``speed-length``.
        simulator: Which simulator runs it.
        variables: What varies, in the order of a spec's coordinates.
        fixed: The environment's variables that do not vary here, by name.
        observation_dim: Length of a flat observation.
        action_dim: Length of an action; every action lies in [-1, 1].
        episode_steps: Control steps of an episode (at most, for ManiSkill).
        policy_layers: Number of linear layers of a generated policy.
        success: What it means for an episode to succeed, in words.
        train_fraction: Fraction of the specs that the paper trains on.
        split: How the paper chooses them.
        episodes: Evaluation episodes a spec in the paper.
        demonstrations: Demonstrated episodes a spec in the paper; in ManiSkill successful ones.
    """

    name: str
    environment: str
    context: str
    simulator: Literal["mujoco", "maniskill"]
    variables: tuple[Variable, ...]
    fixed: Mapping[str, float] = field(hash=False)
    observation_dim: int
    action_dim: int
    episode_steps: int
    policy_layers: int
    success: str
    train_fraction: float
    split: Literal["random", "evenly_spaced"]
    episodes: int
    demonstrations: int

    @cached_property
    def grid(self) -> np.ndarray:
        """Every spec, float64 [S, C], read-only; the last coordinate changes fastest, as in the paper's tables."""
        grid = np.array(list(itertools.product(*(variable.grid for variable in self.variables))), dtype=np.float64)
        grid.setflags(write=False)
        return grid

    def values(self, spec: float | Sequence[float] | np.ndarray) -> dict[str, float]:
        """Every variable of the environment at ``spec`` [C], the fixed ones included, by name.

        The spec may lie off the grid. Raises ValueError for a wrong number of coordinates, or a value that means
        nothing: NaN or infinite, a target speed of 0, any other variable that is not positive.
        """
        point = self._coordinates(spec)
        for variable, value in zip(self.variables, point, strict=True):
            self._check(variable, float(value))
        return {
            **self.fixed,
            **{variable.name: float(value) for variable, value in zip(self.variables, point, strict=True)},
        }

    def index(self, spec: float | Sequence[float] | np.ndarray) -> int:
        """The row of ``spec`` [C] in the grid; ValueError that names the nearest grid points when there is none."""
        point = self._coordinates(spec)
        distances = np.abs(self.grid - point).max(axis=1)
        row = int(np.argmin(distances))
        if distances[row] <= _ON_GRID:
            return row
        raise ValueError(f"{self.name} has no spec {_text(point)}: {self._nearest(point)}")

    def scale(self, specs: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """Specs [..., C] with each coordinate mapped so that the whole grid spans [-1, 1]."""
        points = np.asarray(specs, dtype=np.float64)
        if points.ndim == 0 or points.shape[-1] != len(self.variables):
            raise ValueError(f"{self.name} scales specs of shape [..., {len(self.variables)}], got {points.shape}")
        low, high = self.grid.min(axis=0), self.grid.max(axis=0)
        return 2.0 * (points - low) / (high - low) - 1.0

    def _coordinates(self, spec: float | Sequence[float] | np.ndarray) -> np.ndarray:
        point = np.atleast_1d(np.asarray(spec, dtype=np.float64))
        if point.shape != (len(self.variables),):
            names = ", ".join(f"{variable.name} ({variable.unit})" for variable in self.variables)
            raise ValueError(
                f"{self.name}: a spec has {len(self.variables)} coordinate(s): {names}; got {_text(point)}"
            )
        return point

    def _check(self, variable: Variable, value: float) -> None:
        if not np.isfinite(value):
            raise ValueError(f"{self.name}: {variable.name} must be a finite number of {variable.unit}, got {value}")
        if variable.name == "speed" and value == 0:
            raise ValueError(f"{self.name}: a target speed of 0 {variable.unit} has no direction; give another speed")
        if variable.name != "speed" and value <= 0:
            raise ValueError(f"{self.name}: {variable.name} must be positive ({variable.unit}), got {value:g}")

    def _nearest(self, point: np.ndarray) -> str:
        return "; ".join(
            _nearest_values(variable, float(value)) for variable, value in zip(self.variables, point, strict=True)
        )


def _nearest_values(variable: Variable, value: float) -> str:
    grid = variable.grid
    if not np.isfinite(value):
        return f"{variable.name} {value} is not a number of {variable.unit}"
    nearest = sorted(sorted(grid, key=lambda known: abs(known - value))[:2])
    if min(abs(known - value) for known in nearest) <= _ON_GRID:
        return f"{variable.name} {value:g} {variable.unit} is on the grid"
    known = " and ".join(f"{known:g}" for known in nearest)
    return f"the nearest to {variable.name} {value:g} are {known} {variable.unit} (grid {grid[0]:g} to {grid[-1]:g})"


def _text(point: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:g}" for value in point.ravel()) + ")"


def _steps(first: float, last: float, step: float, without: tuple[float, ...] = ()) -> tuple[float, ...]:
    """first, first + step, ..., last as exact decimals."""
    count = round((last - first) / step) + 1
    values = (round(first + index * step, _DECIMALS) + 0.0 for index in range(count))  # + 0.0: no negative zero
    return tuple(value for value in values if value not in without)


_MUJOCO_SUCCESS = "the reward never stays below 0.05 for 50 consecutive steps"
_MUJOCO: dict[str, dict[str, Any]] = {
    "cheetah": {
        "dims": (17, 6),
        "defaults": {"speed": 10.0, "length": 0.5},
        "speed_unit": "m/s",
        "grids": {
            "speed": {"speed": _steps(-10, 10, 0.5, without=(0.0,))},
            "length": {"length": _steps(0.3, 0.7, 0.01)},
            "speed-length": {"speed": _steps(1, 10, 1), "length": _steps(0.3, 0.7, 0.05)},
        },
    },
    "walker": {
        "dims": (24, 6),
        "defaults": {"speed": 1.0, "length": 0.3},
        "speed_unit": "m/s",
        "grids": {
            "speed": {"speed": _steps(-5, 5, 0.25, without=(0.0,))},
            "length": {"length": _steps(0.1, 0.5, 0.01)},
            "speed-length": {"speed": _steps(1, 5, 0.5), "length": _steps(0.1, 0.5, 0.05)},
        },
    },
    "finger": {
        "dims": (9, 2),
        "defaults": {"speed": 15.0, "length": 0.16},
        "speed_unit": "rad/s",
        "grids": {
            "speed": {"speed": _steps(-15, 15, 1, without=(0.0,))},
            "length": {"length": _steps(0.1, 0.4, 0.01)},
            "speed-length": {"speed": _steps(1, 15, 1), "length": _steps(0.1, 0.4, 0.05)},
        },
    },
}

_MANISKILL_VARIABLES = {
    "cube-size": Variable("cube_size", "m (half the edge)", 0.02, _steps(0.01, 0.03, 0.001)),
    "stiffness": Variable("stiffness", "N m/rad", 1000.0, _steps(500, 1500, 50)),
    # The paper's table says "step 10", which contradicts its own count of 21 specs.
    "damping": Variable("damping", "N m s/rad", 100.0, _steps(50, 150, 5)),
    "arm-length": Variable("arm_length", "times the default length", 1.0, _steps(0.5, 2.0, 0.1)),
}
_MANISKILL = {
    "liftcube": (42, "the cube is lifted 0.2 m and the arm at rest within 200 steps"),
    "pickcube": (51, "the cube is within 0.025 m of its goal and the arm at rest within 200 steps"),
}


def _mujoco_benchmarks(environment: str) -> list[Benchmark]:
    entry = _MUJOCO[environment]
    defaults, units = entry["defaults"], {"speed": entry["speed_unit"], "length": "m"}
    observation_dim, action_dim = entry["dims"]
    return [
        Benchmark(
            name=f"{environment}-{context}",
            environment=environment,
            context=context,
            simulator="mujoco",
            variables=tuple(Variable(name, units[name], defaults[name], grid) for name, grid in grids.items()),
            fixed={name: value for name, value in defaults.items() if name not in grids},
            observation_dim=observation_dim,
            action_dim=action_dim,
            episode_steps=1000,
            policy_layers=2,
            success=_MUJOCO_SUCCESS,
            train_fraction=0.2,
            split="random",
            episodes=10,
            demonstrations=10,
        )
        for context, grids in entry["grids"].items()
    ]


def _maniskill_benchmarks(environment: str) -> list[Benchmark]:
    observation_dim, success = _MANISKILL[environment]
    everything = _MANISKILL_VARIABLES.values()
    return [
        Benchmark(
            name=f"{environment}-{context}",
            environment=environment,
            context=context,
            simulator="maniskill",
            variables=(variable,),
            fixed={other.name: other.default for other in everything if other is not variable},
            observation_dim=observation_dim,
            action_dim=7,
            episode_steps=200,
            policy_layers=3,
            success=success,
            train_fraction=0.3,
            split="evenly_spaced",
            episodes=100,
            demonstrations=1000,
        )
        for context, variable in _MANISKILL_VARIABLES.items()
    ]


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for entries in (*map(_mujoco_benchmarks, _MUJOCO), *map(_maniskill_benchmarks, _MANISKILL))
    for benchmark in entries
}
"""Every benchmark of the paper, by name."""


def get_benchmark(name: str) -> Benchmark:
    """The benchmark called ``name``; ValueError with the closest and all known names when there is none."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    raise ValueError(f"unknown benchmark {name!r}: {did_you_mean(str(name), BENCHMARKS)}")
