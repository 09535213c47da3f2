"""The kernels' code. All that they compile is in this file: Numba compiles again when it changes, and no other."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

CHUNK = 256
"""Rows of a weight that `sums` adds up on their own."""

_READ, _SECOND_LEVEL, _DATA = 0, 2, 1
"""Flags of LLVM's prefetch."""

JOB = 8
"""Integers that describe a job."""

thread = types.ExternalFunction("omp_get_thread_num", types.int32())
threads = types.ExternalFunction("omp_get_num_threads", types.int32())

llvm.set_option("hypogen", "-runtime-memory-check-threshold=64")
"""LLVM vectorises loops over many arrays only if it may check at run time that they are apart; `_update` has 12."""


def _cache_found() -> bool:
    """Whether Numba has a folder that it can keep compiled code in."""
    try:
        njit(cache=True)(_cache_found)  # compiles nothing yet
    except RuntimeError:
        return False
    return True


CACHE = _cache_found()
compiled = njit(error_model="numpy", cache=CACHE, fastmath={"contract"})
reordered = njit(error_model="numpy", cache=CACHE, fastmath={"contract", "reassoc"})
"""For dot products, whose terms may be added up in any order (the same one every time)."""

entry = cfunc(types.void(types.CPointer(types.int64)), error_model="numpy", cache=CACHE)
"""A kernel's entry: a function of a table of jobs that every thread calls, and that does its share of them.

Here the table's first row: number of jobs, address of Adam's numbers (float64), address of the norms (float64). Its
other rows are the jobs; see `CpuKernels` for them. There is an entry for each type of real numbers.
"""


@intrinsic
def pointer(context: Any, address: Any, real: Any) -> Any:
    """Pointer to numbers of type `real` at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(real.dtype)(address, real), generate


@intrinsic
def _prefetch(context: Any, array: Any, place: Any) -> Any:
    """Bring the cache line of an array's element to the second level; places past the end do no harm."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, *[ir.IntType(32)] * 3])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [address, *(ir.IntType(32)(flag) for flag in (_READ, _SECOND_LEVEL, _DATA))])
        return context.get_dummy_value()

    return types.void(array, place), generate


@compiled
def _fetch(w, row, part, parts):  # type: ignore[no-untyped-def]
    """Bring a part of the 4 rows of w [m, n] that are worked on in two rounds: a burst of all would block."""
    line = 64 // w.itemsize
    size = 4 * w.shape[1] // parts
    for j in range(0, size, line):
        _prefetch(w, (row + 8) * w.shape[1] + part * size + j)


@compiled
def _cut(position, columns, rows, step):  # type: ignore[no-untyped-def]
    """Row of a matrix, a multiple of `step`, at which the share ends that ends at its element `position`."""
    if position <= 0:
        return 0
    return rows if position >= rows * columns else position // columns // step * step


