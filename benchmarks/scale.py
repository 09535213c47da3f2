"""Seconds that a large plan takes to make, to compare with a store, to show, to explain and to end in its table.

    python benchmarks/scale.py [--artifacts 100000] [--artifacts 1000000] [--stored 1.0] [--rows]

The file is an ablation as the paper has them (five split seeds, a grid of hypogen's blocks and sizes) over as many
learning rates as it takes. The store holds stubs: folders with a manifest, and empty files for the runs' rows. Each
size runs in a process of its own; imports are not counted, nor is making the store. ``CPU s`` is what the process
computed in ``all s``: other work on the machine stretches the rest.

``why s`` explains three runs with other epochs, from an index of the store's contents; ``first`` has to make it first.

``drive s`` is what the driver adds to the work itself where nothing is there:
it hands out every artifact, one after the other, and takes each as made. ``fail s``: the population that all of them
need fails.

``--rows`` gives every run rows of its own and then measures whole commands, imports counted: the sweep that finds
everything made, the first time (which merges the files) and again, and a query. It asks for everything ``--stored``.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
import yaml
from rich.console import Console

from orchestrator.artifacts.artifact import Place
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.content_index import record
from orchestrator.artifacts.integrity import MANIFEST
from orchestrator.artifacts.manifest import Manifest
from orchestrator.config import loading
from orchestrator.console.closing import QUERY
from orchestrator.console.dry_run import print_plan, state_of
from orchestrator.console.why import print_reasons
from orchestrator.execution.cluster import choose
from orchestrator.execution.state import RUN_TABLES, ExecutionState
from orchestrator.planning.plan import Plan, build
from orchestrator.planning.runs import Run
from results import TABLES
from tests.helpers.experiments import ROOT, environment

T = TypeVar("T")
WIDTH = 14
PER_CELL = 45
"""Artifacts that one more cell of the grid adds: five generators, each with eight rollouts."""
POINTS = 100
"""Points of a training's curve."""
SIZES = {"hypogen.blocks": [1, 2, 3, 4, 5], "hypogen.hidden_dim": [16, 32, 64, 128]}


