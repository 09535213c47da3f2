"""From finished artifacts to rows of the results' tables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from hypogen.benchmarks import get_benchmark
from orchestrator.plan import Plan, Run
from orchestrator.stages import CURVE, load_episodes
from orchestrator.store import Store
from results.result_store import ResultStore

Row = dict[str, Any]


def write_run(store: Store, plan: Plan, run: Run) -> None:
    """Write a run's episodes, its curve and then its row in ``runs``, whose presence says that the run is complete."""
    results = ResultStore(store.results)
    summary = store.manifest(plan.nodes[run.policy].kind, run.policy)["summary"]
    candidates = _candidates(store, plan, run)
    chosen = _selected(run, candidates)
    results.write("episodes", run.key, candidates[chosen])
    results.write("curves", run.key, curve_rows(store, plan, run, candidates, chosen))
    as_text = {name: json.dumps(run.row[name], sort_keys=True) for name in ("settings", "overrides")}
    counted = {name: summary[name] for name in ("steps", "parameters")}
    results.write("runs", run.key, [{**run.row, **as_text, **counted, "artifact": run.policy}])


def _candidates(store: Store, plan: Plan, run: Run) -> dict[int, list[Row]]:
    """The episodes of every policy that was rolled out on the way, by epoch; the final one, always there, is last."""
    before = {epoch: episode_rows(store, plan, run, [key]) for epoch, key in run.aside.snapshots}
    return {**before, (run.row["epochs"] or 0): episode_rows(store, plan, run, run.rollouts)}


def _selected(run: Run, candidates: dict[int, list[Row]]) -> int:
    """The epoch whose policy counts: the last, or with ``best_test`` the first of those with the best test return."""
    if run.row["selection"] == "final":
        return max(candidates)
    return max(candidates, key=lambda epoch: float(np.mean(mean_test_returns(candidates[epoch]))))


def mean_test_returns(episodes: list[Row]) -> list[float]:
    """Mean return of each test spec, in the order of the grid."""
    returns: dict[int, list[float]] = {}
    for row in episodes:
        if row["role"] == "test":
            returns.setdefault(row["spec_index"], []).append(row["return"])
    return [float(np.mean(returns[index])) for index in sorted(returns)]


def curve_rows(store: Store, plan: Plan, run: Run, candidates: dict[int, list[Row]], chosen: int) -> list[Row]:
    """The training's own curve, the returns on the way, and what the probes measured of the final generator.

    Metrics: ``return`` and ``return_std`` (mean and sample deviation over the test specs), ``return@selected``,
    ``return@start=learned`` and ``return@start=random``, and the probes' own (``orchestrator.stages``).
    """
    kind, aside = plan.nodes[run.policy].kind, run.aside
    points: list[Row] = _curve(store, kind, run.policy)
    steps = store.manifest(kind, run.policy)["summary"]["steps"]

    def at(epoch: int, metric: str, value: float) -> None:
        step = steps * epoch // run.row["epochs"]  # every epoch has as many steps
        points.append({"epoch": epoch, "step": step, "metric": metric, "value": value})

    if aside.snapshots:
        for epoch, episodes in candidates.items():
            returns = mean_test_returns(episodes)
            at(epoch, "return", float(np.mean(returns)))
            if len(returns) > 1:
                at(epoch, "return_std", float(np.std(returns, ddof=1)))
    if run.row["selection"] != "final":
        at(chosen, "return@selected", float(np.mean(mean_test_returns(candidates[chosen]))))
    if aside.random_start is not None:
        last, noisy = max(candidates), episode_rows(store, plan, run, [aside.random_start])
        at(last, "return@start=learned", float(np.mean(mean_test_returns(candidates[last]))))
        at(last, "return@start=random", float(np.mean(mean_test_returns(noisy))))
    for probe in aside.probes:
        for point in _curve(store, "probe", probe):
            at(max(candidates), point["metric"], point["value"])
    return [{"run": run.key, **point} for point in points]


def _curve(store: Store, kind: str, key: str) -> list[Row]:
    rows: list[Row] = json.loads((store.folder(kind, key) / CURVE).read_text())
    return rows


def episode_rows(store: Store, plan: Plan, run: Run, rollouts: Iterable[str]) -> list[Row]:
    """One row an episode of these rollouts, for the specs that count in this run."""
    benchmark = get_benchmark(run.row["benchmark"])
    labels = {index: (role, inside) for index, role, inside in run.specs}
    rows = []
    for key in rollouts:
        payload, episodes = plan.nodes[key].payload, load_episodes(store, key)
        for position, spec in enumerate(payload["specs"]):
            index = benchmark.index(tuple(spec))
            if index not in labels:
                continue
            role, inside = labels[index]
            for episode, seed in enumerate(payload["seeds"][position]):
                rows.append(
                    {
                        "run": run.key,
                        "spec_index": index,
                        "spec": spec,
                        "role": role,
                        "in_distribution": inside,
                        "episode": episode,
                        "seed": seed,
                        "return": float(episodes["returns"][position, episode]),
                        "length": int(episodes["lengths"][position, episode]),
                        "success": bool(episodes["success"][position, episode]),
                        "failed": bool(episodes["failed"][position, episode]),
                    }
                )
    return rows


def write_experiment(store: Store, plan: Plan) -> None:
    """Note which runs the experiment consists of, and under which cell of its grid."""
    experiment = plan.experiment
    rows = [
        {
            "experiment": experiment.name,
            "run": run,
            "position": position,
            "cell": json.dumps(cell, sort_keys=True),
            "table": experiment.table,
        }
        for position, (run, cell) in enumerate(plan.members.items())
    ]
    ResultStore(store.results).write("experiments", experiment.name, rows, replace=True)
