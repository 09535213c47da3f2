"""Half TD3: the paper's algorithm, stopped after half of its updates. Its settings are TD3's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hypogen.experts import population
from hypogen.experts.algorithms import PopulationAlgorithm, Training
from hypogen.experts.settings import RECIPES, TD3Settings
from hypogen.experts.trained import Experts


class HalfTD3(PopulationAlgorithm):
    """TD3 with half of the updates that the settings name."""

    def train(self, benchmark: str, specs: npt.ArrayLike, settings: TD3Settings, seed: int, how: Training) -> Experts:
        points = np.asarray(specs, dtype=np.float64)
        half = replace(settings, updates=settings.updates // 2)
        return population.train(
            benchmark,
            points,
            half,
            seed,
            checkpoint=how.checkpoint,
            on_progress=how.on_progress,
            threads=how.threads,
            device=how.device,
            stop=how.stop,
        )

    def seconds(self, settings: TD3Settings, specs: int) -> float:
        return 0.5e-3 * settings.updates * specs


HALF_TD3 = HalfTD3("half_td3", "mujoco", RECIPES)
