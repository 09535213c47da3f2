"""Reasons for which artifacts of a plan are missing: what tells each from the nearest one in the store.

An artifact whose inputs are missing follows from them and has their reason: where the experts' recipe has changed,
nothing else need be said of the generators. Where the inputs are there, but the nearest artifact has others, the
reason is what tells these apart.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow.fs as pafs

from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact import Json, content_key
from orchestrator.artifacts.artifact_store import DAMAGED
from orchestrator.artifacts.content_index import ContentIndex, leaves
from orchestrator.artifacts.integrity import MANIFEST
from orchestrator.artifacts.manifest import Manifest
from orchestrator.exceptions import Damaged
from orchestrator.execution.state import ExecutionState

FIRST = ("benchmark", "experts.algorithm", "method")
"""Settings that say all there is to say where they differ: other settings, specs and seeds follow from them."""
NAMES = {"train": "split", "seeds": "seed", "snapshots": "evaluation.during_training_every"}
"""Settings that decide a leaf of another name."""
SECTIONS = {"experts": "experts", "demonstrations": "demonstrations", "rollouts": "evaluation"}
"""Section of an experiment file that sets the contents of a kind; those of other kinds name their sections."""
VERSIONS = range(1, 100)


@dataclass(frozen=True)
class Difference:
    """A setting, its value in the plan, and that of the nearest artifact in the store; None where one lacks it."""

    setting: str
    value: Json
    nearest: Json


@dataclass
class Group:
    """Missing artifacts of one kind with one sort of reason.

    Attributes:
        text: The reason in words, where it is no difference of settings.
        differences: By setting, the values that tell the artifacts from the nearest ones.
        following: Number of artifacts that are missing because these are, by kind.
    """

    text: str
    artifacts: list[Artifact] = field(default_factory=list)
    differences: dict[str, list[Difference]] = field(default_factory=dict)
    following: Counter[str] = field(default_factory=Counter)

    def add(self, artifact: Artifact, differences: list[Difference]) -> None:
        """Add an artifact with what tells it from the nearest one."""
        self.artifacts.append(artifact)
        for difference in differences:
            values = self.differences.setdefault(difference.setting, [])
            if difference not in values:
                values.append(difference)


def groups_of(state: ExecutionState) -> list[Group]:
    """The missing artifacts of a plan by kind and sort of reason, in plan order."""
    memory = _Memory(state)
    groups: dict[tuple[str, str, frozenset[str]], Group] = {}
    group_of: dict[str, Group] = {}
    for key, artifact in state.missing.items():  # inputs come first
        cause = next((group_of[parent.key] for parent in artifact.inputs if parent.key in group_of), None)
        if cause is not None:
            cause.following[artifact.kind] += 1
        else:
            text, differences = memory.reason(artifact)
            sort = artifact.kind, text, frozenset(difference.setting for difference in differences)
            cause = groups.setdefault(sort, Group(text))
            cause.add(artifact, differences)
        group_of[key] = cause
    return list(groups.values())


class _Memory:
    """What the store holds and has held, as far as it has been looked at."""

    def __init__(self, state: ExecutionState) -> None:
        self._store = store = state.store
        self._index = cache(lambda kind: ContentIndex(store, kind))
        self._manifest = cache(lambda kind, key: Manifest.load(store, kind, key))
        self._aside = cache(self._find_aside)

    def reason(self, artifact: Artifact) -> tuple[str, list[Difference]]:
        """Why an artifact is missing whose inputs are there: in words, or what tells it from the nearest."""
        if lost := self._lost(artifact):
            return lost, []
        nearest = self._index(artifact.kind).nearest(leaves(artifact.content()))
        if nearest is None:
            return "the store has none yet", []
        found = self._differences(artifact, nearest)
        return "", next(([one] for name in FIRST for one in found if one.setting == name), found)

    def _lost(self, artifact: Artifact) -> str | None:
        """How an artifact that was there once came to be missing."""
        kind, key, root = artifact.kind, artifact.key, self._store.root
        if key in self._aside(kind):
            return f"damaged, and set aside in {root}/{DAMAGED}/{kind}"
        if self._store.local and Path(root, "artifacts", kind, key).exists():  # elsewhere it is being uploaded
            return f"damaged: {MANIFEST} is gone"
        return "made once, but the files are gone" if key in self._index(kind) else None

    def _find_aside(self, kind: str) -> set[str]:
        folder = pafs.FileSelector(f"{self._store.root}/{DAMAGED}/{kind}", allow_not_found=True)
        return {info.base_name.partition("-")[0] for info in self._store.fs.get_file_info(folder)}

    def _differences(self, artifact: Artifact, nearest: str) -> list[Difference]:
        """What tells an artifact from a stored one of its kind, with what tells their inputs apart."""
        manifest = self._manifest(artifact.kind, nearest)
        ours, theirs = leaves(artifact.content()), leaves(manifest.payload)
        own: list[Difference] = []
        inherited: dict[str, list[Difference]] = {}
        for name in (name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)):
            value, other = (json.loads(side.get(name, "null")) for side in (ours, theirs))
            if _are_keys(value, [parent.key for parent in artifact.inputs]):
                inherited[name] = self._between(artifact, manifest)
            else:
                own.append(_difference(artifact, name, value, other))
        found = [*own, *(one for below in inherited.values() for one in below)]
        if found:
            return list({one.setting: one for one in reversed(found)}.values())[::-1]
        if inherited:
            return [Difference(name, "others", "some that are gone") for name in inherited]
        return [_version(artifact, manifest)]

    def _between(self, artifact: Artifact, manifest: Manifest) -> list[Difference]:
        """What tells the first input that only the artifact has from the first that only the stored one has."""
        ours = [parent for parent in artifact.inputs if parent.key not in manifest.parents]
        theirs = [key for key in manifest.parents if key not in {parent.key for parent in artifact.inputs}]
        try:
            return self._differences(ours[0], theirs[0]) if ours and theirs else []
        except (Damaged, FileNotFoundError):  # the other's input is gone
            return []


def _are_keys(value: Json, keys: list[str]) -> bool:
    """Whether a leaf names inputs."""
    return bool(value) and (value in keys or (isinstance(value, list) and all(item in keys for item in value)))


def _difference(artifact: Artifact, leaf: str, value: Json, nearest: Json) -> Difference:
    """A difference under the name that the setting has in an experiment file, as far as it has one."""
    section, name = SECTIONS.get(artifact.kind, ""), NAMES.get(leaf, leaf)
    if name == "seed":  # derived from the experiment's and the split's: a number that nobody knows
        counts = [len(side[0]) if isinstance(side, list) and side else 0 for side in (value, nearest)]
        return Difference(f"{section}.episodes", *counts) if counts[0] != counts[1] else Difference(name, None, None)
    part, _, rest = name.partition(".")
    if part == "settings":
        return Difference(f"{section or artifact.content().get('method')}.{rest}", value, nearest)
    return Difference(f"{section}.{name}" if name in ("algorithm", "noise", "discount") else name, value, nearest)


def _version(artifact: Artifact, manifest: Manifest) -> Difference:
    """The same content under another key: other code made it."""
    kind, content = manifest.kind, manifest.payload
    made_by = next((version for version in VERSIONS if content_key(kind, version, content) == manifest.key), None)
    return Difference(f"the code's version for {kind}", artifact.version, made_by)
