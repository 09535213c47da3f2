"""Every algorithm that experts come from. A new one is a file that declares it and a line in ALGORITHMS."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from hypogen.errors import did_you_mean
from hypogen.experts import population, scripted
from hypogen.experts.algorithms import (
    Algorithm,
    ControllerAlgorithm,
    PopulationAlgorithm,
    SpecAlgorithm,
    Training,
)
from hypogen.experts.settings import PPO_RECIPES, RECIPES, PPOSettings, ScriptedSettings, TD3Settings, resolve
from hypogen.experts.trained import Experts

_UPDATE_S = 3.7e-4
_SAMPLE_S = 1.2e-10
_PPO_STEP_S = 5.0e-3
"""Seconds on one core: an update of a TD3 expert (a constant part, and one per sample and pair of hidden units), and
an environment step of PPO, updates included."""
_GPU_UPDATE_S, _GPU_EXPERT_S = 2.8e-3, 2.9e-5
"""Seconds of an update of a TD3 population of the paper's size on an H200: in all, and per expert."""


class TD3(PopulationAlgorithm):
    """The paper's algorithm for MuJoCo (:mod:`hypogen.experts.population`)."""

    def resolve(self, settings: TD3Settings) -> TD3Settings:
        return resolve(settings)

    def train(self, benchmark: str, specs: npt.ArrayLike, settings: TD3Settings, seed: int, how: Training) -> Experts:
        points = np.asarray(specs, dtype=np.float64)
        return population.train(
            benchmark,
            points,
            settings,
            seed,
            checkpoint=how.checkpoint,
            on_progress=how.on_progress,
            threads=how.threads,
            device=how.device,
            stop=how.stop,
        )

    def seconds(self, settings: TD3Settings, specs: int) -> float:
        update = _UPDATE_S + _SAMPLE_S * settings.batch_size * settings.hidden_dim**2
        return settings.updates * specs * update

    def gpu_seconds(self, settings: TD3Settings, specs: int) -> float:
        return settings.updates * (_GPU_UPDATE_S + _GPU_EXPERT_S * specs)


class PPO(SpecAlgorithm):
    """RLlib's PPO, the paper's algorithm for ManiSkill (:mod:`hypogen.experts.ppo`, which takes seconds to import)."""

    def train(
        self,
        benchmark: str,
        spec: npt.ArrayLike,
        settings: PPOSettings,
        seed: int,
        start: Experts | None,
        how: Training,
    ) -> Experts:
        from hypogen.experts import ppo

        return ppo.train(
            benchmark,
            spec,
            settings,
            seed,
            start,
            checkpoint=how.checkpoint,
            on_progress=how.on_progress,
            threads=how.threads,
            device=how.device,
            stop=how.stop,
        )

    def seconds(self, settings: PPOSettings) -> float:
        return settings.steps * _PPO_STEP_S

    def gpu_seconds(self, settings: PPOSettings) -> float | None:
        """Without runners the training steps its worlds on one core, which takes nearly all of the time."""
        return self.seconds(settings) if settings.runners else None

    def starts_from_neighbour(self, settings: PPOSettings) -> bool:
        return settings.start == "neighbour"

    def runners(self, settings: PPOSettings) -> int:
        return settings.runners


class Scripted(ControllerAlgorithm):
    """A closed-loop controller for ManiSkill (:mod:`hypogen.experts.scripted`)."""

    def policy(self, benchmark: str, specs: npt.ArrayLike) -> scripted.ScriptedPolicy:
        return scripted.ScriptedPolicy(benchmark, specs)


_SCRIPTED = MappingProxyType({"scripted": ScriptedSettings()})

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        algorithm.name: algorithm
        for algorithm in (
            TD3("td3", "mujoco", RECIPES, "{recipe}", content={}),
            PPO("ppo", "maniskill", PPO_RECIPES, content={}),
            Scripted("scripted", "maniskill", _SCRIPTED, "{recipe}", content={"script": scripted.VERSION}),
        )
    }
)
"""Every algorithm by name; the first is the default."""


def get_algorithm(name: str) -> Algorithm:
    """The algorithm called ``name``; ValueError with the closest and all known names when there is none."""
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    raise ValueError(f"unknown algorithm {name!r}: {did_you_mean(name, ALGORITHMS)}")
