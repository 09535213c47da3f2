"""Execution state of a plan: stored, missing, ready, running, made, failed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from orchestrator.artifacts import KINDS, Artifact
from orchestrator.artifacts.artifact import Place
from orchestrator.artifacts.artifact_store import Store
from orchestrator.planning.plan import Plan
from orchestrator.planning.runs import Run
from results.result_store import ResultStore

OPEN = ("waiting", "running")
RUN_TABLES = ("episodes", "curves", "runs")
"""Tables that hold a file per run: a run is complete where all do."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An artifact that could not be made. Its words are put together where they are read: 10⁵ can fail at once.

    Attributes:
        traceback: What made it fail; None where it only needs ``wanted``, which failed.
    """

    plan: Plan
    key: str
    traceback: str | None = None
    wanted: str = ""

    @property
    def name(self) -> str:
        """Label of the artifact, with its values of the grid."""
        return self.plan.name(self.key)

    @property
    def reason(self) -> str:
        """Why: a traceback, or the artifact that it waited for."""
        return self.traceback or f"needs {self.plan.name(self.wanted)}, which failed"

    def __str__(self) -> str:
        """One line: the name, and the last line of the reason."""
        lines = self.reason.strip().splitlines()
        return f"{self.name}: {lines[-1] if lines else '?'}"


class ExecutionState:
    """The missing part of a plan as it is being made. Single-threaded: only the driver touches it.

    Every change costs what it touches, however large the plan is: the artifacts that need one are listed with it, each
    has a count of the inputs that it waits for, and those that wait for none are kept in the order of their ranks.
    """

    def __init__(self, plan: Plan, store: Store, wanted: Iterable[Artifact] = ()) -> None:
        """``wanted``: artifacts that are needed even if no run asks for them."""
        self.plan, self.store = plan, store
        stored = {kind: store.keys(kind) for kind in KINDS}
        self._stored = {key for key, artifact in plan.artifacts.items() if key in stored[artifact.kind]}
        results = ResultStore(store.results)
        written = set.intersection(*(set(results.keys(table)) for table in RUN_TABLES))
        self.missing_runs = {key: run for key, run in plan.runs.items() if key not in written}
        self.running: set[str] = set()
        self.made: set[str] = set()
        self.failures: dict[str, Failure] = {}
        self._positions = {key: position for position, key in enumerate(plan.artifacts)}
        self._order = list(plan.artifacts.values())
        self._ranks, self._ranked = self._positions, self._order
        self._needed_by: dict[str, list[Artifact]] = defaultdict(list)
        self._waits_for: dict[str, int] = {}
        self._ready: dict[Place, list[int]] = {place: [] for place in Place}
        self._counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self._open: Counter[Place] = Counter()
        self.missing: dict[str, Artifact] = {}
        self._miss(self._closure(wanted))

    def _closure(self, wanted: Iterable[Artifact]) -> dict[str, Artifact]:
        """Missing artifacts that a missing run needs, in plan order; what only made artifacts needed stays out."""
        found: set[str] = set()
        stack = [*wanted, *(artifact for run in self.missing_runs.values() for artifact in run.needs)]
        while stack:
            artifact = stack.pop()
            if artifact.key not in found and not self.is_there(artifact):
                found.add(artifact.key)
                stack.extend(artifact.inputs)
        return {artifact.key: artifact for artifact in self._order if artifact.key in found}

    def _miss(self, found: Mapping[str, Artifact]) -> None:
        """From now on these artifacts, in plan order, are to be made."""
        for key, artifact in found.items():
            if key in self.missing:
                continue
            self.missing[key] = artifact
            self._counts[artifact.kind]["waiting"] += 1
            self._open[artifact.place] += 1
            inputs = {parent.key for parent in artifact.inputs}
            for parent in inputs:
                self._needed_by[parent].append(artifact)
            self._waits_for[key] = sum(not self.is_there(self.plan.artifacts[parent]) for parent in inputs)
            self._make_ready(artifact)

    def _make_ready(self, artifact: Artifact) -> None:
        """Put an artifact that waits for nothing among those that may be started."""
        if self._status(artifact.key) == "waiting" and not self._waits_for[artifact.key]:
            insort(self._ready[artifact.place], self._ranks[artifact.key])

    def _make_unready(self, artifact: Artifact) -> None:
        ready, rank = self._ready[artifact.place], self._ranks[artifact.key]
        index = bisect_left(ready, rank)
        if index < len(ready) and ready[index] == rank:
            del ready[index]

    def _status(self, key: str) -> str:
        """Status of an artifact that was missing at the start, or since."""
        found = (("made", self.made), ("failed", self.failures), ("running", self.running))
        return next((name for name, keys in found if key in keys), "waiting")

    def _turn(self, artifact: Artifact, before: str, after: str) -> None:
        """Count an artifact under another status; open are those that are neither made nor have failed."""
        self._counts[artifact.kind][before] -= 1
        self._counts[artifact.kind][after] += 1
        self._open[artifact.place] += (after in OPEN) - (before in OPEN)

    def counts(self, kind: str) -> dict[str, int]:
        """Number of artifacts of a kind that are stored (from before), made, running, failed, waiting."""
        counted = self._counts[kind]
        named = {name: counted[name] for name in ("made", "running", "failed", "waiting")}
        return {"stored": self.plan.sizes[kind] - sum(named.values()), **named}

    def has_ready(self, place: Place) -> bool:
        """Whether any artifact can be started there now."""
        return bool(self._ready[place])

    def ready(self, place: Place) -> Iterator[Artifact]:
        """Missing artifacts that are made there, whose inputs are there and that nobody works on.

        They come in plan order, or that of ``prefer``. They may be started, and others may become ready, while one goes
        through them.
        """
        ranks, last = self._ready[place], -1
        while (index := bisect_right(ranks, last)) < len(ranks):
            last = ranks[index]
            yield self._ranked[last]

    def prefer(self, chains: Mapping[str, float]) -> None:
        """From now on artifacts with larger numbers are ready first, in plan order where they are equal.

        What has no number goes before all others: it was there, has been lost, and somebody waits for it.
        """
        before = {place: [self._ranked[rank].key for rank in ready] for place, ready in self._ready.items()}
        self._ranked = sorted(self._order, key=lambda artifact: -chains.get(artifact.key, inf))
        self._ranks = {artifact.key: rank for rank, artifact in enumerate(self._ranked)}
        self._ready = {place: sorted(self._ranks[key] for key in keys) for place, keys in before.items()}

    def rank(self, key: str) -> int:
        """Place of an artifact in the order in which they are ready."""
        return self._ranks[key]

    def is_there(self, artifact: Artifact) -> bool:
        """Whether an artifact is whole."""
        return artifact.key in self._stored or artifact.key in self.made

    def start(self, key: str) -> None:
        """Note that somebody makes an artifact."""
        artifact = self.missing[key]
        self._make_unready(artifact)
        self.running.add(key)
        self._turn(artifact, "waiting", "running")

    def release(self, key: str) -> None:
        """Put an artifact back into the queue: whoever made it is gone."""
        self.running.discard(key)
        if key not in self.failures:
            self._turn(self.missing[key], "running", "waiting")
            self._make_ready(self.missing[key])

    def finish(self, key: str) -> list[Run]:
        """Note that an artifact is there now; the runs that this completes."""
        self._turn(self.missing[key], self._status(key), "made")
        self.running.discard(key)
        self.made.add(key)
        for other in self._needed_by[key]:
            self._waits_for[other.key] -= 1
            self._make_ready(other)
        users = (self.missing_runs.get(run) for run in self.plan.users[key])
        return [run for run in users if run is not None and self.complete(run)]

    def lose(self, key: str) -> None:
        """Note that an artifact is not there after all: it, and whatever it needs and is gone, is to be made again."""
        artifact = self.plan.artifacts[key]
        if key in self.made:
            self.made.discard(key)
            self._turn(artifact, "made", "waiting")
            self._make_ready(artifact)
        self._stored.discard(key)
        for other in self._needed_by[key]:
            self._waits_for[other.key] += 1
            self._make_unready(other)
        back = self._closure([artifact])
        self._miss(back)
        for known in back:
            failed = next((parent for parent in self.plan.artifacts[known].inputs if parent.key in self.failures), None)
            if failed is not None and known not in self.failures:
                self._fail(Failure(self.plan, known, wanted=failed.key))

    def fail(self, key: str, reason: str) -> None:
        """Note a failure, and that everything which needs the artifact cannot be made now."""
        self._fail(Failure(self.plan, key, reason))

    def _fail(self, failure: Failure) -> None:
        waiting = deque([failure])
        while waiting:
            failure = waiting.popleft()
            key = failure.key
            if (status := self._status(key)) not in OPEN:
                continue
            artifact = self.missing[key]
            self._turn(artifact, status, "failed")
            self._make_unready(artifact)
            self.running.discard(key)
            self.failures[key] = failure
            waiting.extend(Failure(self.plan, other.key, wanted=key) for other in self._needed_by[key])

    def is_cause(self, key: str) -> bool:
        """Whether a failed artifact failed by itself, and not for want of another one."""
        return all(parent.key not in self.failures for parent in self.plan.artifacts[key].inputs)

    def waiting_runs(self, key: str) -> list[str]:
        """Keys of the runs that cannot be measured while an artifact is missing."""
        behind, stack = {key}, [key]
        while stack:
            new = {other.key for other in self._needed_by[stack.pop()]} - behind
            behind |= new
            stack.extend(new)
        users = (run for other in sorted(behind, key=self._positions.__getitem__) for run in self.plan.users[other])
        return list(dict.fromkeys(run for run in users if run in self.missing_runs))

    def complete(self, run: Run) -> bool:
        """Whether everything that a run is made of is there."""
        return all(self.is_there(artifact) for artifact in run.needs)

    def finished(self, place: Place | None = None) -> bool:
        """Whether nothing is left to start or to wait for, there or anywhere."""
        return not (self._open.total() if place is None else self._open[place])
