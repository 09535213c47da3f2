"""Runs as sinks take them, read from the tables."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from results.problems import unknown
from results.result_store import ResultStore
from results.sinks.sink import Heading, SentRun, Value

BATCH = 200
"""Runs that are read at once."""

_HEADINGS = """
    SELECT experiment, run, benchmark, method, split_seed FROM experiments JOIN runs USING (run)
    WHERE $experiment IS NULL OR experiment = $experiment ORDER BY experiment, position
"""
_RUNS = """
    SELECT runs.*, started, seconds, device, git_commit
    FROM runs LEFT JOIN provenance USING (artifact) WHERE run IN (SELECT unnest($runs))
"""
_CURVES = "SELECT run, metric, step, value FROM curves WHERE run IN (SELECT unnest($runs)) ORDER BY run, metric, step"
_FINAL = """
    WITH specs AS (
        SELECT run, role, in_distribution, avg("return") AS mean, 100 * avg(success::INTEGER) AS success
        FROM episodes WHERE run IN (SELECT unnest($runs)) GROUP BY run, spec_index, role, in_distribution
    )
    SELECT run,
        avg(mean) FILTER (role = 'test') AS "final/return",
        avg(mean) FILTER (role = 'test' AND in_distribution) AS "final/return_in_distribution",
        avg(mean) FILTER (role = 'test' AND NOT in_distribution) AS "final/return_out_of_distribution",
        avg(mean) FILTER (role = 'train') AS "final/return_on_training_specs",
        avg(success) FILTER (role = 'test') AS "final/success_percent"
    FROM specs GROUP BY run
"""
_APART = ("run", "settings", "overrides", "started", "seconds")
"""Columns of `_RUNS` that are no settings of their own."""


def headings(store: ResultStore, experiment: str | None) -> list[Heading]:
    """Every finished run of an experiment, or of all. Raises ResultsError for an unknown experiment."""
    known = store.table("SELECT DISTINCT experiment FROM experiments ORDER BY ALL").column(0).to_pylist()
    if experiment is not None and experiment not in known:
        raise unknown("experiment", experiment, known)
    rows = store.table(_HEADINGS, experiment=experiment).to_pylist()
    return [Heading(row["experiment"], row["run"], _name(row)) for row in rows]


def _name(row: Mapping[str, Any]) -> str:
    split = "" if row["split_seed"] is None else f"split{row['split_seed']}-"
    return f"{row['benchmark']}/{row['method']}/{split}{row['run'][:12]}"


def sent_runs(store: ResultStore, wanted: Sequence[Heading]) -> Iterator[SentRun]:
    """The runs `wanted` with everything that was measured of them, in this order."""
    for first in range(0, len(wanted), BATCH):
        some = wanted[first : first + BATCH]
        keys = sorted({heading.key for heading in some})
        rows = {row["run"]: row for row in store.table(_RUNS, runs=keys).to_pylist()}
        final = {row.pop("run"): row for row in store.table(_FINAL, runs=keys).to_pylist()}
        curves: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
        for point in store.table(_CURVES, runs=keys).to_pylist():
            curves[point["run"]][point["metric"]].append((point["step"], point["value"]))
        for heading in some:
            row = rows[heading.key]
            yield SentRun(
                heading.experiment,
                heading.key,
                heading.name,
                _settings(row),
                curves[heading.key],
                {name: value for name, value in final.get(heading.key, {}).items() if value is not None},
                row["started"] or datetime.now(UTC),
                row["seconds"] or 0.0,
            )


def _settings(row: Mapping[str, Any]) -> dict[str, Value]:
    columns = {name: value for name, value in row.items() if name not in _APART}
    every = {"run": row["run"], **columns, **json.loads(row["settings"])}
    return {name: _plain(value) for name, value in every.items() if value is not None}


def _plain(value: object) -> Value:
    return value if isinstance(value, Value) else json.dumps(value)
