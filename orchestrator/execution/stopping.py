"""Stopping: SIGINT and SIGTERM make a sweep leave checkpoints and end; a second signal ends it at once.

The driver notes the signal, hands out no more work, and tells the trials (``execution.switch``); each training writes a
checkpoint at its next safe point. Nothing that was made is lost.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from orchestrator.exceptions import Interrupted

GRACE_S = 60.0
"""Time that trainings have to reach their next safe point."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Signals to this process, as a sweep takes them.

    Outside ``patiently`` a signal raises Interrupted where it arrives. Inside, the first one is only noted.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._patient = False
        self._since = 0.0

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
        """Raise Interrupted if a signal was noted."""
        if self.number is not None:
            raise Interrupted(self.number)

    @property
    def overdue(self) -> bool:
        """Whether the trainings have had their time."""
        return self.number is not None and time.monotonic() - self._since > GRACE_S

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._patient or self.number is not None:
            raise Interrupted(number)
        self.number, self._since = number, time.monotonic()