def main(
    artifacts: Annotated[list[int] | None, typer.Option(min=1000)] = None,
    stored: Annotated[float, typer.Option(min=0, max=1, help="Fraction of the runs that the store has.")] = 1.0,
    rows: Annotated[bool, typer.Option("--rows", help="Measure the commands that read the runs' rows.")] = False,
) -> None:
    """Print a line per number of artifacts."""
    for number, count in enumerate(artifacts or [10_000, 100_000]):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            figures = process.submit(commands, count) if rows else process.submit(measure, count, stored)
            figures = figures.result()
        if not number:
            print(*(f"{name:>{WIDTH}}" for name in figures), sep="")
        shown = (f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" for value in figures.values())
        print(*(f"{value:>{WIDTH}}" for value in shown), sep="", flush=True)


def measure(count: int, stored: float) -> dict[str, float]:
    """Figures of one size, in seconds unless they say otherwise."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        file = Path(folder) / "scale.yaml"
        file.write_text(yaml.safe_dump(experiment(count)))
        other = Path(folder) / "other.yaml"
        three = {"split": {"seeds": [0]}, "grid": {"hypogen.blocks": [1, 2, 3]}, "training": {"epochs": 77}}
        other.write_text(yaml.safe_dump({**experiment(1), **three}))
        store, begun = Store(f"{folder}/runs"), time.process_time()
        plan_s, plan = timed(lambda: planned(file))
        cpu_s = time.process_time() - begun
        fill(store, plan, stored)
        begun = time.process_time()
        compare_s, state = timed(lambda: ExecutionState(plan, store))
        console = Console(file=io.StringIO(), soft_wrap=True)
        show_s, _ = timed(lambda: print_plan(console, state, choose("local")))
        cpu_s += time.process_time() - begun
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        first_s, _ = timed(lambda: explain(other, store))
        record(store, [artifact for key, artifact in plan.artifacts.items() if store.exists(artifact.kind, key)])
        why_s, _ = timed(lambda: explain(other, store))
        driven, lost = (ExecutionState(plan, Store(f"{folder}/empty")) for _ in range(2))
        drive_s, _ = timed(lambda: drive(driven))
        lose_s, _ = timed(lambda: lose_experts(lost))
    return {
        "artifacts": len(plan.artifacts),
        "runs": len(plan.runs),
        "missing": len(state.missing),
        "plan s": plan_s,
        "compare s": compare_s,
        "show s": show_s,
        "all s": plan_s + compare_s + show_s,
        "CPU s": cpu_s,
        "peak MB": peak_mb,
        "why s, first": first_s,
        "why s": why_s,
        "drive s": drive_s,
        "fail s": lose_s,
    }


def commands(count: int) -> dict[str, float]:
    """Wall and CPU seconds of commands over a store that has everything, rows included."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        file = Path(folder) / "scale.yaml"
        file.write_text(yaml.safe_dump(experiment(count)))
        store, plan = Store(f"{folder}/runs"), planned(file)
        fill(store, plan, 1.0)
        for run in plan.runs.values():
            for table, content in measured(run).items():
                write(Path(store.root, "results", table, f"{run.key}.parquet"), content)
        sweep = ("orchestrator.sweep", str(file), "--storage", store.root, "--address", "local")
        query = ("results", "query", QUERY, "--storage", store.root)
        figures: dict[str, float] = {"artifacts": len(plan.artifacts), "runs": len(plan.runs)}
        for name, command in {"first": sweep, "again": sweep, "query": query}.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            figures[f"{name} s"], _ = timed(lambda command=command: call(command))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            figures[f"{name} CPU s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return figures


def call(command: tuple[str, ...]) -> None:
    """Run a module of ours; its output matters only where it fails."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def measured(run: Run) -> dict[str, pa.Table]:
    """Rows of a run as large as real ones: every episode of its specs, and a curve."""
    as_text = {name: json.dumps(run.columns[name], sort_keys=True) for name in ("settings", "overrides")}
    numbers = {"steps": 1000, "parameters": 1000, "artifact": run.acting.key}
    row = {"run": run.key, **run.columns, **as_text, **numbers}
    per_spec = zip(run.specs, (seeds for rollouts in run.rollouts for seeds in rollouts.seeds), strict=True)
    seeds = [(spec, episode, seed) for spec, of in per_spec for episode, seed in enumerate(of)]
    returns = np.random.default_rng(int(run.key[:8], 16)).normal(500, 100, len(seeds))
    episodes = [
        {
            "run": run.key,
            "spec_index": spec.row,
            "spec": [float(spec.row)],
            "role": spec.role,
            "in_distribution": spec.inside,
            "episode": episode,
            "seed": seed,
            "return": value,
            "length": 1000,
            "success": True,
            "failed": False,
        }
        for (spec, episode, seed), value in zip(seeds, returns, strict=True)
    ]
    epochs = range(1, run.epochs + 1, max(1, run.epochs // POINTS))
    curve = [{"run": run.key, "epoch": n, "step": 10 * n, "metric": "loss", "value": 1 / n} for n in epochs]
    rows = {"runs": [row], "episodes": episodes, "curves": curve}
    return {table: pa.Table.from_pylist(found, TABLES[table].arrow) for table, found in rows.items()}


def write(file: Path, content: pa.Table) -> None:
    """Store rows as ResultStore does, without its checks, which would take most of the time here."""
    pq.write_table(content, file, compression="zstd", write_page_checksum=True)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that something takes, and what it gives."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def experiment(count: int) -> dict[str, object]:
    """An experiment file with about that many artifacts."""
    rates = max(1, round(count / PER_CELL / 20))
    return {
        "name": "scale",
        "benchmarks": ["cheetah-speed"],
        "methods": ["expert", "hypogen"],
        "experts": {"source": "zoo"},
        "grid": {**SIZES, "training.learning_rate": [1e-4 + 1e-9 * number for number in range(rates)]},
    }


def planned(file: Path) -> Plan:
    """The plan of a file, as the command makes it."""
    cells = loading.expand(loading.load(file))
    loading.check_profiles(file)
    return build(cells)


def explain(file: Path, store: Store) -> None:
    """Why the runs of a file are missing."""
    source = loading.load(file)
    console = Console(file=io.StringIO(), soft_wrap=True)
    print_reasons(console, state_of(console, source, loading.expand(source), store))


def drive(state: ExecutionState) -> None:
    """Hand out and finish everything, in the order in which it gets ready."""
    while not state.finished():
        for place in Place:
            for artifact in state.ready(place):
                state.start(artifact.key)
                state.finish(artifact.key)


def lose_experts(state: ExecutionState) -> None:
    """Fail the first artifact, with all that needs it, and say which runs wait for it."""
    first = next(state.ready(next(place for place in Place if state.has_ready(place))))
    state.start(first.key)
    state.fail(first.key, "for good")
    assert state.finished() and len(state.waiting_runs(first.key)) == len(state.plan.runs)


def fill(store: Store, plan: Plan, fraction: float) -> None:
    """Stubs of the first runs and of all that they need."""
    runs = list(plan.runs.values())[: round(fraction * len(plan.runs))]
    for table in RUN_TABLES:
        Path(store.root, "results", table).mkdir(parents=True)
        for run in runs:
            Path(store.root, "results", table, f"{run.key}.parquet").touch()
    stack = [artifact for run in runs for artifact in run.needs]
    while stack:
        artifact = stack.pop()
        folder = Path(store.root, "artifacts", artifact.kind, artifact.key)
        if not folder.exists():
            folder.mkdir(parents=True)
            manifest = Manifest(
                kind=artifact.kind,
                key=artifact.key,
                label=artifact.label,
                payload=artifact.content(),
                parents=tuple(parent.key for parent in artifact.inputs),
                started="",
                device="cpu",
                threads=1,
                seconds=1.0,
                surroundings={},
            )
            (folder / MANIFEST).write_text(json.dumps(manifest.fields()))
            stack.extend(artifact.inputs)


if __name__ == "__main__":
    typer.run(main)
