"""Stacked networks: parameters of S networks in one flat vector, and forward and backward passes.

The passes are written out instead of left to autograd: for experts this small, the graph, its allocations and its
separate gradients would cost as much as the products. Everything here is a handful of batched products, nearly all on
preallocated memory, and can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hypogen.adam import BETAS, EPSILON


class Layers(NamedTuple):
    """Views of a flat vector as N stacked MLPs.

    Weights are ``[N, in, out]`` and biases ``[N, 1, out]``; those of the last layer are ``[N, out, in]`` and ``[N, out,
    1]``. The last layer has one to seven outputs, and CPU libraries take four times as long for products with so few
    columns as for the transposed products with few rows.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def first(self, count: int | None) -> Layers:
        """Views of the first ``count`` networks (None: all)."""
        return Layers(tuple(w[:count] for w in self.weights), tuple(b[:count] for b in self.biases))


class Tails(Protocol):
    """What surrounds the products of N stacked networks' layers.

    Hidden units and slopes are ``[N, B, K]`` in the products' type, all else float32: gradients of biases ``[N, 1,
    K]``, the last layer's (the head's) weight and its gradient ``[N, O, K]``, its bias ``[N, O, 1]``, its outputs ``[N,
    O, B]`` and their slope ``[N, B, O]``. A gradient that is None is not wanted.
    """

    def relu(self, hidden: Tensor) -> None:
        """ReLU, in place."""

    def relu_and_head(self, hidden: Tensor, weight: Tensor, bias: Tensor, outputs: Tensor) -> None:
        """ReLU of the last hidden layer, in place, and the head's outputs."""

    def slopes(self, hidden: Tensor, slope: Tensor, by_bias: Tensor | None) -> None:
        """Slope before a hidden layer's ReLU from the one after it, in place, and the gradient of its bias."""

    def head_slopes(
        self,
        hidden: Tensor,
        above: Tensor,
        weight: Tensor,
        slope: Tensor,
        by_bias: Tensor | None,
        by_head: Tensor | None,
    ) -> None:
        """Slope at the last hidden layer, before its ReLU, and the gradients of its bias and of the head's weight."""


class TorchTails:
    """Tails as torch's operations."""

    def relu(self, hidden: Tensor) -> None:
        hidden.relu_()

    def relu_and_head(self, hidden: Tensor, weight: Tensor, bias: Tensor, outputs: Tensor) -> None:
        torch.baddbmm(bias, weight, hidden.relu_().float().mT, out=outputs)

    def slopes(self, hidden: Tensor, slope: Tensor, by_bias: Tensor | None) -> None:
        torch.ops.aten.threshold_backward.grad_input(slope, hidden, 0, grad_input=slope)
        if by_bias is not None:
            torch.sum(slope, 1, keepdim=True, dtype=by_bias.dtype, out=by_bias)

    def head_slopes(
        self,
        hidden: Tensor,
        above: Tensor,
        weight: Tensor,
        slope: Tensor,
        by_bias: Tensor | None,
        by_head: Tensor | None,
    ) -> None:
        if slope.dtype == above.dtype:
            torch.bmm(above, weight, out=slope)
        else:
            slope.copy_(torch.bmm(above, weight))
        self.slopes(hidden, slope, by_bias)
        if by_head is not None:
            torch.bmm(above.mT, hidden.float(), out=by_head)


class FlatAdam(Protocol):
    """Adam of a stacked network.

    Attributes:
        state: what determines the next steps: ``step``, ``exp_avg`` and ``exp_avg_sq``, to be changed in place.
    """

    state: dict[str, Tensor]

    def step(self, rate: float) -> None:
        """Move the network's parameters, and the copy used in products, by the gradient of its last ``backward``."""


class TorchAdam:
    """torch's Adam. On a GPU its step may be captured."""

    def __init__(self, network: StackedMLP) -> None:
        flat = network.flat
        self._network, flat.grad = network, network.gradient
        self._adam = torch.optim.Adam([flat], betas=BETAS, eps=EPSILON, fused=True, capturable=flat.is_cuda)
        # Created now, so that a checkpoint can be loaded before the first step.
        self.state = {
            "step": torch.zeros((), device=flat.device),
            "exp_avg": torch.zeros_like(flat),
            "exp_avg_sq": torch.zeros_like(flat),
        }
        self._adam.state[flat] = self.state

    def step(self, rate: float) -> None:
        self._network.collect()
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        self._network.refresh()


def _native(device: torch.device) -> ModuleType | None:
    """The module of native passes and Adam, on a processor with GNU's OpenMP (Linux)."""
    if device.type != "cpu":
        return None
    try:
        from hypogen.native import stacked  # loads Numba, which only training needs
    except OSError:
        return None
    return stacked


