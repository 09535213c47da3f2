"""A tiny imitation problem with a known, smooth dependence on the spec, for the tests of generators and training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.demonstrations import Demonstrations
from hypogen.generators import GENERATORS, Batch, FewShotGenerator, Generator, build
from hypogen.policy import PolicyShape

SHAPE = PolicyShape(layers=2, hidden_dim=16)
SMALL = {
    "hypogen": {"blocks": 2, "hidden_dim": 12, "weight_dim": 16, "activation_dim": 8, "embedding_dim": 16},
    "hyperzero": {"embedding_dim": 16},
    "uvfa": {"embedding_dim": 16},
    "cond_policy": {"embedding_dim": 16},
    "meta_policy": {"embedding_dim": 16},
    "pearl": {"embedding_dim": 16, "latent_dim": 4, "hidden_dim": 16, "kl_weight": 1e-3},
}
"""Settings that make each method small; one that is not named here is tested with its defaults."""


def tiny_benchmark(observation_dim: int = 5, action_dim: int = 2) -> Benchmark:
    """cheetah-speed-length's specs [90, 2] with small observations and actions."""
    return replace(get_benchmark("cheetah-speed-length"), observation_dim=observation_dim, action_dim=action_dim)


def tiny_generator(method: str, seed: int = 0, shape: PolicyShape = SHAPE, **overrides: object) -> Generator:
    settings = GENERATORS[method].settings(**{**SMALL.get(method, {}), **overrides})
    return build(method, tiny_benchmark(), shape, settings, seed)


def tiny_demonstrations(specs: int = 4, episodes: int = 2, steps: int = 40) -> Demonstrations:
    """Demonstrations of specs from all over the tiny benchmark's grid."""
    return demonstrations_of(tiny_benchmark(), tiny_benchmark().grid[:: 90 // specs][:specs], episodes, steps)


def demonstrations_of(benchmark: Benchmark, specs: np.ndarray, episodes: int = 2, steps: int = 40) -> Demonstrations:
    """A teacher whose actions turn from one linear map to another along the grid."""
    random = torch.Generator().manual_seed(7)
    raw = torch.as_tensor(specs.copy())
    place = torch.as_tensor(benchmark.scale(raw.numpy())).float()[:, :1, None, None]
    sizes = benchmark.observation_dim, benchmark.action_dim
    observations = torch.randn(len(raw), episodes, steps, sizes[0], generator=random)
    one, other = torch.randn(2, *sizes, generator=random)
    actions = torch.tanh((1 - place) * (observations @ one) + (1 + place) * torch.relu(observations @ other))
    rewards = torch.rand(len(raw), episodes, steps, generator=random)
    values = 50.0 + 10.0 * observations[..., 0]
    return Demonstrations(raw, observations, actions, rewards, observations.roll(-1, dims=2), values)


def tiny_batch(specs: int = 3, dtype: torch.dtype = torch.float32) -> Batch:
    """All the transitions of some specs; every seventh ends its episode for good."""
    batch = Batch.of(tiny_demonstrations(specs))
    numbers = {field.name: getattr(batch, field.name).to(dtype) for field in fields(batch) if field.name != "specs"}
    numbers["continues"] = numbers["continues"].clone()
    numbers["continues"][:, ::7] = 0.0
    return replace(batch, **numbers)


def plain_mlp(layers: Iterable[nn.Linear], inputs: Tensor) -> Tensor:
    """What linear layers with ReLU between them make of inputs [N, in]: the oracle of everything folded or stacked."""
    for position, layer in enumerate(layers):
        inputs = layer(torch.relu(inputs) if position else inputs)
    return inputs


def shown(generator: Generator, specs: np.ndarray) -> Generator:
    """The generator, ready for `specs`: a few-shot one adapts to demonstrations of them."""
    if isinstance(generator, FewShotGenerator):
        generator.adapt(demonstrations_of(generator.benchmark, specs))
    return generator
