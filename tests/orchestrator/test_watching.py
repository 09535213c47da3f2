"""Commands that watch a storage, on a real sweep that runs, is cancelled, and on what failed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.command import app
from orchestrator.watching import is_sweep
from results.result_store import ResultStore
from tests.helpers.experiments import Killed
from tests.helpers.result_rows import PROVENANCE_ROW, asked, run_row

LONG = {
    "methods": {"cond_policy": {}},
    "training": {"epochs": 100_000, "batch_size": 500, "learning_rate": 1e-4, "checkpoint_every_s": 3600.0},
}


def said(*words: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == status, done.output
    return done.output


def test_a_sweep_is_seen_and_cancelled(tiny: Callable[..., Path], tmp_path: Path) -> None:
    path, storage = tiny(**LONG), tmp_path / "runs"
    run = Killed(path, storage, "--address", "local")
    assert run.until(lambda: list(storage.glob("work/generator/*/seconds"))), run.kill()
    seen = said("status", "--storage", storage)
    (line,) = [line for line in seen.splitlines() if line.startswith("tiny")]
    runs, stored, broken, waiting = map(int, line.split()[1:5])
    assert runs == stored + waiting and waiting > 0 and broken == 0
    assert "in the making: generator " in seen and f"sweep: pid {run.process.pid} on this host" in seen
    assert "no sweep of this storage" in said("cancel", "--storage", tmp_path / "other")
    assert run.process.poll() is None
    assert f"asked pid {run.process.pid} to end" in said("cancel", "--storage", storage)
    output, _ = run.process.communicate(timeout=60)
    assert run.process.returncode == 128 + signal.SIGTERM and "the same command continues" in output
    assert "in the making" not in said("status", "--storage", storage)
    assert "demonstrations  cpu" in said("cost", "--storage", storage)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage where one run is measured, one waits for a failure, and one for nothing."""
    store = ResultStore(tmp_path / "runs" / "results")
    store.write("experiments", "mine", [asked("mine", run, place) for place, run in enumerate(("a", "b", "c"))])
    store.write("runs", "a", [run_row("a", artifact="one")])
    made = {**PROVENANCE_ROW, "started": datetime(2026, 1, 2, tzinfo=UTC), "kind": "generator"}
    store.write("provenance", "one", [{**made, "artifact": "one", "seconds": 7200.0, "runs": None}])
    store.write(
        "provenance", "two", [{**made, "artifact": "two", "seconds": 1800.0, "device": "NVIDIA X", "runs": None}]
    )
    failure = {
        "status": "failed",
        "error": "Traceback …\nDiverged: loss is nan",
        "label": "mine split 0",
        "runs": ["b"],
    }
    store.write("provenance", "bad", [{**made, "artifact": "bad", "seconds": 0.0, **failure}])
    return tmp_path / "runs"


def test_failures_are_counted_and_shown(storage: Path) -> None:
    line = said("status", "--storage", storage).splitlines()[2]
    assert line.split()[:5] == ["mine", "3", "1", "1", "1"] and float(line.split()[5]) == 2.0
    short, full = said("failed", "--storage", storage), said("failed", "--storage", storage, "--full")
    assert "mine split 0 (bad): 1 runs wait for it" in short and "Diverged: loss is nan" in short
    assert "Traceback" in full and "Traceback" not in short


def test_hours_have_a_price(storage: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("{cpu: 0.05, NVIDIA: 2.0}\n")
    lines = said("cost", "--storage", storage, "--prices", prices).splitlines()
    rows = {tuple(line.split()[:2]): line.split() for line in lines[2:] if line.strip()}
    assert float(rows["generator", "cpu"][-1]) == pytest.approx(0.1)
    (gpu,) = [row for key, row in rows.items() if key[1] == "NVIDIA"]
    assert float(gpu[-1]) == pytest.approx(1.0)
    (total,) = [row for key, row in rows.items() if key[0] == "all"]
    assert float(total[-1]) == pytest.approx(1.1) and float(total[-2]) == pytest.approx(2.5)
    prices.write_text("cpu: cheap\n")
    assert f"{prices}: give dollars per hour by device" in said("cost", "--prices", prices, status=2)


def test_a_storage_that_is_not_there_is_named(tmp_path: Path) -> None:
    for command in ("status", "failed", "cost"):
        assert str(tmp_path / "none") in said(command, "--storage", tmp_path / "none", status=2)


@pytest.mark.parametrize(
    ("command", "is_one"),
    [
        ("/x/.venv/bin/python -m orchestrator.sweep a.yaml", True),
        ("python3 -u -m orchestrator.command sweep quickstart", True),
        ("/x/bin/python /x/bin/hypogen sweep quickstart", True),
        ("timeout 2h /x/bin/hypogen sweep quickstart", False),
        ("grep hypogen sweep", False),
        ("python /x/bin/hypogen results tables", False),
        ("python -m orchestrator.store check", False),
    ],
)
def test_only_a_sweep_itself_is_asked_to_end(command: str, is_one: bool) -> None:
    """A wrapper passes the signal on, and a second one would cost the checkpoints."""
    assert is_sweep(command.split()) == is_one


def test_at_once_means_two_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are far enough apart to arrive as two."""
    monkeypatch.setattr("orchestrator.watching.AGAIN_S", 0.5)
    count = "import signal, sys, time\nseen = []\nsignal.signal(15, lambda *_: seen.append(1))\nprint('', flush=True)\n"
    script = tmp_path / "hypogen"
    script.write_text(f"{count}while len(seen) < 2: time.sleep(0.01)\n")
    words = [sys.executable, str(script), "sweep", "x", "--storage", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert f"asked pid {process.pid} to end at once" in said("cancel", "--now", "--storage", tmp_path)
        assert process.wait(timeout=10) == 0
