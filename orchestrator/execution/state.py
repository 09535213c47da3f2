"""Execution state of a plan: stored, missing, ready, running, made, failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.artifacts import KINDS, Artifact
from orchestrator.artifacts.artifact import Place
from orchestrator.artifacts.artifact_store import Store
from orchestrator.planning.plan import Plan
from orchestrator.planning.runs import Run
from results.result_store import ResultStore

RUN_TABLES = ("episodes", "curves", "runs")
"""Tables that hold a file per run: a run is complete where all do."""


@dataclass(frozen=True)
class Failure:
    """An artifact that could not be made: its name and why (a traceback, or the artifact it waited for)."""

    name: str
    reason: str

    def __str__(self) -> str:
        """One line: the name, and the last line of the reason."""
        lines = self.reason.strip().splitlines()
        return f"{self.name}: {lines[-1] if lines else '?'}"


class ExecutionState:
    """The missing part of a plan as it is being made. Single-threaded: only the driver touches it."""

    def __init__(self, plan: Plan, store: Store, wanted: Iterable[Artifact] = ()) -> None:
        """``wanted``: artifacts that are needed even if no run asks for them."""
        self.plan, self.store = plan, store
        stored = {kind: store.keys(kind) for kind in KINDS}
        self._stored = {key for key, artifact in plan.artifacts.items() if key in stored[artifact.kind]}
        results = ResultStore(store.results)
        written = set.intersection(*(set(results.keys(table)) for table in RUN_TABLES))
        self.missing_runs = {key: run for key, run in plan.runs.items() if key not in written}
        self.missing = self._closure(wanted)
        self.running: set[str] = set()
        self.made: set[str] = set()
        self.failures: dict[str, Failure] = {}

    def _closure(self, wanted: Iterable[Artifact]) -> dict[str, Artifact]:
        """Missing artifacts that a missing run needs, in plan order; what only made artifacts needed stays out."""
        missing: set[str] = set()
        stack = [*wanted, *(artifact for run in self.missing_runs.values() for artifact in run.needs)]
        while stack:
            artifact = stack.pop()
            if artifact.key not in missing and artifact.key not in self._stored:
                missing.add(artifact.key)
                stack.extend(artifact.inputs)
        return {key: artifact for key, artifact in self.plan.artifacts.items() if key in missing}

    def counts(self, kind: str) -> dict[str, int]:
        """Number of artifacts of a kind that are stored (from before), made, running, failed, waiting."""
        missing = [key for key, artifact in self.missing.items() if artifact.kind == kind]
        made = sum(key in self.made for key in missing)
        running = sum(key in self.running for key in missing)
        failed = sum(key in self.failures for key in missing)
        waiting = len(missing) - made - running - failed
        stored = self.plan.sizes[kind] - len(missing)
        return {"stored": stored, "made": made, "running": running, "failed": failed, "waiting": waiting}

    def ready(self, place: Place) -> list[Artifact]:
        """Missing artifacts that are made there, whose inputs are there and that nobody works on."""
        return [artifact for artifact in self.missing.values() if artifact.place is place and self._is_ready(artifact)]

    def _is_ready(self, artifact: Artifact) -> bool:
        key = artifact.key
        idle = key not in self.running and key not in self.made and key not in self.failures
        return idle and all(self.is_there(parent) for parent in artifact.inputs)

    def is_there(self, artifact: Artifact) -> bool:
        """Whether an artifact is whole."""
        return artifact.key in self._stored or artifact.key in self.made

    def start(self, key: str) -> None:
        """Note that somebody makes an artifact."""
        self.running.add(key)

    def lose(self, key: str) -> None:
        """Note that an artifact is not there after all: it, and whatever it needs and is gone, is to be made again."""
        self._stored.discard(key)
        self.made.discard(key)
        back = self._closure([self.plan.artifacts[key]])
        again = {*self.missing, *back}
        self.missing = {known: artifact for known, artifact in self.plan.artifacts.items() if known in again}
        for known, artifact in back.items():
            failed = next((parent.key for parent in artifact.inputs if parent.key in self.failures), None)
            if failed is not None and known not in self.failures:
                self.fail(known, f"needs {self.plan.name(failed)}, which failed")

    def release(self, key: str) -> None:
        """Put an artifact back into the queue: whoever made it is gone."""
        self.running.discard(key)

    def finish(self, key: str) -> list[Run]:
        """Note that an artifact is there now; the runs that this completes."""
        self.running.discard(key)
        self.made.add(key)
        users = (self.missing_runs.get(run) for run in self.plan.users[key])
        return [run for run in users if run is not None and self.complete(run)]

    def fail(self, key: str, reason: str) -> None:
        """Note a failure, and that everything which needs the artifact cannot be made now."""
        self.running.discard(key)
        name = self.plan.name(key)
        self.failures[key] = Failure(name, reason)
        for other, artifact in self.missing.items():
            if other not in self.failures and any(parent.key == key for parent in artifact.inputs):
                self.fail(other, f"needs {name}, which failed")

    def is_cause(self, key: str) -> bool:
        """Whether a failed artifact failed by itself, and not for want of another one."""
        return all(parent.key not in self.failures for parent in self.plan.artifacts[key].inputs)

    def waiting_runs(self, key: str) -> list[str]:
        """Keys of the runs that cannot be measured while an artifact is missing."""
        behind, found = {key}, dict[str, None]()
        for other, artifact in self.plan.artifacts.items():  # in plan order: inputs come first
            if other in behind or any(parent.key in behind for parent in artifact.inputs):
                behind.add(other)
                found.update(dict.fromkeys(run for run in self.plan.users[other] if run in self.missing_runs))
        return list(found)

    def complete(self, run: Run) -> bool:
        """Whether everything that a run is made of is there."""
        return all(self.is_there(artifact) for artifact in run.needs)

    def finished(self, place: Place | None = None) -> bool:
        """Whether nothing is left to start or to wait for, there or anywhere."""
        return all(
            (place is not None and artifact.place is not place) or key in self.made or key in self.failures
            for key, artifact in self.missing.items()
        )
