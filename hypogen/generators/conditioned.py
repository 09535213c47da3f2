"""MLP shared by Cond Policy, UVFA, Meta Policy and PEARL: layers on [condition, inputs], folded per spec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from hypogen.policy import fold_condition

Stacked = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""Weights [S, out, in] and biases [S, out] of each layer."""


class ConditionedLayers(nn.ModuleList):
    """Linear layers (in, out), first to last, the same for every spec; the first reads [condition, inputs]."""

    def __init__(self, sizes: Iterable[tuple[int, int]]) -> None:
        super().__init__(nn.Linear(inputs, outputs) for inputs, outputs in sizes)

    def fold(self, condition: Tensor) -> Stacked:
        """Layers on the inputs alone, for conditions [S, C]: shared weights (as views) and one first bias per spec."""
        layers: list[Any] = list(self)
        first, rest, count = layers[0], layers[1:], len(condition)
        weight, bias = fold_condition(first.weight, first.bias, condition)
        return (
            (weight, *(layer.weight.expand(count, -1, -1) for layer in rest)),
            (bias, *(layer.bias.expand(count, -1) for layer in rest)),
        )
