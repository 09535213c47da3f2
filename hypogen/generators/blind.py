"""Blind: one policy cloned from all training specs together, without the spec: the level of imitation alone.

A reference rather than a generator of policies: a method with a higher return has made use of the spec.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch, Generator, Specs, raw_specs
from hypogen.generators.value import action_loss
from hypogen.policy import Policy, PolicyShape


@dataclass(frozen=True)
class BlindSettings:
    """Settings of Blind, which has none."""


class Blind(Generator):
    """An MLP on the observation alone."""

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: BlindSettings) -> None:
        super().__init__(benchmark, shape, settings)
        sizes = shape.sizes(benchmark.observation_dim, benchmark.action_dim)
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in sizes)

    def policy(self, specs: Specs) -> Policy:
        count = len(raw_specs(self.benchmark, specs))
        layers = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        weights = tuple(layer.weight.expand(count, -1, -1) for layer in layers)
        return Policy(weights, tuple(layer.bias.expand(count, -1) for layer in layers))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"action": action_loss(self.policy(batch.specs), batch)}
