"""What a finished sweep printed, kept so that the same command over the same results plans nothing.

It counts while nothing has changed that could change it: the command, the experiment file, this project's own files,
and the name, size and time of every file of results. It lies in this user's private folder of this machine, and may be
deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator.execution.cluster import package_folders
from results.problems import ResultsError
from results.remote import private_cache
from results.result_store import ResultStore


class Remembered:
    """The closing lines of one command: a storage, an experiment file, and whatever else was given."""

    def __init__(self, storage: str, path: Path, *given: object) -> None:
        content = path.read_bytes() if path.is_file() else b""
        self._storage = storage
        self._command = (storage, path, content, given, sorted(_own_files()))

    def recall(self) -> str | None:
        """The lines, if what they say still holds."""
        with suppress(OSError, ResultsError):  # whoever needs the results says what is wrong with them
            return self._place(self.seen()).read_text(encoding="utf-8")
        return None

    def seen(self) -> str:
        """What the results look like now; to be taken before the lines are made of them."""
        return ResultStore(f"{self._storage.rstrip('/')}/results").digest()

    def keep(self, seen: str, lines: str) -> None:
        """Keep lines that were made of results as they were seen, where they can be written."""
        with suppress(OSError):
            place = self._place(seen)
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = place.with_name(f".{place.name}.{os.getpid()}")
            partial.write_text(lines, encoding="utf-8")
            partial.replace(place)

    def _place(self, seen: str) -> Path:
        name = hashlib.sha256(repr((self._command, seen)).encode()).hexdigest()[:32]
        return private_cache("closings") / name


def _own_files() -> Iterator[tuple[str, int, int]]:
    """Path, size and time of every file of the packages: whatever the code reads lies among them."""
    for package in package_folders():
        for folder, folders, names in os.walk(package):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                status = os.stat(path := os.path.join(folder, name))
                yield path, status.st_size, status.st_mtime_ns
