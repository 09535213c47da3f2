"""Steps of a training on a GPU as one CUDA graph: a thousand small kernels that are launched together.

A hypernetwork's step is many small products, and launching them one by one takes longer than they do. A graph holds
the kernels of one step with the addresses that they work on; a replay takes one launch.
"""

from __future__ import annotations

import contextlib
import gc
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from hypogen.adam import Capturable
from hypogen.generators.base import Batch

WARM_UP = 3
"""Steps before a capture, which let the libraries choose their kernels and allocate what they keep."""
AHEAD = 8
"""Steps that may wait for the GPU; beyond, the process sleeps. CUDA's own queue keeps a core busy while it is full."""

Learn = Callable[[Batch], dict[str, Tensor]]
"""A step: all of it on the GPU, without a look at a value; returns scalars."""


class CapturedStep:
    """The same step, captured once for each shape of batch.

    Warm-up and capture leave no trace: weights, moments and random numbers are put back. So all steps of a training
    are replays, and a training that goes on from a checkpoint takes the same ones.
    """

    def __init__(self, learn: Learn, device: torch.device, weights: list[Tensor], optimizer: Capturable) -> None:
        """weights: what the optimiser changes."""
        self._learn, self._device, self._weights, self._optimizer = learn, device, weights, optimizer
        self._graphs: dict[Any, tuple[torch.cuda.CUDAGraph, Batch, dict[str, Tensor]]] = {}
        self._ends = deque(torch.cuda.Event(blocking=True) for _ in range(AHEAD))

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take a step. The results are overwritten by the next one of this shape."""
        shape = tuple(getattr(batch, field.name).shape for field in fields(batch))
        if shape not in self._graphs:
            self._graphs[shape] = self._capture(batch)
        graph, memory, results = self._graphs[shape]
        for field in fields(batch):
            getattr(memory, field.name).copy_(getattr(batch, field.name), non_blocking=True)
        graph.replay()
        self._wait()
        return results

    def _wait(self) -> None:
        """Sleep until no more than `AHEAD` steps are unfinished."""
        self._ends.rotate(-1)
        self._ends[-1].synchronize()  # at once, where it was never recorded
        self._ends[-1].record(torch.cuda.current_stream(self._device))

    def _capture(self, batch: Batch) -> tuple[torch.cuda.CUDAGraph, Batch, dict[str, Tensor]]:
        memory = Batch(**{field.name: getattr(batch, field.name).to(self._device).clone() for field in fields(batch)})
        before = [tensor.clone() for tensor in self._changing()]
        with torch.random.fork_rng(devices=[self._device]):
            self._warm_up(memory)
        for number, tensor in enumerate(self._changing()):
            if number < len(before):
                tensor.copy_(before[number])
            else:  # made by the first step: moments and their count
                tensor.zero_()
        self._optimizer.prepare()
        graph = torch.cuda.CUDAGraph()
        with _no_collection(), torch.cuda.graph(graph):
            results = self._learn(memory)
        self._optimizer.settle()
        return graph, memory, results

    def _changing(self) -> list[Tensor]:
        return [*self._weights, *self._optimizer.buffers()]

    def _warm_up(self, memory: Batch) -> None:
        beside = torch.cuda.Stream(self._device)
        beside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                self._learn(memory)
        torch.cuda.current_stream(self._device).wait_stream(beside)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected meanwhile: another training's graph among it would end the capture."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
