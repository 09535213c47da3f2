"""An empty store, which all tests of results share."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.result_store import ResultStore


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    """An empty store under a storage, as `python -m results --storage` expects it."""
    return ResultStore(tmp_path / "runs" / "results")
