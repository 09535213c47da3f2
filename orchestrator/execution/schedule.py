"""Schedule of what a plan lacks on given nodes: the order of the real execution, and a simulation of it in seconds.

Trainings take room as they ask Ray for it, longest chain first, and whatever fits passes those that have to wait for
another kind of room; rollout actors, one per CPU, take the rest in the same order. Nothing fails, no node comes late.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact import Place
from orchestrator.config.sections import Resources, TaskResources
from orchestrator.exceptions import UserError
from orchestrator.execution.cluster import fit_to_nodes
from orchestrator.execution.instances import Instance
from orchestrator.execution.requests import asked, bundles
from orchestrator.execution.simulated_nodes import Device, SimulatedNode, Taken, place
from orchestrator.execution.state import ExecutionState

START_S = 6.0
"""Seconds until the first artifact is begun: Python, PyTorch, the plan, Ray; and from the last one to the table."""
PROCESS_S = 3.0
"""Seconds of a core until a new process of Ray can make its first artifact."""
HAND_OUT_S = 0.1
"""Seconds that pass until the driver sees that an artifact is made, and hands out the next one."""


def longest_chains(state: ExecutionState, seconds: Callable[[Artifact], float]) -> dict[str, float]:
    """Per missing artifact, the seconds of the longest chain of missing artifacts that begins with it."""
    behind: dict[str, float] = defaultdict(float)
    chains: dict[str, float] = {}
    for key, artifact in reversed(state.missing.items()):  # inputs come first
        chains[key] = seconds(artifact) + behind[key]
        for parent in artifact.inputs:
            behind[parent.key] = max(behind[parent.key], chains[key])
    return chains


@dataclass(frozen=True)
class Share:
    """How much of the cluster's CPUs or GPUs was in use.

    Attributes:
        total: Number of them.
        held: Fraction that trainings held, from beginning to end.
        held_before: The same until no training had to wait for room any more; None where none ever had to.
        busy: Fraction that computed.
    """

    total: float
    held: float
    held_before: float | None
    busy: float


@dataclass(frozen=True)
class SimulatedSchedule:
    """What a simulation came to.

    Attributes:
        wall_s: Seconds from the command to the table.
        spans: Per artifact, when its making begins and ends, in seconds after the first could begin.
        cpus, gpus: Use of them.
        usd: Price of all nodes for the whole time; None where one has no price.
        chain: The longest chain of artifacts that wait for one another, each alone on its core or GPU.
        chain_s: Seconds that it takes.
    """

    wall_s: float
    spans: Mapping[str, tuple[float, float]]
    cpus: Share
    gpus: Share
    usd: float | None
    chain: tuple[Artifact, ...]
    chain_s: float


def simulate(
    state: ExecutionState,
    seconds: Callable[[Artifact], float],
    nodes: Sequence[Instance],
    resources: Resources,
    most: int = 0,
) -> SimulatedSchedule:
    """Simulate the making of all that is missing.

    Args:
        seconds: Seconds of an artifact that has its core, or its GPU, to itself.
        resources: Section of the experiment file.
        most: Trainings at once; 0 for as many as fit.

    Raises:
        UserError: The nodes have no room for a training, even where nothing else runs.
    """
    return _Simulation(state, seconds, nodes, resources, most).run()


@dataclass
class _Task:
    """An artifact that is being made."""

    artifact: Artifact
    begun: float
    taken: list[Taken]
    node: int
    kind: str


class _Simulation:
    def __init__(
        self,
        state: ExecutionState,
        seconds: Callable[[Artifact], float],
        nodes: Sequence[Instance],
        resources: Resources,
        most: int,
    ) -> None:
        self._state, self._seconds, self._most, self._resources = state, seconds, most, resources
        self._instances = nodes
        self._nodes = [SimulatedNode(node) for node in nodes]
        self._chains = longest_chains(state, seconds)
        state.prefer(self._chains)
        self._needed_by: dict[str, list[str]] = defaultdict(list)
        self._waits_for: dict[str, int] = {}
        self._queues: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._requests: dict[str, tuple[TaskResources, list[dict[str, float]]]] = {}
        self._blocked: set[str] = set()
        self._freed: set[int] = set()
        self._idle = deque(self._actors())
        for number in self._idle:
            self._nodes[number].free["CPU"] -= resources.rollout.cpu
        self._processes: Counter[tuple[int, str]] = Counter()
        self._running: dict[str, _Task] = {}
        self._trainings = 0
        self._ends: list[tuple[float, int, Device]] = []
        self._expected: dict[Device, int] = {}
        self._expectations = itertools.count()
        self._spans: dict[str, tuple[float, float]] = {}
        self._held: list[tuple[float, float, Mapping[str, float]]] = []
        self._now = self._waited_until = 0.0

    def _actors(self) -> list[int]:
        """The node of each rollout actor."""
        numbers = [number for number, node in enumerate(self._instances) for _ in range(int(node.cpus))]
        wanted = self._resources.rollout.workers or max(1, len(numbers))
        return [numbers[index % len(numbers)] if numbers else 0 for index in range(wanted)]

    def run(self) -> SimulatedSchedule:
        """Until everything is made."""
        missing = self._state.missing
        for key, artifact in missing.items():
            inputs = {parent.key for parent in artifact.inputs} & missing.keys()
            self._waits_for[key] = len(inputs)
            for parent in inputs:
                self._needed_by[parent].append(key)
            if not inputs:
                self._queue(artifact)
        while True:
            self._hand_out()
            if not self._ends:
                break
            self._end_next()
        self._check_all_made()
        return self._schedule()

    def _queue(self, artifact: Artifact) -> None:
        heapq.heappush(self._queues[self._kind(artifact)], (self._state.rank(artifact.key), artifact.key))

    def _kind(self, artifact: Artifact) -> str:
        """Artifacts of one kind ask for the same room."""
        if artifact.place is Place.ACTOR:
            return ""
        return f"{artifact.resources} {artifact.gpu_seconds is not None} {artifact.runners}"

    def _request(self, kind: str, artifact: Artifact) -> tuple[TaskResources, list[dict[str, float]]]:
        """What trainings of a kind ask for."""
        if kind not in self._requests:
            given = [node.resources for node in self._instances]
            wanted = asked(artifact, self._resources)
            request = fit_to_nodes(wanted, self._resources, given, self._resources.gpus)
            self._requests[kind] = request, bundles(request, artifact.runners)
        return self._requests[kind]

    # Time

    def _hand_out(self) -> None:
        """Begin whatever may begin now."""
        actors = self._queues[""]
        while actors and self._idle:
            artifact = self._state.missing[heapq.heappop(actors)[1]]
            self._begin(_Task(artifact, self._now, [], self._idle.popleft(), ""))
        everywhere, freed = range(len(self._nodes)), sorted(self._freed)
        waiting = [(queue[0], kind) for kind, queue in self._queues.items() if queue and kind]
        heapq.heapify(waiting)
        while waiting and not (self._most and self._trainings >= self._most):
            (_, key), kind = heapq.heappop(waiting)
            artifact = self._state.missing[key]
            _, wanted = self._request(kind, artifact)
            nothing_new = kind in self._blocked and len(wanted) == 1
            taken = place(self._nodes, wanted, freed if nothing_new else everywhere)
            if not taken:
                self._blocked.add(kind)
                continue
            self._blocked.discard(kind)
            heapq.heappop(self._queues[kind])
            self._trainings += 1
            self._begin(_Task(artifact, self._now, taken, taken[0].node, kind))
            if self._queues[kind]:
                heapq.heappush(waiting, (self._queues[kind][0], kind))
        self._freed.clear()
        if any(queue for kind, queue in self._queues.items() if kind):
            self._waited_until = self._now

    def _begin(self, task: _Task) -> None:
        artifact, node = task.artifact, self._nodes[task.node]
        self._running[artifact.key] = task
        device, demand = node.cores, 1.0
        if task.kind:
            request, _ = self._request(task.kind, artifact)
            demand = float(request.threads + artifact.runners)
            if task.taken[0].gpus:
                device, demand = node.devices[task.taken[0].gpus[0]], 1.0
        work_s = self._seconds(artifact) + HAND_OUT_S
        if self._processes[task.node, task.kind]:
            self._processes[task.node, task.kind] -= 1
        else:
            work_s += PROCESS_S
        device.add(self._now, work_s, demand, artifact.key)
        self._expect(device)

    def _expect(self, device: Device) -> None:
        """Note when the next one ends there; what was expected before is void."""
        self._expected[device] = number = next(self._expectations)
        if (due := device.next_end()) < math.inf:
            heapq.heappush(self._ends, (due, number, device))

    def _end_next(self) -> None:
        due, number, device = heapq.heappop(self._ends)
        if self._expected[device] != number:
            return
        self._now = due
        task = self._running.pop(device.pop(due))
        self._expect(device)
        key = task.artifact.key
        self._spans[key] = (task.begun, due)
        self._processes[task.node, task.kind] += 1
        for taken in task.taken:
            self._nodes[taken.node].give_back(taken)
            self._freed.add(taken.node)
            self._held.append((task.begun, due, taken.bundle))
        if task.kind:
            self._trainings -= 1
        else:
            self._idle.append(task.node)
        for other in self._needed_by[key]:
            self._waits_for[other] -= 1
            if not self._waits_for[other]:
                self._queue(self._state.missing[other])

    # Outcome

    def _check_all_made(self) -> None:
        for kind, queue in self._queues.items():
            if queue:
                artifact = self._state.missing[queue[0][1]]
                _, wanted = self._request(kind, artifact)
                asked = " and ".join(f"{amount:g} {name}" for one in wanted for name, amount in one.items())
                raise UserError(f"no room for {artifact.label}: it asks for {asked}; name larger nodes, or more")

    def _schedule(self) -> SimulatedSchedule:
        hours = (self._now + START_S) / 3600
        prices = [node.usd_per_hour for node in self._instances]
        usd = None if None in prices else hours * sum(price or 0.0 for price in prices)
        chain = self._chain()
        return SimulatedSchedule(
            wall_s=self._now + START_S if self._spans else 0.0,
            spans=self._spans,
            cpus=self._share("CPU", [node.cores for node in self._nodes]),
            gpus=self._share("GPU", [device for node in self._nodes for device in node.devices]),
            usd=usd,
            chain=chain,
            chain_s=sum(map(self._seconds, chain)),
        )

    def _share(self, name: str, devices: Sequence[Device]) -> Share:
        total, until = sum(device.capacity for device in devices), self._waited_until

        def held(end: float) -> float:
            parts = (bundle.get(name, 0.0) * (min(last, end) - min(first, end)) for first, last, bundle in self._held)
            return sum(parts) / max(total * end, 1e-9)

        busy = sum(device.busy_s for device in devices) / max(total * self._now, 1e-9)
        return Share(total, held(self._now), held(until) if until else None, busy)

    def _chain(self) -> tuple[Artifact, ...]:
        chain: list[Artifact] = []
        found = min(self._chains, key=self._state.rank, default=None)
        while found is not None:
            chain.append(self._state.missing[found])
            found = min(self._needed_by[found], key=self._state.rank, default=None)
        return tuple(chain)
