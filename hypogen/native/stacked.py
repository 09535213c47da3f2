"""Kernels for what surrounds the products of stacked networks: ReLU, heads, their gradients, and Adam.

In bfloat16 a pass over the output of a product takes torch a tenth of what the product takes, and there are up to four
of them; these make one. Numba compiles again when this file changes, and not where `kernels` does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, types
from numba.extending import intrinsic, overload
from torch import Tensor

from hypogen.adam import BETAS, EPSILON
from hypogen.native.kernels import compiled, entry, pointer, reordered, thread, threads
from hypogen.native.openmp import run

ROW = 6
"""Integers that describe a job, a network's or a piece of Adam's: addresses, by the columns of its entry.

The table's first row is how many jobs there are and what they share: rows, width and outputs, or the address of Adam's
numbers.
"""

Table = ctypes.Array[ctypes.c_int64]
Piece = tuple[Tensor, Tensor, Tensor | None]


@intrinsic
def _same_bits(context: Any, value: Any, kind: Any) -> Any:
    """The bits of a number, read as another type of the same size."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return kind.dtype(value, kind), generate


def _wide(value):  # type: ignore[no-untyped-def]
    """A float32 of a number, which is one or the bits of a bfloat16."""


def _narrow(value, like):  # type: ignore[no-untyped-def]
    """A float32 as the numbers of an array are: itself, or the bits of the nearest bfloat16 (half to even)."""


@overload(_wide)
def _wide_of(value):  # type: ignore[no-untyped-def]
    if value == types.uint16:
        return lambda value: _same_bits(np.uint32(np.uint32(value) << np.uint32(16)), np.float32)
    return lambda value: value


@overload(_narrow)
def _narrow_of(value, like):  # type: ignore[no-untyped-def]
    if like.dtype == types.uint16:

        def narrow(value, like):  # type: ignore[no-untyped-def]
            bits = _same_bits(value, np.uint32)
            odd = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
            nearest = np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))
            return nearest if value == value else np.uint16(0x7FC0)  # NaN

        return narrow
    return lambda value, like: value


@compiled
def _part(whole):  # type: ignore[no-untyped-def]
    """First and last (exclusive) of a whole's items that this thread works on."""
    return whole * thread() // threads(), whole * (thread() + 1) // threads()


@compiled
def _rectify(z):  # type: ignore[no-untyped-def]
    """z [B, K] = relu(z)."""
    for b in range(z.shape[0]):
        for k in range(z.shape[1]):
            value = _wide(z[b, k])
            z[b, k] = _narrow(np.float32(0) if value < 0 else value, z)


@reordered
def _head(h, weight, bias, out):  # type: ignore[no-untyped-def]
    """out [O, B] = weight [O, K] @ h.T + bias [O] for h [B, K]."""
    row = np.empty(h.shape[1], np.float32)
    for b in range(h.shape[0]):
        for k in range(h.shape[1]):
            row[k] = _wide(h[b, k])
        for o in range(weight.shape[0]):
            total = np.float32(0)
            for k in range(h.shape[1]):
                total += row[k] * weight[o, k]
            out[o, b] = total + bias[o]


@compiled
def _head_slopes(h, above, weight, slope, by_bias, by_weight):  # type: ignore[no-untyped-def]
    """slope [B, K] = (h > 0) * above [B, O] @ weight [O, K]; its sum, and above.T @ h, where they are wanted."""
    row, value = np.empty(h.shape[1], np.float32), np.empty(h.shape[1], np.float32)
    by_bias[:] = 0
    by_weight[:] = 0
    for b in range(h.shape[0]):
        for k in range(h.shape[1]):
            row[k] = _wide(h[b, k])
            value[k] = above[b, 0] * weight[0, k]
        for o in range(1, weight.shape[0]):
            for k in range(h.shape[1]):
                value[k] += above[b, o] * weight[o, k]
        for k in range(h.shape[1]):
            kept = np.float32(0) if row[k] <= 0 else value[k]
            slope[b, k] = _narrow(kept, slope)
            by_bias[k] += kept
        for o in range(by_weight.shape[0]):
            for k in range(h.shape[1]):
                by_weight[o, k] += above[b, o] * row[k]


