"""Ray makes what is missing: Tune schedules the trainings, a pool of actors rolls out, both at once.

Tune only schedules. What is done is what the store holds; a trial that starts again finds its own checkpoint there.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, RunConfig
from ray.tune.search import Searcher

from orchestrator import stages
from orchestrator.cluster import fit_to_cluster
from orchestrator.errors import UserError
from orchestrator.graph import TRAININGS, Failure, Graph
from orchestrator.plan import Node, Plan
from orchestrator.pool import ROLLING, Pool
from orchestrator.progress import Progress
from orchestrator.rows import write_run
from orchestrator.schema import Resources, TaskResources
from orchestrator.store import Store

PENDING_TRIALS = 8
"""Trainings that Tune holds ready beyond those that run, so that an autoscaler sees the demand."""

TRIAL_RESTARTS = 5
RESTART_WAIT_S = 2.0
"""How often a training whose process died (not one that raised) is suggested again, and for how long, times the number
of deaths, it waits: a node that is going down takes more than one process with it."""


def training_trial(config: dict[str, Any]) -> None:
    """A Tune trial: make one experts or generator artifact. An exception is a result too, so Tune doesn't repeat it."""
    node = config["node"]

    def report(values: dict[str, float]) -> None:
        tune.report({"key": node["key"], **values})

    try:
        stages.make(
            Store(config["storage"]),
            node["kind"],
            node["key"],
            node["payload"],
            node["inputs"],
            node["work"],
            threads=config["threads"],
            device="cuda" if config["gpu"] else "cpu",
            report=report,
        )
    except Exception:
        tune.report({"key": node["key"], "failure": traceback.format_exc()})
    else:
        tune.report({"key": node["key"], "finished": True})


class PlanSearcher(Searcher):
    """Suggests to Tune the next training whose inputs are there, and tells the graph how it ended."""

    def __init__(
        self,
        graph: Graph,
        step: Callable[[], None],
        done: Callable[[str], None],
        config: Callable[[Node], dict[str, Any]],
        most: int,
    ) -> None:
        super().__init__(metric="key", mode="max")
        self._graph, self._step, self._done, self._config, self._most = graph, step, done, config, most
        self._trials: dict[str, str] = {}
        self._deaths: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}

    def suggest(self, trial_id: str) -> Any:
        self._step()
        if self._graph.finished(TRAININGS):
            return Searcher.FINISHED
        now = time.monotonic()
        ready = [node for node in self._graph.ready(TRAININGS) if now >= self._not_before.get(node.key, now)]
        if not ready or (self._most and len(self._trials) >= self._most):
            return None
        self._graph.start(ready[0].key)
        self._trials[trial_id] = ready[0].key
        return self._config(ready[0])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        key = self._trials.pop(trial_id)
        said = result or {}
        if "failure" in said:
            self._graph.fail(key, said["failure"])
        elif "finished" in said and not error:
            self._done(key)
        else:
            self._died(key)

    def _died(self, key: str) -> None:
        """The process is gone: another one will find the checkpoint."""
        self._deaths[key] += 1
        if self._deaths[key] > TRIAL_RESTARTS:
            self._graph.fail(key, f"the process that made it died {self._deaths[key]} times (out of memory?)")
            return
        self._not_before[key] = time.monotonic() + RESTART_WAIT_S * self._deaths[key]
        self._graph.release(key)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (object, ())  # Tune pickles its search algorithm for a restore that never happens


class _Watch(Callback):
    """Shows trial progress and keeps the rollouts going while Tune runs."""

    def __init__(self, progress: Progress, step: Callable[[], None]) -> None:
        self._progress, self._step = progress, step

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._step()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._progress.training(result["key"], result)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Callback, ())


def execute(plan: Plan, graph: Graph, store: Store, progress: Progress, max_concurrent: int = 0) -> dict[str, Failure]:
    """Make everything that is missing, on the connected Ray; write each run's rows as soon as it is complete.

    Returns the failures by artifact key. What failed does not stop what does not need it.
    """
    resources = plan.experiment.resources
    _check_shared(store)
    discard_left(store)

    def done(key: str) -> None:
        completed = graph.finish(key)
        progress.finished(plan.nodes[key])
        for run in completed:
            write_run(store, plan, run)
            progress.completed(run)

    pool = Pool(graph, resources.rollout, done)

    def step(timeout_s: float = 0.0) -> None:
        pool.poll(timeout_s)
        progress.refresh(pool.snapshot)

    for run in [run for run in graph.missing_runs.values() if graph.complete(run)]:
        write_run(store, plan, run)  # everything was there but its rows
        progress.completed(run)
    if not graph.finished(TRAININGS):
        _train(graph, store, progress, step, done, resources, max_concurrent)
    while not graph.finished() and (pool.busy or graph.ready(ROLLING)):
        step(timeout_s=0.2)
    progress.refresh(pool.snapshot, final=True)
    record_failures(store, graph)
    return graph.failures


