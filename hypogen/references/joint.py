"""Joint: one reinforcement-learning agent that is told the spec, trained on the training specs alone.

It is what reinforcement learning does with the information that generators have: rewards of the training specs, and the
specs. The agent's network on [spec, observation] is, for each spec, a network on the observation with another first
bias, which is affine in the spec; so its policies at the training specs tell its policy at any other.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from hypogen.benchmarks import Benchmark
from hypogen.experts.settings import RECIPES, TD3Settings
from hypogen.policy import Policy
from hypogen.references.base import Array, ExpertPolicies
from hypogen.validation import require, whole


@dataclass(frozen=True)
class JointSettings:
    """Settings of Joint.

    updates: gradient updates of the agent, by recipe ``fast`` without its last phase, in which experts part.
    """

    updates: int = 100_000

    def __post_init__(self) -> None:
        require(self, whole(1), "updates")

    def training(self) -> TD3Settings:
        """How the agent is trained: one for all specs to the end, whose last weights count."""
        return dataclasses.replace(
            RECIPES["fast"], updates=self.updates, joint_fraction=1.0, joint_agents=1, keep="last"
        )


def joint_policy(
    benchmark: Benchmark, settings: JointSettings, train: Array, experts: ExpertPolicies, specs: Array
) -> Policy:
    """The agent's policy at each of ``specs`` [S, C], from those at the training specs [N, C].

    Raises ValueError where there are too few training specs to tell how the bias depends on the spec: it takes one more
    than the context has variables, not all on one line.
    """
    policies = experts(train)
    assert isinstance(policies, Policy)
    known, asked = _affine(benchmark.scale(train)), _affine(benchmark.scale(specs))
    if np.linalg.matrix_rank(known) < known.shape[1]:
        raise ValueError(f"joint needs {known.shape[1]} training specs in general position, not {train.tolist()}")
    bias = policies.biases[0].double().numpy()
    slopes, *_ = np.linalg.lstsq(known, bias, rcond=None)
    first = torch.from_numpy(asked @ slopes).to(policies.biases[0].dtype)
    same = policies.select([0] * len(specs))
    return Policy(same.weights, (first, *same.biases[1:]))


def _affine(points: Array) -> Array:
    """Points [N, C] with a leading 1 each [N, 1 + C]."""
    return np.concatenate([np.ones((len(points), 1)), points], axis=1)
