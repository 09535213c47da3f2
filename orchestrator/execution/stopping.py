"""Stopping: SIGINT, SIGTERM and a budget make a sweep leave checkpoints and end; a second signal ends it at once.

The driver notes the request, hands out no more work, and tells the trials (``execution.switch``); each training writes
a checkpoint at its next safe point. Nothing that was made is lost.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from orchestrator.exceptions import BudgetSpent, Interrupted
from orchestrator.execution.budget import GRACE_S, Budget

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Signals to this process, as a sweep takes them, and the end of its budget.

    Outside ``patiently`` a signal raises Interrupted where it arrives. Inside, the first one is only noted.

    Attributes:
        ended: What ends the sweep, once something does.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self.ended: Interrupted | None = None
        self._budget, self._patient = budget, False
        self._since, self._grace_s = 0.0, GRACE_S

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Take the signals for as long as the block runs; the handlers from before come back afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.install()
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def install(self) -> None:
        """Take the signals, also from a library that took them meanwhile, as Ray does when it starts."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._note)

    @contextlib.contextmanager
    def patiently(self) -> Iterator[None]:
        """Only note the first signal inside the block, and raise Interrupted for it at the end."""
        self.install()
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
        self.check()

    def check(self) -> None:
        """Raise Interrupted if a signal was noted, or the budget is used up."""
        if self.requested and self.ended is not None:
            raise self.ended

    def check_budget(self) -> None:
        """UserError where the budget needs prices that the connected cluster does not know."""
        if self._budget is not None:
            self._budget.check_prices()

    @property
    def requested(self) -> bool:
        """Whether the sweep is to end."""
        if self.ended is None and self._budget is not None and self._budget.is_used_up():
            self.ended, self._since = BudgetSpent(self._budget.text), time.monotonic()
            self._grace_s = self._budget.grace_s
        return self.ended is not None

    @property
    def overdue(self) -> bool:
        """Whether the trainings have had their time."""
        return self.ended is not None and time.monotonic() - self._since > self._grace_s

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._patient or self.ended is not None:
            raise Interrupted(number)
        self.ended, self._since, self._grace_s = Interrupted(number), time.monotonic(), GRACE_S