@compiled
def _slopes(h, slope, by_bias):  # type: ignore[no-untyped-def]
    """slope [B, K], 0 where h <= 0, and its sum [K]."""
    by_bias[:] = 0
    for b in range(h.shape[0]):
        for k in range(h.shape[1]):
            kept = np.float32(0) if _wide(h[b, k]) <= 0 else _wide(slope[b, k])
            slope[b, k] = _narrow(kept, slope)
            by_bias[k] += kept


@compiled
def _moved(p, m, v, slope, numbers):  # type: ignore[no-untyped-def]
    """A parameter and its two moments after a step of Adam; numbers: see `CpuAdam`."""
    fresh, kept, squared, root, epsilon, step = numbers
    mean = m + fresh * (slope - m)
    square = kept * v + squared * slope * slope
    return p - step * mean / (np.sqrt(square) * root + epsilon), mean, square


@compiled
def _adam(p, m, v, g, numbers):  # type: ignore[no-untyped-def]
    for i in range(len(p)):
        p[i], m[i], v[i] = _moved(p[i], m[i], v[i], g[i], numbers)


@compiled
def _adam_and_copy(p, m, v, g, copy, numbers):  # type: ignore[no-untyped-def]
    for i in range(len(p)):
        value, m[i], v[i] = _moved(p[i], m[i], v[i], _wide(g[i]), numbers)
        p[i], copy[i] = value, _narrow(value, copy)


def _adam_entry(number: Any) -> Any:
    @entry
    def adam(table):  # type: ignore[no-untyped-def]
        """Columns: parameters, two moments, gradient, the copy in the products' type or 0, how many."""
        count = table[0]
        jobs = carray(table, (count + 1, ROW))
        given = carray(pointer(table[1], np.float32), (6,))
        numbers = given[0], given[1], given[2], given[3], given[4], given[5]
        for job in jobs[1:]:
            first, last = _part(job[5])
            p = carray(pointer(job[0], np.float32), (job[5],))[first:last]
            m = carray(pointer(job[1], np.float32), (job[5],))[first:last]
            v = carray(pointer(job[2], np.float32), (job[5],))[first:last]
            if job[4] != 0:
                g = carray(pointer(job[3], number), (job[5],))[first:last]
                _adam_and_copy(p, m, v, g, carray(pointer(job[4], number), (job[5],))[first:last], numbers)
            else:
                _adam(p, m, v, carray(pointer(job[3], np.float32), (job[5],))[first:last], numbers)

    return adam


def _forward_entry(number: Any) -> Any:
    @entry
    def forward(table):  # type: ignore[no-untyped-def]
        """Columns: hidden units; and weight or 0, bias and outputs of the head."""
        count, rows, width, outputs = table[0], table[1], table[2], table[3]
        jobs = carray(table, (count + 1, ROW))
        first, last = _part(count)
        for job in jobs[1 + first : 1 + last]:
            z = carray(pointer(job[0], number), (rows, width))
            _rectify(z)
            if job[1] != 0:
                weight = carray(pointer(job[1], np.float32), (outputs, width))
                bias = carray(pointer(job[2], np.float32), (outputs,))
                _head(z, weight, bias, carray(pointer(job[3], np.float32), (outputs, rows)))

    return forward


def _backward_entry(number: Any) -> Any:
    @entry
    def backward(table):  # type: ignore[no-untyped-def]
        """Columns: hidden, slope, its sum or 0; and slope of the outputs or 0, head's weight, its gradient or 0."""
        count, rows, width, outputs = table[0], table[1], table[2], table[3]
        jobs = carray(table, (count + 1, ROW))
        unwanted = np.empty(width, np.float32)
        first, last = _part(count)
        for job in jobs[1 + first : 1 + last]:
            h = carray(pointer(job[0], number), (rows, width))
            slope = carray(pointer(job[1], number), (rows, width))
            by_bias = carray(pointer(job[2], np.float32), (width,)) if job[2] != 0 else unwanted
            if job[3] != 0:
                above = carray(pointer(job[3], np.float32), (rows, outputs))
                weight = carray(pointer(job[4], np.float32), (outputs, width))
                wanted = outputs if job[5] != 0 else 0
                by_weight = carray(pointer(job[5], np.float32), (wanted, width))
                _head_slopes(h, above, weight, slope, by_bias, by_weight)
            else:
                _slopes(h, slope, by_bias)

    return backward


