"""The same kernels for a GPU, in Triton: many small layers cost one launch, and gradients are never written.

Jobs lie in a table on the device, with the addresses that they work on, and behind them the tiles that they are cut
into: one program works on one tile. Each number of a result is added up by one program in a fixed order, so the same
work gives the same bits. While a CUDA graph is captured nothing can be copied to the device: its tables have room of
their own (`GpuKernels.prepare`) and are filled in afterwards (`GpuKernels.settle`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl
from torch import Tensor

from hypogen.native import Jobs

JOB = 8
"""Integers that describe a job."""

ALIGNED = 16
"""Integers of which a table's room is a multiple: Triton compiles another kernel for addresses that are not aligned."""

CHUNK = 64
"""Rows of a weight that `sums` adds up on their own."""

SPECS, ELEMENTS = 8, 1024
"""Rows of the inputs, and elements of a weight, that a program has in registers."""

HIGH, WIDE = 16, 128
"""Tile of a parameter in `norms` and `adam`."""


class GpuKernels:
    """The kernels for float32 on one device."""

    dtype = torch.float32

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._words = 0
        self._room = torch.empty(0, dtype=torch.int64, device=device)
        self._tables: list[tuple[Tensor, Tensor]] = []
        self._kept: list[Tensor] = []

    def prepare(self) -> None:
        """Make room for the tables of a graph, as much as those took that were launched since the last one.

        A graph's own memory won't do: what a kernel left there earlier in the graph would come back in every replay.
        """
        self._room = torch.empty(self._words, dtype=torch.int64, device=self.device)
        self._kept.append(self._room)
        self._words = 0

    def settle(self) -> None:
        """Fill in the tables of the graph that was captured."""
        for table, content in self._tables:
            table.copy_(content)
        self._tables.clear()

    def dots(self, jobs: Jobs) -> None:
        """See `hypogen.native.Kernels`."""
        by_width: dict[int, list[Any]] = {}
        for job in jobs:
            by_width.setdefault(min(ELEMENTS, triton.next_power_of_2(max(job[6], 64))), []).append(job)
        for width, alike in by_width.items():
            high = ELEMENTS // width
            tiles = [-(-job[5] // high) for job in alike]
            self._launch(_dots, alike, tiles, ROWS=SPECS, HIGH=high, WIDE=width)

    def sums(self, jobs: Jobs) -> None:
        """See `hypogen.native.Kernels`."""
        wide = ELEMENTS // 16
        shape = {"ROWS": SPECS, "PART": CHUNK, "HIGH": 16, "WIDE": wide}
        tiles = [self.chunks(job[5]) * -(-job[6] // wide) for job in jobs]
        self._launch(_sums, jobs, tiles, **shape)

    @staticmethod
    def chunks(rows: int) -> int:
        """See `hypogen.native.Kernels`."""
        return -(-rows // CHUNK)

    def norm(self, jobs: Jobs) -> Tensor:
        """Norm of all gradients together, float64, for rows of `adam`."""
        tiles = _tiles(jobs)
        found = torch.empty(sum(tiles), device=self.device)
        self._launch(_norms, jobs, tiles, found, HIGH=HIGH, WIDE=WIDE)
        return found.double().sum().sqrt()

    def adam(self, jobs: Jobs, scale: Tensor, roots: Tensor, steps: Tensor, constants: tuple[float, ...]) -> None:
        """Rows as in `hypogen.native.cpu`.

        scale: factor of the gradients. roots, steps [jobs]: reciprocal of the root of the second moment's bias
        correction, and step size by the first's. constants: 1 - beta1, beta2, 1 - beta2, epsilon.
        """
        self._launch(_adam, jobs, _tiles(jobs), scale, roots, steps, *constants, HIGH=HIGH, WIDE=WIDE)

    def _launch(self, kernel: Any, jobs: Jobs, tiles: list[int], *arguments: Any, **shape: int) -> None:
        numbers = np.array(jobs, dtype=np.int64).reshape(-1, JOB)
        places = np.concatenate([(number << 32) + np.arange(count) for number, count in enumerate(tiles)])
        table = self._table(np.concatenate([numbers.reshape(-1), places]))
        kernel[(len(places),)](table, numbers.size, *arguments, **shape, num_warps=4)

    def _table(self, content: npt.NDArray[np.int64]) -> Tensor:
        given = torch.from_numpy(content)
        if self.device.type != "cuda" or not torch.cuda.is_current_stream_capturing():
            self._words += -(-len(content) // ALIGNED) * ALIGNED
            return given.to(self.device)
        assert len(content) <= len(self._room), "a captured step launches more than those before it"
        taken, rest = self._room[: len(content)], self._room[-(-len(content) // ALIGNED) * ALIGNED :]
        self._room = rest
        self._tables.append((taken, given))
        return taken


def _tiles(jobs: Jobs) -> list[int]:
    """Number of each parameter's tiles."""
    return [-(-job[6] // HIGH) * -(-job[7] // WIDE) for job in jobs]


@triton.jit
def _place(table, jobs):  # type: ignore[no-untyped-def]
    """This program's job, and which of its tiles."""
    place = tl.load(table + jobs + tl.program_id(0))
    return table + (place >> 32) * 8, (place & 0xFFFFFFFF).to(tl.int32)


@triton.jit
def _at(job, place):  # type: ignore[no-untyped-def]
    """Address of float32 numbers."""
    return tl.load(job + place).to(tl.pointer_type(tl.float32))


@triton.jit
def _size(job, place):  # type: ignore[no-untyped-def]
    return tl.load(job + place).to(tl.int32)


@triton.jit(do_not_specialize=["jobs"])
def _dots(table, jobs, ROWS: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    job, block = _place(table, jobs)
    x, w, y, bias = _at(job, 0), _at(job, 1), _at(job, 2), _at(job, 3)
    count, rows, columns = _size(job, 4), _size(job, 5), _size(job, 6)
    biased, relu = tl.where(tl.load(job + 3) != 0, rows, 0), tl.load(job + 7) != 0
    row = block * HIGH + tl.arange(0, HIGH)
    start = tl.load(bias + row, mask=row < biased, other=0.0)
    for first in range(0, count, ROWS):
        one = first + tl.arange(0, ROWS)
        products = tl.zeros((ROWS, HIGH, WIDE), tl.float32)
        for left in range(0, columns, WIDE):
            column = left + tl.arange(0, WIDE)
            inside = column[None, :] < columns
            a = tl.load(x + one[:, None] * columns + column[None, :], mask=(one[:, None] < count) & inside, other=0.0)
            b = tl.load(w + row[:, None] * columns + column[None, :], mask=(row[:, None] < rows) & inside, other=0.0)
            products += a[:, None, :] * b[None, :, :]
        total = tl.sum(products, axis=2) + start[None, :]
        total = tl.where(relu & (total < 0.0), 0.0, total)
        tl.store(y + one[:, None] * rows + row[None, :], total, mask=(one[:, None] < count) & (row[None, :] < rows))


@triton.jit(do_not_specialize=["jobs"])
def _sums(table, jobs, ROWS: tl.constexpr, PART: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    job, block = _place(table, jobs)
    x, w, y, masks = _at(job, 0), _at(job, 1), _at(job, 2), _at(job, 3)
    count, rows, columns = _size(job, 4), _size(job, 5), _size(job, 6)
    masked = tl.where(tl.load(job + 3) != 0, columns, 0)
    across = tl.cdiv(columns, WIDE)
    part = block // across
    column = block % across * WIDE + tl.arange(0, WIDE)
    inside = column[None, :] < columns
    for first in range(0, count, ROWS):
        one = first + tl.arange(0, ROWS)
        products = tl.zeros((ROWS, HIGH, WIDE), tl.float32)
        for top in range(0, PART, HIGH):
            row = part * PART + top + tl.arange(0, HIGH)
            a = tl.load(
                x + one[:, None] * rows + row[None, :], mask=(one[:, None] < count) & (row[None, :] < rows), other=0.0
            )
            b = tl.load(w + row[:, None] * columns + column[None, :], mask=(row[:, None] < rows) & inside, other=0.0)
            products += a[:, :, None] * b[None, :, :]
        total = tl.sum(products, axis=1)
        there = (one[:, None] < count) & inside
        place = one[:, None] * columns + column[None, :]
        open_ = tl.load(masks + place, mask=(one[:, None] < count) & (column[None, :] < masked), other=1.0)
        total = tl.where(open_ > 0.0, total, 0.0)
        tl.store(y + part * count * columns + place, total, mask=there)


@triton.jit
def _gradient(job, row, column, rows, columns):  # type: ignore[no-untyped-def]
    """Tile of a gradient: whole, or the product of its factors."""
    rank = _size(job, 5)
    there = (row[:, None] < tl.where(rank == 0, rows, 0)) & (column[None, :] < columns)
    slope = tl.load(_at(job, 3) + row[:, None] * columns + column[None, :], mask=there, other=0.0)
    for r in range(0, rank):
        a = tl.load(_at(job, 3) + r * rows + row, mask=row < rows, other=0.0)
        b = tl.load(_at(job, 4) + r * columns + column, mask=column < columns, other=0.0)
        slope += a[:, None] * b[None, :]
    return slope


@triton.jit
def _tile(job, block, HIGH: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows and columns of a parameter's tile, and the parameter's size."""
    rows, columns = _size(job, 6), _size(job, 7)
    across = tl.cdiv(columns, WIDE)
    return block // across * HIGH + tl.arange(0, HIGH), block % across * WIDE + tl.arange(0, WIDE), rows, columns


@triton.jit(do_not_specialize=["jobs"])
def _norms(table, jobs, found, HIGH: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    job, block = _place(table, jobs)
    row, column, rows, columns = _tile(job, block, HIGH, WIDE)
    slope = _gradient(job, row, column, rows, columns)
    tl.store(found + tl.program_id(0), tl.sum(tl.sum(slope * slope, axis=1), axis=0))


@triton.jit(do_not_specialize=["jobs"])
def _adam(  # type: ignore[no-untyped-def]
    table, jobs, scale, roots, steps, fresh, kept, squared, epsilon, HIGH: tl.constexpr, WIDE: tl.constexpr
):
    job, block = _place(table, jobs)
    number = tl.load(table + jobs + tl.program_id(0)) >> 32
    row, column, rows, columns = _tile(job, block, HIGH, WIDE)
    there = (row[:, None] < rows) & (column[None, :] < columns)
    place = row[:, None] * columns + column[None, :]
    p, m, v = _at(job, 0) + place, _at(job, 1) + place, _at(job, 2) + place
    weight = tl.load(p, mask=there, other=0.0)
    before, squares = tl.load(m, mask=there, other=0.0), tl.load(v, mask=there, other=0.0)
    slope = _gradient(job, row, column, rows, columns) * tl.load(scale)
    mean = before + fresh * (slope - before)
    square = kept * squares + squared * slope * slope
    bottom = tl.sqrt(square) * tl.load(roots + number) + epsilon
    tl.store(m, mean, mask=there)
    tl.store(v, square, mask=there)
    tl.store(p, weight - tl.load(steps + number) * mean / bottom, mask=there)
