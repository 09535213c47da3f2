"""Trainings on Ray Tune: one trial per artifact that is made in a trial, suggested as soon as its inputs are there.

Tune only schedules. What is done is what the store holds; a trial that starts again finds its own checkpoint there.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import platform
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import ray
from ray import tune
from ray.actor import ActorHandle
from ray.air._internal import usage
from ray.tune import Callback, FailureConfig, RunConfig
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from hypogen.errors import Stopped
from orchestrator.artifacts import Artifact
from orchestrator.artifacts.artifact import Place
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.making import make
from orchestrator.config.sections import Resources, TaskResources
from orchestrator.exceptions import Damaged
from orchestrator.execution.attempts import LOOK_S, Attempts
from orchestrator.execution.failures import death, ending_of
from orchestrator.execution.nodes import Process, avoiding, out_of_reach, this_process
from orchestrator.execution.requests import Requests, bundles
from orchestrator.execution.retry_policy import Ending, NextAttempt
from orchestrator.execution.stopping import StopRequest
from orchestrator.execution.switch import Switch, asking
from orchestrator.execution.watcher import Watcher

MOST_PENDING = 1000
HELD_S = 5.0
"""Seconds for which Tune is kept waiting for a training while none runs; by itself it looks once a second."""


class TrialConfig(TypedDict):
    """What a trial is told."""

    artifact: Artifact
    storage: str
    threads: int
    gpu: float
    switch: ActorHandle[Switch]
    terms: NextAttempt


def training_trial(config: TrialConfig) -> None:
    """A Tune trial: make one artifact. A failure is a result too, so Tune doesn't repeat it.

    Where the failure may be the process's own, it is raised as well: Tune then gives the process up.
    """
    key = config["artifact"].key
    tune.report({"key": key, "process": tuple(this_process())})
    try:
        make(
            Store(config["storage"]),
            config["artifact"],
            threads=config["threads"],
            device="cuda" if config["gpu"] else "cpu",
            report=lambda values: tune.report({"key": key, **values}),
            stop=asking(config["switch"]),
        )
    except Stopped:
        tune.report({"key": key, "stopped": True})
    except Damaged as found:
        tune.report({"key": key, "damaged": (found.kind, found.key, found.reason)})
    except Exception as error:
        ending = ending_of(error)
        tune.report({"key": key, "failure": traceback.format_exc(), "ending": ending.value})
        if ending is not Ending.FINAL:
            raise
    else:
        tune.report({"key": key, "finished": True})


class PlanSearcher(Searcher):
    """Suggests to Tune the next training whose inputs are there."""

    def __init__(
        self,
        attempts: Attempts,
        step: Callable[[float], None],
        config: Callable[[Artifact], TrialConfig],
        requests: Requests,
        most: int,
        stop: StopRequest,
    ) -> None:
        super().__init__(metric="key", mode="max")
        self._attempts, self._step, self._config, self._requests = attempts, step, config, requests
        self._most, self._stop = most, stop
        self._suggested: set[str] = set()

    def suggest(self, trial_id: str) -> TrialConfig | str | None:  # type: ignore[override]
        until = time.monotonic() + HELD_S
        self._step(0.0)
        while not (over := self._over()) and (artifact := self._next()) is None:
            if self._suggested or time.monotonic() > until:
                return None
            self._step(0.2)
        if over:
            return Searcher.FINISHED
        assert artifact is not None
        self._attempts.start(artifact.key)
        self._suggested.add(trial_id)
        return self._config(artifact)

    def _over(self) -> bool:
        return self._stop.requested or self._attempts.state.finished(Place.TRIAL)

    def _next(self) -> Artifact | None:
        """The first that is ready and either has room or is one of the few of its kind to wait for it."""
        if self._most and len(self._suggested) >= self._most:
            return None
        artifacts = self._attempts.state.plan.artifacts
        waiting = Counter(self._requests.kind(artifacts[key]) for key in self._attempts.pending)
        full: set[Hashable] = set()
        for artifact in self._attempts.ready(Place.TRIAL):
            kind = self._requests.kind(artifact)
            if kind not in full and waiting[kind] < self._requests.waiting_room(artifact):
                return artifact
            full.add(kind)
            if full >= self._requests.kinds:
                break
        return None

    def on_trial_complete(self, trial_id: str, result: Mapping[str, object] | None = None, error: bool = False) -> None:
        self._suggested.discard(trial_id)  # how it ended is for ``Watch``, whom Tune tells more

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (object, ())  # Tune pickles its search algorithm for a restore that never happens


class Watch(Callback):
    """Watches the trials while Tune runs: their reports, their ends, and those that report no more."""

    def __init__(
        self,
        attempts: Attempts,
        step: Callable[[float], None],
        done: Callable[[str], None],
        damaged: Callable[[Damaged], None],
        watcher: Watcher,
        requests: Requests,
    ) -> None:
        self._attempts, self._step, self._done, self._damaged = attempts, step, done, damaged
        self._watcher, self._requests = watcher, requests
        self._started: dict[str, Trial] = {}
        self._hung: set[str] = set()
        self._looked = -math.inf

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        self._step(0.0)
        self._kill_hung()
        if time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            self._watcher.waiting(next(filter(None, map(self._out_of_reach, self._attempts.pending)), ""))

    def _kill_hung(self) -> None:
        for trial in self._started.values():
            artifact = _artifact(trial)
            late = self._attempts.overdue(artifact.key, self._requests.of(artifact).deadline_s)
            actor = trial.temporary_state.ray_actor
            if late and actor is not None and trial.trial_id not in self._hung:
                self._hung.add(trial.trial_id)
                ray.kill(actor)  # ends a stopped process, too

    def _out_of_reach(self, key: str) -> str:
        artifact = self._attempts.state.plan.artifacts[key]
        share = self._attempts.terms(key).share
        return out_of_reach(bundles(self._requests.of(artifact), artifact.runners, share))

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._started[trial.trial_id] = trial
        self._attempts.began(_artifact(trial).key)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, float], **info: object
    ) -> None:
        artifact, said = _artifact(trial), cast(dict[str, Any], result)
        if "process" in said:
            self._attempts.began(artifact.key, Process(*said["process"]))
        else:
            self._attempts.progressed(artifact.key, artifact.progress(result))
            self._watcher.training(artifact.key, result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._ended(trial, None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._ended(trial, pickle.loads(Path(trial.pickled_error_file).read_bytes()))

    def _ended(self, trial: Trial, error: Exception | None) -> None:
        artifact, said = _artifact(trial), trial.last_result or {}
        self._started.pop(trial.trial_id, None)
        key = artifact.key
        if "finished" in said:
            self._attempts.made(key)
            self._done(key)
        elif "stopped" in said:
            self._attempts.release(key)
        elif "damaged" in said:
            self._attempts.release(key)
            self._damaged(Damaged(*said["damaged"]))
        elif "failure" in said:
            self._attempts.failed(key, Ending(said["ending"]), said["failure"])
        elif trial.trial_id in self._hung:
            self._attempts.failed(key, Ending.HUNG, self._too_long(artifact))
        else:
            self._attempts.failed(key, *death(error, self._attempts.process(key)))

    def _too_long(self, artifact: Artifact) -> str:
        deadline_s, setting = self._requests.of(artifact).deadline_s, f"resources.{artifact.resources}.deadline_s"
        return f"no progress for {deadline_s:g} s: if that is normal, give it more time, `--set {setting}=…`"

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Callback, ())


def _artifact(trial: Trial) -> Artifact:
    artifact: Artifact = trial.config["artifact"]
    return artifact


def train(
    attempts: Attempts,
    resources: Resources,
    step: Callable[[float], None],
    done: Callable[[str], None],
    damaged: Callable[[Damaged], None],
    watcher: Watcher,
    switch: ActorHandle[Switch],
    stop: StopRequest,
    most: int,
) -> None:
    """One Tune run over all trainings, at most ``most`` at once (0: as many as fit)."""
    missing = attempts.state.missing.values()
    requests = Requests(resources, (artifact for artifact in missing if artifact.place is Place.TRIAL))
    store = attempts.state.store

    def config(artifact: Artifact) -> TrialConfig:
        request = requests.of(artifact)
        return {
            "artifact": artifact,
            "storage": store.uri,
            "threads": request.threads,
            "gpu": request.gpu,
            "switch": switch,
            "terms": attempts.terms(artifact.key),
        }

    def resources_of(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        artifact: Artifact = config["artifact"]
        terms: NextAttempt = config["terms"]
        return placement(requests.of(artifact), artifact.runners, terms.share, terms.avoid)

    searcher = PlanSearcher(attempts, step, config, requests, most, stop)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(MOST_PENDING)  # the searcher knows how many there should be
    run_tune(
        store,
        attempts.state.plan.experiment.name,
        tune.with_resources(training_trial, resources_of),
        tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
        Watch(attempts, step, done, damaged, watcher, requests),
    )


def run_tune(
    store: Store,
    name: str,
    trainable: Callable[..., None],
    tune_config: tune.TuneConfig,
    callback: Callback,
    deaths: int = 0,
) -> tune.ResultGrid:
    """One Tune run, quiet, with its state on this host, since no trial needs it, and gone when it returns.

    ``deaths``: how often Tune itself starts a failed trial again.
    """
    unique = tune_name(name)
    run_config = RunConfig(
        name=unique,
        storage_path=str(store.tune),
        callbacks=[callback],
        failure_config=FailureConfig(max_failures=deaths),
        verbose=0,
    )
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # signals are the sweep's own (``execution.stopping``)
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # and so are errors
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    if os.environ.get("RAY_USAGE_STATS_ENABLED") == "0":
        # To count callbacks, which nobody is told of, would import MLflow.
        usage.tag_callbacks = lambda callbacks: False
    try:
        return tune.Tuner(trainable, tune_config=tune_config, run_config=run_config).fit()
    finally:
        shutil.rmtree(store.tune / unique, ignore_errors=True)


def placement(
    request: TaskResources, runners: int = 0, share: float = 0.0, avoid: Collection[str] = ()
) -> tune.PlacementGroupFactory:
    """Room for a trial: a share of a node at least, and not on nodes to avoid, if others will do."""
    wanted = bundles(request, runners, share)
    options: dict[str, Any] = {}
    if selector := avoiding(avoid, wanted[0]):
        options["bundle_label_selector"] = [selector] * len(wanted)
    return tune.PlacementGroupFactory(wanted, **options)


def tune_name(name: str) -> str:
    """A name for a Tune run of this process."""
    return f"{name}@{platform.node()}@{os.getpid()}"


def discard_left(store: Store) -> None:
    """Delete the Tune state that killed processes of this host left, whether or not anything is to be trained now."""
    for left in store.tune.glob(f"*@{platform.node()}@*"):
        if not Path("/proc", left.name.rpartition("@")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
