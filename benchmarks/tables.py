"""Seconds and memory that the tables take over many episodes, beside plain DuckDB over the same files.

    python benchmarks/tables.py [--episodes 10000000] [--table table1 --table main]

The store holds experiments of nine benchmarks, six methods, three splits and two training seeds, each with another
noise on the specs, of 32 test specs and ten episodes a run; the rows lie in few files, as merging leaves them. Every
table is printed in a process of its own, imports counted, once for one experiment and once for all. The peer is one
DuckDB query that averages the returns of all runs, over the same Parquet files.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import duckdb
import numpy as np
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from results.result_store import ResultStore
from results.schema import EPISODES
from results.table_files import titles

BENCHMARKS = [
    f"{robot}-{context}" for robot in ("cheetah", "walker", "finger") for context in ("speed", "length", "speed-length")
]
METHODS = ["hypogen", "hyperzero", "uvfa", "cond_policy", "meta_policy", "pearl"]
SPLITS, SEEDS, SPECS, EPISODE_COUNT, STEPS = 3, 2, 32, 10, 1000
PER_RUN = SPECS * EPISODE_COUNT
PER_EXPERIMENT = len(BENCHMARKS) * SPLITS * (len(METHODS) * SEEDS + 1)

MEASURED = """
import resource, sys
from results.catalogue import render
from results.result_store import open_results
table, storage, experiment = sys.argv[1:]
text = render(table, open_results(storage), experiment=experiment or None)
print(len(text.splitlines()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run_rows(experiment: int) -> list[dict[str, object]]:
    """Rows of one experiment's runs; the experts, which stand for all splits, come once a benchmark."""
    rows = []
    for benchmark in BENCHMARKS:
        environment, _, context = benchmark.partition("-")
        shared = {"benchmark": benchmark, "environment": environment, "context": context, "expert_recipe": "fast"}
        shared |= {"expert": f"experts-{benchmark}", "train_specs": 8, "test_specs": SPECS, "selection": "final"}
        for method in METHODS:
            for split in range(SPLITS):
                for seed in range(SEEDS):
                    settings = {
                        "training.spec_noise": experiment / 1000,
                        "training.seed": seed,
                        "split.seed": split,
                        "split.train_fraction": 0.2,
                        "evaluation.episodes": EPISODE_COUNT,
                        f"{method}.embedding_dim": 256,
                    }
                    key = f"{experiment:05d}-{benchmark}-{method}-{split}-{seed}"
                    trained = {
                        "epochs": 30,
                        "steps": 2340,
                        "batch_size": 2048,
                        "learning_rate": 1e-3,
                        "parameters": 10**6,
                    }
                    rows.append(_row(key, method, settings, split, 0.2, shared | trained))
        untrained = dict.fromkeys(("epochs", "steps", "batch_size", "learning_rate")) | {"parameters": 0}
        settings = {"evaluation.episodes": EPISODE_COUNT}
        rows.append(_row(f"{experiment:05d}-{benchmark}-expert", "expert", settings, None, None, shared | untrained))
    return rows


def _row(
    run: str,
    method: str,
    settings: dict[str, object],
    split: int | None,
    fraction: float | None,
    rest: dict[str, object],
) -> dict[str, object]:
    return {
        "run": run,
        "method": method,
        "settings": json.dumps(settings, sort_keys=True),
        "overrides": "{}",
        "split_kind": "random",
        "split_seed": split,
        "train_fraction": fraction,
        "few_shot": method in ("meta_policy", "pearl"),
        "seed": 0,
        "artifact": f"of-{run}",
        **rest,
    }


def episode_table(runs: list[str], generator: np.random.Generator) -> pa.Table:
    """Ten episodes on each of 32 specs of these runs, whose returns depend on run and spec, and vary."""
    count = len(runs) * PER_RUN
    spec = np.tile(np.repeat(np.arange(SPECS), EPISODE_COUNT), len(runs))
    level = np.repeat(generator.uniform(300, 900, len(runs)), PER_RUN)
    columns = {
        "run": pa.array(np.repeat(np.array(runs, dtype=object), PER_RUN)),
        "spec_index": pa.array(spec),
        "spec": pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32), spec / 2.0),
        "role": pa.array(["test"]).take(pa.array(np.zeros(count, dtype=np.int64))),
        "in_distribution": pa.array(spec % 2 == 0),
        "episode": pa.array(np.tile(np.arange(EPISODE_COUNT), SPECS * len(runs))),
        "seed": pa.array(np.tile(np.arange(EPISODE_COUNT), SPECS * len(runs))),
        "return": pa.array(level + 5.0 * (spec - SPECS / 2) + generator.normal(0, 20, count)),
        "length": pa.array(np.full(count, STEPS)),
        "success": pa.array(generator.random(count) < 0.9),
        "failed": pa.array(np.zeros(count, dtype=bool)),
    }
    return pa.table(columns).select([column.name for column in EPISODES.columns]).cast(EPISODES.arrow)


def fill(folder: Path, episodes: int) -> tuple[int, int]:
    """Write the store; how many experiments and episodes it has."""
    store, generator, made = ResultStore(folder / "results"), np.random.default_rng(0), 0
    number = max(1, round(episodes / (PER_EXPERIMENT * PER_RUN)))
    for experiment in range(number):
        rows = run_rows(experiment)
        runs = [str(row["run"]) for row in rows]
        table = episode_table(runs, generator)
        made += len(table)
        name = f"experiment-{experiment:05d}"
        store.write("runs", name, rows)
        store.write("episodes", name, table)
        asked = [
            {"experiment": name, "run": run, "position": place, "cell": "{}", "table": "main"}
            for place, run in enumerate(runs)
        ]
        store.write("experiments", name, asked)
    return number, made


def peer(folder: Path) -> float:
    """Seconds of one plain query over the same files."""
    started = time.perf_counter()
    files = str(folder / "results" / "episodes" / "*.parquet")
    duckdb.sql(f"SELECT run, avg(\"return\") FROM '{files}' GROUP BY run").fetchall()
    return time.perf_counter() - started


def measured(table: str, folder: Path, experiment: str) -> tuple[float, int, float]:
    """Seconds, lines and GiB of printing a table in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-c", MEASURED, table, str(folder), experiment]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines, kibibytes = map(int, done.stdout.split()[-2:])  # DuckDB may print its progress before
    return time.perf_counter() - started, lines, kibibytes / 2**20


def main(
    episodes: Annotated[int, typer.Option(help="Episodes in the store.")] = 10_000_000,
    table: Annotated[list[str] | None, typer.Option(help="Tables to print; all of them by default.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to keep the store, or where one is from before.")] = None,
) -> None:
    """Print the seconds and the memory of every table."""
    console = Console()
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        if not (place / "results").exists():
            number, made = fill(place, episodes)
            console.print(f"{made:,} episodes in {number} experiments")
        console.print(f"peer: {peer(place):.2f} s for the mean of every run by DuckDB's own reader")
        shown = Table("table", "one experiment", "lines", "GiB", "all", "lines", "GiB")
        for name in table or titles():
            cells = []
            for experiment in ("experiment-00000", ""):
                seconds, lines, gibibytes = measured(name, place, experiment)
                cells += [f"{seconds:.1f} s", str(lines), f"{gibibytes:.2f}"]
            shown.add_row(name, *cells)
        console.print(shown)


if __name__ == "__main__":
    typer.run(main)
