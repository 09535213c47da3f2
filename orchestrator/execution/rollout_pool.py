"""Pool of Ray actors that make everything but trainings: demonstrations, probes, rollouts.

It follows the cluster: one actor per CPU, started where there is work for it, on nodes that join too. An actor reserves
nothing, but keeps its node from being idle. So those that have had nothing to do for a while are let go, and a node
that an autoscaler started may leave; on the driver's own node they stay.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import ray
from ray import ObjectRef
from ray.actor import ActorHandle

from orchestrator.artifacts import Artifact, RolloutsArtifact
from orchestrator.artifacts.artifact import Place
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.making import make
from orchestrator.config.sections import RolloutResources
from orchestrator.exceptions import Damaged, UserError
from orchestrator.execution.aggregator import Aggregator, Numbers, live_groups
from orchestrator.execution.attempts import Attempts
from orchestrator.execution.failures import death, ending_of
from orchestrator.execution.nodes import Process, alive, avoiding, home, share_of_a_node, staying_on, this_process
from orchestrator.execution.retry_policy import Ending, NextAttempt

LOOK_S = 1.0
"""Seconds between two looks at the nodes."""
SETTLED_S = 2.0
"""Seconds after which every part of Ray knows a node that joined: before, actors that are meant for it go elsewhere."""
IDLE_S = 30.0
"""Seconds without work after which an actor on another node than the driver's is let go."""


class RolloutWorker:
    """Makes artifacts, one at a time."""

    def __init__(self, storage: str) -> None:
        self._store = Store(storage)

    def process(self) -> Process:
        """Where it runs."""
        return this_process()

    def make(self, artifact: Artifact, aggregator: ActorHandle[Aggregator]) -> None:
        """Make one artifact; the episodes of a rollout go to the aggregator as well."""
        self._store.check_again()  # what this process read a while ago may have been damaged since
        make(self._store, artifact)
        if isinstance(artifact, RolloutsArtifact):
            returns = artifact.load(self._store)["returns"]
            aggregator.add.remote(artifact.key, returns.mean(axis=1).tolist(), returns.std(axis=1).tolist())


@dataclass
class _Worker:
    """A worker, where it runs once it has said so, and the share of a node that it has to itself.

    Attributes:
        wanted_on: Node that it was to be started on; empty where any would do.
        idle_since: Moment since which it has had nothing to do, if it has nothing to do.
    """

    handle: ActorHandle[RolloutWorker]
    answer: ObjectRef[Process]
    share: float = 0.0
    process: Process | None = None
    wanted_on: str = ""
    idle_since: float = 0.0

    @property
    def node(self) -> str:
        """Node that it runs on, or is to be started on."""
        return self.process.node if self.process else self.wanted_on

    def ask(self) -> Process | None:
        """Where it runs, as far as one knows."""
        if self.process is None and ray.wait([self.answer], timeout=0)[0]:
            with contextlib.suppress(ray.exceptions.RayError):  # whoever gives it work will learn that it is dead
                self.process = ray.get(self.answer)
        return self.process

    def suits(self, terms: NextAttempt) -> bool:
        """Whether an attempt may run there."""
        process = self.ask()
        return self.share == terms.share and (process is None or process.node not in terms.avoid)


