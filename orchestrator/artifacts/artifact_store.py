"""The artifact store: a folder, or a URL such as ``s3://bucket/runs``, that holds whole artifacts or nothing.

    <storage>/artifacts/<kind>/<key>/…      a finished artifact, with its ``artifact.json``
    <storage>/work/<kind>/<key>/…           checkpoints of one that is being made; gone when it is finished
    <storage>/locks/<kind>-<key>            who is making it (local storage only)
    <storage>/results/<table>/<key>.parquet what was measured (see ``results.result_store``)

An artifact is made in a staging folder and then moved, so a key never holds half of one. On local storage a file
lock keeps two sweeps from making the same thing twice, and dies with its process. On object storage there is no
lock: two sweeps may do the same work, and the second to finish overwrites the first with the same content.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow.fs as pafs

from hypogen.checkpoints import sync
from orchestrator.artifacts.integrity import MANIFEST, damage, opened, seal
from orchestrator.exceptions import Damaged, UserError

DAMAGED = "damaged"
"""Folder of a storage that damaged artifacts and results are moved to."""
REMOTE_SCHEMES = ("s3", "gs")
GCS_PATIENCE = timedelta(seconds=2)
FULL_BYTES = 64 * 2**20
"""Less free space than this is a full disk: a checkpoint would not fit."""


class Store:
    """Artifacts by kind and key. Cheap to make: every worker process makes its own from the same ``uri``."""

    def __init__(self, uri: str) -> None:
        """``given`` is ``uri`` as the user wrote it; ``self.uri`` names the same place from any working directory."""
        self.given = self.uri = uri
        self._checked: set[tuple[str, str]] = set()
        self.local = "://" not in uri or uri.startswith("file://")
        if self.local:
            root = _local_root(uri)
            self.fs: pafs.FileSystem = pafs.LocalFileSystem()
            self.uri = self.root = str(root)
            self._cache = root
        else:
            self.fs, self.root = _remote_root(uri)
            digest = hashlib.sha256(uri.encode()).hexdigest()[:12]
            self._cache = Path(tempfile.gettempdir()) / f"hypogen-{os.getuid()}" / digest

    @property
    def results(self) -> str:
        """Where the tables lie, as ``results.ResultStore`` takes it."""
        return f"{self.uri.rstrip('/')}/results"

    def is_full(self) -> bool:
        """Whether local storage has next to no space left."""
        return self.local and shutil.disk_usage(self.root).free < FULL_BYTES

    def check_writable(self) -> None:
        """Write, read and delete a small file. UserError with the remedy when that fails; leaves nothing behind."""
        probe = f"{self.root}/.probe-{os.getpid()}"
        existed = self.local and Path(self.root).exists()
        try:
            self.fs.create_dir(self.root, recursive=True)
            with self.fs.open_output_stream(probe) as stream:
                stream.write(b"writable")
            self.fs.delete_file(probe)
        except OSError as error:
            reason = error.strerror or _first_line(error)
            raise UserError(
                f"--storage {self.given}: cannot be written ({reason}). Give a folder that you may write to."
            ) from None
        finally:
            if self.local and not existed:
                with contextlib.suppress(OSError):
                    Path(self.root).rmdir()

    # Finished artifacts

    def keys(self, kind: str) -> set[str]:
        """Keys of all finished artifacts of a kind: one listing."""
        if self.local:
            folder = f"{self.root}/artifacts/{kind}"
            there = os.listdir(folder) if os.path.isdir(folder) else []
            return {name for name in there if os.path.exists(f"{folder}/{name}/{MANIFEST}")}
        infos = self.fs.get_file_info(pafs.FileSelector(f"{self.root}/artifacts/{kind}", allow_not_found=True))
        names = {info.base_name for info in infos if info.type == pafs.FileType.Directory}
        return {name for name in names if not name.startswith(".") and self.exists(kind, name)}

    def exists(self, kind: str, key: str) -> bool:
        info = self.fs.get_file_info(f"{self.root}/artifacts/{kind}/{key}/{MANIFEST}")
        return info.type == pafs.FileType.File

    def folder(self, kind: str, key: str) -> Path:
        """A local folder with the artifact's files; fetched once a machine when the storage is remote."""
        target = self._cache / "artifacts" / kind / key
        self._fetch(kind, key, target)
        if not target.exists():
            raise Damaged(kind, key, f"it is not in {self.uri}")
        if (kind, key) not in self._checked:
            if not self.local and damage(target) is not None:  # perhaps only this machine's copy is
                shutil.rmtree(target)
                self._fetch(kind, key, target)
            if (reason := damage(target)) is not None:
                raise Damaged(kind, key, reason)
            self._checked.add((kind, key))
        return target

    def _fetch(self, kind: str, key: str, target: Path) -> None:
        """Bring a remote artifact's files to this machine, unless they are here."""
        if not self.local and not (target / MANIFEST).exists() and self.exists(kind, key):
            with self._staging(kind, key) as staging:
                pafs.copy_files(f"{self.root}/artifacts/{kind}/{key}", str(staging), source_filesystem=self.fs)
                shutil.rmtree(target, ignore_errors=True)  # a copy that lost its manifest
                _move(staging, target)

    def set_aside(self, kind: str, key: str) -> str:
        """Move a damaged artifact out of the way, so that it can be made again; where its files are now."""
        source, parent = f"{self.root}/artifacts/{kind}/{key}", f"{self.root}/{DAMAGED}/{kind}"
        if self.fs.get_file_info(source).type == pafs.FileType.NotFound:
            return "nowhere, since it is gone"
        target = f"{parent}/{key}-{uuid4().hex[:8]}"
        self._checked.discard((kind, key))
        self.fs.create_dir(parent, recursive=True)
        if self.local:
            Path(source).rename(target)
        else:
            pafs.copy_files(source, target, source_filesystem=self.fs, destination_filesystem=self.fs)
            self.fs.delete_dir(source)
            shutil.rmtree(self._cache / "artifacts" / kind / key, ignore_errors=True)
        return target

    def manifest(self, kind: str, key: str) -> dict[str, object]:
        """What an artifact says of itself (``orchestrator.artifacts.manifest``)."""
        with self.fs.open_input_stream(f"{self.root}/artifacts/{kind}/{key}/{MANIFEST}") as stream:
            text = stream.read()
        try:
            return opened(text)
        except ValueError as error:
            raise Damaged(kind, key, str(error)) from None

    def problems(self, kinds: Iterable[str]) -> Iterator[Damaged]:
        """All damaged artifacts of some kinds; every file is read."""
        for kind in kinds:
            infos = self.fs.get_file_info(pafs.FileSelector(f"{self.root}/artifacts/{kind}", allow_not_found=True))
            for key in sorted(info.base_name for info in infos if info.type == pafs.FileType.Directory):
                if not self.local:  # the files that count are those on the bucket, once their manifest is there
                    shutil.rmtree(self._cache / "artifacts" / kind / key, ignore_errors=True)
                    if not self.exists(kind, key):
                        continue
                try:
                    self.folder(kind, key)
                except Damaged as found:
                    yield found

    @property
    def aside(self) -> Path:
        """The local folder that damaged checkpoints are moved to."""
        return self._cache / DAMAGED

    def workspaces(self, kind: str) -> Path:
        """The local folder that holds the checkpoints of a kind's unfinished artifacts."""
        return self._cache / "work" / kind

    # Making one

    def make(self, kind: str, key: str, build: Callable[[Path, Workspace], Mapping[str, object]]) -> bool:
        """Make the artifact unless it is there; True if this call made it.

        ``build(folder, workspace)`` writes the artifact's files into ``folder`` and returns its manifest, to which the
        seconds are added; the workspace holds its checkpoints and survives a kill.
        """
        with self._claim(kind, key):
            if self.exists(kind, key):
                return False
            if self.local and Path(self.root, "artifacts", kind, key).exists():
                self.set_aside(kind, key)  # it has lost its manifest; on a bucket somebody may be uploading it
            self._sweep_staging(kind, key)
            workspace = Workspace(self, kind, key)
            with self._staging(kind, key) as staging:
                manifest = {**build(staging, workspace), "seconds": round(workspace.seconds(), 3)}
                seal(staging, manifest)
                self._publish(staging, kind, key)
            workspace.clear()
        return True

    def _publish(self, staging: Path, kind: str, key: str) -> None:
        target = f"{self.root}/artifacts/{kind}/{key}"
        if self.local:
            _move(staging, Path(target))
            sync(Path(target).parent)
            return
        self.fs.create_dir(target, recursive=True)
        for file in sorted(staging.iterdir(), key=lambda file: file.name == MANIFEST):  # the manifest makes it whole
            pafs.copy_files(str(file), f"{target}/{file.name}", destination_filesystem=self.fs)

    @contextlib.contextmanager
    def _staging(self, kind: str, key: str) -> Iterator[Path]:
        parent = self._cache / "staging"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-{key}-", dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _sweep_staging(self, kind: str, key: str) -> None:
        """Delete what a killed maker left behind; only its successor, who holds the lock, can tell."""
        if self.local:
            for left in (self._cache / "staging").glob(f"{kind}-{key}-*"):
                shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def _claim(self, kind: str, key: str) -> Iterator[None]:
        if not self.local:
            yield
            return
        path = Path(self.root) / "locks" / f"{kind}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for another sweep that is making it
            yield


