"""Pool of Ray actors that make everything but trainings: demonstrations, probes, rollouts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

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
from orchestrator.execution.nodes import Process, avoiding, share_of_a_node, this_process
from orchestrator.execution.retry_policy import Ending, NextAttempt


class RolloutWorker:
    """Makes artifacts, one at a time."""

    def __init__(self, storage: str) -> None:
        self._store = Store(storage)

    def process(self) -> Process:
        """Where it runs."""
        return this_process()

    def make(self, artifact: Artifact, aggregator: ActorHandle[Aggregator]) -> None:
        """Make one artifact; the episodes of a rollout go to the aggregator as well."""
        make(self._store, artifact)
        if isinstance(artifact, RolloutsArtifact):
            returns = artifact.load(self._store)["returns"]
            aggregator.add.remote(artifact.key, returns.mean(axis=1).tolist(), returns.std(axis=1).tolist())


@dataclass
class _Worker:
    """A worker, where it runs once it has said so, and the share of a node that it has to itself."""

    handle: ActorHandle[RolloutWorker]
    answer: ObjectRef[Process]
    share: float = 0.0
    process: Process | None = None

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
        cpus = int(ray.cluster_resources().get("CPU", 1))
        count = resources.workers or max(1, cpus)
        aggregator = ray.remote(Aggregator).options(num_cpus=0, max_restarts=-1)
        self._aggregator = cast(ActorHandle[Aggregator], aggregator.remote(live_groups(attempts.state.plan)))
        self._idle = [self._start(NextAttempt()) for _ in range(count)]
        self._busy: dict[ObjectRef[None], tuple[_Worker, Artifact]] = {}

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
        handle = cast(ActorHandle[RolloutWorker], worker_class.remote(self._attempts.state.store.uri))
        return _Worker(handle, handle.process.remote(), terms.share)

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
            self._idle.append(self._start(NextAttempt()))
            return
        else:
            self._attempts.made(key)
            self._on_done(key)
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
                self._idle.append(self._start(NextAttempt()))

    def _end(self, worker: _Worker) -> None:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(worker.handle)

    def snapshot(self) -> ObjectRef[Numbers]:
        """A reference to the aggregator's numbers, to be waited for without blocking."""
        return self._aggregator.snapshot.remote()
