"""`hypogen sweep --sink`: runs are sent while a sweep goes on, and no sink can end it or hold it up."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from orchestrator import sending as module
from orchestrator.exceptions import UserError
from orchestrator.sending import Target, sending
from results.problems import ResultsError
from results.result_store import ResultStore
from tests.helpers.experiments import ROOT, TINY, sweep
from tests.helpers.result_rows import asked, episode_rows, fill, run_row


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage without a run yet, whose finished ones are looked for ten times a second."""
    monkeypatch.setattr(module, "LOOK_S", 0.1)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return str(tmp_path / "runs")


def finish(storage: str, run: str) -> None:
    store = ResultStore(f"{storage}/results")
    store.write("experiments", "one", [asked("one", name) for name in ("a", "b")], replace=True)
    fill(store, [run_row(run)], episode_rows(run, 0, [1.0, 2.0]))


def boards(folder: Path) -> set[str]:
    return {file.parent.name.rpartition("-")[2] for file in folder.rglob("*tfevents*")}


def test_runs_are_sent_while_the_sweep_goes_on_and_the_last_at_its_end(storage: str, tmp_path: Path) -> None:
    place, said = tmp_path / "boards", list[str]()
    with sending([Target("tensorboard", str(place))], storage, "one", said.append):
        finish(storage, "a")
        deadline = time.monotonic() + 180
        while boards(place) != {"a"} and time.monotonic() < deadline:
            time.sleep(0.1)
        assert boards(place) == {"a"}
        finish(storage, "b")
    assert boards(place) == {"a", "b"} and not said


def test_trouble_is_said_once_and_another_sink_has_everything(storage: str, tmp_path: Path) -> None:
    place, said = tmp_path / "boards", list[str]()
    targets = [Target("mlflow", "/dev/null/x"), Target("tensorboard", str(place))]
    with sending(targets, storage, "one", said.append):
        finish(storage, "a")
        deadline = time.monotonic() + 180
        while not said and time.monotonic() < deadline:
            time.sleep(0.1)
        finish(storage, "b")
    assert boards(place) == {"a", "b"}
    (line,) = said
    assert line.startswith("mlflow: cannot send to /dev/null/x: ") and "\n" not in line
    assert line.endswith(f"hypogen results send mlflow --to /dev/null/x --experiment one --storage {storage}")


def test_a_sink_that_hangs_is_given_up(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSING_S", 3.0)
    finish(storage, "a")
    said, before = list[str](), time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and never answers
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        with sending([Target("mlflow", place)], storage, "one", said.append):
            pass
    assert len(said) == 1 and said[0].startswith(f"mlflow: {place} took too long. The sweep goes on; ")
    assert time.monotonic() - before < 30


def test_where_the_sweep_ends_early_nothing_more_is_sent(storage: str, tmp_path: Path) -> None:
    finish(storage, "a")
    place, said = tmp_path / "boards", list[str]()
    with (
        pytest.raises(KeyboardInterrupt),
        sending([Target("tensorboard", str(place))], storage, "one", said.append),
    ):
        raise KeyboardInterrupt
    assert not said and not place.exists()


def test_what_names_no_sink_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Target.parse("mlflow=sqlite:///a=b.db") == Target("mlflow", "sqlite:///a=b.db")
    with pytest.raises(UserError, match="--sink tensorboard: write NAME=PLACE, such as tensorboard=boards"):
        Target.parse("tensorboard")
    with pytest.raises(ResultsError, match="unknown sink 'tensorbord'"):
        Target.parse("tensorbord=boards")
    monkeypatch.setattr("results.sinks.find_spec", lambda package: None)
    with pytest.raises(ResultsError, match=r"pip install 'hypogen\[sinks\]'"):
        Target.parse("mlflow=runs")


def test_a_sweep_sends_its_runs_whatever_becomes_of_one_sink(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    words = [tmp_path / "tiny.yaml", "--storage", tmp_path / "runs", "--sink", f"tensorboard={tmp_path / 'boards'}"]
    refused = sweep(*words, "--sink", "tensorbord=x")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    done = sweep(*words, "--sink", "mlflow=/dev/null/x", "--address", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("mlflow: cannot send to /dev/null/x: ") == 1
    assert len(boards(tmp_path / "boards")) == 3
    again = sweep(*words[:3], "--sink", f"tensorboard={tmp_path / 'others'}")
    assert again.returncode == 0 and "made nothing" in again.stdout
    assert boards(tmp_path / "others") == boards(tmp_path / "boards")
