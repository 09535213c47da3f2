"""One trial of a search: train on a part of the training specs, and measure on those that were held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from ray import tune
from ray.actor import ActorHandle

from hypogen import training
from hypogen.errors import Diverged, Stopped
from hypogen.generators import FewShotGenerator
from hypogen.rollouts import rollout
from orchestrator.artifacts.artifact import Json, derive_seed
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.demonstrations_artifact import load_demonstrations
from orchestrator.artifacts.making import discard_damaged, make_all
from orchestrator.artifacts.workspace import Workspace, write_text
from orchestrator.config.loading import check
from orchestrator.config.search_space import with_settings
from orchestrator.config.yaml_source import YamlSource
from orchestrator.execution.failures import persistently
from orchestrator.execution.switch import Switch, asking
from orchestrator.planning.study import Fold, folds, rung_epochs

METRIC = "validation_score"
"""What a trial reports to Tune: the mean over the folds, see FoldTraining.value; -inf where a training diverged."""


@dataclass(frozen=True)
class TrialTask:
    """What every trial is told, whatever settings it tries."""

    source: YamlSource
    storage: str
    study: str
    threads: int
    gpu: float
    switch: ActorHandle[Switch]

    @property
    def device(self) -> str:
        return "cuda" if self.gpu else "cpu"


def search_trial(config: dict[str, Json], task: TrialTask) -> None:
    """A Tune trial: train every fold up to each rung, report the mean score on the held-out specs there."""
    try:
        persistently(lambda: _try_settings(config, task), tune.get_context().get_trial_id(), derive_seed(task.study))
    except Stopped:
        tune.report({METRIC: -np.inf, "stopped": True})  # Optuna wants a value in every report


def _try_settings(config: dict[str, Json], task: TrialTask) -> None:
    store, stop = Store(task.storage), asking(task.switch)
    torch.set_num_threads(task.threads)
    point = task.source.copy()
    point.data.pop("grid", None)
    search = check(point).search
    assert search is not None
    experiment = check(with_settings(point, config))
    found = folds(experiment, search)
    shown = [shown for fold in found for shown in fold.demonstrations]
    discard_damaged(store, shown)
    make_all(store, shown, threads=task.threads, device=task.device, stop=stop)
    fits = [FoldTraining(store, task, fold, search.episodes, stop) for fold in found]
    rungs = rung_epochs(experiment.training_of(search.method).epochs, search.rungs, search.reduction)
    for rung, (before, epochs) in enumerate(pairwise([0, *rungs]), start=1):
        try:
            value = float(np.mean([fit.value(epochs) for fit in fits]))
        except Diverged:
            tune.report({METRIC: -np.inf, "epochs": before, "complete": False})
            return
        tune.report({METRIC: value, "rung": rung, "epochs": epochs, "complete": rung == len(rungs)})


class FoldTraining:
    """Trains one fold on, rung by rung, and measures it on the held-out specs."""

    def __init__(self, store: Store, task: TrialTask, fold: Fold, episodes: int, stop: Callable[[], bool]) -> None:
        self._store, self._task, self._fold, self._stop = store, task, fold, stop
        self._generator = fold.method.build(fold.benchmark, fold.seed)
        self._shown = load_demonstrations(store, fold.demonstrations, fold.train)
        self._workspace = Workspace(store, "search", f"{task.study}-{fold.key}")
        self._seeds = [
            [derive_seed("validation", fold.seed, row, episode) for episode in range(episodes)]
            for row in range(len(fold.validation))
        ]

    def value(self, epochs: int) -> float:
        """Mean score on the held-out specs after so many epochs; kept, for a trial that is killed or tried again."""
        reached = self._folder / f"epoch-{epochs}"
        if not reached.exists():
            write_text(reached, repr(self._measure(epochs)))
            self._workspace.sync()
        return float(reached.read_text())

    @property
    def _folder(self) -> Path:
        return self._workspace.folder

    def _measure(self, epochs: int) -> float:
        fold = self._fold
        try:
            training.fit(
                self._generator,
                self._shown,
                fold.method.training,
                fold.seed,
                checkpoint=self._folder / "checkpoint",
                device=self._task.device,
                until=epochs,
                stop=self._stop,
            )
        finally:
            self._workspace.sync()
        if isinstance(self._generator, FewShotGenerator):
            self._generator.adapt(load_demonstrations(self._store, fold.demonstrations, fold.validation))
        with torch.no_grad():
            policy = self._generator.policy(np.array(fold.validation)).to("cpu")
        episodes = rollout(fold.benchmark.name, fold.validation, policy, self._seeds)
        return episodes.mean_score(fold.benchmark.simulator)