@compiled
def _share(total, position, rows, columns, step):  # type: ignore[no-untyped-def]
    """Rows first:last of a matrix, multiples of `step`, that this thread works on.

    All matrices lie behind one another, `total` elements in all, and this one begins at element `position`.
    """
    share, shares = thread(), threads()
    first = _cut(total * share // shares - position, columns, rows, step)
    return first, _cut(total * (share + 1) // shares - position, columns, rows, step)


@compiled
def _work(jobs, place):  # type: ignore[no-untyped-def]
    """Elements of all jobs' weights, whose rows and columns are at a place."""
    total = 0
    for number in range(1, len(jobs)):
        total += jobs[number, place] * jobs[number, place + 1]
    return total


@reordered
def _dot(one, other):  # type: ignore[no-untyped-def]
    total = one.dtype.type(0)
    for j in range(one.shape[0]):
        total += one[j] * other[j]
    return total


@reordered
def _dots(x, w, y, first, last):  # type: ignore[no-untyped-def]
    """y[:, first:last] = x @ w[first:last].T for x [S, n], w [m, n]: 4 rows of w and 2 of x at a time in registers."""
    pairs, fours = len(x) // 2 * 2, first + (last - first) // 4 * 4
    for k in range(first, fours, 4):
        for s in range(0, pairs, 2):
            _fetch(w, k, s // 2, pairs // 2)
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = w.dtype.type(0)
            for j in range(w.shape[1]):
                a, b = x[s, j], x[s + 1, j]
                a0 += a * w[k, j]
                a1 += a * w[k + 1, j]
                a2 += a * w[k + 2, j]
                a3 += a * w[k + 3, j]
                b0 += b * w[k, j]
                b1 += b * w[k + 1, j]
                b2 += b * w[k + 2, j]
                b3 += b * w[k + 3, j]
            y[s, k], y[s, k + 1], y[s, k + 2], y[s, k + 3] = a0, a1, a2, a3
            y[s + 1, k], y[s + 1, k + 1], y[s + 1, k + 2], y[s + 1, k + 3] = b0, b1, b2, b3
        for s in range(pairs, len(x)):
            for i in range(k, k + 4):
                y[s, i] = _dot(x[s], w[i])
    for k in range(fours, last):
        for s in range(len(x)):
            y[s, k] = _dot(x[s], w[k])


@compiled
def _sums(x, w, y, first, last):  # type: ignore[no-untyped-def]
    """y = x[:, first:last] @ w[first:last] for x [S, m], w [m, n]: 4 rows of w and 4 of x at a time in registers.

    The latter are S/4 apart: LLVM then sees that all rows of y written in its loops are apart, and vectorises them.
    """
    q, fours = len(x) // 4, first + (last - first) // 4 * 4
    for s in range(len(x)):
        for j in range(w.shape[1]):
            y[s, j] = 0
    for k in range(first, fours, 4):
        for s in range(q):
            _fetch(w, k, s, q)
            a0, a1, a2, a3 = x[s, k], x[s, k + 1], x[s, k + 2], x[s, k + 3]
            b0, b1, b2, b3 = x[q + s, k], x[q + s, k + 1], x[q + s, k + 2], x[q + s, k + 3]
            c0, c1, c2, c3 = x[2 * q + s, k], x[2 * q + s, k + 1], x[2 * q + s, k + 2], x[2 * q + s, k + 3]
            d0, d1, d2, d3 = x[3 * q + s, k], x[3 * q + s, k + 1], x[3 * q + s, k + 2], x[3 * q + s, k + 3]
            for j in range(w.shape[1]):
                w0, w1, w2, w3 = w[k, j], w[k + 1, j], w[k + 2, j], w[k + 3, j]
                y[s, j] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                y[q + s, j] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
                y[2 * q + s, j] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
                y[3 * q + s, j] += d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
        for s in range(4 * q, len(x)):
            a0, a1, a2, a3 = x[s, k], x[s, k + 1], x[s, k + 2], x[s, k + 3]
            for j in range(w.shape[1]):
                y[s, j] += a0 * w[k, j] + a1 * w[k + 1, j] + a2 * w[k + 2, j] + a3 * w[k + 3, j]
    for k in range(fours, last):
        for s in range(len(x)):
            a0 = x[s, k]
            for j in range(w.shape[1]):
                y[s, j] += a0 * w[k, j]


@compiled
def _update(p, m, v, g, a, b, first, last, numbers):  # type: ignore[no-untyped-def]
    """Adam's update of rows first:last of a parameter p with moments m and v [m, n].

    Its gradient is g [m, n], or, where there are R > 0 factors, a.T @ b for a [R, m], b [R, n]. numbers: see
    `CpuKernels.adam`.
    """
    scale, fresh, kept, squared, root, epsilon, step = numbers
    rank, columns = b.shape
    apart = max(rank - 1, 0) // 8 * 8  # ranks that are summed first; the others, 1 to 8 of them, on the way
    summed, factors = np.zeros((8, columns), p.dtype), np.zeros((8, apart), p.dtype)
    some, rest = np.zeros(8, p.dtype), np.zeros((8, columns), p.dtype)
    for r in range(apart, rank):
        for j in range(columns):
            rest[r - apart, j] = b[r, j]
    for start in range(first, last, 8):
        end = min(start + 8, last)
        if apart:
            for r in range(apart):
                for row in range(start, end):
                    factors[row - start, r] = a[r, row]
            _sums(factors, b, summed, 0, apart)
        if rank == 0:
            for row in range(start, end):
                for j in range(columns):
                    summed[row - start, j] = g[row, j]
        for row in range(start, end):
            for r in range(apart, rank):
                some[r - apart] = a[r, row]
            a0, a1, a2, a3, a4, a5, a6, a7 = some[0], some[1], some[2], some[3], some[4], some[5], some[6], some[7]
            for j in range(columns):
                slope = summed[row - start, j] + a0 * rest[0, j] + a1 * rest[1, j] + a2 * rest[2, j] + a3 * rest[3, j]
                slope = scale * (slope + a4 * rest[4, j] + a5 * rest[5, j] + a6 * rest[6, j] + a7 * rest[7, j])
                mean = m[row, j] + fresh * (slope - m[row, j])
                square = kept * v[row, j] + squared * slope * slope
                m[row, j] = mean
                v[row, j] = square
                p[row, j] -= step * mean / (np.sqrt(square) * root + epsilon)


@reordered
def _square(a, b):  # type: ignore[no-untyped-def]
    """Sum of the squares of a.T @ b for a [R, m], b [R, n]: of the products of their Gram matrices' elements."""
    total = 0.0
    for r in range(len(a)):
        total += np.float64(_dot(a[r], a[r])) * np.float64(_dot(b[r], b[r]))
        for q in range(r):
            total += 2.0 * np.float64(_dot(a[r], a[q])) * np.float64(_dot(b[r], b[q]))
    return max(total, 0.0)


def dots_entry(real: Any) -> Any:
    @entry
    def dots(table):  # type: ignore[no-untyped-def]
        count, position = table[0], 0
        jobs = carray(table, (count + 1, JOB))
        total = _work(jobs, 5)
        for number in range(1, count + 1):
            job = jobs[number]
            rows, columns = job[5], job[6]
            first, last = _share(total, position, rows, columns, 4)
            position += rows * columns
            if first == last:
                continue
            x = carray(pointer(job[0], real), (job[4], columns))
            w = carray(pointer(job[1], real), (rows, columns))
            y = carray(pointer(job[2], real), (job[4], rows))
            _dots(x, w, y, first, last)
            if job[3] != 0:
                bias = carray(pointer(job[3], real), (rows,))
                for s in range(job[4]):
                    for k in range(first, last):
                        y[s, k] += bias[k]
            if job[7] != 0:
                for s in range(job[4]):
                    for k in range(first, last):
                        y[s, k] = real(0) if y[s, k] < 0 else y[s, k]

    return dots


def sums_entry(real: Any) -> Any:
    @entry
    def sums(table):  # type: ignore[no-untyped-def]
        count, position = table[0], 0
        jobs = carray(table, (count + 1, JOB))
        total = _work(jobs, 5)
        for number in range(1, count + 1):
            job = jobs[number]
            rows, columns = job[5], job[6]
            first, last = _share(total, position, rows, columns, CHUNK)
            position += rows * columns
            x = carray(pointer(job[0], real), (job[4], rows))
            w = carray(pointer(job[1], real), (rows, columns))
            y = carray(pointer(job[2], real), (-(-rows // CHUNK), job[4], columns))
            for start in range(first, last, CHUNK):
                part = y[start // CHUNK]
                for s in range(0, job[4], 16):  # the first level of a small cache holds 16 rows of sums
                    _sums(x[s : s + 16], w, part[s : s + 16], start, min(start + CHUNK, rows))
                if job[3] != 0:
                    mask = carray(pointer(job[3], real), (job[4], columns))
                    for s in range(job[4]):
                        for j in range(columns):
                            part[s, j] = real(0) if mask[s, j] <= 0 else part[s, j]

    return sums


def norms_entry(real: Any) -> Any:
    @entry
    def norms(table):  # type: ignore[no-untyped-def]
        share, shares, count = thread(), threads(), table[0]
        jobs = carray(table, (count + 1, JOB))
        found = carray(pointer(table[2], np.float64), (count,))
        for number in range(share, count, shares):
            job = jobs[number + 1]
            rank, rows, columns = job[5], job[6], job[7]
            if rank == 0:
                whole = carray(pointer(job[3], real), (1, rows * columns))
                found[number] = np.float64(_dot(whole[0], whole[0]))
            else:
                a = carray(pointer(job[3], real), (rank, rows))
                b = carray(pointer(job[4], real), (rank, columns))
                found[number] = _square(a, b)

    return norms


def adam_entry(real: Any) -> Any:
    @entry
    def adam(table):  # type: ignore[no-untyped-def]
        count, position = table[0], 0
        jobs = carray(table, (count + 1, JOB))
        given = carray(pointer(table[1], np.float64), (5 + 2 * count,))
        total = _work(jobs, 6)
        for number in range(count):
            job = jobs[number + 1]
            rank, rows, columns = job[5], job[6], job[7]
            first, last = _share(total, position, rows, columns, 8)
            position += rows * columns
            if first == last:
                continue
            numbers = (
                real(given[4]),
                real(given[0]),
                real(given[1]),
                real(given[2]),
                real(given[5 + 2 * number]),
                real(given[3]),
                real(given[6 + 2 * number]),
            )
            p = carray(pointer(job[0], real), (rows, columns))
            m = carray(pointer(job[1], real), (rows, columns))
            v = carray(pointer(job[2], real), (rows, columns))
            g = carray(pointer(job[3], real), (rows, columns))
            a = carray(pointer(job[3], real), (rank, rows))
            b = carray(pointer(job[4], real), (rank, columns))
            _update(p, m, v, g, a, b, first, last, numbers)

    return adam
