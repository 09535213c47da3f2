"""Measured rows: from finished artifacts to the results' tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.generators import GENERATORS
from hypogen.references import REFERENCES
from orchestrator.artifacts import RolloutsArtifact
from orchestrator.artifacts.artifact import Json
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.manifest import Manifest
from orchestrator.config.experiment import METHODS
from orchestrator.planning.plan import Plan
from orchestrator.planning.runs import Run
from results.result_store import ResultStore

Row = dict[str, Json]


@dataclass(frozen=True)
class Episode:
    """One episode of a run, as the table ``episodes`` has it."""

    spec_index: int
    role: str
    row: Row


def write_run(store: Store, run: Run) -> None:
    """Write a run's episodes, its curve and then its row in ``runs``, whose presence says that the run is complete."""
    store.check_again()  # what is written here stays, and nobody looks at where it came from any more
    results = ResultStore(store.results)
    summary = Manifest.load(store, run.acting.kind, run.acting.key).summary
    steps, parameters = summary["steps"], summary["parameters"]
    assert isinstance(steps, int) and isinstance(parameters, int)
    candidates = _candidates(store, run)
    chosen = _selected(run, candidates)
    # Rows of a run that is not complete, perhaps of artifacts that were made again elsewhere, give way.
    results.write("episodes", run.key, [episode.row for episode in candidates[chosen]], replace=True)
    results.write("curves", run.key, curve_rows(store, run, candidates, chosen, steps), replace=True)
    as_text = {name: json.dumps(run.columns[name], sort_keys=True) for name in ("settings", "overrides")}
    row = {**run.columns, **as_text, "steps": steps, "parameters": parameters}
    results.write("runs", run.key, [{"run": run.key, **row, "artifact": run.acting.key}], replace=True)


def _candidates(store: Store, run: Run) -> dict[int, list[Episode]]:
    """The episodes of every policy that was rolled out on the way, by epoch; the final one, always there, is last."""
    before = {epoch: run_episodes(store, run, [rollouts]) for epoch, rollouts in run.diagnostics.snapshots}
    return {**before, run.epochs: run_episodes(store, run, run.rollouts)}


def _selected(run: Run, candidates: Mapping[int, list[Episode]]) -> int:
    """The epoch whose policy counts: the last, or with ``best_test`` the first of those with the best test score."""
    if run.selection == "final":
        return max(candidates)
    measures = (run.benchmark.simulator.score, "return")  # of as many successes, the higher return
    return max(candidates, key=lambda epoch: [_test_mean(candidates[epoch], measure) for measure in measures])


def test_means(episodes: Iterable[Episode], measure: str = "return") -> list[float]:
    """Mean ``return`` (or share of ``success``) of each test spec, in the order of the grid."""
    found: dict[int, list[float]] = {}
    for episode in episodes:
        if episode.role == "test":
            found.setdefault(episode.spec_index, []).append(float(cast(float, episode.row[measure])))
    return [float(np.mean(found[index])) for index in sorted(found)]


def _test_mean(episodes: Iterable[Episode], measure: str = "return") -> float:
    return float(np.mean(test_means(episodes, measure)))


def curve_rows(store: Store, run: Run, candidates: Mapping[int, list[Episode]], chosen: int, steps: int) -> list[Row]:
    """The training's own curve, the returns on the way, and the numbers that probes measured of the final generator.

    Metrics: ``return`` and ``return_std`` (mean and sample deviation over the test specs), ``return@selected``, on
    ManiSkill also ``success`` (the share of successes) and ``success@selected``; ``return@start=learned`` and
    ``return@start=random``, and the probes' own (``orchestrator.artifacts.probe_artifacts``).
    """
    points: list[Row] = [dict(row) for row in run.acting.curve(store)]

    def at(epoch: int, metric: str, value: float) -> None:
        step = steps * epoch // run.epochs  # every epoch has as many steps
        points.append({"epoch": epoch, "step": step, "metric": metric, "value": value})

    last, measures = max(candidates), dict.fromkeys(("return", run.benchmark.simulator.score))
    if run.diagnostics.snapshots:
        for epoch, episodes in candidates.items():
            for measure in measures:
                at(epoch, measure, _test_mean(episodes, measure))
            if len(returns := test_means(episodes)) > 1:
                at(epoch, "return_std", float(np.std(returns, ddof=1)))
    if run.selection != "final":
        for measure in measures:
            at(chosen, f"{measure}@selected", _test_mean(candidates[chosen], measure))
    for probe, rollouts in run.diagnostics.probe_rollouts:
        for metric, episodes in zip(
            probe.metrics, (candidates[last], run_episodes(store, run, [rollouts])), strict=True
        ):
            at(last, metric, _test_mean(episodes))
    for looked_at in run.diagnostics.probes:
        for point in looked_at.curve(store):
            at(last, str(point["metric"]), float(point["value"]))
    return [{"run": run.key, **point} for point in points]


def run_episodes(store: Store, run: Run, rollouts: Iterable[RolloutsArtifact]) -> list[Episode]:
    """The episodes of these rollouts, for the specs that count in this run."""
    labels = {spec.row: spec for spec in run.specs}
    found = []
    for artifact in rollouts:
        measured = artifact.load(store)
        for position, spec in enumerate(artifact.specs):
            label = labels.get(run.benchmark.index(spec))
            if label is None:
                continue
            for episode, seed in enumerate(artifact.seeds[position]):
                row: Row = {
                    "run": run.key,
                    "spec_index": label.row,
                    "spec": spec,
                    "role": label.role,
                    "in_distribution": label.inside,
                    "episode": episode,
                    "seed": seed,
                    "return": float(measured["returns"][position, episode]),
                    "length": int(measured["lengths"][position, episode]),
                    "success": bool(measured["success"][position, episode]),
                    "failed": bool(measured["failed"][position, episode]),
                }
                found.append(Episode(label.row, label.role, row))
    return found


def write_experiment(store: Store, plan: Plan) -> None:
    """Note which runs the experiment consists of, under which cell of its grid, and what they are about."""
    experiment, results = plan.experiment, ResultStore(store.results)
    rows = [
        {
            "experiment": experiment.name,
            "run": run,
            "position": position,
            "cell": json.dumps(cell, sort_keys=True),
            "table": experiment.table,
        }
        for position, (run, cell) in enumerate(plan.cells.items())
    ]
    results.write("experiments", experiment.name, rows, replace=True)
    for method in dict.fromkeys(run.method for run in plan.runs.values()):
        results.write("methods", method, [_method_row(method)])
    for benchmark in dict.fromkeys(run.benchmark.name for run in plan.runs.values()):
        results.write("benchmarks", benchmark, [_benchmark_row(get_benchmark(benchmark))])


def _method_row(method: str) -> Row:
    """A method as tables and figures show it."""
    entry = GENERATORS.get(method) or REFERENCES.get(method)
    return {
        "method": method,
        "title": entry.title if entry else "Expert",
        "color": entry.color if entry else "#000000",
        "few_shot": method in GENERATORS and GENERATORS[method].few_shot,
        "position": METHODS.index(method),
    }


def _benchmark_row(benchmark: Benchmark) -> Row:
    """A benchmark as tables and figures show it."""
    variables = [{"name": v.name, "unit": v.unit, "default": v.default} for v in benchmark.variables]
    return {
        "benchmark": benchmark.name,
        "environment": benchmark.environment,
        "context": benchmark.context,
        "score": benchmark.simulator.score,
        "variables": json.dumps({"variables": variables}),
    }
