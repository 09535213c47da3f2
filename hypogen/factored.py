"""Layers that see few rows, and gradients of their weights that are never written.

A hypernetwork's layers see one row per spec. The gradient of a weight [out, in] is then slopes.T [out, S] times inputs
[S, in]: its rank is at most the number of specs S, and these two factors are a thousandth of its size. While a tape is
`recording`, the layers here leave them on it in place of `grad`, for `hypogen.adam` to update the weights by, and run
in native code. Otherwise they are plain torch: the oracle in the tests, and the way in bfloat16.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hypogen.native import Kernels

Factors = tuple[Tensor, Tensor]
"""Gradient [m, n] as rows [R, m] and columns [R, n]: rows.T @ columns."""


class Tape:
    """Factors of the gradients of one backward pass, by parameter.

    The gradient of a bias [n] counts as a matrix [1, n].
    held: the tensors of this pass that kernels know by their addresses alone.
    """

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.ones: dict[int, Tensor] = {}
        self.factors: defaultdict[Tensor, list[Factors]] = defaultdict(list)
        self.held: list[Tensor] = []

    def addresses(self, *tensors: Tensor) -> list[int]:
        """Where the numbers of tensors lie, which are held."""
        self.held += tensors
        return [tensor.data_ptr() for tensor in tensors]

    def clear(self) -> list[Tensor]:
        """Forget a pass; what was held for it."""
        held, self.held = self.held, []
        self.factors.clear()
        return held

    def note(self, parameter: Tensor, rows: Tensor | None, columns: Tensor) -> None:
        """Add factors to a parameter's gradient; no rows: ones."""
        if rows is None:
            count = columns.shape[0]
            if count not in self.ones:
                self.ones[count] = columns.new_ones(count, 1)
            rows = self.ones[count]
        self.factors[parameter].append((rows, columns))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """The forward pass whose layers shall leave their factors here in the backward pass."""
        token = _tape.set(self)
        try:
            yield
        finally:
            _tape.reset(token)


_tape: ContextVar[Tape | None] = ContextVar("tape", default=None)


class Linear(nn.Linear):
    """A linear layer for inputs [S, in]."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) if _tape.get() is None else apply((self, inputs))[0]


class Chain(nn.Sequential):
    """Linear layers with ReLU between them, and before the first or after the last if given; inputs [S, in].

    Without layers it is the identity.
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(*modules)
        leaves = [module for module in self.modules() if isinstance(module, nn.Linear | nn.ReLU)]
        self.linears = tuple(module for module in leaves if isinstance(module, nn.Linear))
        self.opens, self.closes = (bool(leaves) and isinstance(leaves[end], nn.ReLU) for end in (0, -1))

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) if _tape.get() is None else apply((self, inputs))[0]


def apply(*pairs: tuple[Chain | Linear, Tensor]) -> list[Tensor]:
    """module(inputs) [S, out] of each pair, all their first layers together, then all second ones."""
    tape = _tape.get()
    if tape is None:
        return [module(inputs) for module, inputs in pairs]
    given: dict[int, int] = {}
    inputs: list[Tensor] = []
    plans: list[_Plan] = []
    parameters: list[Tensor] = []
    for module, tensor in pairs:
        linears = module.linears if isinstance(module, Chain) else (module,)
        if not linears:
            continue
        if id(tensor) not in given:
            given[id(tensor)] = len(inputs)
            inputs.append(tensor)
        opens, closes = (module.opens, module.closes) if isinstance(module, Chain) else (False, False)
        plans.append((given[id(tensor)], len(linears), opens, closes))
        for linear in linears:
            parameters += (linear.weight, linear.bias)
    results = iter(_Chains.apply(tape, plans, len(inputs), *inputs, *parameters) if plans else ())
    return [tensor if isinstance(module, Chain) and not module.linears else next(results) for module, tensor in pairs]