class Workspace:
    """A folder for the checkpoints of an artifact that is being made, kept until the artifact is whole."""

    def __init__(self, store: Store, kind: str, key: str) -> None:
        self._store, self._remote = store, f"{store.root}/work/{kind}/{key}"
        self.folder = store.workspaces(kind) / key
        self.folder.mkdir(parents=True, exist_ok=True)
        if not store.local:
            self._download()
        self._clock, self._started = self.folder / "seconds", time.monotonic()
        self._before = float(self._clock.read_text() or 0) if self._clock.exists() else 0.0
        self._synced = max((file.stat().st_mtime for file in self._files()), default=0.0)

    def seconds(self) -> float:
        """Seconds of work so far, those before a kill included (up to its last ``sync``)."""
        return self._before + time.monotonic() - self._started

    def sync(self) -> None:
        """Note the time spent; on remote storage upload what is newer than the last upload."""
        write_text(self._clock, f"{self.seconds():.3f}")
        if self._store.local:
            return
        newer = [file for file in self._files() if file.stat().st_mtime > self._synced]
        for file in newer:  # in the order of writing: a checkpoint comes after all that it builds upon
            self._synced = file.stat().st_mtime
            self._upload(file)
        if newer:
            self._upload(self._clock)

    def _upload(self, file: Path) -> None:
        remote = f"{self._remote}/{file.relative_to(self.folder).as_posix()}"
        self._store.fs.create_dir(remote.rpartition("/")[0], recursive=True)
        pafs.copy_files(str(file), remote, destination_filesystem=self._store.fs)

    def set_aside(self) -> None:
        """Move the checkpoints out of the way, and begin with none."""
        target = self._store.aside / "work" / f"{self.folder.name}-{uuid4().hex[:8]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.folder.rename(target)
        self.folder.mkdir()
        if not self._store.local:
            with contextlib.suppress(OSError):
                self._store.fs.delete_dir(self._remote)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self._store.local:
            with contextlib.suppress(OSError):
                self._store.fs.delete_dir(self._remote)

    def _download(self) -> None:
        if self._store.fs.get_file_info(self._remote).type == pafs.FileType.Directory:
            pafs.copy_files(self._remote, str(self.folder), source_filesystem=self._store.fs)

    def _files(self) -> list[Path]:
        """All files but the clock's, the one that was written last at the end."""
        files = [file for file in self.folder.rglob("*") if file.is_file() and file != self._clock]
        return sorted(files, key=lambda file: file.stat().st_mtime)


