"""Seconds of a whole sweep from nothing, beside the same artifacts from a plain pool of processes, in turns.

    python benchmarks/sweep.py [experiments/ablation_k.yaml] [--profile smoke] [--set NAME=VALUE] [--rounds 3]

Both are commands, so interpreters and imports count. The pool has as many processes of one thread as there are cores;
it makes whatever has its inputs, and no rows. Then the sweep's command once more, when everything is there.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.making import in_order, make
from orchestrator.config.loading import expand, load
from orchestrator.execution.cluster import for_workers
from orchestrator.planning.plan import build


def main(
    experiment: Annotated[Path, typer.Argument()] = Path("experiments/ablation_k.yaml"),
    profile: Annotated[str, typer.Option()] = "smoke",
    assignments: Annotated[list[str] | None, typer.Option("--set")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    pool: Annotated[Path | None, typer.Option(hidden=True, help="Only make the artifacts, here.")] = None,
) -> None:
    """Print the medians, and the sweep's as a multiple of the pool's."""
    given = [word for assignment in assignments or () for word in ("--set", assignment)]
    words = [str(experiment), "--profile", profile, *given]
    if pool is not None:
        by_pool(experiment, profile, assignments or [], Store(str(pool)))
        return
    swept, pooled, again = [], [], []
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        for number in range(rounds):
            storage = Path(folder, str(number))
            sweep = ["-m", "orchestrator.sweep", *words, "--storage", str(storage), "--address", "local"]
            swept.append(seconds(sweep))
            again.append(seconds(sweep))
            shutil.rmtree(storage)
            pooled.append(seconds([__file__, *words, "--pool", str(storage)]))
            shutil.rmtree(storage)
    for name, found in (("a pool of processes", pooled), ("the sweep", swept), ("the sweep again", again)):
        every = " ".join(f"{one:.1f}" for one in found)
        print(f"{name:20s} {median(found):6.1f} s  {median(found) / median(pooled):5.2f} of the pool   ({every})")


def seconds(words: Sequence[str]) -> float:
    """Of a command of this Python."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def by_pool(experiment: Path, profile: str, assignments: Sequence[str], store: Store) -> None:
    """Make all artifacts of an experiment in processes, each as soon as its inputs are there."""
    os.environ.update(for_workers())
    left = in_order(build(expand(load(experiment, profile, assignments))).artifacts.values())
    made: set[str] = set()
    running: dict[Future[bool], Artifact] = {}
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as processes:
        while left or running:
            ready = [one for one in left if all(parent.key in made for parent in one.inputs)]
            running |= {processes.submit(make, store, one): one for one in ready}
            left = [one for one in left if one not in ready]
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                done.result()
                made.add(running.pop(done).key)


if __name__ == "__main__":
    typer.run(main)
