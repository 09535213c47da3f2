"""A real experiment of a few seconds, the command as a user runs it, and ways to disturb it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]

TINY = """\
name: tiny
benchmarks: [cheetah-speed]
methods:
  expert: {}
  hypogen: {blocks: 2, hidden_dim: 8, weight_dim: 16, activation_dim: 4}
  cond_policy: {}
specs: {every: 8}
split: {train_fraction: 0.5, seeds: [0]}
experts:
  recipe: fast
  updates: 60
  batch_size: 16
  hidden_dim: 16
  seed_steps: 100
  exploration_steps: 100
  evaluate_every: 60
  evaluation_episodes: 1
  precision: float32
demonstrations: {episodes: 1}
policy: {hidden_dim: 16}
training: {epochs: 2, batch_size: 500, learning_rate: 1e-3}
evaluation: {episodes: 2}
resources: {rollout: {workers: 1}}
table: main
"""


def environment(root: Path = ROOT) -> dict[str, str]:
    """Nothing of the caller's cluster and storage; the packages are those under ``root``."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "HYPOGEN_STORAGE")}
    return {**kept, "COLUMNS": "200", "PYTHONPATH": str(root)}


def sweep(*words: object, cwd: Path = ROOT, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "orchestrator.sweep", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment(), timeout=timeout)


DETERMINISTIC = ("runs", "episodes", "curves", "experiments")


def tables(storage: Path) -> dict[str, bytes]:
    """Every file of every table that must not depend on what happened on the way."""
    files = [file for table in DETERMINISTIC for file in sorted((storage / "results" / table).glob("*.parquet"))]
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}


class Killed:
    """A sweep in the background, to be disturbed in the middle."""

    def __init__(self, path: Path, storage: Path | str, *words: str, root: Path = ROOT) -> None:
        command = [sys.executable, "-m", "orchestrator.sweep", str(path), "--storage", str(storage), *words]
        self.process = subprocess.Popen(
            command,
            cwd=root,
            env=environment(root),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, condition: Callable[[], object], timeout_s: float = 300) -> bool:
        """Wait for a condition, or for the end; whether the condition came first, and in time."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.01)
        return False

    def kill(self) -> str:
        """End it at once. Returns what it said."""
        self.process.send_signal(signal.SIGKILL)
        output, _ = self.process.communicate(timeout=60)
        return output

    def workers(self, name: str) -> list[int]:
        """Ids of this run's processes whose program has a name such as ``ray::RolloutWorker`` or ``gcs_server``."""
        found = []
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if name in "".join(child.cmdline()[:1]):
                        found.append(child.pid)
        return sorted(found)

    def finish(self) -> str:
        output, _ = self.process.communicate(timeout=240)
        assert self.process.returncode == 0, output
        return output
