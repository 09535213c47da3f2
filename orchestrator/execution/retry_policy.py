"""Policy of retries: what the failure of an attempt means for the next one.

It decides from what it is told, a clock and a seed: no Ray, no store, no processes. The same policy serves trials and
rollout actors.
"""

from __future__ import annotations

import enum
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


class Ending(enum.Enum):
    """Kind of failure that ended an attempt."""

    FINAL = "final"
    """The next attempt would end alike: divergence, an impossible setting."""
    UNKNOWN = "unknown"
    """Any other exception: perhaps a bug, perhaps the node."""
    TRANSIENT = "transient"
    """Input and output, a dead process, a lost object: it passes."""
    HUNG = "hung"
    """No progress within the deadline."""
    MEMORY = "memory"
    """Out of memory, of the node or of the GPU."""
    PREEMPTED = "preempted"
    """The node was drained or lost: nobody's fault, so it does not count."""


TRIES = {Ending.FINAL: 1, Ending.UNKNOWN: 2, Ending.TRANSIENT: 10, Ending.HUNG: 3, Ending.MEMORY: 3}
"""How many attempts may end in each way, without progress between them, before an artifact fails."""
SHARES = (0.0, 0.5, 1.0)
"""Share of a node that is asked for at first, after one, and after two attempts that ran out of memory."""
PROGRESS = 0.01
"""Fraction of the work by which an attempt must outdo all earlier ones for its artifact's failures to be forgotten."""
WAIT_S, LONGEST_WAIT_S = 1.0, 300.0
"""Wait before the second attempt, doubled before each further one, and its limit."""
FAILED_ARTIFACTS = 3
LEFT_OUT_S = 600.0
"""A node is left out once so many artifacts in a row failed there while others succeeded elsewhere: for so long, and
twice as long each time that it fails again when it is back."""


@dataclass(frozen=True)
class Attempt:
    """An attempt that failed.

    Attributes:
        node: Id of the node on which it ran; empty where nobody knows.
        progress: Fraction of the artifact's work that was done.
    """

    key: str
    ending: Ending
    node: str = ""
    progress: float = 0.0


@dataclass(frozen=True)
class NextAttempt:
    """Terms of an artifact's next attempt.

    Attributes:
        again: Whether there is one; otherwise the artifact has failed for good.
        tries: Attempts that ended as the last one did.
        not_before: Moment, by the policy's clock, from which it may start.
        avoid: Nodes that it should not run on if any other will do.
        share: Share of a node's memory, CPUs and GPU that it should have at least.
    """

    again: bool = True
    tries: int = 0
    not_before: float = 0.0
    avoid: frozenset[str] = frozenset()
    share: float = 0.0


@dataclass
class _History:
    """Failures of one artifact since its last progress; how often it ran out of memory is never forgotten."""

    endings: Counter[Ending] = field(default_factory=Counter)
    nodes: set[str] = field(default_factory=set)
    progress: float = 0.0
    out_of_memory: int = 0
    terms: NextAttempt = NextAttempt()


@dataclass
class _Node:
    """Artifacts that failed on a node since the last success there."""

    failed: set[str] = field(default_factory=set)
    since: float = 0.0
    left_out_until: float = 0.0
    times_left_out: int = 0


class RetryPolicy:
    """Decides about every artifact of one execution."""

    def __init__(self, seed: int, clock: Callable[[], float], left_out: Callable[[str, float], None]) -> None:
        """``left_out(node, seconds)`` is called when a node is left out from now on."""
        self._seed, self._clock, self._tell = seed, clock, left_out
        self._artifacts: dict[str, _History] = {}
        self._nodes: dict[str, _Node] = {}
        self._succeeded: dict[str, float] = {}

    def terms(self, key: str) -> NextAttempt:
        """Terms of the artifact's next attempt; nodes that are left out at this moment are among those to avoid."""
        known = self._artifacts[key].terms if key in self._artifacts else NextAttempt()
        return NextAttempt(known.again, known.tries, known.not_before, known.avoid | self._left_out(), known.share)

    def succeeded(self, key: str, node: str) -> None:
        """An attempt made its artifact."""
        self._artifacts.pop(key, None)
        if node:
            self._succeeded[node] = self._clock()
            self._nodes.pop(node, None)
        for suspect in self._nodes:
            self._judge(suspect)

    def failed(self, attempt: Attempt) -> NextAttempt:
        """An attempt failed: the terms of the next one."""
        history = self._artifacts.setdefault(attempt.key, _History())
        if attempt.progress >= history.progress + PROGRESS:
            history.endings.clear()
            history.nodes.clear()
        history.progress = max(history.progress, attempt.progress)
        if attempt.ending is Ending.PREEMPTED:
            history.terms = NextAttempt(True, 0, self._clock() + WAIT_S, frozenset(history.nodes), history.terms.share)
            return self.terms(attempt.key)
        history.endings[attempt.ending] += 1
        if attempt.ending is Ending.MEMORY:
            history.out_of_memory += 1
        elif attempt.ending is not Ending.FINAL and attempt.node:
            history.nodes.add(attempt.node)
            self._suspect(attempt)
        tries = history.endings[attempt.ending]
        history.terms = NextAttempt(
            again=tries < TRIES[attempt.ending],
            tries=tries,
            not_before=self._clock() + self._wait(attempt.key, history.endings.total()),
            avoid=frozenset(history.nodes),
            share=SHARES[min(history.out_of_memory, len(SHARES) - 1)],
        )
        return self.terms(attempt.key)

    def _wait(self, key: str, failures: int) -> float:
        """Seconds before the next attempt, of which up to half are left to chance: what failed together parts."""
        chance = random.Random(f"{self._seed} {key} {failures}").random()
        return min(WAIT_S * 2.0 ** (failures - 1), LONGEST_WAIT_S) * (1 - chance / 2)

    def _suspect(self, attempt: Attempt) -> None:
        node = self._nodes.setdefault(attempt.node, _Node())
        if self._clock() < node.left_out_until:
            return  # it ran there already when the node was left out
        if not node.failed:
            node.since = self._clock()
        node.failed.add(attempt.key)
        self._judge(attempt.node)

    def _judge(self, name: str) -> None:
        """Leave a node out if it fails what succeeds elsewhere; where nothing succeeds, no node is to blame."""
        node = self._nodes[name]
        elsewhere = any(moment >= node.since for other, moment in self._succeeded.items() if other != name)
        if elsewhere and len(node.failed) >= (1 if node.times_left_out else FAILED_ARTIFACTS):
            seconds = LEFT_OUT_S * 2**node.times_left_out
            node.times_left_out += 1
            node.left_out_until = self._clock() + seconds
            node.failed.clear()
            self._tell(name, seconds)

    def _left_out(self) -> frozenset[str]:
        now = self._clock()
        return frozenset(name for name, node in self._nodes.items() if now < node.left_out_until)
