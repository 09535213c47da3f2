"""Declaration of a ManiSkill environment: an arm with a cube, and the contexts of both. Imports no simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from hypogen.contexts import spaced
from hypogen.envs.environment import Environment
from hypogen.simulators import MANISKILL, Simulator

_DEFAULTS = MappingProxyType({"cube_size": 0.02, "stiffness": 1000.0, "damping": 100.0, "arm_length": 1.0})
_UNITS = MappingProxyType(
    {
        "cube_size": "m (half the edge)",
        "stiffness": "N m/rad",
        "damping": "N m s/rad",
        "arm_length": "times the default length",
    }
)
_CONTEXTS: Mapping[str, Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        "cube-size": {"cube_size": spaced(0.01, 0.03, 0.001)},
        "stiffness": {"stiffness": spaced(500, 1500, 50)},
        # The paper's table says "step 10", which contradicts its own count of 21 specs.
        "damping": {"damping": spaced(50, 150, 5)},
        "arm-length": {"arm_length": spaced(0.5, 2.0, 0.1)},
    }
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ManiSkillEnvironment(Environment):
    """A task of ManiSkill2's Panda arm with a cube, with the grids of the paper's tables 6 to 9."""

    defaults: Mapping[str, float] = field(default_factory=lambda: _DEFAULTS)
    units: Mapping[str, str] = field(default_factory=lambda: _UNITS)
    contexts: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=lambda: _CONTEXTS)
    action_dim: int = 7
    simulator: Simulator = MANISKILL
    episode_steps: int = 200
    policy_layers: int = 3
    train_fraction: float = 0.3
    split: Literal["random", "evenly_spaced"] = "evenly_spaced"
    episodes: int = 100
    demonstrations: int = 1000

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that ``single`` gives to the arm and the cube of every world."""
        return ("cube_size", "stiffness", "damping", "arm_length")
