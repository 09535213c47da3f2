"""Pool of Ray actors that make everything but trainings: demonstrations, probes, rollouts."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, cast

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
from orchestrator.execution.state import ExecutionState

ATTEMPTS = 3
"""How often a task may outlast its deadline before it fails: its process may have been stopped, or it is too long."""


class RolloutWorker:
    """Makes artifacts, one at a time."""

    def __init__(self, storage: str) -> None:
        self._store = Store(storage)

    def make(self, artifact: Artifact, aggregator: ActorHandle[Aggregator]) -> None:
        """Make one artifact; the episodes of a rollout go to the aggregator as well."""
        make(self._store, artifact)
        if isinstance(artifact, RolloutsArtifact):
            returns = artifact.load(self._store)["returns"]
            aggregator.add.remote(artifact.key, returns.mean(axis=1).tolist(), returns.std(axis=1).tolist())


class _Assignment(NamedTuple):
    worker: ActorHandle[RolloutWorker]
    artifact: Artifact
    started: float


class Pool:
    """Feeds the rollout actors from the execution state. Actors that die come back; one that hangs is replaced."""

    def __init__(
        self,
        state: ExecutionState,
        resources: RolloutResources,
        on_done: Callable[[str], None],
        damaged: Callable[[Damaged], None],
    ) -> None:
        self._state, self._resources, self._on_done, self._damaged = state, resources, on_done, damaged
        cpus = int(ray.cluster_resources().get("CPU", 1))
        count = resources.workers or max(1, cpus)
        self._worker_class = ray.remote(RolloutWorker).options(
            num_cpus=resources.cpu, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
        )
        aggregator = ray.remote(Aggregator).options(num_cpus=0, max_restarts=-1)
        self._aggregator = cast(ActorHandle[Aggregator], aggregator.remote(live_groups(state.plan)))
        self._idle = [self._start() for _ in range(count)]
        self._busy: dict[ObjectRef[None], _Assignment] = {}
        self._hung: Counter[str] = Counter()

    def _start(self) -> ActorHandle[RolloutWorker]:
        return cast(ActorHandle[RolloutWorker], self._worker_class.remote(self._state.store.uri))

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
        self._replace_hung()
        for artifact in self._state.ready(Place.ACTOR) if hand_out and self._idle else []:
            if not self._idle:
                break
            worker = self._idle.pop()
            self._state.start(artifact.key)
            reference: ObjectRef[None] = worker.make.remote(artifact, self._aggregator)
            self._busy[reference] = _Assignment(worker, artifact, time.monotonic())

    def _collect(self, reference: ObjectRef[None]) -> None:
        worker, artifact, _ = self._busy.pop(reference)
        self._idle.append(worker)
        try:
            ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Damaged):
                self._state.release(artifact.key)
                self._damaged(error.cause)
                return
            said = str(error.cause or error) if isinstance(error.cause, UserError) else str(error)
            self._state.fail(artifact.key, said)
        except ray.exceptions.RayError:
            self._state.fail(artifact.key, traceback.format_exc())
        else:
            self._on_done(artifact.key)

    def _replace_hung(self) -> None:
        """A stopped process is never noticed by Ray, so every task has a deadline."""
        now = time.monotonic()
        for reference, (worker, artifact, started) in list(self._busy.items()):
            if now - started > self._resources.deadline_s:
                del self._busy[reference]
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.kill(worker)
                self._hung[artifact.key] += 1
                if self._hung[artifact.key] < ATTEMPTS:
                    self._state.release(artifact.key)
                else:
                    self._state.fail(
                        artifact.key,
                        f"took longer than {self._resources.deadline_s:g} s {ATTEMPTS} times: give it more time, "
                        "`--set resources.rollout.deadline_s=…`",
                    )
                self._idle.append(self._start())

    def snapshot(self) -> ObjectRef[Numbers]:
        """A reference to the aggregator's numbers, to be waited for without blocking."""
        return self._aggregator.snapshot.remote()