@cache
def _entries(dtype: torch.dtype) -> tuple[Any, Any, Any]:
    number = {torch.float32: np.float32, torch.bfloat16: np.uint16}[dtype]
    return _forward_entry(number), _backward_entry(number), _adam_entry(number)


class CpuTails:
    """See `hypogen.experts.networks.Tails`. Every thread works on whole networks: any number gives the same bits."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._entries = _entries(dtype)
        self._forward, self._backward, _ = (ctypes.c_void_p(kernel.address) for kernel in self._entries)
        self._tables: dict[tuple[int, ...], Table] = {}

    def relu(self, hidden: Tensor) -> None:
        self._run(self._forward, hidden, 0)

    def relu_and_head(self, hidden: Tensor, weight: Tensor, bias: Tensor, outputs: Tensor) -> None:
        self._run(self._forward, hidden, outputs.shape[1], weight, bias, outputs)

    def slopes(self, hidden: Tensor, slope: Tensor, by_bias: Tensor | None) -> None:
        self._run(self._backward, hidden, 0, slope, by_bias)

    def head_slopes(
        self,
        hidden: Tensor,
        above: Tensor,
        weight: Tensor,
        slope: Tensor,
        by_bias: Tensor | None,
        by_head: Tensor | None,
    ) -> None:
        self._run(self._backward, hidden, above.shape[2], slope, by_bias, above, weight, by_head)

    def _run(self, kernel: ctypes.c_void_p, first: Tensor, outputs: int, *others: Tensor | None) -> None:
        tensors = [first, *others]
        shape = *first.shape, outputs
        key = *shape, *(0 if tensor is None else tensor.data_ptr() for tensor in tensors)
        if key not in self._tables:
            self._tables[key] = _table(shape, tensors)
        run(kernel, self._tables[key], torch.get_num_threads())


class CpuAdam:
    """See `hypogen.experts.networks.FlatAdam`. A step is one pass, which brings the copies in bfloat16 up to date too.

    Args:
        flat: all parameters.
        pieces: those pieces that make up all of it, as views: parameters, their gradient, and their copy or None.
    """

    def __init__(self, flat: Tensor, dtype: torch.dtype, pieces: Sequence[Piece]) -> None:
        self.state = {"step": torch.zeros(()), "exp_avg": torch.zeros_like(flat), "exp_avg_sq": torch.zeros_like(flat)}
        self._entry, self._pieces = _entries(dtype)[2], pieces
        self._numbers = (ctypes.c_float * 6)(1.0 - BETAS[0], BETAS[1], 1.0 - BETAS[1], 0.0, EPSILON, 0.0)
        values = [len(pieces), ctypes.addressof(self._numbers), *[0] * (ROW - 2)]
        for parameters, gradient, copy in pieces:
            place = parameters.storage_offset()
            moments = (self.state[name][place:].data_ptr() for name in ("exp_avg", "exp_avg_sq"))
            beside = 0 if copy is None else copy.data_ptr()
            values += [parameters.data_ptr(), *moments, gradient.data_ptr(), beside, parameters.numel()]
        self._table = (ctypes.c_int64 * len(values))(*values)

    def step(self, rate: float) -> None:
        self.state["step"] += 1
        count = float(self.state["step"])
        self._numbers[3] = (1.0 - BETAS[1] ** count) ** -0.5
        self._numbers[5] = rate / (1.0 - BETAS[0] ** count)
        run(ctypes.c_void_p(self._entry.address), self._table, torch.get_num_threads())


def _table(shape: Sequence[int], tensors: Sequence[Tensor | None]) -> Table:
    """What all jobs share, and for each network the addresses of its part of every tensor (None: 0)."""
    rows = [[*shape]]
    for number in range(shape[0]):
        rows.append([0 if tensor is None else tensor[number].data_ptr() for tensor in tensors])
    values = [value for row in rows for value in [*row, *[0] * (ROW - len(row))]]
    return (ctypes.c_int64 * len(values))(*values)
