"""Commands that people are told to type, in README, in comments and in error messages: each of them works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import orchestrator.sweep
import results.__main__
from orchestrator.config.loading import expand, load
from orchestrator.exceptions import ConfigError
from tests.helpers.experiments import ROOT, TINY

SWEEP, RESULTS = "hypogen sweep ", "hypogen results "
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "results" / "published" / "README.md",
]
OWN_ROWS = r" publish | report | send |--storage board|-smoke"
"""In commands about rows that a reader has made before."""
FILES = sorted((ROOT / "experiments").glob("*.yaml"))


def commands(start: str) -> list[str]:
    """Lines of code blocks in the pages that begin with a command, without the comment behind them."""
    lines = [line.strip() for page in PAGES if page.exists() for line in page.read_text().splitlines()]
    found = [line.partition("  #")[0].strip() for line in lines if line.startswith(start)]
    return sorted({line for line in found if "…" not in line and not re.search(r"\b[A-Z]{4,}\b(?!.*SELECT)", line)})


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from the project's folder, as the pages assume."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("HYPOGEN_STORAGE", raising=False)


@pytest.mark.parametrize("command", commands(SWEEP))
def test_sweeps_of_the_pages_can_be_planned(command: str, tmp_path: Path) -> None:
    words = shlex.split(command.removeprefix(SWEEP))
    words = [word for word in words if word != "--dry-run"]
    done = CliRunner().invoke(orchestrator.sweep.app, [*words, "--storage", str(tmp_path / "runs"), "--dry-run"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("command", [line for line in commands(RESULTS) if not re.search(OWN_ROWS, line)])
def test_queries_of_the_pages_work_on_the_published_results(command: str, tmp_path: Path) -> None:
    words = shlex.split(command.removeprefix(RESULTS))
    if words[0] == "figure":  # into a folder that the test cleans up; the last option counts
        words += ["--out", str(tmp_path / "figure.png")]
    storage = [] if "--storage" in words or words[0] == "tables" else ["--storage", "results/published"]
    done = CliRunner().invoke(results.__main__.app, [*words, *storage])
    assert done.exit_code == 0, done.output


def test_there_are_commands() -> None:
    assert len(commands(SWEEP)) >= 4 and len(commands(RESULTS)) >= 5


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_assignments_in_the_comments_of_an_experiment_are_valid(file: Path) -> None:
    text = re.sub(r"\n\s*#", "", file.read_text())
    assignments = re.findall(r"--set '([^']*)'", text)
    profiles = [None, *yaml.safe_load(file.read_text()).get("profiles", {})]
    for profile in profiles if assignments else []:
        last = {assignment.partition("=")[0]: assignment for assignment in assignments}
        assert expand(load(file, profile, last.values()))


REMEDIES: list[tuple[dict[str, object], str]] = [
    ({"benchmarks": ["walker-length"], "experts": {"source": "zoo"}}, r"Train some: `(experts: .*)`\."),
    ({"benchmarks": ["liftcube-damping"]}, r"Write `(experts: .*?)`;"),
]


@pytest.mark.parametrize(("changes", "pattern"), REMEDIES)
def test_the_remedy_of_an_error_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], pattern: str
) -> None:
    path = tmp_path / "tiny.yaml"
    data = {**yaml.safe_load(TINY), **changes}
    path.write_text(yaml.safe_dump(data))
    monkeypatch.setattr("hypogen.zoo.benchmarks", lambda recipe: ("cheetah-speed",))
    with pytest.raises(ConfigError) as caught:
        expand(load(path))
    remedy = re.search(pattern, str(caught.value))
    assert remedy, caught.value
    path.write_text(yaml.safe_dump({**data, **yaml.safe_load(remedy[1])}))
    assert expand(load(path))


def test_a_method_is_added_as_its_error_says(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    with pytest.raises(ConfigError) as caught:
        expand(load(path, None, ["uvfa.discount=0.9"]))
    remedy = re.search(r"--set '(.*?)'", str(caught.value))
    assert remedy
    assert (
        expand(load(path, None, [remedy[1], "uvfa.discount=0.9"]))[0].experiment.methods["uvfa"].settings.discount
        == 0.9
    )
