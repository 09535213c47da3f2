"""The ways in that README shows: the commands of its code blocks, one after the other, on what they made themselves."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from orchestrator.submit import Job
from tests.helpers.experiments import ROOT, environment

MOST = 10
"""Commands of a way in."""


def block(title: str) -> list[str]:
    """Commands of the code block below the paragraph that begins with a title in bold."""
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"\*\*{re.escape(title)}[^$]*?\n\n((?:    [^\n]*\n)+)", text)
    assert found, title
    return [line.partition("  #")[0].strip() for line in found[1].splitlines()]


def typed(command: str, folder: Path) -> str:
    words = shlex.split(command)
    assert words[0] == "hypogen"
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.command", *words[1:]],
        cwd=folder,
        env=environment(ROOT),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, in which one starts."""
    return tmp_path_factory.mktemp("somewhere")


def test_a_table_is_reproduced_and_put_into_a_paper_and_a_policy_is_taken_home(folder: Path) -> None:
    first = block("Reproduce a table")
    assert len(first) <= MOST
    sweep, table, report = first
    assert "Table 20" in typed(f"{sweep} --address local", folder)
    latex = typed(table, folder)
    assert r"\begin{tabular}" in latex and "hypogen" in latex
    typed(report, folder)
    assert (folder / "report.html").stat().st_size > 50_000
    second = block("Take a policy home")
    assert len(second) <= MOST
    query, export, film = second
    run = next(line.split()[0] for line in typed(query, folder).splitlines() if " hypogen " in line)
    typed(export.replace("RUN", run), folder)
    onnx.checker.check_model(onnx.load(folder / "policy.onnx"))
    typed(f"{film} --seconds 1 --size 160x120", folder)
    assert (folder / "cheetah.mp4").stat().st_size > 1000


def test_a_way_to_a_cluster_names_files_that_are_there() -> None:
    commands = block("Run it on a cluster")
    assert len(commands) <= MOST
    named = [word for command in commands for word in command.split() if word.endswith(".yaml")]
    assert len(named) == 4 and all((ROOT / word).is_file() for word in named)
    (submitted,) = [shlex.split(command) for command in commands if command.startswith("hypogen submit")]
    job = Job.of(ROOT / submitted[2], submitted[3:])
    assert "orchestrator.supervised experiments/ablation_k.yaml" in job.command


def test_the_library_is_used_as_readme_shows() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    check = "assert episodes.returns.shape == (2, 2) and worlds.num_envs == 2 and env.observation_space.shape\n"
    done = subprocess.run(
        [sys.executable, "-c", snippet + check], env=environment(ROOT), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
