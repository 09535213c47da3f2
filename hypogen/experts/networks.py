"""S networks as one: stacked parameters in one flat vector, and forward and backward passes without allocations.

The passes are written out rather than left to autograd: the experts are small, so that at this size the graph, its
allocations and its separate gradients would cost as much as the products. Everything here is a handful of batched
products on preallocated memory, fit to be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Layers(NamedTuple):
    """Views of a flat vector as N stacked MLPs.

    Weights are ``[N, in, out]`` and biases ``[N, 1, out]``, except the last layer's: ``[N, out, in]`` and
    ``[N, out, 1]``. Its one to seven outputs are products with few columns, which CPU libraries take four times as
    long for as for the transposed ones with few rows.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def first(self, count: int) -> Layers:
        """The first ``count`` networks."""
        return Layers(tuple(w[:count] for w in self.weights), tuple(b[:count] for b in self.biases))


class StackedMLP:
    """N MLPs with ReLU between their layers, their parameters in one float32 vector.

    ``flat`` is what an optimiser steps and ``gradient`` where ``backward`` leaves the gradient. Products are in
    ``dtype``; in bfloat16 they use a copy that ``refresh`` brings up to date, and only the last layer's output is still
    computed in float32, since a value near 100 in bfloat16 is half a unit coarse.
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
        """Views as ``torch.nn.Linear`` has them: weights ``[N, out, in]`` and biases ``[N, out]`` of each layer."""
        *hidden, head = self.master.weights
        return (*(weight.mT for weight in hidden), head), tuple(bias.flatten(1) for bias in self.master.biases)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every parameter as ``torch.nn.Linear`` does: uniform within one over the root of the layer's inputs."""
        for weight, bias in zip(*self.linear(), strict=True):
            bound = weight.shape[2] ** -0.5
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
        self.refresh()

    def refresh(self) -> None:
        """Take over what was written to ``flat``."""
        if self._copy is not self.flat:
            self._copy.copy_(self.flat)

    def export(self, count: int | None = None) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Copies on the CPU, of the first ``count`` networks: weights ``[N, out, in]`` and biases ``[N, out]``."""

        def copies(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(t[:count].cpu().clone(memory_format=torch.contiguous_format) for t in tensors)

        weights, biases = self.linear()
        return copies(weights), copies(biases)

    def forward(self, space: PassBuffers, count: int | None = None) -> Tensor:
        """Outputs float32 ``[N, B, out]`` of the networks (or the first ``count``) for ``space.inputs``."""
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
        """Set ``self.gradient`` from the loss's gradient ``[N, B, out]`` by the last ``forward``'s outputs."""
        weights, biases = self._gradients
        for layer, below, above in self._descend(self.layers, space, gradient):
            outer = (above, below) if layer == len(weights) - 1 else (below, above)
            torch.bmm(outer[0].mT, outer[1], out=weights[layer])
            torch.sum(above, 1, out=biases[layer].flatten(1))
        if self._raw_gradient is not self.gradient:
            self.gradient.copy_(self._raw_gradient)

    def input_gradient(self, space: PassBuffers, gradient: Tensor, count: int) -> Tensor:
        """The loss's gradient by the inputs ``[count, B, in]``, of the first ``count`` networks."""
        layers = self.layers.first(count)
        *_, (_, _, lowest) = self._descend(layers, space, gradient)
        return torch.bmm(lowest, layers.weights[0].mT)

    def _descend(self, layers: Layers, space: PassBuffers, gradient: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Walk down the layers, with what went into each and the loss's gradient by what came out (before ReLU)."""
        above = gradient.to(self.dtype)
        for layer in range(len(layers.weights) - 1, 0, -1):
            below = space.hidden[layer - 1]
            yield layer, below, above
            weight = layers.weights[layer] if layer == len(layers.weights) - 1 else layers.weights[layer].mT
            slope = space.gradients[layer - 1]
            if above.shape[-1] == 1 and above.dtype == torch.float32:
                torch.mul(above, weight, out=slope)  # MKL takes 15 times as long over this product
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
    """Preallocated memory of one pass of N networks over B rows each; the caller fills ``inputs [N, B, in]``."""

    def __init__(self, network: StackedMLP, rows: int, count: int | None = None) -> None:
        nets, dtype, device = count or network.count, network.dtype, network.flat.device
        self.inputs = torch.zeros(nets, rows, network.sizes[0], dtype=dtype, device=device)
        self.hidden = [torch.empty(nets, rows, width, dtype=dtype, device=device) for width in network.sizes[1:-1]]
        self.gradients = [torch.empty_like(hidden) for hidden in self.hidden]
        self.last = (
            self.hidden[-1] if dtype == torch.float32 else torch.empty_like(self.hidden[-1], dtype=torch.float32)
        )
        self.outputs = torch.empty(nets, network.sizes[-1], rows, device=device)  # as the last layer's