def _local_root(uri: str) -> Path:
    """The folder that a path or ``file://`` URL names. UserError for a file, and for a URL that lacks a slash."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", uri) and "://" not in uri:
        scheme, _, rest = uri.partition(":/")
        raise UserError(f"--storage {uri}: a URL has two slashes: {scheme}://{rest}. Or give a folder as ./{uri}.")
    root = Path(uri.removeprefix("file://")).expanduser().resolve()
    blocked = next((path for path in (root, *root.parents) if path.exists() and not path.is_dir()), None)
    if blocked is not None:
        raise UserError(
            f"--storage {uri}: cannot be written: {blocked} is not a folder. Give one that you may write to."
        )
    return root


def _remote_root(uri: str) -> tuple[pafs.FileSystem, str]:
    """File system and path of a URL. UserError for a scheme that is not known, or that cannot be opened."""
    scheme, _, path = uri.partition("://")
    if scheme not in REMOTE_SCHEMES:
        known = ", ".join(f"{name}://" for name in REMOTE_SCHEMES)
        raise UserError(f"--storage {uri}: unknown scheme {scheme}://. Give a folder, or a URL of: {known}.")
    try:
        if scheme == "gs":  # which by default looks for credentials for many minutes
            pafs.GcsFileSystem(retry_time_limit=GCS_PATIENCE).get_file_info(path.partition("/")[0])
        return pafs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--storage {uri}: {_first_line(error)}. Give a folder, or a URL like s3://bucket/folder."
        ) from None


def _first_line(error: Exception) -> str:
    """As much of an error as a person reads: cloud libraries write pages."""
    return str(error).splitlines()[0][:200]


def write_text(path: Path, text: str) -> None:
    """Write a small file beside its place and move it there: a kill leaves the old one or the new one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _move(source: Path, target: Path) -> None:
    """Rename a finished folder into place; if somebody else's is there already, theirs is the same."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError:
        if not (target / MANIFEST).exists():
            raise
