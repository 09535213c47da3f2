"""Trainings on Ray Tune: one trial per artifact that is made in a trial, suggested as soon as its inputs are there.

Tune only schedules. What is done is what the store holds; a trial that starts again finds its own checkpoint there.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

from ray import tune
from ray.actor import ActorHandle
from ray.tune import Callback, RunConfig
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from hypogen.errors import Stopped
from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact import Place
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.making import make
from orchestrator.config.sections import Resources, TaskResources
from orchestrator.exceptions import Damaged
from orchestrator.execution.cluster import fit_to_cluster
from orchestrator.execution.state import ExecutionState
from orchestrator.execution.stopping import StopRequest
from orchestrator.execution.switch import Switch, asking

PENDING_TRIALS = 8
"""Trainings that Tune holds ready beyond those that run, so that an autoscaler sees the demand."""

TRIAL_RESTARTS = 5
RESTART_WAIT_S = 2.0
"""How often a training whose process died (not one that raised) is suggested again, and for how long, times the number
of deaths, it waits: a node that is going down takes more than one process with it."""


class TrialConfig(TypedDict):
    """What a trial is told."""

    artifact: Artifact
    storage: str
    threads: int
    gpu: float
    switch: ActorHandle[Switch]


def training_trial(config: TrialConfig) -> None:
    """A Tune trial: make one artifact. An exception is a result too, so Tune doesn't repeat it."""
    key = config["artifact"].key

    def report(values: dict[str, float]) -> None:
        tune.report({"key": key, **values})

    try:
        make(
            Store(config["storage"]),
            config["artifact"],
            threads=config["threads"],
            device="cuda" if config["gpu"] else "cpu",
            report=report,
            stop=asking(config["switch"]),
        )
    except Stopped:
        tune.report({"key": key, "stopped": True})
    except Damaged as found:
        tune.report({"key": key, "damaged": (found.kind, found.key, found.reason)})
    except Exception:
        tune.report({"key": key, "failure": traceback.format_exc()})
    else:
        tune.report({"key": key, "finished": True})


class PlanSearcher(Searcher):
    """Suggests to Tune the next training whose inputs are there, and tells the state how it ended."""

    def __init__(
        self,
        state: ExecutionState,
        step: Callable[[], None],
        done: Callable[[str], None],
        config: Callable[[Artifact], TrialConfig],
        most: int,
        stop: StopRequest,
        damaged: Callable[[Damaged], None],
    ) -> None:
        super().__init__(metric="key", mode="max")
        self._state, self._step, self._done, self._config = state, step, done, config
        self._damaged, self._most, self._stop = damaged, most, stop
        self._trials: dict[str, str] = {}
        self._deaths: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}

    def suggest(self, trial_id: str) -> TrialConfig | str | None:  # type: ignore[override]
        self._step()
        if self._stop.number is not None or self._state.finished(Place.TRIAL):
            return Searcher.FINISHED
        now = time.monotonic()
        ready = [found for found in self._state.ready(Place.TRIAL) if now >= self._not_before.get(found.key, now)]
        if not ready or (self._most and len(self._trials) >= self._most):
            return None
        self._state.start(ready[0].key)
        self._trials[trial_id] = ready[0].key
        return self._config(ready[0])

    def on_trial_complete(self, trial_id: str, result: Mapping[str, object] | None = None, error: bool = False) -> None:
        key = self._trials.pop(trial_id)
        said = result or {}
        if "failure" in said:
            self._state.fail(key, str(said["failure"]))
        elif "stopped" in said:
            self._state.release(key)
        elif "damaged" in said:
            self._state.release(key)
            self._damaged(Damaged(*cast(tuple[str, str, str], said["damaged"])))
        elif "finished" in said and not error:
            self._done(key)
        else:
            self._died(key)

    def _died(self, key: str) -> None:
        """The process is gone: another one will find the checkpoint."""
        self._deaths[key] += 1
        if self._deaths[key] > TRIAL_RESTARTS:
            self._state.fail(key, f"the process that made it died {self._deaths[key]} times (out of memory?)")
            return
        self._not_before[key] = time.monotonic() + RESTART_WAIT_S * self._deaths[key]
        self._state.release(key)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (object, ())  # Tune pickles its search algorithm for a restore that never happens


class Watch(Callback):
    """Shows reports of trials, and keeps the rollouts going, while Tune runs."""

    def __init__(self, show: Callable[[str, Mapping[str, float]], None], step: Callable[[], None]) -> None:
        self._show, self._step = show, step

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        self._step()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, float], **info: object
    ) -> None:
        self._show(str(result["key"]), result)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Callback, ())


def train(
    state: ExecutionState,
    resources: Resources,
    step: Callable[[], None],
    done: Callable[[str], None],
    show: Callable[[str, Mapping[str, float]], None],
    switch: ActorHandle[Switch],
    stop: StopRequest,
    damaged: Callable[[Damaged], None],
    most: int,
) -> None:
    """One Tune run over all trainings, at most ``most`` at once (0: as many as fit)."""
    requests: dict[str, TaskResources] = {
        name: fit_to_cluster(request, resources)
        for name, request in (("expert", resources.expert), ("generator", resources.generator))
    }
    store = state.store

    def config(artifact: Artifact) -> TrialConfig:
        request = requests[artifact.resources]
        return {
            "artifact": artifact,
            "storage": store.uri,
            "threads": request.threads,
            "gpu": request.gpu,
            "switch": switch,
        }

    def resources_of(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        artifact: Artifact = config["artifact"]
        return placement(requests[artifact.resources], artifact.runners)

    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(PENDING_TRIALS)
    searcher = PlanSearcher(state, step, done, config, most, stop, damaged)
    run_tune(
        store,
        state.plan.experiment.name,
        tune.with_resources(training_trial, resources_of),
        tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
        Watch(show, step),
    )


def run_tune(
    store: Store, name: str, trainable: Callable[..., None], tune_config: tune.TuneConfig, callback: Callback
) -> tune.ResultGrid:
    """One Tune run, quiet, with its state on this host, since no trial needs it, and gone when it returns."""
    unique = tune_name(name)
    run_config = RunConfig(name=unique, storage_path=str(store.tune), callbacks=[callback], verbose=0)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # signals are the sweep's own (``execution.stopping``)
    try:
        return tune.Tuner(trainable, tune_config=tune_config, run_config=run_config).fit()
    finally:
        shutil.rmtree(store.tune / unique, ignore_errors=True)


def placement(request: TaskResources, runners: int = 0) -> tune.PlacementGroupFactory:
    """One bundle on one node, and a CPU anywhere for each actor that the trial starts beside itself."""
    bundle: dict[str, float] = {"CPU": request.cpu, **({"GPU": request.gpu} if request.gpu else {})}
    return tune.PlacementGroupFactory([bundle] + [{"CPU": 1.0}] * runners)


def tune_name(name: str) -> str:
    """A name for a Tune run of this process."""
    return f"{name}@{platform.node()}@{os.getpid()}"


def discard_left(store: Store) -> None:
    """Delete the Tune state that killed processes of this host left, whether or not anything is to be trained now."""
    for left in store.tune.glob(f"*@{platform.node()}@*"):
        if not Path("/proc", left.name.rpartition("@")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
