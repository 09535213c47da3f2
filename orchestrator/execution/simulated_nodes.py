"""Nodes of a simulated schedule: room that Ray would give away, and cores and GPUs that slow down where it is tight."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrator.execution.instances import Instance

CLOSE = 1e-9
"""Fractions of resources that differ by less are equal."""


class Device:
    """The cores of a node, or a GPU. Where more is asked for than there is, all that runs there slows down alike.

    Trainings on one GPU take turns (``docs/performance.md``), as processes on a core do.
    """

    def __init__(self, capacity: float) -> None:
        self.capacity, self.busy_s = capacity, 0.0
        self._demand, self._progress, self._moment = 0.0, 0.0, 0.0
        self._running: list[tuple[float, int, float, str]] = []
        self._numbers = itertools.count()

    @property
    def _rate(self) -> float:
        return min(1.0, self.capacity / self._demand) if self._demand > CLOSE else 1.0

    def _advance(self, now: float) -> None:
        passed = now - self._moment
        self._progress += passed * self._rate
        self.busy_s += passed * min(self._demand, self.capacity)
        self._moment = now

    def add(self, now: float, work_s: float, demand: float, key: str) -> None:
        """Begin something that takes so long where it gets all that it demands."""
        self._advance(now)
        heapq.heappush(self._running, (self._progress + work_s, next(self._numbers), demand, key))
        self._demand += demand

    def next_end(self) -> float:
        """The moment at which the next one ends, if nothing else begins."""
        if not self._running:
            return math.inf
        return self._moment + max(self._running[0][0] - self._progress, 0.0) / self._rate

    def pop(self, now: float) -> str:
        """End the one that ends next; its key."""
        self._advance(now)
        _, _, demand, key = heapq.heappop(self._running)
        self._demand = self._demand - demand if self._running else 0.0
        return key


class Taken(NamedTuple):
    """Room on one node, and the GPU there that it is on, if any."""

    node: int
    bundle: Mapping[str, float]
    gpus: tuple[int, ...]


@dataclass
class SimulatedNode:
    """A node, what is free there, and what computes there."""

    instance: Instance
    free: dict[str, float] = field(init=False)
    gpus: list[float] = field(init=False)
    cores: Device = field(init=False)
    devices: list[Device] = field(init=False)

    def __post_init__(self) -> None:
        self.free = self.instance.resources
        self.gpus = [1.0] * int(self.instance.gpus)
        self.cores = Device(self.instance.cpus)
        self.devices = [Device(1.0) for _ in self.gpus]

    def score(self, bundle: Mapping[str, float]) -> float:
        """How much room would be left, by which Ray chooses among nodes; negative where there is none."""
        score = 0.0
        for name, amount in bundle.items():
            free = self.free.get(name, 0.0)
            if amount > free + CLOSE:
                return -1.0
            score += (free - amount) / free if free else 0.0
        return score if self._choose(bundle.get("GPU", 0.0)) is not None else -1.0

    def take(self, number: int, bundle: Mapping[str, float]) -> Taken:
        """Take room that is there."""
        chosen = self._choose(bundle.get("GPU", 0.0))
        assert chosen is not None
        for index in chosen:
            self.gpus[index] -= min(bundle["GPU"], 1.0)
        for name, amount in bundle.items():
            self.free[name] -= amount
        return Taken(number, bundle, chosen)

    def give_back(self, taken: Taken) -> None:
        """Free what was taken."""
        for index in taken.gpus:
            self.gpus[index] += min(taken.bundle["GPU"], 1.0)
        for name, amount in taken.bundle.items():
            self.free[name] += amount

    def _choose(self, amount: float) -> tuple[int, ...] | None:
        """The GPUs for an amount: whole ones, or the fullest with room for a fraction; None where there are none."""
        if not amount:
            return ()
        each, count = min(amount, 1.0), math.ceil(amount - CLOSE)
        fitting = sorted((free, index) for index, free in enumerate(self.gpus) if free >= each - CLOSE)
        return tuple(index for _, index in fitting[:count]) if len(fitting) >= count else None


def place(nodes: Sequence[SimulatedNode], bundles: Sequence[Mapping[str, float]], among: Sequence[int]) -> list[Taken]:
    """Take room for all bundles, the first on one of the nodes ``among``, the others anywhere; empty where it lacks."""
    taken: list[Taken] = []
    for position, bundle in enumerate(bundles):
        best, score = -1, -0.5
        for number in among if not position else range(len(nodes)):
            if (found := nodes[number].score(bundle)) > score + CLOSE:
                best, score = number, found
        if best < 0:
            for one in taken:
                nodes[one.node].give_back(one)
            return []
        taken.append(nodes[best].take(best, bundle))
    return taken
