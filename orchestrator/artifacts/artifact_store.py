"""The artifact store: a folder, or a URL such as ``s3://bucket/runs``, that holds whole artifacts or nothing.

    <storage>/artifacts/<kind>/<key>/…      a finished artifact, with its ``artifact.json``
    <storage>/work/<kind>/<key>/…           checkpoints of one that is being made; gone when it is finished
                                            (on object storage in pieces, see ``orchestrator.artifacts.remote_folder``)
    <storage>/locks/<kind>-<key>            who is making it (local storage only)
    <storage>/results/<table>/<key>.parquet what was measured (see ``results.result_store``)

An artifact is made in a staging folder and then moved, so a key never holds half of one. On local storage a file
lock keeps two sweeps from making the same thing twice, and dies with its process. On object storage there is no
lock: two sweeps may do the same work, and the second to finish overwrites the first with the same content. There
every request counts, so a machine keeps what it made or fetched in a cache of its own, where its processes find it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow.fs as pafs

from hypogen.checkpoints import sync
from orchestrator.artifacts.integrity import MANIFEST, damage, opened, seal
from orchestrator.artifacts.lock import Owner, locked, owner_of
from orchestrator.artifacts.workspace import Workspace
from orchestrator.exceptions import Damaged, UserError
from results.remote import open_remote, private_cache

DAMAGED = "damaged"
"""Folder of a storage that damaged artifacts and results are moved to."""
REMOTE_SCHEMES = ("s3", "gs")
GCS_PATIENCE = timedelta(seconds=2)
COPIED_BYTES = 2**24
"""Bytes of a remote file that are asked for at once."""
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
            self._cache = _cache(uri)

    @property
    def results(self) -> str:
        """Where the tables lie, as ``results.ResultStore`` takes it."""
        return f"{self.uri.rstrip('/')}/results"

    def is_full(self) -> bool:
        """Whether local storage has next to no space left."""
        return self.local and shutil.disk_usage(self.root).free < FULL_BYTES

    def check_writable(self) -> None:
        """Write a small file. UserError with the remedy when that fails; on local storage it leaves nothing behind."""
        probe = f"{self.root}/.writable"
        existed = self.local and Path(self.root).exists()
        try:
            if self.local:
                probe += f"-{os.getpid()}"
                self.fs.create_dir(self.root, recursive=True)
            with self.fs.open_output_stream(probe) as stream:
                stream.write(b"writable")
            if self.local:  # on a bucket this would take three more requests
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
        selector = pafs.FileSelector(f"{self.root}/artifacts/{kind}", allow_not_found=True, recursive=True)
        return {info.path.split("/")[-2] for info in self.fs.get_file_info(selector) if info.base_name == MANIFEST}

    def exists(self, kind: str, key: str) -> bool:
        """Whether the artifact is finished: at most one request."""
        if self.local:
            return os.path.isfile(f"{self.root}/artifacts/{kind}/{key}/{MANIFEST}")
        return MANIFEST in self._names(kind, key)

    def _names(self, kind: str, key: str) -> list[str]:
        """Names of the files of a remote artifact: one listing, whether or not there are any."""
        selector = pafs.FileSelector(f"{self.root}/artifacts/{kind}/{key}", allow_not_found=True)
        return [info.base_name for info in self.fs.get_file_info(selector) if info.type == pafs.FileType.File]

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
        """Bring a remote artifact's files to this machine, once for all its processes, unless they are here."""
        if self.local or (target / MANIFEST).exists():
            return
        with self._fetching(kind, key):
            if (target / MANIFEST).exists() or MANIFEST not in (names := self._names(kind, key)):
                return
            with self._staging(kind, key) as staging:
                for name in names:
                    remote = f"{self.root}/artifacts/{kind}/{key}/{name}"
                    with self.fs.open_input_stream(remote) as stream, (staging / name).open("wb") as file:
                        shutil.copyfileobj(stream, file, COPIED_BYTES)
                self._keep(staging, target)

    def _keep(self, staging: Path, target: Path) -> None:
        """Put a remote artifact's files into this machine's cache, in the place of a copy that lost its manifest."""
        shutil.rmtree(target, ignore_errors=True)
        _move(staging, target)

    @contextlib.contextmanager
    def _fetching(self, kind: str, key: str) -> Iterator[None]:
        path = self._cache / "fetching" / f"{kind}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def check_again(self) -> None:
        """Trust nothing that was found whole before: the next use of each artifact reads its digests anew."""
        self._checked.clear()

    def is_damaged(self, kind: str, key: str) -> bool:
        """Whether what is stored is not as it was written, or nothing is; its files are read again."""
        self._checked.discard((kind, key))
        try:
            self.folder(kind, key)
        except Damaged:
            return True
        return False

    def set_aside(self, kind: str, key: str) -> str:
        """Move a damaged artifact out of the way, so that it can be made again; where its files are now."""
        source, parent = f"{self.root}/artifacts/{kind}/{key}", f"{self.root}/{DAMAGED}/{kind}"
        if self.fs.get_file_info(source).type == pafs.FileType.NotFound:
            return "nowhere, since it is gone"
        target = f"{parent}/{key}-{uuid4().hex[:8]}"
        self._checked.discard((kind, key))
        if self.local:
            Path(parent).mkdir(parents=True, exist_ok=True)
            Path(source).rename(target)
        else:
            pafs.copy_files(source, target, source_filesystem=self.fs, destination_filesystem=self.fs)
            self.fs.delete_dir(source)
            shutil.rmtree(self._cache / "artifacts" / kind / key, ignore_errors=True)
        return target

    def manifest(self, kind: str, key: str) -> dict[str, object]:
        """What an artifact says of itself (``orchestrator.artifacts.manifest``)."""
        here = self._cache / "artifacts" / kind / key / MANIFEST
        if self.local or here.exists():
            text = here.read_bytes()
        else:
            with self.fs.open_input_stream(f"{self.root}/artifacts/{kind}/{key}/{MANIFEST}") as stream:
                text = stream.read()
        try:
            return opened(text)
        except ValueError as error:
            raise Damaged(kind, key, str(error)) from None

    def problems(self, kinds: Iterable[str]) -> Iterator[Damaged]:
        """All damaged artifacts of some kinds; every file is read."""
        for kind in kinds:
            for key in sorted(self._folders(kind) if self.local else self.keys(kind)):
                if not self.local:  # the files that count are those on the bucket
                    shutil.rmtree(self._cache / "artifacts" / kind / key, ignore_errors=True)
                try:
                    self.folder(kind, key)
                except Damaged as found:
                    yield found

    def _folders(self, kind: str) -> list[str]:
        """Keys of the local artifacts of a kind, with those that have lost their manifest."""
        folder = f"{self.root}/artifacts/{kind}"
        return [name for name in os.listdir(folder) if not name.startswith(".")] if os.path.isdir(folder) else []

    @property
    def tune(self) -> Path:
        """The local folder for Ray Tune's own state, which holds pickles: so nobody else may write there."""
        return private_cache(self.uri) / "tune"

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
        seconds are added; the workspace holds its checkpoints, and survives a kill or an error.
        """
        with self._claim(kind, key):
            if self.exists(kind, key):
                return False
            if self.local and Path(self.root, "artifacts", kind, key).exists():
                self.set_aside(kind, key)  # it has lost its manifest; on a bucket somebody may be uploading it
            self._sweep_staging(kind, key)
            workspace = Workspace(self, kind, key)
            try:
                with self._staging(kind, key) as staging:
                    manifest = {**build(staging, workspace), "seconds": round(workspace.seconds(), 3)}
                    seal(staging, manifest)
                    self._publish(staging, kind, key)
            except BaseException:
                workspace.sync()
                raise
            workspace.clear()
        return True

    def _publish(self, staging: Path, kind: str, key: str) -> None:
        target = f"{self.root}/artifacts/{kind}/{key}"
        if self.local:
            _move(staging, Path(target))
            sync(Path(target).parent)
            return
        for file in sorted(staging.iterdir(), key=lambda file: file.name == MANIFEST):  # the manifest makes it whole
            pafs.copy_files(str(file), f"{target}/{file.name}", destination_filesystem=self.fs)
        with self._fetching(kind, key):
            self._keep(staging, self._cache / "artifacts" / kind / key)

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

    def _claim(self, kind: str, key: str) -> AbstractContextManager[None]:
        """Wait for another sweep that is making it; none on object storage, which has no locks."""
        return locked(self._lock(kind, key)) if self.local else contextlib.nullcontext()

    def owner(self, kind: str, key: str) -> Owner | None:
        """The process that is making an artifact, as far as one can tell."""
        return owner_of(self._lock(kind, key)) if self.local else None

    def _lock(self, kind: str, key: str) -> Path:
        return Path(self.root) / "locks" / f"{kind}-{key}"


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
        return open_remote(uri)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--storage {uri}: {_first_line(error)}. Give a folder, or a URL like s3://bucket/folder."
        ) from None


def _cache(uri: str) -> Path:
    try:
        return private_cache(uri)
    except PermissionError as error:
        raise UserError(f"--storage {uri}: {error}.") from None


def _first_line(error: Exception) -> str:
    """As much of an error as a person reads: cloud libraries write pages."""
    return str(error).splitlines()[0][:200]


def _move(source: Path, target: Path) -> None:
    """Rename a finished folder into place; if somebody else's is there already, theirs is the same."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError:
        if not (target / MANIFEST).exists():
            raise
