"""Experts: in MuJoCo one TD3 agent per spec, all trained together; in ManiSkill RLlib's PPO or a scripted controller.

RLlib's (:mod:`hypogen.experts.ppo`) is imported only when used.
"""

from hypogen.experts.population import train
from hypogen.experts.settings import (
    ALGORITHMS,
    PPO_RECIPES,
    RECIPES,
    SIMULATOR,
    PPOSettings,
    ScriptedSettings,
    Settings,
    TD3Settings,
    resolve,
)
from hypogen.experts.trained import Critic, Experts

__all__ = [
    "ALGORITHMS",
    "PPO_RECIPES",
    "RECIPES",
    "SIMULATOR",
    "Critic",
    "Experts",
    "PPOSettings",
    "ScriptedSettings",
    "Settings",
    "TD3Settings",
    "resolve",
    "train",
]
