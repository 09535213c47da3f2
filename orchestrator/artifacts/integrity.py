"""Integrity of an artifact's files: their sizes and SHA-256 stand in its manifest, and are checked when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypogen.checkpoints import sync

MANIFEST = "artifact.json"
DIGEST = "digest"
"""Entry of the manifest with the SHA-256 of all its other entries."""
FILES = "files"
"""Entry of the manifest with the size and digest of every other file."""


def describe(folder: Path) -> dict[str, dict[str, int | str]]:
    """Size (bytes) and SHA-256 of every file of a folder but the manifest, by its path in it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST)
    return {file.relative_to(folder).as_posix(): _description(file) for file in files}


def seal(folder: Path, manifest: Mapping[str, object]) -> None:
    """Write the manifest, last of all, with the digests of the other files; everything is on the disk afterwards."""
    described = describe(folder)
    for name in described:
        sync(folder / name)
    path, whole = folder / MANIFEST, {**manifest, FILES: described}
    path.write_text(json.dumps({**whole, DIGEST: _digest(whole)}, indent=1, sort_keys=True))
    sync(path)
    sync(folder)


def opened(text: str | bytes) -> dict[str, object]:
    """The manifest in a text, without its digest. ValueError, in one line, where it is not as it was written.

    Manifests from before digests were kept are only parsed.
    """
    try:
        manifest = json.loads(text)
    except ValueError:
        raise ValueError(f"{MANIFEST} cannot be read") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get(FILES, {}), dict):
        raise ValueError(f"{MANIFEST} is no manifest")
    written = manifest.pop(DIGEST, None)
    if written is not None and written != _digest(manifest):
        raise ValueError(f"{MANIFEST} does not have its digest")
    return manifest


def _digest(manifest: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def damage(folder: Path) -> str | None:
    """One line on the first thing that is wrong with a sealed folder; None where nothing is.

    Artifacts from before digests were kept are checked for a readable manifest only.
    """
    try:
        manifest: dict[str, Any] = opened((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, OSError) as error:
        return str(error)
    for name, expected in manifest.get(FILES, {}).items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != expected["size"]:
            return f"{name} has {file.stat().st_size} bytes instead of {expected['size']}"
        if _description(file) != expected:
            return f"{name} does not have its digest"
    return None


def _description(file: Path) -> dict[str, int | str]:
    with file.open("rb") as stream:
        return {"size": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
