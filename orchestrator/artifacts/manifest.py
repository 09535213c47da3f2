"""Manifest of an artifact: the one record of what it is and how it was made, in the store and in ``provenance``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypogen.provenance import surroundings
from orchestrator.artifacts.artifact import Artifact, Content, Summary
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.integrity import FILES
from results.result_store import ResultStore


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself.

    Attributes:
        payload: Content that its key was made from.
        parents: Keys of its inputs.
        started: Time at which its making began, UTC, ISO 8601.
        seconds: Duration of the work, that before a kill included.
        summary: Numbers that its kind reports.
        surroundings: Commit, packages and machine.
    """

    kind: str
    key: str
    label: str
    payload: Content
    parents: Sequence[str]
    started: str
    device: str
    threads: int
    seconds: float = 0.0
    summary: Summary = dataclasses.field(default_factory=dict)
    surroundings: Mapping[str, object] = dataclasses.field(default_factory=surroundings)

    @classmethod
    def begin(cls, artifact: Artifact, device: str, threads: int) -> Manifest:
        """The manifest of an artifact whose making begins now."""
        parents = tuple(parent.key for parent in artifact.inputs)
        return cls.of(artifact.kind, artifact.key, artifact.label, artifact.content(), parents, device, threads)

    @classmethod
    def of(
        cls, kind: str, key: str, label: str, content: Content, parents: Sequence[str], device: str, threads: int
    ) -> Manifest:
        """The same from its parts."""
        return cls(kind, key, label, content, parents, datetime.now(UTC).isoformat(), device, threads)

    @classmethod
    def load(cls, store: Store, kind: str, key: str) -> Manifest:
        """The manifest of a stored artifact."""
        written: dict[str, Any] = store.manifest(kind, key)
        written.pop(FILES, None)
        own = {field.name: written.pop(field.name) for field in dataclasses.fields(cls) if field.name in written}
        return cls(**{"label": "", **own}, surroundings=written)

    def fields(self) -> dict[str, object]:
        """The manifest as plain JSON, the surroundings beside the rest."""
        own = {**dataclasses.asdict(self), **self.surroundings}
        del own["surroundings"]
        return own

    def record(self, store: Store, error: str | None = None, runs: Sequence[str] | None = None) -> None:
        """Write its row of ``provenance``: where and how it was made; or why it failed, and which runs need it."""
        packages = json.dumps(self.surroundings["packages"], sort_keys=True)
        row = {
            "artifact": self.key,
            "kind": self.kind,
            "label": self.label,
            "runs": None if runs is None else list(runs),
            "parents": list(self.parents),
            "started": datetime.fromisoformat(self.started),
            "seconds": float(self.seconds),
            "device": self.device,
            **{name: self.surroundings[name] for name in ("host", "cpu", "git_commit", "git_dirty")},
            "packages": packages,
            "status": "failed" if error else "done",
            "error": error,
        }
        ResultStore(store.results).write("provenance", self.key, [row])
