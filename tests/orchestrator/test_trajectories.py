"""`hypogen trajectories`, where there is nothing to film; what it films is tested with the report."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from orchestrator.trajectories import app


def answer(*words: object) -> str:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    return done.stderr


def test_without_policies_it_says_what_to_run(tiny, tmp_path):
    path, storage = tiny(), tmp_path / "runs"
    storage.mkdir()
    assert answer(path, "--storage", storage).endswith(f"Make some: hypogen sweep {path} --storage {storage}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "3"), "--split 3: tiny has the splits 0\n"),
        (("--set", "training.epocs=3"), "training.epocs"),
        (("--seconds", "0"), "--seconds"),
    ],
)
def test_mistakes_are_plain_messages(tiny, tmp_path, words, message):
    assert message in answer(tiny(), "--storage", tmp_path, *words)
