"""Spec encoder shared by the methods: HyperZero's six residual blocks (paper, section 5.1)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from hypogen.benchmarks import Benchmark
from hypogen.contexts import to_unit
from hypogen.factored import Chain, Linear
from hypogen.generators.base import Specs, raw_specs

SpecScaling = Literal["unit", "raw"]
SPEC_SCALINGS: tuple[str, ...] = ("unit", "raw")


class ResidualBlock(nn.Module):
    """x + linear(relu(linear(relu(x)))), all of one width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = Chain(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.layers(inputs)


def residual_stages(inputs: int, embedding_dim: int) -> nn.Sequential:
    """Three stages at a quarter, a half and the whole of the width, each one linear layer and two residual blocks.

    Raises ValueError unless `embedding_dim` is a positive multiple of 4.
    """
    if embedding_dim < 4 or embedding_dim % 4:
        raise ValueError(f"embedding_dim must be a positive multiple of 4, not {embedding_dim}")
    stages: list[nn.Module] = []
    for narrow, wide in pairwise([inputs, embedding_dim // 4, embedding_dim // 2, embedding_dim]):
        stages += [Linear(narrow, wide), ResidualBlock(wide), ResidualBlock(wide)]
    return nn.Sequential(*stages)


class SpecEncoder(nn.Module):
    """phi(M): map from raw specs [S, C] to embeddings [S, embedding_dim] through `residual_stages`.

    scaling "unit" first maps every coordinate to [-1, 1] over the whole grid of the benchmark (the grid is known
    without demonstrations, and so are the positions of test specs on it). "raw" feeds the numbers as they are, like the
    authors' code: a stiffness of 500 to 1500 then dominates the embedding.
    """

    def __init__(self, benchmark: Benchmark, embedding_dim: int, scaling: SpecScaling) -> None:
        super().__init__()
        self.benchmark, self.scaling = benchmark, scaling
        for name, bound in (("low", benchmark.grid.min(axis=0)), ("high", benchmark.grid.max(axis=0))):
            self.register_buffer(name, torch.from_numpy(bound), persistent=False)
        self.stages = residual_stages(benchmark.grid.shape[1], embedding_dim)

    def forward(self, specs: Specs) -> Tensor:
        low, high = self.get_buffer("low"), self.get_buffer("high")
        raw = raw_specs(self.benchmark, specs).to(low.device)
        scaled = to_unit(raw, low, high) if self.scaling == "unit" else raw
        return self.stages(scaled.to(next(self.parameters())))
