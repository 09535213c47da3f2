"""What the report shows, asked from a store: plain rows, each with the names by which the page filters them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from results.problems import ResultsError
from results.result_store import ResultStore

Row = dict[str, Any]
_SEED = re.compile(r"(^|\.)seeds?$")

_EXPERIMENTS = """
    SELECT experiment, any_value("table" ORDER BY position) AS "table", count(*) AS planned, count(method) AS runs,
        count(DISTINCT method) AS methods, count(DISTINCT benchmark) AS benchmarks,
        count(DISTINCT split_seed) AS splits, count(DISTINCT told(cell)) AS cells,
        coalesce(sum(rolled_out), 0)::BIGINT AS episodes
    FROM experiments LEFT JOIN runs USING (run)
        LEFT JOIN (SELECT run, count(*) AS rolled_out FROM episodes GROUP BY run) USING (run)
    GROUP BY experiment
    ORDER BY cells > 1, methods DESC, experiment
"""
_CELLS = "SELECT run, cell FROM experiments WHERE experiment = $experiment ORDER BY ALL"
_STANDINGS = """
    FROM standings($experiment)
    ORDER BY benchmark, rank NULLS FIRST, place(method), own_settings::VARCHAR, runs::VARCHAR
"""
_SPECS = """
    WITH measured AS (
        SELECT benchmark, method, told(cell) AS cell, spec, role, run, episode,
            CASE headline(benchmark) WHEN 'success' THEN 100.0 * success::INT ELSE "return" END AS value
        FROM experiments JOIN runs USING (run) JOIN episodes USING (run)
        WHERE experiment = $experiment
    )
    SELECT benchmark, method, cell, spec, role, avg(value ORDER BY run, episode) AS mean,
        stddev_samp(value ORDER BY run, episode)
            / CASE headline(benchmark) WHEN 'success' THEN sqrt(count(*)) ELSE 1 END AS deviation
    FROM measured
    GROUP BY benchmark, method, cell, spec, role
    ORDER BY ALL
"""
_CURVES = """
    SELECT benchmark, method, told(cell) AS cell, metric, CASE method WHEN 'expert' THEN step ELSE epoch END AS at,
        avg(value ORDER BY run) AS mean, min(value) AS low, max(value) AS high
    FROM experiments JOIN runs USING (run) JOIN curves USING (run)
    WHERE experiment = $experiment AND NOT contains(metric, '@')
    GROUP BY ALL
    ORDER BY ALL
"""
_COSTS = """
    SELECT kind, device, cpu, count(*) AS artifacts, sum(seconds ORDER BY artifact) AS seconds, max(seconds) AS longest
    FROM provenance
    GROUP BY ALL
    ORDER BY ALL
"""
_COMMITS = """
    SELECT git_commit AS commit, bool_or(git_dirty) AS changed, string_agg(DISTINCT kind, ', ' ORDER BY kind) AS made,
        count(*) AS artifacts, min(started) AS first, max(started) AS last
    FROM provenance
    GROUP BY git_commit
    ORDER BY first, commit
"""
_FAILURES = """
    SELECT coalesce(label, artifact) AS what, kind, started, error, coalesce(len(runs), 0) AS waiting
    FROM provenance
    WHERE status = 'failed' AND ($experiment IS NULL OR list_has_any(runs, (
        SELECT list(run) FROM experiments WHERE experiment = $experiment)))
    ORDER BY started, artifact
