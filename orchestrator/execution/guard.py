"""The guard of a private Ray: where one of Ray's own processes dies, the command begins again in its own place.

Ray ends its driver soon after its head process (the GCS), whatever the driver is about, and waits for ever for a node
that is gone. Beginning again costs what was not stored or checkpointed yet, and no more.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

import psutil
from rich.console import Console

from orchestrator.exceptions import RayLost
from orchestrator.execution.stopping import StopRequest

LOOK_S = 1.0
WAIT_S = 10.0
"""How long killed processes may take to let go of their locks."""
STARTS = 5
"""How often a command begins, at most."""
STARTS_VARIABLE = "HYPOGEN_STARTS"
"""Variable by which a command knows how often it has begun."""
NAMES = frozenset({"gcs_server", "raylet"})


@contextlib.contextmanager
def guarded(stop: StopRequest, console: Console) -> Iterator[None]:
    """Context of work on the private Ray of this process; a thread looks after it. Leave it before Ray is stopped."""
    guard = _Guard(stop, console)
    threading.Thread(target=guard.watch, daemon=True).start()
    try:
        yield
    except Exception as error:  # whatever Ray makes of its death
        if isinstance(error, RayLost) or guard.lost():
            guard.begin_again()
        raise
    finally:
        guard.ended.set()


class _Guard:
    def __init__(self, stop: StopRequest, console: Console) -> None:
        self._stop, self._console, self._once = stop, console, threading.Lock()
        self._family = psutil.Process().children(recursive=True)
        self._watched = [child for child in psutil.Process().children() if child.name() in NAMES and _lives(child)]
        self.ended = threading.Event()

    def watch(self) -> None:
        """Look until the work has ended."""
        while not self.ended.wait(LOOK_S):
            if self.lost() and not self.ended.is_set():
                self.begin_again()
            self._family = psutil.Process().children(recursive=True)  # a dead node's workers are nobody's children

    def lost(self) -> bool:
        """Whether a process of Ray is gone."""
        return not all(map(_lives, self._watched))

    def begin_again(self) -> NoReturn:
        """Kill what is left of Ray and become the same command anew; after a signal, or too often, end."""
        with self._once:
            starts = int(os.environ.get(STARTS_VARIABLE, "1"))
            for process in (family := {*self._family, *psutil.Process().children(recursive=True)}):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(family, timeout=WAIT_S)
            self._console.show_cursor()
            if (stopped := self._stop.ended) is not None:
                self._end(f"Ray is gone; {stopped}", stopped.status)
            if starts == STARTS:
                self._end(f"Ray has died {starts} times: see why (memory, disk), then give the same command again", 1)
            self._console.print("Ray has died (killed, or out of memory): the command begins again", highlight=False)
            os.environ[STARTS_VARIABLE] = str(starts + 1)
            _flush()
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    def _end(self, reason: str, status: int) -> NoReturn:
        """End at once, from whichever thread: nothing can be asked of Ray any more."""
        print(reason, file=sys.stderr)
        _flush()
        os._exit(status)


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
