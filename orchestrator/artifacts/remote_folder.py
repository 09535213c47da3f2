"""Copy of a folder on an object store: whole at every moment, and nothing is sent twice.

    <remote>/pointer.json   which pieces make up which file; written last, so what it names is there
    <remote>/<piece>        a part of a file, never changed

A file that has grown keeps the pieces of its unchanged beginning: rows that are appended to a replay are all that is
sent of it. What changed is found by content, whatever the clocks say.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import pyarrow.fs as pafs

from hypogen.checkpoints import FILE

POINTER = "pointer.json"
SEEN = ".pointer.json"
"""Copy of the pointer in the local folder: as long as it equals the remote one, nobody else went on from there."""
CHUNK = 2**20
"""Bytes that are compared, and so perhaps sent again, at once."""
CLOCK = "seconds"
"""File with the seconds of work so far, which the pointer holds."""
PASSING = (".partial", ".tmp")
"""Ends of the names of files that are still being written."""


@dataclass(frozen=True)
class Sent:
    """What is there of a file: names of pieces with the bytes that they hold of it, and a digest of each chunk."""

    pieces: list[tuple[str, int]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(size for _, size in self.pieces)

    def beginning(self, size: int) -> list[tuple[str, int]]:
        """Pieces of the first ``size`` bytes."""
        found = []
        for name, length in self.pieces:
            if size:
                found.append((name, min(length, size)))
                size -= found[-1][1]
        return found


class RemoteFolder:
    """A local folder and its copy, for one writer at a time."""

    def __init__(self, files: pafs.FileSystem, remote: str, folder: Path) -> None:
        self._fs, self._remote, self._folder = files, remote, folder
        self._sent: dict[str, Sent] = {}
        self._stamps: dict[str, os.stat_result] = {}
        self._used = False

    def download(self) -> None:
        """Bring the copy here, unless the local folder goes on from it; one that somebody has cleared is none."""
        listed = self._fs.get_file_info(pafs.FileSelector(self._remote, allow_not_found=True))
        self._used = bool(listed)
        if not any(info.base_name == POINTER for info in listed):
            return
        with contextlib.suppress(FileNotFoundError, ValueError):
            with self._fs.open_input_stream(f"{self._remote}/{POINTER}") as stream:
                text = stream.read()
            files: dict[str, dict[str, list[Any]]] = json.loads(text)["files"]
            sent = {name: Sent([*map(tuple, of["pieces"])], of["digests"]) for name, of in files.items()}
            seen = self._folder / SEEN
            if not seen.exists() or seen.read_bytes() != text:
                self._replace(sent, text)
            self._sent = sent

    def _replace(self, sent: dict[str, Sent], pointer: bytes) -> None:
        partial = self._folder.with_name(f".{self._folder.name}.{uuid4().hex}")
        partial.mkdir(parents=True)
        try:
            for name, of in sent.items():
                file = partial / name
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("wb") as target:
                    for piece, size in of.pieces:
                        self._receive(piece, size, target)
            (partial / CLOCK).write_text(json.loads(pointer)["seconds"])
            (partial / SEEN).write_bytes(pointer)
            shutil.rmtree(self._folder, ignore_errors=True)
            partial.rename(self._folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _receive(self, piece: str, size: int, target: BinaryIO) -> None:
        with self._fs.open_input_stream(f"{self._remote}/{piece}") as stream:
            while size and (chunk := stream.read(min(CHUNK, size))):
                size -= target.write(chunk)
        if size:  # cut off
            raise ValueError(f"{self._remote}/{piece} lacks {size} bytes")

    def has_news(self) -> bool:
        """Whether a file is new, or was replaced, since the last upload; one that has only grown is no news."""
        return any(_replaced(self._stamps.get(name), file.stat()) for name, file in self._files())

    def upload(self) -> None:
        """Publish the folder as it is; what it no longer needs is deleted afterwards."""
        sent, stamps = dict[str, Sent](), dict[str, os.stat_result]()
        for states in (True, False):  # a state first: what it builds upon was there before it, and only grows
            for name, file in self._files():
                if (file.name == FILE) is states:
                    with file.open("rb") as stream:
                        stamps[name] = os.fstat(stream.fileno())
                        sent[name] = self._send(stream, self._sent.get(name, Sent()))
        if sent != self._sent:
            self._publish(sent)
        self._stamps = stamps

    def _publish(self, sent: dict[str, Sent]) -> None:
        seconds = (self._folder / CLOCK).read_text()
        pointer = json.dumps({"seconds": seconds, "files": {name: asdict(of) for name, of in sent.items()}}).encode()
        with self._fs.open_output_stream(f"{self._remote}/{POINTER}") as stream:
            stream.write(pointer)
        (self._folder / SEEN).write_bytes(pointer)
        gone, self._sent = _pieces(self._sent) - _pieces(sent), sent
        for piece in gone:
            with contextlib.suppress(OSError):
                self._fs.delete_file(f"{self._remote}/{piece}")

    def _send(self, stream: BinaryIO, before: Sent) -> Sent:
        """Send what is not there yet of a file."""
        size, digests = os.fstat(stream.fileno()).st_size, list[str]()
        for known in before.digests:
            if _digest(stream.read(CHUNK)) != known:
                break
            digests.append(known)
        kept = min(len(digests) * CHUNK, before.size)
        if kept == size:
            return Sent(before.beginning(size), digests)
        self._used, piece, added = True, uuid4().hex, 0
        stream.seek(kept)
        with self._fs.open_output_stream(f"{self._remote}/{piece}") as target:
            while chunk := stream.read(min(CHUNK, size - kept - added)):
                target.write(chunk)
                digests.append(_digest(chunk))
                added += len(chunk)
        return Sent([*before.beginning(kept), (piece, added)], digests)

    def delete(self) -> None:
        """Delete the copy, if there may be one."""
        if self._used:
            with contextlib.suppress(OSError):
                self._fs.delete_dir(self._remote)
        self._sent, self._stamps, self._used = {}, {}, False

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Files with their names in the folder, but for those that are being written."""
        for file in sorted(self._folder.rglob("*")):
            passing = file.suffix in PASSING or file.name.startswith(".") or file == self._folder / CLOCK
            if file.is_file() and not passing:
                yield file.relative_to(self._folder).as_posix(), file


def _digest(chunk: bytes) -> str:
    return hashlib.sha256(chunk).hexdigest()[:32]


def _pieces(sent: Mapping[str, Sent]) -> set[str]:
    return {name for of in sent.values() for name, _ in of.pieces}


def _replaced(before: os.stat_result | None, now: os.stat_result) -> bool:
    """Whether a file is another one than before, or was written over; appending to it does neither."""
    if before is None or before.st_ino != now.st_ino:
        return True
    return now.st_mtime_ns != before.st_mtime_ns and now.st_size <= before.st_size
