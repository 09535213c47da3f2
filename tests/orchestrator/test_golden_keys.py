"""Every key of every experiment file and profile: a change here orphans what is stored, so it must be meant.

If it is, raise the version of the kind whose content changed and renew the file:
``PYTHONPATH=. python tests/orchestrator/test_golden_keys.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from unittest import mock

import pytest
import yaml

from orchestrator.config.loading import expand, load
from orchestrator.planning.plan import Plan, build

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "keys.json"
FILES = sorted((ROOT / "experiments").glob("*.yaml"))

Digests = dict[str, dict[str, str]]


def digests(plan: Plan) -> dict[str, str]:
    """Per kind: number of keys, a digest of all of them, sorted, and the first; likewise runs and cells, in order."""
    keys: dict[str, list[str]] = defaultdict(list)
    for key, artifact in plan.artifacts.items():
        keys[artifact.kind].append(key)
    keys = defaultdict(list, {kind: sorted(found) for kind, found in keys.items()})
    keys["run"] = list(plan.runs)
    keys["cell"] = [json.dumps(cell, sort_keys=True) for cell in plan.cells.values()]
    return {kind: f"{len(found)} {_digest(found)} {found[0]}" for kind, found in sorted(keys.items())}


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:20]


def plans(file: Path) -> Digests:
    """The digests of a file under each of its profiles, for a processor without bfloat16."""
    profiles = yaml.safe_load(file.read_text()).get("profiles", {})
    with mock.patch("hypogen.experts.settings._native_bfloat16", return_value=False):
        return {str(profile): digests(build(expand(load(file, profile)))) for profile in (None, *profiles)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_key_is_what_it_was(file: Path) -> None:
    assert plans(file) == json.loads(GOLDEN.read_text())[file.stem]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({file.stem: plans(file) for file in FILES}, indent=1) + "\n")
