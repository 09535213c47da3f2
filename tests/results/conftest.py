"""Shared by all tests of results: an empty store, and result_rows.py, which pytest's importlib mode would not find."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from results.result_store import ResultStore

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    """An empty store under a storage, as `python -m results --storage` expects it."""
    return ResultStore(tmp_path / "runs" / "results")
