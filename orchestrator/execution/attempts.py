"""Attempts to make artifacts, of trials and actors alike: handed out, watched, and taken back when they fail.

Between the execution state, which knows what is missing, and the policy of retries, which knows what may start when.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact import Place
from orchestrator.artifacts.lock import Owner
from orchestrator.execution.estimate import duration
from orchestrator.execution.nodes import Process
from orchestrator.execution.retry_policy import Attempt, Ending, NextAttempt, RetryPolicy
from orchestrator.execution.state import ExecutionState, Failure

LOOK_S = 1.0
"""Seconds between two looks at who holds the locks."""
START_S = 120.0
"""Seconds that a process has at least to start and say where it runs."""


@dataclass
class _Running:
    """An attempt that runs, or will once there is room.

    Attributes:
        process: Where; None until it says so.
        moved: When it last made progress, by the policy's clock; None until it has begun.
        progress: Fraction of the work that is done.
        owner: Process that holds the artifact's lock, as far as one knows.
    """

    process: Process | None = None
    moved: float | None = None
    progress: float = 0.0
    owner: Owner | None = None

    @property
    def blocked(self) -> bool:
        """Whether another process makes the artifact."""
        if self.owner is None or self.process is None:
            return False
        return (self.owner.host, self.owner.pid) != (self.process.host, self.process.pid)


class Attempts:
    """All attempts of one execution. Single-threaded, as the execution state."""

    def __init__(
        self,
        state: ExecutionState,
        seed: int,
        note: Callable[[str], None],
        left_out: Callable[[str, float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``note(text)`` says something to the user, ``left_out(node, seconds)`` that a node is left out."""
        self.state = state
        self._note, self._clock = note, clock
        self._policy = RetryPolicy(seed, clock, left_out)
        self._running: dict[str, _Running] = {}
        self._looked = -math.inf

    def ready(self, place: Place) -> Iterator[Artifact]:
        """Artifacts that may be started there now."""
        now = self._clock()
        for artifact in self.state.ready(place):
            if self.terms(artifact.key).not_before <= now:
                yield artifact

    def terms(self, key: str) -> NextAttempt:
        """Terms of the next attempt to make an artifact."""
        return self._policy.terms(key)

    # While it runs

    def start(self, key: str) -> None:
        """Somebody will make an artifact."""
        self.state.start(key)
        self._running[key] = _Running()

    def began(self, key: str, process: Process | None = None) -> None:
        """An attempt runs, in a process that may not be known yet."""
        running = self._running[key]
        running.process, running.moved = process or running.process, self._clock()

    def progressed(self, key: str, fraction: float | None) -> None:
        """An attempt reported."""
        running = self._running[key]
        running.moved = self._clock()
        running.progress = max(running.progress, fraction or 0.0)

    def process(self, key: str) -> Process | None:
        """The process that makes an artifact, once it is known."""
        return self._running[key].process

    @property
    def pending(self) -> list[str]:
        """Attempts that wait for room."""
        return [key for key, running in self._running.items() if running.moved is None]

    def overdue(self, key: str, deadline_s: float) -> bool:
        """Whether an attempt has made no progress for too long; to wait for another process doesn't count."""
        running = self._running[key]
        limit_s = max(deadline_s, 0.0 if running.process else START_S)
        return running.moved is not None and self._clock() - running.moved > limit_s

    def look(self) -> None:
        """Look, now and then, for attempts that wait for another process to make the same artifact, and say so once."""
        now = self._clock()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        for key, running in self._running.items():
            if running.moved is None or running.process is None:
                continue
            before, running.owner = running.owner, self.state.store.owner(self.state.plan.artifacts[key].kind, key)
            if running.blocked:
                running.moved = now
                if str(before) != str(running.owner):
                    self._note(f"{self.state.plan.name(key)} waits: {running.owner}")

    # How it ends

    def made(self, key: str) -> None:
        """An attempt made its artifact."""
        process = self._running.pop(key).process
        self._policy.succeeded(key, process.node if process else "")

    def release(self, key: str) -> None:
        """An attempt was stopped, or cannot go on for a reason that isn't its own."""
        self._running.pop(key)
        self.state.release(key)

    def failed(self, key: str, ending: Ending, reason: str) -> None:
        """An attempt failed: the artifact is put back, or has failed for good."""
        running = self._running.pop(key)
        node = running.process.node if running.process else ""
        terms = self._policy.failed(Attempt(key, ending, node, running.progress))
        if terms.again:
            self.state.release(key)
            wait = duration(max(terms.not_before - self._clock(), 0.0))
            self._note(f"{Failure(self.state.plan, key, reason)}; again in {wait}")
        else:
            self.state.fail(key, reason if terms.tries == 1 else f"{reason.rstrip()} ({terms.tries} times)")
