"""``until_decided:``: splits are added until it is settled which method is ahead, or all of the file's are used.

Whoever iterates over the stages makes each plan before asking for the next. A stage has the runs of the one before it,
so that nothing is made twice, and the same command finds all stages made, and ends where it did.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from orchestrator.artifacts.artifact_store import Store
from orchestrator.config.experiment import Experiment
from orchestrator.config.loading import Cell, expand
from orchestrator.config.yaml_source import YamlSource
from orchestrator.planning.plan import Plan, build
from results import sequential
from results.result_store import ResultStore

_MEANS = """
    WITH measured AS (
        SELECT benchmark, method, split_seed AS split, run, spec_index,
            avg(CASE headline(benchmark) WHEN 'success' THEN 100.0 * success::INT ELSE "return" END ORDER BY episode)
                AS mean
        FROM episodes JOIN runs USING (run)
        WHERE role = 'test' AND list_contains($runs, run)
        GROUP BY ALL
    )
    SELECT benchmark, method, split, avg(mean ORDER BY run, spec_index) AS mean FROM measured GROUP BY ALL
"""
"""Mean of each method on the test specs of each split, over its training seeds."""


def stages(source: YamlSource, whole: Sequence[Cell], store: Store, say: Callable[[str], object]) -> Iterator[Plan]:
    """The plan of a file, or of each stage of one with ``until_decided:``.

    Args:
        whole: All cells of the file, with every split.
        say: Is told, in words, where the decisions stand after each stage.
    """
    experiment = whole[0].experiment
    wanted, seeds = experiment.until_decided, experiment.split.seeds
    if wanted is None:
        yield build(whole)
        return
    splits, open_ = dict[str, int](), experiment.benchmarks
    for stage in sequential.stages(wanted.step, len(seeds)):
        splits |= dict.fromkeys(open_, stage)
        plan = build([cell for name, count in splits.items() for cell in _part(source, name, seeds[:count])])
        yield plan
        results = ResultStore(store.results)
        compared = {run.key for run in plan.runs.values() if run.method in wanted.methods}
        if failed := len(compared.difference(results.keys("runs"))):
            say(f"until_decided: no split is added, since {failed} runs failed that are compared")
            return
        rows = _decided(experiment, results, seeds, sorted(compared))
        results.write("decisions", experiment.name, rows, replace=True)
        for row in rows:
            say(_in_words(row))
        open_ = [row["benchmark"] for row in rows if not row["decided"]]
        if not open_:
            break
    say(f"took {len(plan.runs)} runs of the {len(build(whole).runs)} that there could have been")


def _part(source: YamlSource, benchmark: str, seeds: list[int]) -> list[Cell]:
    """The cells of a file on one benchmark and some of its splits."""
    part = source.copy()
    del part.data["until_decided"]
    part.data["benchmarks"] = [benchmark]
    part.data["split"] = {**(part.data.get("split") or {}), "seeds": seeds}
    return expand(part)


def _decided(experiment: Experiment, results: ResultStore, seeds: list[int], runs: list[str]) -> list[dict[str, Any]]:
    """A row per benchmark and pair of methods, by what these runs measured on the splits that they have."""
    wanted = experiment.until_decided
    assert wanted is not None
    rows = results.table(_MEANS, runs=runs).to_pylist()
    means = {(row["benchmark"], row["method"], row["split"]): row["mean"] for row in rows}
    alpha, found = wanted.level(len(experiment.benchmarks)), []
    for benchmark in experiment.benchmarks:
        for a, b in wanted.pairs:
            measured = [seed for seed in seeds if (benchmark, a, seed) in means]
            differences = [means[benchmark, a, seed] - means[benchmark, b, seed] for seed in measured]
            decision = sequential.decide(differences, wanted.step, len(seeds), alpha)
            found.append(
                {
                    "experiment": experiment.name,
                    "benchmark": benchmark,
                    "method_a": a,
                    "method_b": b,
                    **dataclasses.asdict(decision),
                    "most_splits": len(seeds),
                    "alpha": alpha,
                }
            )
    return found


def _in_words(row: dict[str, Any]) -> str:
    ahead = "ahead" if row["difference"] > 0 else "behind"
    verdict = f"decided, {row['method_a']} is {ahead}" if row["decided"] else "undecided"
    bound = "" if row["boundary"] is None else f", boundary {row['boundary']:.1f}"
    return (
        f"{row['benchmark']}: {row['method_a']} - {row['method_b']} after {row['splits']} of {row['most_splits']} "
        f"splits: {row['difference']:+.1f}{bound}: {verdict}"
    )
