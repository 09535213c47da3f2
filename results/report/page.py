"""The page: the template with its style, scripts and data, all in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from results.figures.panels import axis_label
from results.figures.style import styles
from results.report import measurements
from results.report import parts as html
from results.report.filming import films
from results.result_store import ResultStore
from results.training_specs import training_specs

_FOLDER = Path(__file__).parent
_SCRIPTS = ("core.js", "charts.js", "figures.js", "films.js")
_DASHES = {"-": "", "--": "6 3", "-.": "6 2 1.5 2", ":": "1.5 2.5"}
"""Matplotlib's line styles as SVG's."""

Row = dict[str, Any]


def assemble(store: ResultStore, failed: Sequence[Row], title: str) -> str:
    """The report of everything in `store` as HTML, with what `failed`; see `results.report.build`."""
    experiments = measurements.experiments(store)
    names = [row["experiment"] for row in experiments]
    standings = [row for name in names for row in measurements.standings(store, name)]
    methods, benchmarks = measurements.dimensions(store)
    titles = {name: style.title for name, style in styles(store).items()}
    filmed, left_out = films(store, names)
    known = training_specs(store)
    swept = [row["experiment"] for row in experiments if row["cells"] > 1]
    data = {
        "methods": _methods(methods, store),
        "benchmarks": [_benchmark(row) for row in benchmarks],
        "experiments": [{"name": row["experiment"], "swept": row["experiment"] in swept} for row in experiments],
        "standings": standings,
        "paper": _paper(store),
        "specs": [row for name in names for row in measurements.spec_series(store, name)],
        "trained": [row for name in names for row in measurements.trained(store, name, known)],
        "curves": [row for name in names for row in measurements.curve_series(store, name)],
        "films": filmed,
        "filmsLeftOut": left_out,
    }
    measured = {name: {row["benchmark"] for row in standings if row["experiment"] == name} for name in names}
    parts = {
        "title": escape(title),
        "glance": html.glance(store, experiments),
        "experiments": html.experiments_table(experiments),
        "leaderboard": html.leaderboard([row for row in standings if row["experiment"] not in swept], titles),
        "paper": html.beside_the_paper(store, experiments, measured, titles),
        "cost": html.cost(store, standings, titles),
        "provenance": html.provenance(store),
        "failures": html.failures(failed),
        "style": (_FOLDER / "page.css").read_text(),
        "scripts": "\n".join((_FOLDER / name).read_text() for name in _SCRIPTS),
        "data": _embedded(data),
    }
    return _filled((_FOLDER / "page.html").read_text(), parts)


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with each `{{name}}` replaced once; what a part holds is left alone."""
    pieces = template.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def _embedded(data: Row) -> str:
    """JSON that may stand in a script element: floats with six digits, no `<` that could end it."""
    text = json.dumps(_rounded(data), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if value != value or value in (float("inf"), float("-inf")) else float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {name: item if name in ("low", "scale") else _rounded(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value


def _methods(rows: Sequence[Row], store: ResultStore) -> list[Row]:
    looks = styles(store)
    return [
        {
            "name": row["method"],
            "title": looks[row["method"]].title,
            "color": looks[row["method"]].color,
            "dash": _DASHES[looks[row["method"]].line],
            "few_shot": row["few_shot"],
        }
        for row in rows
    ]


def _benchmark(row: Row) -> Row:
    variables = json.loads(row["variables"])["variables"]
    return {
        "name": row["benchmark"],
        "score": row["score"],
        "variables": [
            {"label": axis_label(entry["name"], entry.get("unit") or ""), "unit": entry.get("unit") or ""}
            for entry in variables
        ],
    }


def _paper(store: ResultStore) -> list[Row]:
    """The paper's numbers of ablations: by table, method, setting and metric."""
    return store.table(
        "SELECT DISTINCT benchmark, method, setting, metric, value FROM paper WHERE contains(setting, '=') "
        "AND benchmark IS NOT NULL AND metric IN ('return', 'success') AND value IS NOT NULL ORDER BY ALL"
    ).to_pylist()
