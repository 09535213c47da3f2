"""The paper as data: its numbers (paper/table01.csv to table29.csv), its methods and its benchmarks."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from results.rows import to_table
from results.schema import BENCHMARKS, METHODS, PAPER

_FOLDER = Path(__file__).with_name("paper")


@cache
def paper() -> pa.Table:
    """Every number of the paper's 29 tables, in the columns of schema.PAPER; what the paper does not name is null."""
    rows = []
    for file in sorted(_FOLDER.glob("table*.csv")):
        rows += [_row(cells) for cells in _cells(file)]
    return pa.Table.from_pylist(rows, schema=PAPER.arrow)


@cache
def paper_methods() -> pa.Table:
    """The experts and the paper's methods, in the columns of schema.METHODS."""
    rows = [
        {**cells, "few_shot": cells["few_shot"] == "true", "position": int(cells["position"])}
        for cells in _cells(_FOLDER / "methods.csv")
    ]
    return to_table(METHODS, rows)


@cache
def paper_benchmarks() -> pa.Table:
    """The paper's benchmarks, in the columns of schema.BENCHMARKS; the file has one line per variable of a spec."""
    found: dict[str, dict[str, str]] = {}
    variables: dict[str, list[dict[str, str | float]]] = {}
    for cells in _cells(_FOLDER / "benchmarks.csv"):
        name = f"{cells['environment']}-{cells['context']}"
        found[name] = {"benchmark": name, **{key: cells[key] for key in ("environment", "context", "score")}}
        variables.setdefault(name, []).append(
            {"name": cells["variable"], "unit": cells["unit"], "default": float(cells["default"])}
        )
    rows = [{**row, "variables": json.dumps({"variables": variables[name]})} for name, row in found.items()]
    return to_table(BENCHMARKS, rows)


def _cells(file: Path) -> Iterator[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        yield from csv.DictReader(lines)


def _row(cells: dict[str, str]) -> dict[str, Any]:
    named = {name: text or None for name, text in cells.items()}
    environment, context = named["environment"], named["context"]
    benchmark = f"{environment}-{context}" if environment and context else None
    return {**named, "benchmark": benchmark, "value": _number(cells["value"]), "printed": cells["value"]}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
