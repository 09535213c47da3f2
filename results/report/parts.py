"""The parts of the page that are text and tables; the figures are drawn from the embedded data by its scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from results.catalogue import grid
from results.formats import Grid
from results.paper_tables import paper
from results.report import measurements
from results.report.markup import grid_table, interval, table
from results.result_store import ResultStore
from results.table_files import titles

_COUNTED = """
    SELECT (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM episodes) AS episodes,
        (SELECT count(DISTINCT benchmark) FROM runs) AS benchmarks,
        (SELECT count(DISTINCT method) FROM runs) AS methods,
        sum(seconds ORDER BY artifact) AS seconds, min(started) AS first, max(started) AS last
    FROM provenance
"""

Row = dict[str, Any]
Titles = Mapping[str, str]


def glance(store: ResultStore, experiments: Sequence[Row]) -> str:
    """The numbers that say how much there is, as a list of terms."""
    counted = store.table(_COUNTED).to_pylist()[0]
    facts = [(f"{counted[name]:,}", name) for name in ("runs", "episodes", "benchmarks", "methods")]
    facts.insert(0, (str(len(experiments)), "experiments"))
    if counted["seconds"]:
        facts.append((f"{counted['seconds'] / 3600:,.1f}", "hours of work"))
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for value, name in facts)
    when = ""
    if counted["first"]:
        dates = dict.fromkeys(f"{at:%-d %B %Y}" for at in (counted["first"], counted["last"]))
        when = f'<p class="when">Made {" to ".join(dates)}.</p>'
    return f'<dl class="glance">{items}</dl>{when}'


def leaderboard(rows: Sequence[Row], names: Titles) -> str:
    """All standings of experiments without a grid, and what their columns mean."""
    several = len({row["experiment"] for row in rows}) > 1
    columns = ["benchmark", "rank", "method", "mean", "low_95", "share", "headroom", "in_mean", "out_mean", "minutes"]
    columns += ["splits", "specs", "episodes"] + (["experiment"] if several else [])
    cells = [
        [
            {
                **row,
                "low_95": interval(row["low_95"], row["high_95"], 1),
                "minutes": None if row["seconds"] is None else row["seconds"] / 60,
            }[name]
            for name in columns
        ]
        for row in rows
    ]
    return table(
        columns,
        cells,
        "Leaderboard",
        decimals={"mean": 1, "share": 3, "headroom": 3, "in_mean": 1, "out_mean": 1, "minutes": 1},
        filters=[_names(row) for row in rows],
        titles=names,
        note="Mean: success in % on benchmarks that are judged by it, return on the others, over a spec’s episodes, "
        "then test specs, then splits, with a 95 % bootstrap interval that draws splits, seeds and specs again. "
        "Share: of the experts’ own mean. Headroom: (method − nearest) / (expert − nearest). Minutes: of one training.",
    )


def beside_the_paper(
    store: ResultStore, experiments: Sequence[Row], benchmarks: Mapping[str, set[str]], names: Titles
) -> str:
    """Every table of the paper that an experiment has rows of, measured rows only: its own on whatever benchmark."""
    parts = []
    for row in experiments:
        for name in _tables_of(row["table"]):
            if name != row["table"] and not benchmarks[row["experiment"]] & _benchmarks_of(name):
                continue
            shown = grid(name, store, experiment=row["experiment"], measured=True)
            if shown.rows:
                parts.append(_details(shown, row, names, opened=name == row["table"]))
    return "".join(parts) or "<p>No experiment here measures a table of the paper.</p>"


def _details(shown: Grid, row: Row, names: Titles, opened: bool) -> str:
    title, _, _ = shown.title.partition(", experiment ")
    return (
        f'<details class="table"{" open" if opened else ""} data-experiment="{escape(row["experiment"])}"><summary>'
        f"{escape(title)} <small>{escape(row['experiment'])}</small></summary>"
        f"{grid_table(shown, {'experiment': row['experiment']}, names)}</details>"
    )


def _tables_of(name: str) -> list[str]:
    """The paper's table that an experiment asks for, and those about the same benchmarks and methods."""
    kin = _subjects()
    if name not in kin:
        return [name] if name in titles() and name.startswith("table") else []
    return [other for other in titles() if kin.get(other) == kin[name]]


