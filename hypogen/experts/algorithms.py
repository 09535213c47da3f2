"""Kinds of algorithms that experts come from: each entry of the registry says what it is, so nobody asks for its name.

PopulationAlgorithm    trains the experts of all specs together, such as TD3
SpecAlgorithm          trains one expert per spec, perhaps from a neighbour's weights, such as PPO
ControllerAlgorithm    a control law that needs no training
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from hypogen.demonstrations import Selectable
from hypogen.experts.trained import Experts

Progress = Callable[[dict[str, Any]], None]
GPU_SPEEDUP = 40.0
"""Seconds on one core over those on a GPU, for a population whose algorithm does not say."""


@dataclass(frozen=True)
class Training:
    """Circumstances of a training, none of which changes what it makes.

    Attributes:
        checkpoint: Folder that an interrupted training continues from.
        on_progress: Called now and then with ``update`` and ``updates``, and ``mean_return`` once there is one.
        stop: Asked at every safe point; True makes the training write a checkpoint and raise ``Stopped``.
        threads: Threads of PyTorch and of the physics.
        device: ``"cpu"`` or ``"cuda"``.
    """

    checkpoint: Path
    on_progress: Progress
    stop: Callable[[], bool]
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class Algorithm(ABC):
    """An entry of the registry.

    Attributes:
        name: Name in experiment files.
        simulator: Name of the simulator that its experts act in.
        recipes: Settings by the name of the recipe; the first is the default. All of one dataclass.
        recipe_label: Template of the name that rows give a recipe, with ``{recipe}`` in it.
        content: Part of an artifact's content that names the algorithm. TD3 and PPO were first of their kinds and are
            told by their settings; another algorithm keeps the default, its name.
    """

    name: str
    simulator: str
    recipes: Mapping[str, Any] = field(hash=False)
    recipe_label: str = "{algorithm} {recipe}"
    content: Mapping[str, str | int] | None = field(default=None, hash=False)

    @property
    def identity(self) -> dict[str, str | int]:
        """Content that tells this algorithm's experts from those of another one with the same settings."""
        return {"algorithm": self.name} if self.content is None else dict(self.content)

    def label(self, recipe: str) -> str:
        """Name of a recipe in rows, such as ``ppo laptop``."""
        return self.recipe_label.format(algorithm=self.name, recipe=recipe)

    def resolve(self, settings: Any) -> Any:
        """Settings as this machine will follow them, fit to identify the resulting weights."""
        return settings


@dataclass(frozen=True)
class PopulationAlgorithm(Algorithm):
    """Trains the experts of all specs together."""

    @abstractmethod
    def train(self, benchmark: str, specs: npt.ArrayLike, settings: Any, seed: int, how: Training) -> Experts:
        """One expert per row of ``specs`` [S, C]."""

    @abstractmethod
    def seconds(self, settings: Any, specs: int) -> float:
        """Seconds of a training of so many specs on one core of a two-core machine, roughly."""

    def gpu_seconds(self, settings: Any, specs: int) -> float | None:
        """Seconds on an H200, roughly; None where a GPU would be no use."""
        return self.seconds(settings, specs) / GPU_SPEEDUP


@dataclass(frozen=True)
class SpecAlgorithm(Algorithm):
    """Trains one expert at a time."""

    @abstractmethod
    def train(
        self, benchmark: str, spec: npt.ArrayLike, settings: Any, seed: int, start: Experts | None, how: Training
    ) -> Experts:
        """The expert of ``spec`` [C], from the weights of ``start`` if there is one."""

    @abstractmethod
    def seconds(self, settings: Any) -> float:
        """Seconds of one training on one core of a two-core machine, roughly."""

    def gpu_seconds(self, settings: Any) -> float | None:
        """Seconds on an H200, roughly; None where a GPU would be no use."""
        return None

    def starts_from_neighbour(self, settings: Any) -> bool:
        """Whether a spec's expert starts from the weights of the next spec towards the default one."""
        return False

    def runners(self, settings: Any) -> int:
        """Number of Ray actors that a training starts beside itself, each on a CPU of its own."""
        return 0


@dataclass(frozen=True)
class ControllerAlgorithm(Algorithm):
    """Control laws that act at any spec without training."""

    @abstractmethod
    def policy(self, benchmark: str, specs: npt.ArrayLike) -> Selectable:
        """The control laws of ``specs`` [S, C]."""
