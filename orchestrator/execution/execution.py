"""Execution: Ray makes whatever is missing of a plan; trainings and rollouts run at once, rows are written on the way.

One wiring of plan, state, estimate, progress, pool and Tune, for a sweep and for the inputs of a search alike.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import ray
from rich.console import Console

from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact import Place
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.manifest import Manifest
from orchestrator.exceptions import Damaged, RayLost, UserError
from orchestrator.execution.attempts import LOOK_S, Attempts
from orchestrator.execution.estimate import Estimate, duration
from orchestrator.execution.measured import write_run
from orchestrator.execution.nodes import alive
from orchestrator.execution.retry_policy import FAILED_ARTIFACTS
from orchestrator.execution.rollout_pool import Pool
from orchestrator.execution.schedule import longest_chains
from orchestrator.execution.state import ExecutionState
from orchestrator.execution.stopping import StopRequest
from orchestrator.execution.switch import start_switch
from orchestrator.execution.watcher import Watcher
from orchestrator.planning.plan import Plan
from orchestrator.planning.runs import Run

LOSSES = 3
"""How often an artifact may be found damaged before the sweep ends: then the disk is."""


@dataclass(frozen=True)
class Session:
    """Where and how plans are executed.

    Attributes:
        console: Place of lines that are no display of an execution.
        watcher: Makes whoever watches one execution.
        most: Trainings at once; 0 for as many as fit.
    """

    store: Store
    console: Console
    stop: StopRequest
    watcher: Callable[[Console, ExecutionState, Estimate], AbstractContextManager[Watcher]]
    most: int = 0

    def say(self, line: str) -> None:
        """Print a line as it is."""
        self.console.print(line, highlight=False, markup=False)

    def execute(self, plan: Plan, wanted: Iterable[Artifact] = ()) -> ExecutionState:
        """Make everything that is missing, on the connected Ray; write each run's rows as soon as it is complete.

        ``wanted``: artifacts that are needed even if no run asks for them. What failed does not stop what does not
        need it. Raises Interrupted when a signal arrived, once every training has left a checkpoint.
        """
        state = ExecutionState(plan, self.store, wanted)
        there = ray.cluster_resources()
        gpus = 0.0 if plan.experiment.resources.gpus == "never" else there.get("GPU", 0.0)
        estimate = Estimate(state, there.get("CPU", 1.0), gpus)
        state.prefer(longest_chains(state, estimate.of))
        with self.watcher(self.console, state, estimate) as watcher:
            _Execution(self, state, watcher).run()
        return state


class _Execution:
    """One execution of a plan."""

    def __init__(self, session: Session, state: ExecutionState, watcher: Watcher) -> None:
        # Here, since this imports Tune, which a private Ray has done while it started.
        from orchestrator.execution.trainings import discard_left

        self._session, self._state, self._watcher, self._stop = session, state, watcher, session.stop
        self._resources = state.plan.experiment.resources
        _check_shared(session.store)
        discard_left(session.store)
        self._switched = False
        self._looked = time.monotonic()
        self._losses: Counter[str] = Counter()
        self._attempts = Attempts(state, state.plan.experiment.seed, watcher.note, self._left_out)
        self._pool = Pool(self._attempts, self._resources.rollout, self._done, self._lose)
        self._switch = start_switch()  # after the pool: Ray has a process or two ready, and the pool's take longest

    def run(self) -> None:
        """Until everything is made or has failed, or a signal arrives."""
        state = self._state
        with self._stop.patiently():
            for run in [run for run in state.missing_runs.values() if state.complete(run)]:
                self._write(run)  # everything was there but its rows
            while not self._stop.requested and not state.finished():
                if not state.finished(Place.TRIAL):
                    self._train()
                else:
                    self._step(timeout_s=0.2)
                while self._pool.busy or (not self._stop.requested and state.has_ready(Place.ACTOR)):
                    self._step(timeout_s=0.2)
            self._watcher.refresh(self._pool.snapshot, final=True)
            self._record_failures()

    def _train(self) -> None:
        from orchestrator.execution.trainings import train

        try:
            train(
                self._attempts,
                self._resources,
                self._step,
                self._done,
                self._lose,
                self._watcher,
                self._switch,
                self._stop,
                self._session.most,
            )
        except Exception:
            self._stop.check()  # whatever Tune makes of an Interrupted that was raised within it
            _check_alive()
            raise

    def _done(self, key: str) -> None:
        completed = self._state.finish(key)
        self._watcher.finished(self._state.plan.artifacts[key])
        for run in completed:
            self._write(run)

    def _write(self, run: Run) -> None:
        """Write a run's rows, unless an artifact that they come from turns out to be damaged: then it comes first."""
        try:
            write_run(self._state.store, run)
        except Damaged as found:
            self._lose(found)
        else:
            self._watcher.completed(run)

    def _lose(self, found: Damaged) -> None:
        """Set a damaged artifact aside, to be made again; one that is damaged ever again fails."""
        state = self._state
        if found.key not in state.plan.artifacts or self._losses[found.key] == LOSSES:
            raise UserError(f"{found}. Run `hypogen store check` on {state.store.given}.")
        known = state.is_there(state.plan.artifacts[found.key])
        if not known and not state.store.exists(found.kind, found.key):
            return  # several met the same damage
        if state.store.is_damaged(found.kind, found.key):  # and nobody has made it again meanwhile
            self._losses[found.key] += 1
            where = state.store.set_aside(found.kind, found.key)
            self._watcher.damaged(f"{state.plan.name(found.key)}: {found.reason}; set aside in {where}")
            if known:
                state.lose(found.key)

    def _left_out(self, name: str, seconds: float) -> None:
        """Say that nothing more is started on a node for a while, if anything else will do."""
        address = next((node.address for node in alive() if node.id == name), "gone")
        self._watcher.note(
            f"left out node {name[:8]} ({address}) for {duration(seconds)}: artifacts failed there, "
            f"{FAILED_ARTIFACTS} in a row or again, that are made elsewhere; see what it lacks"
        )

    def _step(self, timeout_s: float = 0.0) -> None:
        """Keep everything going that is not Tune's."""
        if self._stop.requested and not self._switched:
            self._switched = True
            self._switch.turn_on.remote()
            self._watcher.stopping()
        if self._stop.overdue:
            self._stop.check()
        if time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            _check_alive()
        self._pool.poll(timeout_s, hand_out=not self._stop.requested)
        self._attempts.look()
        self._watcher.refresh(self._pool.snapshot)

    def _record_failures(self) -> None:
        """Note in the table ``provenance`` which artifacts failed by themselves, why, and which runs wait for each.

        A later success replaces the row.
        """
        for key, failure in self._state.failures.items():
            if not self._state.is_cause(key):
                continue
            manifest = Manifest.begin(self._state.plan.artifacts[key], "", 0)
            manifest = dataclasses.replace(manifest, label=failure.name)
            manifest.record(self._state.store, failure.reason, self._state.waiting_runs(key))


def _check_alive() -> None:
    """RayLost once no node is left: whatever waits for one would wait for ever."""
    if not alive():
        raise RayLost("Ray has lost its last node (killed, or out of memory): give the same command again")


def _check_shared(store: Store) -> None:
    """On several nodes a folder must be one that all of them see."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if not store.local or len(nodes) < 2:
        return
    marker = f"{store.root}/.shared-{os.getpid()}"
    store.fs.create_dir(store.root, recursive=True)
    with store.fs.open_output_stream(marker) as stream:
        stream.write(b"seen")
    try:
        probe = ray.remote(os.path.exists)
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        seen = {
            node["NodeManagerAddress"]: probe.options(
                num_cpus=0, scheduling_strategy=strategy(node["NodeID"], soft=False)
            ).remote(marker)
            for node in nodes
        }
        blind = [address for address, reference in seen.items() if not ray.get(reference)]
    finally:
        store.fs.delete_file(marker)
    if blind:
        raise UserError(
            f"--storage {store.given}: the nodes {', '.join(blind)} do not see this folder. "
            "Give one that all nodes mount, or a bucket such as s3://bucket/folder."
        )
