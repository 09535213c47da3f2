"""Sinks of a sweep: what it measures is copied to tools that people watch runs with, as it goes on.

The work is `python -m results send` in processes of its own: whatever happens to one of them, the sweep goes on. What
one did not send, the next one does.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from orchestrator.exceptions import UserError
from results.problems import ResultsError
from results.result_store import ResultStore
from results.sinks import check_sink

LOOK_S = 15.0
"""Time between two looks for new runs."""
PATIENCE_S = 600.0
"""Time that a sink has at most while the sweep goes on: the sweep comes first on the processors."""
CLOSING_S = 60.0
"""The same once the sweep is done, and waits for it."""
NICENESS = 5


@dataclass(frozen=True)
class Target:
    """A sink and its place, as ``--sink NAME=PLACE`` names them."""

    name: str
    place: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """UserError for what is no NAME=PLACE; ResultsError for an unknown sink, or one that is not installed."""
        name, _, place = text.partition("=")
        if not place:
            raise UserError(f"--sink {text}: write NAME=PLACE, such as tensorboard=boards")
        check_sink(name)
        return cls(name, place)


@contextmanager
def sending(targets: Sequence[Target], storage: str, experiment: str, say: Callable[[str], object]) -> Iterator[None]:
    """Send the finished runs of an experiment while the body makes more of them, and once more when it is done.

    Trouble with a sink is said once, and never raised. Where the body raises, nothing more is sent.
    """
    done = threading.Event()
    sender = _Sender(targets, storage, experiment, say)
    thread = threading.Thread(target=sender.watch, args=(done,), daemon=True)
    if targets:
        thread.start()
    try:
        yield
        done.set()
        if targets:
            sender.finish(thread)
    finally:
        done.set()
        sender.stop()


class _Sender:
    """Looks for finished runs, and sends when there are others than before."""

    def __init__(self, targets: Sequence[Target], storage: str, experiment: str, say: Callable[[str], object]) -> None:
        self._targets, self._storage, self._experiment, self._say = list(targets), storage, experiment, say
        self._said: set[Target] = set()
        self._seen: list[str] = []
        self._child: subprocess.Popen[str] | None = None
        self._stopped = False

    def watch(self, done: threading.Event) -> None:
        """Until it is done: send what lands."""
        while not done.wait(LOOK_S):
            self.send()

    def finish(self, thread: threading.Thread) -> None:
        """Wait for what is being sent, then send the rest."""
        thread.join(CLOSING_S)
        self._kill()
        thread.join()
        self.send(CLOSING_S, last=True)

    def send(self, patience_s: float = PATIENCE_S, last: bool = False) -> None:
        """Send whatever the sinks lack, one after the other, if there is anything new or it is the last time."""
        found: list[str] = []
        with suppress(ResultsError, OSError):  # the storage's trouble is the sweep's own
            found = ResultStore(f"{self._storage.rstrip('/')}/results").keys("runs")
        if not found or (found == self._seen and not last):
            return
        self._seen = found
        for target in tuple(self._targets):
            trouble = None if self._stopped else self._trouble(target, patience_s)
            if trouble and not self._stopped and target not in self._said:
                self._said.add(target)
                command = " ".join(["hypogen results", *self._words(target)])
                self._say(f"{trouble}. The sweep goes on; what is missing there is sent by: {command}")

    def stop(self) -> None:
        """End what is being sent: runs arrive whole or not at all."""
        self._stopped = True
        self._kill()

    def _words(self, target: Target) -> list[str]:
        return ["send", target.name, "--to", target.place, "--experiment", self._experiment, "--storage", self._storage]

    def _trouble(self, target: Target, patience_s: float) -> str | None:
        """Send to one sink; one line on what went wrong, if anything did. A sink that hangs is given up."""
        command = ["nice", "-n", str(NICENESS), sys.executable, "-m", "results", *self._words(target)]
        try:
            # Of a session of its own: Ctrl-C is for the sweep.
            self._child = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
            )
        except OSError as error:
            return f"{target.name}: {error}"
        said = ""
        try:
            _, said = self._child.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self._kill()
        if self._child.returncode == -signal.SIGKILL:
            self._targets.remove(target)
            return f"{target.name}: {target.place} took too long"
        lines = said.strip().splitlines() or [f"ended with status {self._child.returncode}"]
        return f"{target.name}: {lines[-1].removeprefix('error: ')}" if self._child.returncode else None

    def _kill(self) -> None:
        """End the process that sends, if one does."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()