"""


def experiments(store: ResultStore) -> list[Row]:
    """One row per experiment, with what it consists of; those with a grid last, more methods first.

    Raises ResultsError where none has a finished run.
    """
    rows = [row for row in store.table(_EXPERIMENTS).to_pylist() if row["runs"]]
    if not rows:
        raise ResultsError(
            f"no experiment in {store.root} has a finished run: there is nothing to report. Make some: "
            "hypogen sweep experiments/quickstart.yaml"
        )
    return rows


def cells(store: ResultStore, experiment: str) -> dict[str, Row]:
    """Values of the grid of each run, by dotted name, without seeds: what is trained again is one number here."""
    rows = store.table(_CELLS, experiment=experiment).to_pylist()
    return {
        row["run"]: {name: row_value for name, row_value in json.loads(row["cell"]).items() if not _SEED.search(name)}
        for row in rows
    }


def cell_label(cell: Row) -> str:
    """A cell for people: blocks=8, without the groups of its settings."""
    return ", ".join(f"{name.rpartition('.')[2]}={_short(value)}" for name, value in cell.items())


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def standings(store: ResultStore, experiment: str) -> list[Row]:
    """One row per benchmark, method and cell of the grid: mean, interval, rank, share, headroom, cost."""
    cell_of = cells(store, experiment)
    found = []
    for row in store.table(_STANDINGS, experiment=experiment).to_pylist():
        summary, room = row["summary"], row["room"] or {}
        common = _common([cell_of.get(run, {}) for run in row["runs"]])
        found.append(
            {
                "experiment": experiment,
                **{name: row[name] for name in ("benchmark", "method", "metric", "rank", "few_shot", "parameters")},
                "rank_interval": [row["rank_low_95"], row["rank_high_95"]],
                "cell": common,
                "label": cell_label(common),
                **{name: summary[name] for name in ("mean", "low_95", "high_95", "in_mean", "out_mean")},
                **{name: summary[name] for name in ("std_episodes", "std_specs", "std_splits")},
                **{name: summary[name] for name in ("splits", "specs", "episodes")},
                "share": row["share"],
                **{name: room.get(name) for name in ("headroom", "headroom_low_95", "headroom_high_95")},
                "seconds": row["seconds"],
                "device": row["device"],
            }
        )
    return found


def _common(of_runs: Sequence[Row]) -> Row:
    """What the cells of all runs agree on."""
    first = of_runs[0] if of_runs else {}
    return {name: value for name, value in first.items() if all(cell.get(name) == value for cell in of_runs)}


def spec_series(store: ResultStore, experiment: str) -> list[Row]:
    """One row per benchmark, method and cell: `points` [coordinates, role, mean, deviation], in the specs' order.

    The deviation is that of the episodes' returns; of success rates, it is their standard error.
    """
    return _series(
        store.table(_SPECS, experiment=experiment).to_pylist(),
        experiment,
        lambda row: [row["spec"], row["role"], row["mean"], row["deviation"]],
    )


def curve_series(store: ResultStore, experiment: str) -> list[Row]:
    """One row per benchmark, method, cell and metric: `points` [epoch (experts: updates), mean, least, most]."""
    return _series(
        store.table(_CURVES, experiment=experiment).to_pylist(),
        experiment,
        lambda row: [row["at"], row["mean"], row["low"], row["high"]],
        "metric",
    )


def _series(rows: Sequence[Row], experiment: str, point: Any, *more: str) -> list[Row]:
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in ("benchmark", "method", "cell", *more))
        of_key = {"experiment": experiment, "benchmark": row["benchmark"], "method": row["method"]}
        of_key |= {"label": cell_label(json.loads(row["cell"])), **{name: row[name] for name in more}, "points": []}
        found.setdefault(key, of_key)["points"].append(point(row))
    return list(found.values())


def trained(store: ResultStore, experiment: str, known: pd.DataFrame) -> list[Row]:
    """Training specs of each split: benchmark, split and `specs` (coordinates). Splits of other sizes stand apart.

    known: those of every run, from `results.training_specs`.
    """
    rows = store.table(
        "SELECT run, benchmark, split_seed, train_specs FROM runs JOIN experiments USING (run) "
        "WHERE experiment = $experiment ORDER BY ALL",
        experiment=experiment,
    ).to_pylist()
    by_run = {row["run"]: row for row in rows}
    found: dict[tuple[str, int, int], dict[int, list[float]]] = {}
    for row in known.itertuples():
        run = by_run.get(row.run)
        if run is not None:
            key = (run["benchmark"], run["split_seed"] or 0, run["train_specs"])
            found.setdefault(key, {})[row.spec_index] = [float(value) for value in row.spec]
    return [
        {"experiment": experiment, "benchmark": key[0], "split": key[1], "specs": [specs[n] for n in sorted(specs)]}
        for key, specs in sorted(found.items())
    ]


def costs(store: ResultStore) -> list[Row]:
    """Work by kind of artifact and machine: number, seconds in all and of the longest."""
    return store.table(_COSTS).to_pylist()


def commits(store: ResultStore) -> list[Row]:
    """Versions of the code: commit, whether files differed, what was made with it, and when."""
    return store.table(_COMMITS).to_pylist()


def packages(store: ResultStore) -> list[Row]:
    """Versions of the packages, and how many artifacts were made with each."""
    rows = store.table("SELECT packages, count(*) AS artifacts FROM provenance GROUP BY packages ORDER BY packages")
    found: dict[tuple[str, str], int] = {}
    for row in rows.to_pylist():
        for name, version in json.loads(row["packages"]).items():
            found[name, version] = found.get((name, version), 0) + row["artifacts"]
    return [
        {"package": name, "version": version, "artifacts": count}
        for (name, version), count in sorted(found.items(), key=lambda item: (item[0][0].lower(), item[0][1]))
    ]


def failures(store: ResultStore, experiment: str | None) -> list[Row]:
    """What could not be made (of an experiment, or at all): label, kind, when, traceback, how many runs wait for it."""
    return store.table(_FAILURES, experiment=experiment).to_pylist()


def dimensions(store: ResultStore) -> tuple[list[Row], list[Row]]:
    """Methods and benchmarks that have runs, with their titles, colours and variables."""
    methods = store.table(
        "SELECT method, title, few_shot FROM methods WHERE method IN (SELECT method FROM runs) ORDER BY place(method)"
    ).to_pylist()
    benchmarks = store.table(
        "SELECT benchmark, environment, context, score, variables FROM benchmarks "
        "WHERE benchmark IN (SELECT benchmark FROM runs) ORDER BY benchmark"
    ).to_pylist()
    return methods, benchmarks
