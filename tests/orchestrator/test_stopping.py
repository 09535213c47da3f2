"""Signals: a sweep that is asked to end leaves checkpoints, says how to go on, and says so with its status."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.helpers.experiments import Killed

LONG = {
    "methods": {"hypogen": {"blocks": 2, "hidden_dim": 8, "weight_dim": 16, "activation_dim": 4}},
    "experts": {"source": "zoo"},
    "training": {"epochs": 100_000, "batch_size": 500, "learning_rate": 1e-4, "checkpoint_every_s": 3600.0},
}


def epochs_kept(storage: Path) -> int:
    """Epochs in the checkpoint of the one training."""
    (file,) = storage.glob("work/generator/*/checkpoint/state.safetensors")
    with safe_open(file, framework="pt") as state:
        return int(json.loads(state.metadata()["values"])["epoch"])


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has come as far as handling a signal."""
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


def running(storage: Path, since: float) -> bool:
    """Whether the training has reported after a moment."""
    return any(clock.stat().st_mtime > since for clock in storage.glob("work/generator/*/seconds"))


def test_sigint_and_sigterm_leave_a_checkpoint_that_the_same_command_continues(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path, storage, epochs = tiny(**LONG), tmp_path / "runs", [0]
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        started = time.time()
        run = Killed(path, storage, "--address", "local")
        assert run.until(lambda since=started: running(storage, since)), run.kill()
        time.sleep(3)
        run.process.send_signal(number)
        sent = time.monotonic()
        output, _ = run.process.communicate(timeout=60)
        assert run.process.returncode == status, output
        assert time.monotonic() - sent < 45
        assert f"stopped by {number.name}: the same command continues" in output
        for word in ("made nothing", "Traceback", "@", "*** "):
            assert word not in output.replace("@selected", ""), output
        epochs.append(epochs_kept(storage))
    assert 0 < epochs[1] < epochs[2] < LONG["training"]["epochs"], "the second went on where the first was"
    assert not list(storage.glob("tune/*")) and not list(storage.glob("results/provenance/*generator*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_anything_runs_a_signal_ends_the_command_at_once(
    tiny: Callable[..., Path], tmp_path: Path, number: signal.Signals
) -> None:
    run = Killed(tiny(**LONG), tmp_path / "runs", "--address", "local")
    assert run.until(lambda: catches(run.process.pid, signal.SIGTERM)), run.kill()
    run.process.send_signal(number)
    output, _ = run.process.communicate(timeout=30)
    assert run.process.returncode == 128 + number, output
    assert "Traceback" not in output and "continues from what is done" in output
