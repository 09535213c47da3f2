"""Stores without any work: artifacts that hold nothing but their manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.manifest import Manifest
from orchestrator.artifacts.workspace import Workspace


def fill(store: Store, artifacts: Iterable[Artifact]) -> None:
    """Put artifacts into the store under their keys, with their manifests and without what they hold."""
    for artifact in artifacts:
        manifest = Manifest.begin(artifact, "cpu", 1).fields()
        store.make(artifact.kind, artifact.key, partial(_write, manifest))


def _write(manifest: Mapping[str, object], folder: Path, workspace: Workspace) -> Mapping[str, object]:
    (folder / "content").write_text("nothing")
    return manifest
