"""From finished artifacts to rows of the results' tables."""

from __future__ import annotations

import json
from typing import Any

from hypogen.benchmarks import get_benchmark
from orchestrator.plan import Plan, Run
from orchestrator.stages import CURVE, load_episodes
from orchestrator.store import Store
from results.store import ResultStore


def write_run(store: Store, plan: Plan, run: Run) -> None:
    """Write a run's episodes, its curve and then its row in ``runs``, whose presence says that the run is complete."""
    results = ResultStore(store.results)
    kind = plan.nodes[run.policy].kind
    summary = store.manifest(kind, run.policy)["summary"]
    curve = json.loads((store.folder(kind, run.policy) / CURVE).read_text())
    results.write("episodes", run.key, episode_rows(store, plan, run))
    results.write("curves", run.key, [{"run": run.key, **point} for point in curve])
    as_text = {name: json.dumps(run.row[name], sort_keys=True) for name in ("settings", "overrides")}
    counted = {name: summary[name] for name in ("steps", "parameters")}
    results.write("runs", run.key, [{**run.row, **as_text, **counted, "artifact": run.policy}])


def episode_rows(store: Store, plan: Plan, run: Run) -> list[dict[str, Any]]:
    """One row an episode, for the specs that count in this run."""
    benchmark = get_benchmark(run.row["benchmark"])
    labels = {index: (role, inside) for index, role, inside in run.specs}
    rows = []
    for key in run.rollouts:
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
