"""Object stores: opened with patience, and read through copies in a folder that nobody else can enter."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from pyarrow import fs

ATTEMPTS = 11
"""Attempts at every request to S3: the waits between them double from 25 ms on, 51 s in all."""
SETTLED_S = 2.0
"""Age from which a file's time tells it from its successor: S3 keeps whole seconds, and clocks differ a little."""
FETCHES = 16
"""Files that are fetched at once."""


def open_remote(uri: str) -> tuple[fs.FileSystem, str]:
    """File system and path of a URL. On S3 a request that is refused is repeated, and a small file is one request."""
    files, path = fs.FileSystem.from_uri(uri)
    if isinstance(files, fs.S3FileSystem):
        _, (options,) = files.__reduce__()  # what the URL and the environment say, as pickle would keep it
        patience = fs.AwsDefaultS3RetryStrategy(max_attempts=ATTEMPTS)
        files = fs.S3FileSystem(**{**options, "retry_strategy": patience, "allow_delayed_open": True})
    return files, path.rstrip("/")


def private_cache(uri: str) -> Path:
    """Folder of this machine for copies of what lies under a URL.

    Raises PermissionError, with the remedy, where somebody else could have put something into it.
    """
    top = Path(tempfile.gettempdir()) / f"hypogen-{os.getuid()}"
    with suppress(FileExistsError):
        top.mkdir(mode=0o700, parents=True)
    found = top.lstat()
    if not stat.S_ISDIR(found.st_mode):
        trouble = "is a link or a file"
    elif found.st_uid != os.getuid():
        trouble = f"belongs to user {found.st_uid}"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        trouble = "can be written by others"
    else:
        top.chmod(0o700)
        return top / hashlib.sha256(uri.encode()).hexdigest()[:12]
    raise PermissionError(f"the cache {top} {trouble}: remove it, or set TMPDIR to a folder of your own")


class Mirror:
    """Copies of remote files, each with the time and the size of its original: only what changed is fetched."""

    def __init__(self, files: fs.FileSystem, base: str, folder: Path) -> None:
        self._files, self._base, self._folder = files, base, folder

    def copy_of(self, path: str) -> Path:
        """Place of a file's copy, whether or not it is there."""
        return self._folder / path.removeprefix(self._base).lstrip("/")

    def has(self, info: fs.FileInfo) -> bool:
        """Whether there is a copy of this very file."""
        copy = self.copy_of(info.path)
        if info.type != fs.FileType.File or not copy.exists():
            return False
        found = copy.stat()
        return (found.st_size, found.st_mtime_ns) == (info.size, info.mtime_ns)

    def fetch(self, infos: Iterable[fs.FileInfo]) -> None:
        """Copy what changed."""
        changed = [info for info in infos if not self.has(info)]
        for folder in {self.copy_of(info.path).parent for info in changed}:
            folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(FETCHES) as threads:
            list(threads.map(self._copy, changed))

    def _copy(self, info: fs.FileInfo) -> None:
        copy = self.copy_of(info.path)
        partial = copy.with_name(f".{copy.name}.{uuid4().hex}")
        with self._files.open_input_stream(info.path) as stream:
            partial.write_bytes(stream.read())
        os.utime(partial, ns=(0, info.mtime_ns if is_settled(info) else 0))
        partial.replace(copy)


def is_settled(info: fs.FileInfo) -> bool:
    """Whether the file has been there for a while."""
    return time.time() - info.mtime_ns / 1e9 >= SETTLED_S
