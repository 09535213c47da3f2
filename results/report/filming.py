"""Trajectories, packed for the page: positions as 16 bits, rewards as 8, in base64, by experiment and benchmark."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from results.report.measurements import cell_label
from results.result_store import ResultStore

Row = dict[str, Any]

LARGEST_CHARACTERS = 7_000_000
"""What all films may take of the page; runs beyond that are left out, the later ones of the plan first."""

_SQL = """
    SELECT benchmark, method, cell, split_seed, position, trajectories.*
    FROM trajectories JOIN runs USING (run) JOIN experiments USING (run)
    WHERE experiment = $experiment
    ORDER BY benchmark, position, run, spec_index
"""


def films(store: ResultStore, names: Sequence[str]) -> tuple[list[Row], int]:
    """Films of these experiments, one entry per benchmark, and how many runs were left out for their size.

    An entry has `specs`, the `skeletons` at them (each once, and its number per spec), `frame_s`, and `runs`, each with
    method, label, and per spec (None where it was not filmed) its return, role and number among the packed films.
    """
    found: list[Row] = []
    budget, left_out = LARGEST_CHARACTERS, 0
    for name in names:
        by_benchmark: dict[str, list[Row]] = {}
        for row in store.table(_SQL, experiment=name).to_pylist():
            by_benchmark.setdefault(row["benchmark"], []).append(row)
        for benchmark, rows in by_benchmark.items():
            entry, size, missing = _entry(name, benchmark, rows, budget)
            budget, left_out = budget - size, left_out + missing
            if entry["runs"]:
                found.append(entry)
    return found, left_out


def _entry(experiment: str, benchmark: str, rows: Sequence[Row], budget: int) -> tuple[Row, int, int]:
    """The films of one benchmark, their size in characters, and how many runs did not fit the budget."""
    specs = {row["spec_index"]: row for row in rows}
    order = sorted(specs)
    texts = list(dict.fromkeys(specs[index]["skeleton"] for index in order))
    entry: Row = {
        "experiment": experiment,
        "benchmark": benchmark,
        "specs": [specs[index]["spec"] for index in order],
        "skeletons": [json.loads(text) for text in texts],
        "skeleton": [texts.index(specs[index]["skeleton"]) for index in order],
        "frame_s": rows[0]["frame_s"],
        "joints": rows[0]["joints"],
        "runs": [],
    }
    size = len(json.dumps(entry))
    of_run: dict[str, list[Row]] = {}
    for row in rows:
        of_run.setdefault(row["run"], []).append(row)
    missing = 0
    for of_one in of_run.values():
        packed = _run(of_one, order)
        characters = len(packed["positions"]) + len(packed["rewards"])
        if size + characters > budget:
            missing += 1
            continue
        size += characters
        entry["runs"].append(packed)
    return entry, size, missing


def _run(rows: Sequence[Row], order: Sequence[int]) -> Row:
    by_spec = {row["spec_index"]: (number, row) for number, row in enumerate(rows)}
    frames = min(len(row["rewards"]) for row in rows)
    joints = rows[0]["joints"]
    positions = np.array([row["positions"][: frames * joints] for row in rows]).reshape(len(rows), frames, joints)
    low, high = positions.min(axis=(0, 1)), positions.max(axis=(0, 1))
    scale = np.where(high > low, high - low, 1.0) / 65535
    rewards = np.array([row["rewards"][:frames] for row in rows])
    return {
        "method": rows[0]["method"],
        "label": cell_label(json.loads(rows[0]["cell"])),
        "split": rows[0]["split_seed"],
        "frames": frames,
        "at": [by_spec[index][0] if index in by_spec else None for index in order],
        "returns": [round(by_spec[index][1]["return"], 1) if index in by_spec else None for index in order],
        "trained": [int(index in by_spec and by_spec[index][1]["role"] == "train") for index in order],
        "low": [float(f"{value:.8g}") for value in low],
        "scale": [float(f"{value:.8g}") for value in scale],
        "positions": _packed(np.rint((positions - low) / scale).clip(0, 65535).astype("<u2")),
        "rewards": _packed(np.rint(rewards.clip(0, 1) * 255).astype("u1")),
    }


def _packed(numbers: npt.NDArray[Any]) -> str:
    return base64.b64encode(numbers.tobytes()).decode()
