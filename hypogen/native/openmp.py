"""torch's OpenMP runtime: calls of a compiled function by all of its threads."""

from __future__ import annotations

import ctypes

import llvmlite.binding as llvm


def _openmp() -> ctypes.CDLL:
    """The OpenMP runtime that torch has loaded. Raises OSError where that is not GNU's (macOS, Windows)."""
    with open("/proc/self/maps") as maps:
        loaded = {line.split(maxsplit=5)[-1].strip() for line in maps if "libgomp" in line}
    if not loaded:
        raise OSError("torch has loaded no libgomp")
    return ctypes.CDLL(sorted(loaded, key=lambda path: ("torch" not in path, path))[0])


_RUNTIME = _openmp()
for _name in ("omp_get_thread_num", "omp_get_num_threads"):
    llvm.add_symbol(_name, ctypes.cast(getattr(_RUNTIME, _name), ctypes.c_void_p).value)
"""Compiled code finds them by their names."""


def run(function: ctypes.c_void_p, argument: ctypes.Array[ctypes.c_int64], threads: int) -> None:
    """Call a compiled function of one pointer on so many threads, and wait for all of them."""
    _RUNTIME.GOMP_parallel(function, argument, threads, 0)
