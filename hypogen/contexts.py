"""Contexts: the variables of a benchmark, and the grid of specs that they span.

A benchmark is an environment and a context, such as ``cheetah-speed``; a spec is one point of its grid. All of it is
pure data. Every benchmark stands in :mod:`hypogen.benchmarks`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from hypogen.simulators import Simulator

Points = TypeVar("Points", bound=Any)
"""An array or a tensor."""

_DECIMALS = 10
_ON_GRID = 1e-9


@dataclass(frozen=True)
class Variable:
    """One coordinate of a context.

    Attributes:
        name: Identifier, such as ``speed`` or ``cube_size``.
        unit: Unit of the default and of the grid, such as ``m/s``.
        default: Value in the benchmarks where the variable does not vary.
        grid: Values that the benchmark covers, ascending.
    """

    name: str
    unit: str
    default: float
    grid: tuple[float, ...]


@dataclass(frozen=True)
class Tolerance:
    """Band around a target speed that earns the whole reward, and the margin beyond it in which the reward falls.

    Both grow with the target: within ``slack + slack_share * |target|`` of it the reward is 1, and a margin of
    ``margin + margin_share * |target|`` further on 0.1, on both sides. All but the shares have the speed's unit.
    """

    slack: float
    slack_share: float
    margin: float
    margin_share: float

    def slack_at(self, target: Any) -> Any:
        """Half width of the band at a ``target`` [...] that is positive: a number, a numpy array or a torch tensor."""
        return self.slack + self.slack_share * target

    def margin_at(self, target: Any) -> Any:
        """Margin at a ``target`` [...] that is positive: a number, a numpy array or a torch tensor."""
        return self.margin + self.margin_share * target


@dataclass(frozen=True)
class Benchmark:
    """An environment and the variables that vary in it.

    Attributes:
        name: Environment and context, such as ``cheetah-speed-length``.
        environment: Robot and task, such as ``cheetah`` or ``liftcube``.
        context: Names of the variables that vary, such as ``speed-length``.
        simulator: Physics engine that runs it, with its protocol.
        variables: The variables that vary, in the order of a spec's coordinates.
        fixed: Values of the environment's other variables, by name.
        observation_dim: Length of a flat observation.
        action_dim: Length of an action; every action lies in [-1, 1].
        episode_steps: Control steps of an episode (at most, for ManiSkill).
        policy_layers: Number of linear layers of a generated policy.
        success: Condition for an episode to succeed, in words.
        train_fraction: Fraction of the specs that the paper trains on.
        split: Way in which the paper chooses them.
        episodes: Evaluation episodes per spec in the paper.
        demonstrations: Demonstrated episodes per spec in the paper; in ManiSkill successful ones.
        tolerance: Band around the target speed that is rewarded; None where faster than asked is as good.
        published: Whether the paper's tables have this benchmark.
        revision: Number of this meaning of the name: a benchmark that comes to mean something else counts up.
        note: What a reader of its results must know, in one sentence; may be empty.
    """

    name: str
    environment: str
    context: str
    simulator: Simulator
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
    tolerance: Tolerance | None = None
    published: bool = True
    revision: int = 1
    note: str = ""

    @property
    def identity(self) -> str:
        """Name that stored results are told apart by: the benchmark's own, with its revision after the first."""
        return self.name if self.revision == 1 else f"{self.name}@{self.revision}"

    @property
    def usual_steps(self) -> int:
        """Estimated control steps of an expert's episode: ManiSkill's episodes end at success."""
        return self.simulator.usual_steps or self.episode_steps

    @cached_property
    def grid(self) -> npt.NDArray[Any]:
        """Every spec, float64 [S, C], read-only; the last coordinate changes fastest, as in the paper's tables."""
        grid = np.array(list(itertools.product(*(variable.grid for variable in self.variables))), dtype=np.float64)
        grid.setflags(write=False)
        return grid

    def values(self, spec: float | Sequence[float] | npt.NDArray[Any]) -> dict[str, float]:
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

    def index(self, spec: float | Sequence[float] | npt.NDArray[Any]) -> int:
        """The row of ``spec`` [C] in the grid; ValueError that names the nearest grid points when there is none."""
        point = self._coordinates(spec)
        distances = np.abs(self.grid - point).max(axis=1)
        row = int(np.argmin(distances))
        if distances[row] <= _ON_GRID:
            return row
        raise ValueError(f"{self.name} has no spec {_text(point)}: {self._nearest(point)}")

    def scale(self, specs: npt.NDArray[Any] | Sequence[Sequence[float]]) -> npt.NDArray[Any]:
        """Specs [..., C] with each coordinate mapped so that the whole grid spans [-1, 1]."""
        points = np.asarray(specs, dtype=np.float64)
        if points.ndim == 0 or points.shape[-1] != len(self.variables):
            raise ValueError(f"{self.name} scales specs of shape [..., {len(self.variables)}], got {points.shape}")
        low, high = self.grid.min(axis=0), self.grid.max(axis=0)
        return to_unit(points, low, high)

    def _coordinates(self, spec: float | Sequence[float] | npt.NDArray[Any]) -> npt.NDArray[Any]:
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

    def _nearest(self, point: npt.NDArray[Any]) -> str:
        return "; ".join(
            _nearest_values(variable, float(value)) for variable, value in zip(self.variables, point, strict=True)
        )


def to_unit(points: Points, low: Points, high: Points) -> Points:
    """Points [..., C] with each coordinate mapped so that low..high [C] becomes -1..1."""
    return 2.0 * (points - low) / (high - low) - 1.0


def _nearest_values(variable: Variable, value: float) -> str:
    grid = variable.grid
    if not np.isfinite(value):
        return f"{variable.name} {value} is not a number of {variable.unit}"
    nearest = sorted(sorted(grid, key=lambda known: abs(known - value))[:2])
    if min(abs(known - value) for known in nearest) <= _ON_GRID:
        return f"{variable.name} {value:g} {variable.unit} is on the grid"
    known = " and ".join(f"{known:g}" for known in nearest)
    return f"the nearest to {variable.name} {value:g} are {known} {variable.unit} (grid {grid[0]:g} to {grid[-1]:g})"


def _text(point: npt.NDArray[Any]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in point.ravel()) + ")"


def spaced(first: float, last: float, step: float, without: tuple[float, ...] = ()) -> tuple[float, ...]:
    """The values ``first``, ``first + step``, ..., ``last`` as exact decimals, but for those ``without``."""
    count = round((last - first) / step) + 1
    values = (round(first + index * step, _DECIMALS) + 0.0 for index in range(count))  # + 0.0: no negative zero
    return tuple(value for value in values if value not in without)
