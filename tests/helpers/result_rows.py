"""Rows for the tests: plausible defaults, of which a test names only what it is about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from results.result_store import ResultStore

Row = dict[str, Any]

SETTINGS: Row = {
    "policy.layers": 2,
    "training.epochs": 10,
    "training.batch_size": 512,
    "split.kind": "random",
    "split.train_fraction": 0.2,
}
HYPOGEN: Row = {"hypogen.blocks": 8, "hypogen.block_depth": 2, "hypogen.hidden_dim": 128}

PROVENANCE_ROW = {
    "artifact": "a",
    "kind": "expert",
    "parents": ["b", "c"],
    "started": datetime(2025, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "seconds": 1.5,
    "device": "cpu",
    "host": "here",
    "cpu": "some",
    "git_commit": "0" * 40,
    "git_dirty": False,
    "packages": '{"numpy": "1.23.5"}',
    "status": "done",
    "error": None,
    "label": "experts of cheetah-speed",
    "runs": ["expert-run"],
}

METHOD_ROW: Row = {"method": "fresh", "title": "Fresh Idea", "color": None, "few_shot": False, "position": 7}
BENCHMARK_ROW: Row = {
    "benchmark": "tray-tilt",
    "environment": "tray",
    "context": "tilt",
    "score": "success",
    "variables": json.dumps({"variables": [{"name": "tilt", "unit": "rad", "default": 0.1}]}),
}


def run_row(
    run: str, method: str = "hypogen", split: int | None = 0, settings: Row | None = None, **changes: Any
) -> Row:
    own = {**SETTINGS, **(HYPOGEN if method == "hypogen" else {}), "split.seed": split, **(settings or {})}
    row = {
        "run": run,
        "benchmark": "cheetah-speed",
        "environment": "cheetah",
        "context": "speed",
        "method": method,
        "expert_recipe": "laptop",
        "expert": "expert-1",
        "split_kind": "random",
        "split_seed": split,
        "train_fraction": 0.2,
        "train_specs": 1,
        "test_specs": 2,
        "settings": json.dumps(own),
        "overrides": json.dumps(settings or {}),
        "epochs": 10,
        "steps": 1000,
        "batch_size": 512,
        "learning_rate": 1e-4,
        "selection": "final",
        "few_shot": False,
        "parameters": 123,
        "seed": 7,
        "artifact": f"artifact-of-{run}",
    }
    return {**row, **changes}


def expert_row(run: str = "expert-run", **changes: Any) -> Row:
    row = run_row(run, "expert", None, train_fraction=None, epochs=None, batch_size=None, learning_rate=None)
    return {**row, "settings": json.dumps({"td3.steps": 1000}), **changes}


def episode_rows(
    run: str, spec_index: int, returns: Sequence[float], inside: bool = True, role: str = "test", **changes: Any
) -> list[Row]:
    row = {
        "run": run,
        "spec_index": spec_index,
        "spec": [float(spec_index)],
        "role": role,
        "in_distribution": inside,
        "length": 1000,
        "success": True,
        "failed": False,
    }
    return [{**row, "episode": n, "seed": 100 + n, "return": value, **changes} for n, value in enumerate(returns)]


def asked(experiment: str, run: str, position: int = 0, cell: Row | None = None, table: str = "main") -> Row:
    return {"experiment": experiment, "run": run, "position": position, "cell": json.dumps(cell or {}), "table": table}


def fill(store: ResultStore, runs: Sequence[Row], episodes: Sequence[Row], experiments: Sequence[Row] = ()) -> None:
    """One file per run, as the actors write them."""
    for run in runs:
        key = run["run"]
        store.write("runs", key, [run])
        store.write("episodes", key, [row for row in episodes if row["run"] == key])
    if experiments:
        store.write("experiments", "all", experiments)
