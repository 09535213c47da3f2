"""Linear: every parameter of the policy is a linear function of the scaled spec, through a narrow code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch, Generator, Specs, raw_specs
from hypogen.generators.heads import LayerHeads, unflatten
from hypogen.generators.value import action_loss
from hypogen.policy import Policy, PolicyShape
from hypogen.validation import require, whole


@dataclass(frozen=True)
class LinearSettings:
    """Settings of Linear.

    code_dim: width of the code between the spec and the parameters.
    """

    code_dim: int = 16

    def __post_init__(self) -> None:
        require(self, whole(1), "code_dim")


class Linear(Generator):
    """Two linear maps from the spec to the policy: no method should be worse."""

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: LinearSettings) -> None:
        super().__init__(benchmark, shape, settings)
        self.sizes = shape.sizes(benchmark.observation_dim, benchmark.action_dim)
        self.code = nn.Linear(benchmark.grid.shape[1], settings.code_dim)
        self.heads = LayerHeads(settings.code_dim, self.sizes)

    def policy(self, specs: Specs) -> Policy:
        scaled = self.benchmark.scale(raw_specs(self.benchmark, specs))
        return unflatten(self.heads(self.code(torch.as_tensor(scaled).to(self.code.weight))), self.sizes)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"action": action_loss(self.policy(batch.specs), batch)}