class Pool:
    """Feeds the rollout actors from the execution state. One that dies, hangs or runs on a bad node is replaced."""

    def __init__(
        self,
        attempts: Attempts,
        resources: RolloutResources,
        on_done: Callable[[str], None],
        damaged: Callable[[Damaged], None],
    ) -> None:
        self._attempts, self._resources, self._on_done, self._damaged = attempts, resources, on_done, damaged
        self._home = home()
        self._idle: list[_Worker] = []
        self._busy: dict[ObjectRef[None], tuple[_Worker, Artifact]] = {}
        self._looked = -math.inf
        self._known = {node.id: -math.inf for node in alive()}
        rooms = {node: room for node, room in self._rooms().items() if node == self._home}
        self._grow(sum(rooms.values()), rooms)  # they start while the first trainings run
        aggregator = ray.remote(Aggregator).options(
            num_cpus=0, max_restarts=-1, scheduling_strategy=staying_on(self._home)
        )
        self._aggregator = cast(ActorHandle[Aggregator], aggregator.remote(live_groups(attempts.state.plan)))

    def _rooms(self) -> dict[str, int]:
        """How many workers each node has room for: one per CPU, or ``workers`` in all."""
        now = time.monotonic()
        nodes = [node for node in alive() if now - self._known.setdefault(node.id, now) > SETTLED_S]
        rooms = {node.id: int(node.resources.get("CPU", 0.0)) for node in nodes}
        if self._resources.workers or not any(rooms.values()):
            share = math.ceil((self._resources.workers or 1) / max(len(nodes), 1))
            return dict.fromkeys(rooms, share)
        return rooms

    def _grow(self, count: int, rooms: Mapping[str, int]) -> None:
        """Start up to so many workers, each where there is most room."""
        there = [worker for worker, _ in self._busy.values()] + self._idle
        left = Counter(rooms)
        left.subtract(worker.node for worker in there)
        most = (self._resources.workers or sum(rooms.values())) - len(there)
        for _ in range(min(count, most) if rooms else 0):
            node = max(rooms, key=left.__getitem__)
            left[node] -= 1
            self._idle.append(self._start_on(node))

    def _start_on(self, node: str) -> _Worker:
        worker_class = ray.remote(RolloutWorker).options(
            num_cpus=self._resources.cpu, scheduling_strategy=staying_on(node, soft=False)
        )
        return self._started(worker_class, wanted_on=node)

    def _started(self, worker_class: Any, share: float = 0.0, wanted_on: str = "") -> _Worker:
        handle = cast(ActorHandle[RolloutWorker], worker_class.remote(self._attempts.state.store.uri))
        return _Worker(handle, handle.process.remote(), share, wanted_on=wanted_on, idle_since=time.monotonic())

    def _follow(self) -> None:
        """Start workers for what is ready, on whatever nodes there are now; let those go that are idle elsewhere."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        rooms = self._rooms()
        ready = itertools.islice(self._attempts.ready(Place.ACTOR), len(self._idle) + sum(rooms.values()))
        self._grow(sum(1 for _ in ready) - len(self._idle), rooms)
        ids = {node.id for node in alive()}
        for worker in list(self._idle):
            worker.ask()
            gone = bool(worker.node) and worker.node not in ids
            if gone or (worker.node != self._home and now - worker.idle_since > IDLE_S):
                self._idle.remove(worker)
                self._end(worker)

    def _start(self, terms: NextAttempt) -> _Worker:
        """A worker for an attempt on such terms."""
        memory = share_of_a_node(terms.share)["memory"] if terms.share else 0.0
        selector = avoiding(terms.avoid, {"memory": memory})
        worker_class = ray.remote(RolloutWorker).options(
            num_cpus=self._resources.cpu,
            memory=memory or None,
            scheduling_strategy="SPREAD",
            label_selector=selector or None,
        )
        return self._started(worker_class, terms.share)

    @property
    def busy(self) -> bool:
        """Whether an artifact is being made."""
        return bool(self._busy)

    def poll(self, timeout_s: float = 0.0, hand_out: bool = True) -> None:
        """Collect the finished (waiting up to ``timeout_s`` for the first), then hand out whatever is ready."""
        if self._busy:
            done, _ = ray.wait(list(self._busy), num_returns=1, timeout=timeout_s)
            while done:
                self._collect(done[0])
                done, _ = ray.wait(list(self._busy), num_returns=1, timeout=0) if self._busy else ([], [])
        else:
            time.sleep(timeout_s)
        self._replace_hung()
        if hand_out:
            self._follow()
        for artifact in self._attempts.ready(Place.ACTOR) if hand_out and self._idle else ():
            if not self._idle:
                break
            worker = self._take(self._attempts.terms(artifact.key))
            self._attempts.start(artifact.key)
            self._attempts.began(artifact.key, worker.process)
            self._busy[worker.handle.make.remote(artifact, self._aggregator)] = (worker, artifact)

    def _take(self, terms: NextAttempt) -> _Worker:
        """An idle worker that suits, or a new one in the place of one that doesn't."""
        suitable = next((worker for worker in self._idle if worker.suits(terms)), None)
        if suitable is not None:
            self._idle.remove(suitable)
            return suitable
        other = self._idle.pop()
        if other.share == terms.share and not avoiding(terms.avoid, {}):
            return other  # there are no other nodes
        self._end(other)
        return self._start(terms)

    def _collect(self, reference: ObjectRef[None]) -> None:
        worker, artifact = self._busy.pop(reference)
        key = artifact.key
        try:
            ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Damaged):
                self._attempts.release(key)
                self._damaged(error.cause)
            else:
                said = str(error.cause or error) if isinstance(error.cause, UserError) else str(error)
                self._attempts.failed(key, ending_of(error), said)
        except ray.exceptions.RayError as error:
            self._attempts.failed(key, *death(error, worker.ask()))
            return  # another one follows where there is work for it
        else:
            self._attempts.made(key)
            self._on_done(key)
        worker.idle_since = time.monotonic()
        self._idle.append(worker)

    def _replace_hung(self) -> None:
        """A stopped process is never noticed by Ray, so every task has a deadline."""
        for reference, (worker, artifact) in list(self._busy.items()):
            key = artifact.key
            if self._attempts.process(key) is None and worker.ask() is not None:
                self._attempts.began(key, worker.process)
            if self._attempts.overdue(key, self._resources.deadline_s):
                del self._busy[reference]
                self._end(worker)
                limit = f"took longer than {self._resources.deadline_s:g} s"
                self._attempts.failed(
                    key, Ending.HUNG, f"{limit}: give it more time, `--set resources.rollout.deadline_s=…`"
                )

    def _end(self, worker: _Worker) -> None:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(worker.handle)

    def snapshot(self) -> ObjectRef[Numbers]:
        """A reference to the aggregator's numbers, to be waited for without blocking."""
        return self._aggregator.snapshot.remote()