class StackedMLP:
    """N MLPs with ReLU between their layers and all parameters in one float32 vector.

    ``flat`` holds the parameters, and ``adam`` gives what steps them by the gradient of the last ``backward``. Products
    are computed in ``dtype``. In bfloat16 they use a copy that ``refresh`` brings up to date, and the last layer alone
    is still computed in float32, since bfloat16 resolves a value near 100 only to half a unit.
    """

    def __init__(self, count: int, sizes: Sequence[int], dtype: torch.dtype, device: str | torch.device) -> None:
        self.count, self.sizes, self.dtype = count, tuple(sizes), dtype
        length = sum(count * (a + 1) * b for a, b in self._pairs())
        self.flat = torch.zeros(length, device=device)
        self.gradient = torch.zeros(length, device=device)
        self._copy = self.flat if dtype == torch.float32 else self.flat.to(dtype)
        self.master = self._views(self.flat)
        self.layers = self._views(self._copy)
        self._gradients = self._views(self.gradient)
        self._products = self._gradients if dtype == torch.float32 else self._views(self.gradient.to(dtype))
        self._native = _native(self.flat.device)
        self._tails: Tails = self._native.CpuTails(dtype) if self._native else TorchTails()

    def adam(self) -> FlatAdam:
        """Adam for these parameters, without a step."""
        if self._native is None:
            return TorchAdam(self)
        pieces: list[tuple[Tensor, Tensor, Tensor | None]]
        if self._products is self._gradients:
            pieces = [(self.flat, self.gradient, None)]
        else:
            *products, head = zip(self.master.weights, self._products.weights, self.layers.weights, strict=True)
            whole = zip(self.master.biases, self._gradients.biases, strict=True)
            pieces = [*products, (head[0], self._gradients.weights[-1], None), *((*both, None) for both in whole)]
        adam: FlatAdam = self._native.CpuAdam(self.flat, self.dtype, pieces)
        return adam

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
        layers, master, below = self.layers.first(count), self.master.first(count), space.inputs
        for weight, bias, hidden in zip(layers.weights, master.biases, space.hidden, strict=False):
            torch.baddbmm(bias.to(self.dtype), below, weight, out=hidden)
            if hidden is not space.hidden[-1]:
                self._tails.relu(hidden)
            below = hidden
        self._tails.relu_and_head(below, master.weights[-1], master.biases[-1], space.outputs)
        return space.outputs.mT

    def backward(self, space: PassBuffers, gradient: Tensor) -> None:
        """Find the gradient from that of the loss at the outputs ``[N, B, out]`` of the last ``forward``."""
        torch.sum(gradient, 1, out=self._gradients.biases[-1].flatten(1))
        for layer, below, above in self._descend(space, gradient, self._gradients, self.count):
            torch.bmm(below.mT, above, out=self._products.weights[layer])

    def collect(self) -> Tensor:
        """All of the gradient of the last ``backward`` in one float32 vector."""
        if self._products is not self._gradients:
            for whole, product in list(zip(self._gradients.weights, self._products.weights, strict=True))[:-1]:
                whole.copy_(product)
        return self.gradient

    def input_gradient(self, space: PassBuffers, gradient: Tensor, count: int) -> Tensor:
        """Gradient of the loss with respect to the inputs ``[count, B, in]`` of the first ``count`` networks."""
        *_, (_, _, lowest) = self._descend(space, gradient, None, count)
        return torch.bmm(lowest, self.layers.weights[0][:count].mT)

    def _descend(
        self, space: PassBuffers, gradient: Tensor, gradients: Layers | None, count: int
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Walk down the hidden layers: of each its number, its input, and the loss gradient at its output before ReLU.

        The head's weights' gradient and those of the hidden layers' biases go to ``gradients``.
        """
        weights, top = self.layers.first(count).weights, len(self.layers.weights) - 2
        space.above.copy_(gradient)
        for layer in range(top, -1, -1):
            hidden, slope = space.hidden[layer], space.gradients[layer]
            by_bias, by_head = (gradients.biases[layer], gradients.weights[-1]) if gradients else (None, None)
            if layer == top:
                head = self.master.weights[-1][:count]
                self._tails.head_slopes(hidden, space.above, head, slope, by_bias, by_head)
            else:
                torch.bmm(space.gradients[layer + 1], weights[layer + 1].mT, out=slope)
                self._tails.slopes(hidden, slope, by_bias)
            yield layer, space.hidden[layer - 1] if layer else space.inputs, slope

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
        self.outputs = torch.empty(nets, network.sizes[-1], rows, device=device)  # laid out like the last layer
        self.above = torch.empty(nets, rows, network.sizes[-1], device=device)
