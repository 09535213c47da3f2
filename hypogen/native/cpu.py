"""The kernels for a processor, compiled by Numba and run on torch's own threads.

Work is cut in the same pieces whatever the number of threads, and no two threads add to one number: one thread and
sixteen give the same bits. The threads are those of torch's OpenMP runtime, so no second pool competes with it, and
`torch.set_num_threads` holds. Compiled code is kept in Numba's cache: beside `kernels.py`, or in the user's cache
folder where that is read-only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from hypogen.native import Jobs
from hypogen.native.kernels import CHUNK, JOB, adam_entry, dots_entry, norms_entry, sums_entry
from hypogen.native.openmp import run

Call = Callable[[], None]

SMALL = 1 << 17
"""Multiplications per row of the inputs below which a second thread costs more than it brings."""


class CpuKernels:
    """The kernels for a floating type, compiled or read from the cache when the first of them is made."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self._entries = dtype, _entries(dtype)
        self._dots, self._sums, self._norms, self._adam = (ctypes.c_void_p(entry.address) for entry in self._entries)
        self._note: Callable[[Call], object] | None = None

    @contextmanager
    def noted(self, note: Callable[[Call], object]) -> Iterator[None]:
        """Tell `note` of every call meanwhile: to call it again does the same work on the same memory."""
        self._note = note
        try:
            yield
        finally:
            self._note = None

    def dots(self, jobs: Jobs) -> None:
        """See `hypogen.native.Kernels`."""
        self._run(self._dots, jobs, sum(job[5] * job[6] for job in jobs))

    def sums(self, jobs: Jobs) -> None:
        """See `hypogen.native.Kernels`."""
        self._run(self._sums, jobs, sum(job[5] * job[6] for job in jobs))

    @staticmethod
    def chunks(rows: int) -> int:
        """See `hypogen.native.Kernels`."""
        return -(-rows // CHUNK)

    def norm(self, jobs: Jobs) -> float:
        """Norm of all gradients together, for rows of `adam`."""
        found = torch.empty(len(jobs), dtype=torch.float64)
        self._run(self._norms, jobs, SMALL, found=found.data_ptr())
        return float(found.sum().sqrt())

    def adam(self, jobs: Jobs, numbers: Sequence[float]) -> None:
        """Rows: parameter, its two moments [m, n], factors [R, m] and [R, n], R, m, n; or R = 0 and a gradient [m, n].

        numbers: 1 - beta1, beta2, 1 - beta2, epsilon, factor of the gradients; and for every row the reciprocal of the
        root of the second moment's bias correction, and the step size by the first's.
        """
        table = (ctypes.c_double * len(numbers))(*numbers)
        self._run(self._adam, jobs, SMALL, numbers=ctypes.addressof(table))

    def _run(self, kernel: ctypes.c_void_p, jobs: Jobs, work: int, numbers: int = 0, found: int = 0) -> None:
        values = [len(jobs), numbers, found, *[0] * (JOB - 3)]
        for job in jobs:
            values += job
        table = (ctypes.c_int64 * len(values))(*values)
        call = partial(run, kernel, table, torch.get_num_threads() if work >= SMALL else 1)
        call()
        if self._note is not None:
            self._note(call)


@cache
def _entries(dtype: torch.dtype) -> tuple[Any, ...]:
    real = {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    return dots_entry(real), sums_entry(real), norms_entry(real), adam_entry(real)
