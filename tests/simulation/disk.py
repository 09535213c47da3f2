"""The disk of a simulation: a real folder, whose operations are moments at which anything may happen.

Python's own calls are taken over while a simulation runs. Each operation that changes something is a pause of its
process, at which the history may kill it, or let the operation fail. A power cut tears files that were not synced after
they were written.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.simulation.processes import World

CHANGES = ("replace", "rename", "mkdir", "unlink", "remove", "rmdir")


class Disk:
    """Operations under a folder.

    Args:
        before: Called before each operation of a simulated process; what it raises, the operation raises.
    """

    def __init__(self, world: World, root: Path, before: Callable[[str], None]) -> None:
        self._world, self.root, self._before = world, root, before
        self._durable: dict[int, tuple[int, int]] = {}
        self.faulty = False
        """Whether it is the disk itself that changes files now."""

    def operation(self, name: str) -> None:
        """An operation is about to happen."""
        if self._world.here() is not None and not self.faulty:
            self._world.pause()
            self._before(name)

    def cut_power(self, random: random.Random) -> list[Path]:
        """Tear files that are not on the disk; their paths."""
        torn = []
        for folder, _, names in os.walk(self.root):
            for name in sorted(names):
                path = Path(folder, name)
                found = path.stat()
                if self._durable.get(found.st_ino) == (found.st_size, found.st_mtime_ns) or random.random() < 0.5:
                    continue
                if "locks" in path.parts:
                    continue
                with path.open("r+b") as file:
                    file.truncate(random.randrange(found.st_size) if found.st_size else 0)
                torn.append(path)
        return torn

    @contextlib.contextmanager
    def taken_over(self) -> Iterator[None]:
        """Python's calls pass through here."""
        with contextlib.ExitStack() as stack:

            def put(module: Any, name: str, function: Any) -> None:
                stack.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, function)

            for name in CHANGES:
                put(os, name, self._changing(name, getattr(os, name)))
            put(os, "fsync", self._syncing(os.fsync))
            opening = self._opening(io.open)
            put(io, "open", opening)
            put(builtins, "open", opening)
            put(time, "sleep", self._sleeping(time.sleep))
            put(time, "monotonic", self._telling(time.monotonic, 0))
            put(time, "time", self._telling(time.time, 1))
            yield

    def _changing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.operation(name)
            return real(*arguments, **options)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if mode.strip("bt") != "r" and not isinstance(file, int):
                self.operation("write")
            return real(file, mode, *arguments, **options)

        return call

    def _syncing(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(handle: int) -> None:
            self.operation("sync")
            found = os.fstat(handle)
            self._durable[found.st_ino] = (found.st_size, found.st_mtime_ns)

        return call

    def _sleeping(self, real: Callable[[float], None]) -> Callable[[float], None]:
        def call(seconds: float) -> None:
            if self._world.here() is None:
                real(seconds)
            else:
                self._world.pause(seconds=seconds)

        return call

    def _telling(self, real: Callable[[], float], wall: int) -> Callable[[], float]:
        def call() -> float:
            world = self._world
            return real() if world.here() is None else 1e6 + world.now + wall * world.skew

        return call
