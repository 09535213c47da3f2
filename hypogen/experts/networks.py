"""Stacked networks: parameters of S networks in one flat vector, forward and backward passes without allocations.

The passes are written out instead of left to autograd: for experts this small, the graph, its allocations and its
separate gradients would cost as much as the products. Everything here is a handful of batched products on preallocated
memory and can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Layers(NamedTuple):
    """Views of a flat vector as N stacked MLPs.

    Weights are ``[N, in, out]`` and biases ``[N, 1, out]``; those of the last layer are ``[N, out, in]`` and ``[N, out,
    1]``. The last layer has one to seven outputs, and CPU libraries take four times as long for products with so few
    columns as for the transposed products with few rows.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def first(self, count: int) -> Layers:
        """Views of the first ``count`` networks."""
        return Layers(tuple(w[:count] for w in self.weights), tuple(b[:count] for b in self.biases))


class StackedMLP:
    """N MLPs with ReLU between their layers and all parameters in one float32 vector.

    ``flat`` holds the parameters that an optimiser steps, and ``backward`` leaves the gradient in ``gradient``.
    Products are computed in ``dtype``. In bfloat16 they use a copy that ``refresh`` brings up to date, and the output
    of the last layer alone is still computed in float32, since bfloat16 resolves a value near 100 only to half a unit.
    """

    def __init__(self, count: int, sizes: Sequence[int], dtype: torch.dtype, device: str | torch.device) -> None:
        self.count, self.sizes, self.dtype = count, tuple(sizes), dtype
        length = sum(count * (a + 1) * b for a, b in self._pairs())
        self.flat = torch.zeros(length, device=device)
        self.gradient = torch.zeros(length, device=device)
        self._copy = self.flat if dtype == torch.float32 else self.flat.to(dtype)
        self._raw_gradient = self.gradient if dtype == torch.float32 else self.gradient.to(dtype)
        self.master = self._views(self.flat)
        self.layers = self._views(self._copy)
        self._gradients = self._views(self._raw_gradient)

    def linear(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Views in ``torch.nn.Linear``'s layout: weights ``[N, out, in]`` and biases ``[N, out]`` of each layer."""
        *hidden, head = self.master.weights
        return (*(weight.mT for weight in hidden), head), tuple(bias.flatten(1) for bias in self.master.biases)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every parameter as ``torch.nn.Linear`` does: uniform within 1 / sqrt(number of inputs of the layer)."""
        for weight, bias in zip(*self.linear(), strict=True):
            bound = weight.shape[2] ** -0.5
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
        self.refresh()

    def refresh(self) -> None:
        """Bring the copy used in products up to date with ``flat``."""
        if self._copy is not self.flat:
            self._copy.copy_(self.flat)

    def export(self, count: int | None = None) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """CPU copies of the first ``count`` networks (None: all): weights ``[N, out, in]`` and biases ``[N, out]``."""

        def copies(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(t[:count].cpu().clone(memory_format=torch.contiguous_format) for t in tensors)

        weights, biases = self.linear()
        return copies(weights), copies(biases)

    def forward(self, space: PassBuffers, count: int | None = None) -> Tensor:
        """Outputs ``[N, B, out]`` (float32) of all networks, or of the first ``count``, for ``space.inputs``."""
        layers = self.layers if count is None else self.layers.first(count)
        below = space.inputs
        for weight, bias, hidden in zip(layers.weights, layers.biases, space.hidden, strict=False):
            torch.baddbmm(bias, below, weight, out=hidden).relu_()
            below = hidden
        if space.last is not below:
            space.last.copy_(below)
        head, bias = self.master.weights[-1][: len(below)], self.master.biases[-1][: len(below)]
        return torch.baddbmm(bias, head, space.last.mT, out=space.outputs).mT

    def backward(self, space: PassBuffers, gradient: Tensor) -> None:
        """Set ``self.gradient`` from the loss gradient ``[N, B, out]`` at the outputs of the last ``forward``."""
        weights, biases = self._gradients
        for layer, below, above in self._descend(self.layers, space, gradient):
            outer = (above, below) if layer == len(weights) - 1 else (below, above)
            torch.bmm(outer[0].mT, outer[1], out=weights[layer])
            torch.sum(above, 1, out=biases[layer].flatten(1))
        if self._raw_gradient is not self.gradient:
            self.gradient.copy_(self._raw_gradient)

    def input_gradient(self, space: PassBuffers, gradient: Tensor, count: int) -> Tensor:
        """Gradient of the loss with respect to the inputs ``[count, B, in]`` of the first ``count`` networks."""
        layers = self.layers.first(count)
        *_, (_, _, lowest) = self._descend(layers, space, gradient)
        return torch.bmm(lowest, layers.weights[0].mT)

    def _descend(self, layers: Layers, space: PassBuffers, gradient: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Walk down the layers: for each its number, its input, and the loss gradient at its output (before ReLU)."""
        above = gradient.to(self.dtype)
        for layer in range(len(layers.weights) - 1, 0, -1):
            below = space.hidden[layer - 1]
            yield layer, below, above
            weight = layers.weights[layer] if layer == len(layers.weights) - 1 else layers.weights[layer].mT
            slope = space.gradients[layer - 1]
            if above.shape[-1] == 1 and above.dtype == torch.float32:
                torch.mul(above, weight, out=slope)  # MKL takes 15 times as long for this product
            else:
                torch.bmm(above, weight, out=slope)
            above = torch.ops.aten.threshold_backward.grad_input(slope, below, 0, grad_input=slope)
        yield 0, space.inputs, above

    def _pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def _views(self, flat: Tensor) -> Layers:
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        start = 0
        for a, b in self._pairs():
            head = len(weights) == len(self.sizes) - 2
            weight, bias = flat[start : start + self.count * (a + 1) * b].split([self.count * a * b, self.count * b])
            weights.append(weight.view(self.count, *((b, a) if head else (a, b))))
            biases.append(bias.view(self.count, *((b, 1) if head else (1, b))))
            start += self.count * (a + 1) * b
        return Layers(tuple(weights), tuple(biases))


class PassBuffers:
    """Preallocated memory for one pass of N networks over B rows each; the caller fills ``inputs [N, B, in]``."""

    def __init__(self, network: StackedMLP, rows: int, count: int | None = None) -> None:
        nets, dtype, device = count or network.count, network.dtype, network.flat.device
        self.inputs = torch.zeros(nets, rows, network.sizes[0], dtype=dtype, device=device)
        self.hidden = [torch.empty(nets, rows, width, dtype=dtype, device=device) for width in network.sizes[1:-1]]
        self.gradients = [torch.empty_like(hidden) for hidden in self.hidden]
        self.last = (
            self.hidden[-1] if dtype == torch.float32 else torch.empty_like(self.hidden[-1], dtype=torch.float32)
        )
        self.outputs = torch.empty(nets, network.sizes[-1], rows, device=device)  # laid out like the last layer
