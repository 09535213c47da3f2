"""Generated layers: linear maps between codes and the parameters of a linear layer, scaled for stable training.

The parameters of a layer are kept flat, [S, out * in + out]: its weight row by row, then its bias. Codes decode to
parameters *in units of 1/sqrt(in)*, torch's own bound for a fresh linear layer. One Adam step then changes a layer with
6 inputs and one with 256 by the same share of their initial size; in plain units it would change the wide one much
faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hypogen.factored import Linear
from hypogen.policy import Policy

Sizes = Sequence[tuple[int, int]]
"""Sizes (in, out) of the generated layers, first to last."""

Form = Literal["scaled", "authors"]
FORMS: tuple[str, ...] = ("scaled", "authors")
AUTHORS_BOUNDS = (0.05, 0.008)
"""Within what HyperZero's code draws the weights of its heads: for a layer before the last, and for the last one."""


def flat_size(layer: tuple[int, int]) -> int:
    """Number of parameters of a linear layer (in, out)."""
    return layer[1] * (layer[0] + 1)


def fresh_parameters(layer: tuple[int, int]) -> Tensor:
    """Flat parameters [out * in + out] of a linear layer as torch would draw it: uniform within 1/sqrt(in)."""
    return torch.empty(flat_size(layer)).uniform_(-1.0, 1.0).div_(math.sqrt(layer[0]))


def unflatten(parameters: Sequence[Tensor], sizes: Sizes) -> Policy:
    """Policy of flat layers [S, out * in + out]: stacked weights [S, out, in] and biases [S, out]."""
    weights, biases = [], []
    for flat, (inputs, outputs) in zip(parameters, sizes, strict=True):
        weights.append(flat[:, : inputs * outputs].view(-1, outputs, inputs))
        biases.append(flat[:, inputs * outputs :])
    return Policy(tuple(weights), tuple(biases))


class LayerEncoder(nn.Module):
    """E of appendix A.2: map from one layer's flat parameters [S, out * in + out] to a code [S, features].

    Parameters as torch draws them are scaled to length 1 and multiplied by weights of variance 1. The code therefore
    starts with variance 1 whatever the size of the layer, and one Adam step also moves the code of a 65,792-parameter
    layer gently.
    """

    def __init__(self, layer: tuple[int, int], features: int) -> None:
        super().__init__()
        self.scale = math.sqrt(3.0 * layer[0] / flat_size(layer))
        self.linear = Linear(flat_size(layer), features)
        nn.init.normal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, parameters: Tensor) -> Tensor:
        return self.linear(parameters * self.scale)


class LayerDecoder(nn.Module):
    """D of appendix A.2: map from a code [S, features] to one layer's flat parameters [S, out * in + out].

    A code of unit variance decodes to parameters as torch would draw them for the layer. With `fresh_bias` the
    decoder's own bias is such a draw and a weak code changes it only slightly: the start of a hypernetwork head, whose
    code is an embedding.
    """

    def __init__(self, features: int, layer: tuple[int, int], fresh_bias: bool = False) -> None:
        super().__init__()
        self.unit = 1.0 / math.sqrt(layer[0])
        self.linear = Linear(features, flat_size(layer))
        nn.init.zeros_(self.linear.bias)
        if fresh_bias:
            nn.init.uniform_(self.linear.bias, -1.0, 1.0)

    def forward(self, code: Tensor) -> Tensor:
        return self.linear(code) * self.unit


class AuthorsHead(nn.Module):
    """HyperZero's own head (`models/hypenet_core.py`): a linear map without units, small first weights and no bias."""

    def __init__(self, features: int, layer: tuple[int, int], bound: float) -> None:
        super().__init__()
        self.linear = Linear(features, flat_size(layer))
        nn.init.uniform_(self.linear.weight, -bound, bound)
        nn.init.zeros_(self.linear.bias)

    def forward(self, code: Tensor) -> Tensor:
        return self.linear(code)


class LayerHeads(nn.Module):
    """One head per layer: map from embeddings [S, features] to the flat parameters of an MLP with layers `sizes`.

    form: "scaled" (ours, `LayerDecoder`) or "authors" (HyperZero's code, `AuthorsHead`).
    """

    def __init__(self, features: int, sizes: Sizes, form: Form = "scaled") -> None:
        super().__init__()
        inner, last = AUTHORS_BOUNDS
        self.heads = nn.ModuleList(
            LayerDecoder(features, layer, fresh_bias=True)
            if form == "scaled"
            else AuthorsHead(features, layer, last if position == len(sizes) else inner)
            for position, layer in enumerate(sizes, start=1)
        )

    def forward(self, embedding: Tensor) -> list[Tensor]:
        return [head(embedding) for head in self.heads]
