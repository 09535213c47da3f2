"""Experts: in MuJoCo one TD3 agent per spec, all trained together; in ManiSkill RLlib's PPO or a scripted controller.

RLlib's (:mod:`hypogen.experts.ppo`) is imported only when used.
"""

from hypogen.experts.algorithms import (
    Algorithm,
    ControllerAlgorithm,
    PopulationAlgorithm,
    SpecAlgorithm,
    Training,
)
from hypogen.experts.population import train
from hypogen.experts.registry import ALGORITHMS, get_algorithm
from hypogen.experts.settings import PPO_RECIPES, RECIPES, PPOSettings, ScriptedSettings, TD3Settings, resolve
from hypogen.experts.trained import Critic, Experts

__all__ = [
    "ALGORITHMS",
    "PPO_RECIPES",
    "RECIPES",
    "Algorithm",
    "ControllerAlgorithm",
    "Critic",
    "Experts",
    "PPOSettings",
    "PopulationAlgorithm",
    "ScriptedSettings",
    "SpecAlgorithm",
    "TD3Settings",
    "Training",
    "get_algorithm",
    "resolve",
    "train",
]
