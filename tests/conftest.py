"""How the tests are shared out between two processes (`make test`)."""

from __future__ import annotations

import pytest

STARTS_RAY = ("tests/orchestrator/", "tests/hypogen/experts/test_ppo.py")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file stays in one process, for its fixtures' sake; all that start Ray stay in one, and come first."""
    for item in items:
        file = item.nodeid.split("::")[0]
        item.add_marker(pytest.mark.xdist_group("ray" if file.startswith(STARTS_RAY) else file))
    items.sort(key=lambda item: not item.nodeid.startswith(STARTS_RAY))
