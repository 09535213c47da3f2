"""How the tests are shared out between two processes (`make test`), and the Ray that they start."""

from __future__ import annotations

import os

import pytest

# Ray reads this once in a process: whichever test starts the first Ray, those that follow agree with their nodes.
os.environ["RAY_AUTH_MODE"] = "disabled"

LONGEST = ("tests/contributing/", "tests/orchestrator/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that neither process waits long for the other; the rest as it was."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
