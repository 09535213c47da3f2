"""Garbage: stored artifacts that no listed experiment needs.

Kept are, for every experiment in the table ``experiments`` (a published one is listed where it was published from):
what its runs roll out, the probes and rollouts of that, everything that these were made from; further the outcomes of
searches with what they were made from, what the caller asks for, and whatever is younger than a day.

Which artifacts a run needs that has no row in ``runs`` yet, only its experiment file tells: nothing is deleted while
there are any that the caller does not account for, nor while a sweep holds a lock. Numbers in tables are never deleted.
"""

from __future__ import annotations

import fcntl
from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import pyarrow.fs as pafs

from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.integrity import MANIFEST
from orchestrator.artifacts.manifest import Manifest
from orchestrator.artifacts.probe_artifacts import ProbeArtifact
from orchestrator.artifacts.rollouts_artifact import RolloutsArtifact
from orchestrator.artifacts.study_artifact import KIND as STUDY
from orchestrator.exceptions import Damaged, UserError
from results import ResultStore

YOUNG = timedelta(days=1)
MEASURING = (ProbeArtifact.kind, RolloutsArtifact.kind)
"""Kinds that are made to measure what a run rolls out, in the order in which they are made."""
_LISTED = "SELECT experiment, run, artifact FROM experiments LEFT JOIN runs USING (run) ORDER BY ALL"


@dataclass(frozen=True)
class Stored:
    """A stored artifact: its size, the keys of its inputs, and when it was made."""

    kind: str
    key: str
    size_bytes: int
    parents: tuple[str, ...]
    made: datetime


class Inventory:
    """Everything in a store, and what of it is needed."""

    def __init__(self, store: Store, kept: Iterable[str] = (), accounted: Set[str] = frozenset()) -> None:
        """``kept``: keys to keep in any case; ``accounted``: runs whose artifacts are among them."""
        self._store, self._kept = store, set(kept)
        self.artifacts = {stored.key: stored for stored in _stored(store)}
        self._acting: dict[str, set[str]] = defaultdict(set)
        self.unfinished: dict[str, int] = {}
        """Number of runs without a row that nobody accounts for, by experiment."""
        for row in ResultStore(store.results).table(_LISTED).to_pylist():
            if row["artifact"] is not None:
                self._acting[row["experiment"]].add(row["artifact"])
            elif row["run"] not in accounted:
                self.unfinished[row["experiment"]] = self.unfinished.get(row["experiment"], 0) + 1

    def needed_by(self, experiment: str) -> list[Stored]:
        """Artifacts that an experiment's finished runs need, those that others need, too, included."""
        return [self.artifacts[key] for key in self._closure(self._with_measuring(self._acting[experiment]))]

    @property
    def experiments(self) -> list[str]:
        """Experiments with at least one finished run."""
        return list(self._acting)

    @cached_property
    def garbage(self) -> list[Stored]:
        """Artifacts that may go, those that were made from others first."""
        acting = set[str]().union(*self._acting.values())
        studies = {key for key, stored in self.artifacts.items() if stored.kind == STUDY}
        needed = self._closure(self._with_measuring(acting) | studies | self._kept)
        newest = datetime.now(UTC) - YOUNG
        young = self._closure({key for key, stored in self.artifacts.items() if stored.made > newest})
        return [stored for key, stored in self.artifacts.items() if key not in needed and key not in young]

    def delete(self) -> None:
        """Delete the garbage. UserError where it cannot be told, and while a sweep is at work."""
        if self.unfinished:
            listed = "; ".join(f"{name} ({count})" for name, count in self.unfinished.items())
            raise UserError(
                f"nothing is deleted: what the runs without rows of these experiments need is not known: {listed}. "
                "Finish them, or give their files with --keep."
            )
        if busy := _busy(self._store):
            raise UserError(f"nothing is deleted: a sweep is making {busy} in {self._store.given}. Wait for its end.")
        for stored in self.garbage:
            folder = f"{self._store.root}/artifacts/{stored.kind}/{stored.key}"
            self._store.fs.delete_file(f"{folder}/{MANIFEST}")  # first: without it, the rest is no artifact
            self._store.fs.delete_dir(folder)

    def _with_measuring(self, acting: set[str]) -> set[str]:
        """Artifacts that act, with the probes and rollouts of them."""
        found = set(acting)
        for kind in MEASURING:
            found |= {key for key in self._by_kind[kind] if not found.isdisjoint(self.artifacts[key].parents)}
        return found

    @cached_property
    def _by_kind(self) -> dict[str, list[str]]:
        keys: dict[str, list[str]] = defaultdict(list)
        for key, stored in self.artifacts.items():
            keys[stored.kind].append(key)
        return keys

    def _closure(self, keys: set[str]) -> set[str]:
        """Those of the keys that are in the store, with all that they were made from."""
        found: set[str] = set()
        stack = list(keys)
        while stack:
            key = stack.pop()
            if key in self.artifacts and key not in found:
                found.add(key)
                stack.extend(self.artifacts[key].parents)
        return found


def _stored(store: Store) -> Iterable[Stored]:
    """Every whole artifact. UserError for one whose manifest cannot be read: nobody knows what it was made from."""
    root = f"{store.root}/artifacts"
    files: dict[tuple[str, str], list[pafs.FileInfo]] = defaultdict(list)
    for info in store.fs.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True)):
        parts = info.path.removeprefix(f"{root}/").split("/")
        if info.type == pafs.FileType.File and len(parts) > 2:
            files[parts[0], parts[1]].append(info)
    for (kind, key), infos in files.items():
        if any(info.base_name == MANIFEST for info in infos):
            try:
                parents = tuple(Manifest.load(store, kind, key).parents)
            except Damaged as found:
                raise UserError(f"{found}. First run `hypogen store check --repair`.") from None
            yield Stored(kind, key, sum(info.size for info in infos), parents, max(info.mtime for info in infos))


def _busy(store: Store) -> str | None:
    """Something that is being made now, as the locks of a local storage tell."""
    for path in sorted(Path(store.root, "locks").glob("*")) if store.local else ():
        with path.open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return path.name
    return None
