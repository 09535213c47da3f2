"""The paper's own numbers, paper/table01.csv to table29.csv, as one table beside the measured ones."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from results.schema import PAPER

_FOLDER = Path(__file__).with_name("paper")


@cache
def paper() -> pa.Table:
    """Every number of the paper's 29 tables, in the columns of schema.PAPER; what the paper does not name is null."""
    rows = []
    for file in sorted(_FOLDER.glob("table*.csv")):
        with file.open(newline="", encoding="utf-8") as lines:
            rows += [_row(cells) for cells in csv.DictReader(lines)]
    return pa.Table.from_pylist(rows, schema=PAPER.arrow)


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