def product(rows: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Products of rows [S, r] with one matrix [r, c] each, which is linear in features [S, f]: [S, c].

    weight [r * f, c]: slopes of the matrices by the features. bias [r, c].
    """
    tape = _tape.get()
    if tape is not None:
        result: Tensor = _Product.apply(tape, rows, features, weight, bias)
        return result
    outer = rows[:, :, None] * features[:, None, :]
    return torch.addmm(rows @ bias, outer.flatten(1), weight)


_Plan = tuple[int, int, bool, bool]
"""A chain: number of its inputs, of its layers, and whether ReLU opens and closes it."""


@dataclass
class _Pass:
    """One chain's way through its layers.

    values: inputs of the layers, after their ReLU, and at the end the chain's outputs. layers: weights and biases.
    """

    place: int
    opens: bool
    closes: bool
    values: list[Tensor]
    layers: list[tuple[Tensor, Tensor]]


class _Chains(torch.autograd.Function):
    """Chains of linear layers, all of them together layer by layer."""

    @staticmethod
    def forward(ctx: Any, tape: Tape, plans: list[_Plan], count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        parameters, passes = iter(tensors[count:]), []
        for place, depth, opens, closes in plans:
            inputs = (tensors[place].relu() if opens else tensors[place]).contiguous()
            layers = [(next(parameters), next(parameters)) for _ in range(depth)]
            _require_fit(tape, inputs, layers[0][0].shape[1], layers[0][0])
            passes.append(_Pass(place, opens, closes, [inputs], layers))
        for depth in range(max(len(one.layers) for one in passes)):
            jobs = []
            for one in passes:
                if depth < len(one.layers):
                    inputs, (weight, bias) = one.values[-1], one.layers[depth]
                    outputs = inputs.new_empty(inputs.shape[0], weight.shape[0])
                    one.values.append(outputs)
                    sizes = (inputs.shape[0], *weight.shape)
                    relu = one.closes or depth + 1 < len(one.layers)
                    jobs.append((*tape.addresses(inputs, weight, outputs, bias), *sizes, relu))
            tape.kernels.dots(jobs)
        ctx.tape, ctx.count, ctx.parameters, ctx.passes = tape, count, len(tensors) - count, passes
        return tuple(one.values[-1] for one in passes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tape, passes = ctx.tape, ctx.passes
        del ctx.passes  # it holds outputs, which hold this function
        wanted = ctx.needs_input_grad[3 : 3 + ctx.count]
        slopes = [
            (torch.ops.aten.threshold_backward(slope, one.values[-1], 0) if one.closes else slope).contiguous()
            for one, slope in zip(passes, gradients, strict=True)
        ]
        sums = _Sums(tape)
        for depth in reversed(range(max(len(one.layers) for one in passes))):
            inner = _Sums(tape)
            for number, one in enumerate(passes):
                if depth >= len(one.layers):
                    continue
                inputs, (weight, bias) = one.values[depth], one.layers[depth]
                tape.note(weight, slopes[number], inputs)
                tape.note(bias, None, slopes[number])
                mask = inputs if depth or one.opens else None
                if depth:
                    inner.add(number, slopes[number], weight, mask)
                elif wanted[one.place]:
                    sums.add(one.place, slopes[number], weight, mask)
            for number, total in inner.totals().items():
                slopes[number] = total
        outer = sums.totals()
        return (None, None, None, *(outer.get(place) for place in range(ctx.count)), *([None] * ctx.parameters))


class _Product(torch.autograd.Function):
    """See `product`."""

    @staticmethod
    def forward(ctx: Any, tape: Tape, rows: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows = rows.contiguous()
        outer = (rows[:, :, None] * features[:, None, :]).flatten(1).contiguous()
        _require_fit(tape, outer, weight.shape[0], weight)
        ctx.tape, ctx.kept = tape, (rows, features, outer, weight, bias)
        sums = _Sums(tape)
        sums.add(0, outer, weight, None)
        return torch.addmm(sums.totals()[0], rows, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tape, (rows, features, outer, weight, bias) = ctx.tape, ctx.kept
        slopes = gradient.contiguous()
        tape.note(weight, outer, slopes)
        tape.note(bias, rows, slopes)
        inward = torch.empty_like(outer)
        sizes = (outer.shape[0], *weight.shape)
        tape.kernels.dots([(*tape.addresses(slopes, weight, inward), 0, *sizes, 0)])
        matrix = inward.view(*rows.shape, -1)
        by_rows = torch.addmm(torch.bmm(matrix, features[:, :, None]).squeeze(2), slopes, bias.T)
        return None, by_rows, torch.bmm(rows[:, None, :], matrix).squeeze(1), None, None


class _Sums:
    """Products inputs @ weight, of which those with one key are added up."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.terms: defaultdict[int, list[tuple[Tensor, Tensor, Tensor | None]]] = defaultdict(list)

    def add(self, key: int, inputs: Tensor, weight: Tensor, mask: Tensor | None) -> None:
        """inputs [S, m] @ weight [m, n], or 0 where the mask [S, n] is not positive."""
        self.terms[key].append((inputs, weight, mask))

    def totals(self) -> dict[int, Tensor]:
        """Sum [S, n] for each key."""
        jobs, parts = [], {}
        for key, terms in self.terms.items():
            first, weight, _ = terms[0]
            counts = [self.tape.kernels.chunks(weight.shape[0]) for _, weight, _ in terms]
            part = parts[key] = first.new_empty(sum(counts), first.shape[0], weight.shape[1])
            for (inputs, weight, mask), outputs in zip(terms, part.split(counts), strict=True):
                addresses = self.tape.addresses(inputs, weight, outputs)
                masks = [0] if mask is None else self.tape.addresses(mask)
                jobs.append((*addresses, *masks, inputs.shape[0], *weight.shape, 0))
        if jobs:
            self.tape.kernels.sums(jobs)
        return {key: part.sum(0) if part.shape[0] > 1 else part[0] for key, part in parts.items()}


def _require_fit(tape: Tape, inputs: Tensor, width: int, weight: Tensor) -> None:
    """Raise ValueError for inputs that the kernels, which see only addresses, would misread."""
    dtype = tape.kernels.dtype
    if inputs.ndim != 2 or inputs.shape[1] != width or inputs.dtype != dtype or weight.dtype != dtype:
        raise ValueError(
            f"a layer for [S, {width}] in {weight.dtype} was given {list(inputs.shape)} in {inputs.dtype} while its "
            f"gradients are kept as factors in {dtype}: use torch's own layers for other inputs"
        )
