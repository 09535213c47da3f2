"""What a command printed is printed again only where nothing could have changed it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.console import remembered
from orchestrator.console.remembered import Remembered
from results.result_store import ResultStore
from tests.helpers.experiments import ROOT

LINES = "tiny: made nothing; the rest was there.\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment file whose command ended with LINES, on a storage with one row."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    write(tmp_path, 1.0)
    path = tmp_path / "tiny.yaml"
    path.write_text("name: tiny\n")
    command = Remembered(str(tmp_path / "runs"), path, None, [])
    assert command.recall() is None, "nothing was printed yet"
    command.keep(command.seen(), LINES)
    assert command.recall() == LINES
    return path


def write(folder: Path, value: float) -> Path:
    row = {"run": "a", "epoch": 1, "step": 1, "metric": "loss", "value": value}
    ResultStore(folder / "runs" / "results").write("curves", "a", [row], replace=True)
    return folder / "runs" / "results" / "curves" / "a.parquet"


def test_the_same_command_recalls_from_another_process_too(file: Path) -> None:
    assert Remembered(str(file.parent / "runs"), file, None, []).recall() == LINES
    program = """
import sys
from pathlib import Path
from orchestrator.console.remembered import Remembered

print(Remembered(sys.argv[1], Path(sys.argv[2]), None, []).recall(), end="")
assert not {"pandas", "ray", "torch"} & set(sys.modules), "which take seconds"
"""
    words = [sys.executable, "-c", program, str(file.parent / "runs"), str(file)]
    variables = {**os.environ, "TMPDIR": str(file.parent)}
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env=variables)
    assert done.stdout == LINES


@pytest.mark.parametrize("other", [("smoke", []), (None, ["seed=1"])])
def test_another_profile_or_assignment_is_another_command(file: Path, other: tuple[str | None, list[str]]) -> None:
    assert Remembered(str(file.parent / "runs"), file, *other).recall() is None


def test_a_changed_file_is_another_command(file: Path) -> None:
    file.write_text("name: tiny\nseed: 1\n")
    assert Remembered(str(file.parent / "runs"), file, None, []).recall() is None


@pytest.mark.parametrize("change", ["other rows", "flipped", "gone", "one more", "touched"])
def test_results_that_look_different_are_looked_at(file: Path, change: str) -> None:
    result = file.parent / "runs" / "results" / "curves" / "a.parquet"
    if change == "other rows":
        write(file.parent, 2.0)
    elif change == "flipped":
        content = bytearray(result.read_bytes())
        content[len(content) // 2] ^= 1
        result.write_bytes(content)
    elif change == "gone":
        result.unlink()
    elif change == "one more":
        (result.parent / "b.parquet").write_bytes(result.read_bytes())
    else:
        os.utime(result)
    assert Remembered(str(file.parent / "runs"), file, None, []).recall() is None


def test_changed_code_is_not_recalled(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "package_folders", lambda: [file.parent])
    assert Remembered(str(file.parent / "runs"), file, None, []).recall() is None


def test_results_written_while_the_lines_were_made_are_seen_next_time(file: Path) -> None:
    command = Remembered(str(file.parent / "runs"), file, "smoke", [])
    seen = command.seen()
    write(file.parent, 3.0)
    command.keep(seen, LINES)
    assert command.recall() is None


def test_a_storage_that_cannot_be_opened_recalls_nothing(file: Path) -> None:
    assert Remembered("s3://no such bucket?scheme", file, None, []).recall() is None
