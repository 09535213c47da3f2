"""A file with the tiny experiment, and the storage of one run of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.helpers.experiments import TINY, sweep


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Writes TINY, with some keys replaced, to a file."""

    def write(**changes: object) -> Path:
        data = {**yaml.safe_load(TINY), **changes}
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a run of TINY from nothing, by two workers; the experiment and what was printed lie beside it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(TINY)
    words = ["--storage", "./runs", "--address", "local", "--set", "resources.rollout.workers=2"]
    done = sweep("tiny.yaml", *words, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder / "runs"
