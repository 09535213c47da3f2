"""How the tests are shared out between two processes (`make test`)."""

from __future__ import annotations

import pytest

LONGEST = ("tests/contributing/", "tests/orchestrator/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that neither process waits long for the other; the rest as it was."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