def _train(
    graph: Graph,
    store: Store,
    progress: Progress,
    step: Callable[[], None],
    done: Callable[[str], None],
    resources: Resources,
    max_concurrent: int,
) -> None:
    """One Tune run over all the trainings, in the order in which their inputs become ready."""
    requests = {
        "experts": fit_to_cluster(resources.expert, resources),
        "generator": fit_to_cluster(resources.generator, resources),
    }

    def config(node: Node) -> dict[str, Any]:
        request = requests[node.kind]
        return {"node": asdict(node), "storage": store.uri, "threads": request.threads, "gpu": request.gpu}

    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(PENDING_TRIALS)
    searcher = PlanSearcher(graph, step, done, config, max_concurrent)
    run_tune(
        store,
        graph.plan.experiment.name,
        tune.with_resources(
            training_trial,
            lambda config: placement(requests[config["node"]["kind"]], _runners(config["node"]["payload"])),
        ),
        tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
        _Watch(progress, step),
    )


def run_tune(
    store: Store, name: str, trainable: Any, tune_config: tune.TuneConfig, callback: Callback
) -> tune.ResultGrid:
    """One Tune run, quiet, with its state where all nodes see it and gone when it returns."""
    unique = tune_name(name)
    run_config = RunConfig(
        name=unique, storage_path=f"{store.root}/tune", storage_filesystem=store.fs, callbacks=[callback], verbose=0
    )
    try:
        return tune.Tuner(trainable, tune_config=tune_config, run_config=run_config).fit()
    finally:
        discard(store, unique)


def placement(request: TaskResources, runners: int = 0) -> tune.PlacementGroupFactory:
    """One bundle on one node, and a CPU anywhere for each of RLlib's environment runners."""
    bundle: dict[str, float] = {"CPU": request.cpu, **({"GPU": request.gpu} if request.gpu else {})}
    return tune.PlacementGroupFactory([bundle] + [{"CPU": 1.0}] * runners)


def _runners(payload: dict[str, Any]) -> int:
    """RLlib's actors that a PPO training starts beside itself."""
    return int(payload["settings"].get("runners", 0)) if "spec" in payload else 0


def tune_name(name: str) -> str:
    """A name for a Tune run of this process."""
    return f"{name}@{platform.node()}@{os.getpid()}"


def discard_left(store: Store) -> None:
    """Delete the Tune state that killed processes of this host left, whether or not anything is to be trained now."""
    if store.local:
        for left in Path(store.root, "tune").glob(f"*@{platform.node()}@*"):
            if not Path("/proc", left.name.rpartition("@")[2]).exists():
                shutil.rmtree(left, ignore_errors=True)


def discard(store: Store, name: str) -> None:
    """Tune's own state is of no use once it returns."""
    if store.local:
        shutil.rmtree(f"{store.root}/tune/{name}", ignore_errors=True)
    else:
        store.fs.delete_dir(f"{store.root}/tune/{name}")


def record_failures(store: Store, graph: Graph) -> None:
    """Note in the table ``provenance`` what failed and why; a later success replaces the row."""
    for key, failure in graph.failures.items():
        node = graph.plan.nodes[key]
        stages.write_failure(store, node.kind, key, node.inputs, failure.reason)


def _check_shared(store: Store) -> None:
    """On several nodes a folder must be one that all of them see."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if not store.local or len(nodes) < 2:
        return
    marker = f"{store.root}/.shared-{os.getpid()}"
    store.fs.create_dir(store.root, recursive=True)
    with store.fs.open_output_stream(marker) as stream:
        stream.write(b"seen")
    try:
        probe = ray.remote(os.path.exists)
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        seen = {
            node["NodeManagerAddress"]: probe.options(
                num_cpus=0, scheduling_strategy=strategy(node["NodeID"], soft=False)
            ).remote(marker)
            for node in nodes
        }
        blind = [address for address, reference in seen.items() if not ray.get(reference)]
    finally:
        store.fs.delete_file(marker)
    if blind:
        raise UserError(
            f"--storage {store.given}: the nodes {', '.join(blind)} do not see this folder. "
            "Give one that all nodes mount, or a bucket such as s3://bucket/folder."
        )
