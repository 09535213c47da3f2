"""A real experiment of a few seconds, and a place to run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

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
table: main
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Writes TINY, with some keys replaced, to a file."""

    def write(**changes: object) -> Path:
        data = {**yaml.safe_load(TINY), **changes}
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write


def environment() -> dict[str, str]:
    """Nothing of the caller's cluster and storage."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "HYPOGEN_STORAGE")}
    return {**kept, "COLUMNS": "200", "PYTHONPATH": str(ROOT)}


def sweep(*words: object, cwd: Path = ROOT, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "orchestrator.sweep", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment(), timeout=timeout)
