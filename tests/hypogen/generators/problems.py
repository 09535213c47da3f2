"""A tiny imitation problem with a known, smooth dependence on the spec, for the tests of generators and training."""

from __future__ import annotations

from dataclasses import replace

import torch

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.demonstrations import Demonstrations
from hypogen.generators import GENERATORS, Generator, build
from hypogen.policy import PolicyShape

SHAPE = PolicyShape(layers=2, hidden_dim=16)
SMALL = {
    "hypogen": {"blocks": 2, "hidden_dim": 12, "weight_dim": 16, "activation_dim": 8, "embedding_dim": 16},
    "hyperzero": {"embedding_dim": 16},
    "cond_policy": {"embedding_dim": 16},
}
"""Settings that make each method small."""


def tiny_benchmark(observation_dim: int = 5, action_dim: int = 2) -> Benchmark:
    """cheetah-speed-length's specs [90, 2] with small observations and actions."""
    return replace(get_benchmark("cheetah-speed-length"), observation_dim=observation_dim, action_dim=action_dim)


def tiny_generator(method: str, seed: int = 0, shape: PolicyShape = SHAPE, **overrides: object) -> Generator:
    settings = GENERATORS[method].settings(**{**SMALL.get(method, {}), **overrides})
    return build(method, tiny_benchmark(), shape, settings, seed)


def tiny_demonstrations(specs: int = 4, episodes: int = 2, steps: int = 40) -> Demonstrations:
    """A teacher whose actions turn from one linear map to another along the grid."""
    benchmark = tiny_benchmark()
    random = torch.Generator().manual_seed(7)
    raw = torch.as_tensor(benchmark.grid[:: 90 // specs][:specs].copy())
    place = torch.as_tensor(benchmark.scale(raw.numpy())).float()[:, :1, None, None]
    observations = torch.randn(specs, episodes, steps, 5, generator=random)
    one, other = torch.randn(2, 5, 2, generator=random)
    actions = torch.tanh((1 - place) * (observations @ one) + (1 + place) * torch.relu(observations @ other))
    rewards = torch.rand(specs, episodes, steps, generator=random)
    values = 50.0 + 10.0 * observations[..., 0]
    return Demonstrations(raw, observations, actions, rewards, observations.roll(-1, dims=2), values)