def _subjects() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Benchmarks and methods of the paper's tables that have a row per method and benchmark, without settings."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    with_settings = set()
    for row in paper().to_pylist():
        name = row["table"]
        if row["setting"] is not None or row["benchmark"] is None or row["method"] is None:
            with_settings.add(name)
            continue
        of_table = found.setdefault(name, (set(), set()))
        of_table[0].add(row["benchmark"])
        of_table[1].add(row["method"])
    return {
        name: (frozenset(of_table[0]), frozenset(of_table[1] - {"expert"}))
        for name, of_table in found.items()
        if name not in with_settings
    }


def _benchmarks_of(name: str) -> set[str]:
    rows = [row for row in paper().to_pylist() if row["table"] == name]
    return {row["benchmark"] for row in rows if row["benchmark"]}


def experiments_table(experiments: Sequence[Row]) -> str:
    """One row per experiment."""
    columns = ["experiment", "table", "runs", "benchmarks", "methods", "splits", "episodes"]
    unfinished = [row for row in experiments if row["planned"] > row["runs"]]
    note = "; ".join(f"{row['experiment']}: {row['planned'] - row['runs']} runs to come" for row in unfinished)
    return table(
        columns,
        [[row[name] for name in columns] for row in experiments],
        "Experiments",
        filters=[{"experiment": row["experiment"]} for row in experiments],
        note=note,
    )


def cost(store: ResultStore, rows: Sequence[Row], names: Titles) -> str:
    """Seconds by kind of work, and by method."""
    kinds = [
        [row["kind"], row["artifacts"], row["seconds"] / 3600, row["longest"] / 60, row["device"], row["cpu"]]
        for row in measurements.costs(store)
    ]
    by_kind = table(
        ["kind", "artifacts", "hours", "longest_in_minutes", "device", "processor"],
        kinds,
        "Work by kind of artifact",
        decimals={"hours": 2, "longest_in_minutes": 1},
        note="Wall clock of the work itself, waiting excluded; kinds that ran side by side add up.",
    )
    trained = [row for row in rows if row["seconds"] is not None]
    by_method = table(
        ["method", "benchmark", "settings", "minutes", "parameters", "device", "experiment"],
        [
            [
                *(row["method"], row["benchmark"], row["label"], row["seconds"] / 60),
                *(row["parameters"], row["device"], row["experiment"]),
            ]
            for row in trained
        ],
        "One training, by method",
        decimals={"minutes": 1},
        filters=[_names(row) for row in trained],
        titles=names,
    )
    return by_kind + by_method


def provenance(store: ResultStore) -> str:
    """Commits, and versions of packages."""
    rows = measurements.commits(store)
    commits = table(
        ["commit", "state", "artifacts", "kinds", "first", "last"],
        [
            [
                (row["commit"] or "unknown")[:12],
                "changed files" if row["changed"] else "clean",
                row["artifacts"],
                row["made"],
                f"{row['first']:%Y-%m-%d %H:%M}",
                f"{row['last']:%Y-%m-%d %H:%M}",
            ]
            for row in rows
        ],
        "Versions of the code (UTC)",
    )
    versions = measurements.packages(store)
    packages = table(
        ["package", "version", "artifacts"],
        [[row["package"], row["version"], row["artifacts"]] for row in versions],
        "Versions of packages",
    )
    return (
        f'{commits}<details class="table"><summary>Versions of {len(versions)} packages</summary>{packages}</details>'
    )


def failures(found: Sequence[Row]) -> str:
    """What could not be made, with its traceback."""
    if not found:
        return "<p>None: every artifact that is listed here was made.</p>"
    items = "".join(
        f'<details class="failure"><summary>{escape(row["what"])} <small>{escape(row["kind"])}, '
        f"{row['started']:%Y-%m-%d %H:%M} UTC; {row['waiting']} runs wait</small></summary>"
        f"<pre>{escape(row['error'] or 'no traceback')}</pre></details>"
        for row in found
    )
    return f"<p>{len(found)} could not be made; the same command tries again.</p>{items}"


def _names(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("experiment", "benchmark", "method")}
