"""Workspace: the checkpoints of an artifact that is being made, which survive whoever makes it."""

from __future__ import annotations

import contextlib
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from orchestrator.artifacts.remote_folder import CLOCK, RemoteFolder

if TYPE_CHECKING:  # the store makes workspaces
    from orchestrator.artifacts.artifact_store import Store


class Workspace:
    """A folder for the checkpoints of an artifact that is being made, kept until the artifact is whole."""

    def __init__(self, store: Store, kind: str, key: str) -> None:
        self._aside = store.aside / "work"
        self.folder = store.workspaces(kind) / key
        self.folder.mkdir(parents=True, exist_ok=True)
        self._copy = None if store.local else RemoteFolder(store.fs, f"{store.root}/work/{kind}/{key}", self.folder)
        if self._copy:
            self._copy.download()
        self._clock, self._started = self.folder / CLOCK, time.monotonic()
        self._before = 0.0
        with contextlib.suppress(FileNotFoundError, ValueError):  # none yet, or damaged: only the time is lost
            self._before = float(self._clock.read_text())
        self._thread, self._upload = ThreadPoolExecutor(1), Future[None]()
        self._upload.set_result(None)

    def seconds(self) -> float:
        """Seconds of work so far, those before a kill included (up to its last ``sync``)."""
        return self._before + time.monotonic() - self._started

    def begin_sync(self) -> None:
        """The same as ``sync`` beside the work, if there is a new checkpoint and the last is not on its way any more.

        An upload that fails is left to the next one.
        """
        write_text(self._clock, f"{self.seconds():.3f}")
        if self._copy and self._upload.done() and self._copy.has_news():
            self._upload = self._thread.submit(self._copy.upload)

    def sync(self) -> None:
        """Note the time spent; on remote storage upload what is not there yet."""
        write_text(self._clock, f"{self.seconds():.3f}")
        if self._copy:
            self._thread.submit(self._copy.upload).result()  # after the one that is on its way

    def set_aside(self) -> None:
        """Move the checkpoints out of the way, and begin with none."""
        target = self._aside / f"{self.folder.name}-{uuid4().hex[:8]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.folder.rename(target)
        self.folder.mkdir()
        if self._copy:
            self._thread.submit(self._copy.delete).result()

    def clear(self) -> None:
        """Delete the checkpoints."""
        if self._copy:
            self._thread.submit(self._copy.delete).result()
        self._thread.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a small file beside its place and move it there: a kill leaves the old one or the new one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)
