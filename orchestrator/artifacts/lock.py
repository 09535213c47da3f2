"""Lock on an artifact that is being made: a locked file that names its owner and shows that it lives.

The lock dies with its process. The owner touches the file every few seconds, so that whoever waits can tell an owner
that works from one that is stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

POLL_S = 0.2
SAY_AFTER_S = 1.0
HEARTBEAT_S = 5.0
STILL_S = 60.0
"""An owner that hasn't touched its lock for so long is said to stand still."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """A process that makes an artifact.

    Attributes:
        since: Moment at which it began, in seconds since 1970.
        touched: Its last sign of life, in seconds since 1970.
    """

    host: str
    pid: int
    since: float
    command: str
    touched: float = 0.0

    @property
    def stands_still(self) -> bool:
        """Whether it has shown no life for long."""
        return time.time() - self.touched > STILL_S

    def __str__(self) -> str:
        text = f"pid {self.pid} on {self.host} makes it since {_clock(self.since)} ({self.command})"
        if not self.stands_still:
            return text
        remedy = f"if it hangs, run `kill -9 {self.pid}` on {self.host}"
        return f"{text}, but has shown no life since {_clock(self.touched)}: {remedy}"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock; while another process does, wait and log for whom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _acquire(file, path)
        file.truncate(0)
        file.write(json.dumps(asdict(_this_process())))
        file.flush()
        released = threading.Event()
        heart = threading.Thread(target=_beat, args=(path, released), daemon=True)
        heart.start()
        try:
            yield
        finally:
            released.set()
            heart.join()
            file.truncate(0)


def owner_of(path: Path) -> Owner | None:
    """The process that holds a lock; None where nobody does."""
    with contextlib.suppress(OSError, ValueError, TypeError), path.open() as file:
        if not _try(file, fcntl.LOCK_SH):
            return Owner(**{**json.loads(file.read()), "touched": path.stat().st_mtime})
    return None


def _acquire(file: IO[str], path: Path) -> None:
    started, said = time.monotonic(), False
    while not _try(file, fcntl.LOCK_EX):
        if not said and time.monotonic() - started > SAY_AFTER_S:
            said = True
            logger.warning("waiting for %s: %s", path.name, owner_of(path))
        time.sleep(POLL_S)


def _try(file: IO[str], operation: int) -> bool:
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _beat(path: Path, released: threading.Event) -> None:
    while not released.wait(HEARTBEAT_S):
        with contextlib.suppress(OSError):  # a disk that comes back later
            os.utime(path)


def _this_process() -> Owner:
    command = Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return Owner(platform.node(), os.getpid(), time.time(), command[:200])


def _clock(moment: float) -> str:
    return time.strftime("%H:%M", time.localtime(moment))
