"""A file with the tiny experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.helpers.experiments import TINY


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Writes TINY, with some keys replaced, to a file."""

    def write(**changes: object) -> Path:
        data = {**yaml.safe_load(TINY), **changes}
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write
