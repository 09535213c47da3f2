"""Pages that contributors read: what they point at is there, and the registries are where the recipes say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.helpers.experiments import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/published/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_point_at_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


def test_registries_are_where_the_recipes_say() -> None:
    rows = re.findall(r"in `([A-Z]+)`, `([\w/.]+)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert {name for name, _ in rows} == {"GENERATORS", "ARTIFACTS", "ALGORITHMS", "ENVIRONMENTS", "PARTS"}
    for name, path in rows:
        assert re.search(rf"^{name}: .* = ", (ROOT / path).read_text(), re.MULTILINE), f"{path} has no {name}"


def test_hooks_run_what_make_runs() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = " ".join(hook["entry"] for hook in repository["hooks"])
    assert repository["repo"] == "local"
    for tool in ("ruff check", "ruff format --check", "mypy"):
        assert f".venv/bin/{tool}" in entries and f"$(BIN)/{tool}" in (ROOT / "Makefile").read_text()
