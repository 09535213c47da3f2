"""Experts: one TD3 agent a spec, all specs of a benchmark trained together as a population."""

from hypogen.experts.population import train
from hypogen.experts.settings import RECIPES, TD3Settings, resolve
from hypogen.experts.trained import Critic, Experts

__all__ = ["RECIPES", "Critic", "Experts", "TD3Settings", "resolve", "train"]
