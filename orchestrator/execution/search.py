"""Search instead of a grid: Optuna proposes settings, ASHA stops the poor ones, the best are then run as usual.

A trial rebuilds the experiment with its settings, trains on a part of the *training* specs and is judged on the rest of
them, for every benchmark and split seed; test specs are never seen. Whatever a trial needs beyond what all trials share
(experts of other settings, demonstrations with other noise) it makes itself, into the store. The value of every trial
is kept, so a killed search goes on where it was, and the outcome is an artifact of its own.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from ray import tune
from ray.actor import ActorHandle
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from rich.markup import escape

from hypogen import training
from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.errors import Stopped
from hypogen.generators import FewShotGenerator, get_generator
from hypogen.rollouts import rollout
from hypogen.splits import random_split
from orchestrator.artifacts import Artifact, DemonstrationsArtifact
from orchestrator.artifacts.artifact import Content, Json, Specs, content_key, derive_seed, specs_at
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.demonstrations_artifact import keys, load_demonstrations
from orchestrator.artifacts.generator_artifact import Method
from orchestrator.artifacts.making import discard_damaged, make_all
from orchestrator.artifacts.study_artifact import Outcome, Settings, StudyArtifact
from orchestrator.artifacts.workspace import Workspace, write_text
from orchestrator.config.experiment import Experiment
from orchestrator.config.loading import check
from orchestrator.config.search_space import combinations, distributions, wanted_trials
from orchestrator.config.sections import Search
from orchestrator.config.setting import Effect, Setting
from orchestrator.config.yaml_source import YamlSource
from orchestrator.exceptions import ConfigError, SweepFailed
from orchestrator.execution.cluster import fit_to_cluster
from orchestrator.execution.execution import Session
from orchestrator.execution.failures import persistently
from orchestrator.execution.stopping import StopRequest
from orchestrator.execution.switch import Switch, asking, start_switch
from orchestrator.execution.trainings import placement, run_tune
from orchestrator.planning.inputs import demonstrations_of, experts_of, method_of
from orchestrator.planning.plan import Plan

if TYPE_CHECKING:
    from orchestrator.config.sections import TaskResources

METRIC = "validation_score"
DEATHS = 3
"""How often Tune starts a trial again whose process died; it goes on where it was."""


def stored(source: YamlSource, store: Store) -> YamlSource | None:
    """The file with the best settings in place: at once if there is no search, or its outcome is stored; else None."""
    base = check_point(source)
    if base.search is None:
        return source
    best = study_of(base).stored(store)
    return None if best is None else with_settings(source, best)


def check_point(source: YamlSource) -> Experiment:
    """The experiment without its grid. ConfigError where an end or a choice of its search space makes it invalid."""
    point = source.copy()
    point.data.pop("grid", None)
    experiment = check(point)
    search = experiment.search
    if search is not None:
        folds(experiment, search)
        for name, part in search.space.items():
            for value in part.choice or part.uniform or part.loguniform or ():
                tried = with_settings(point, {name: value}, source.origin(("search", "space", name)))
                folds(check(tried), search)
    return experiment


def with_settings(source: YamlSource, settings: Settings, origin: str = "the outcome of the search") -> YamlSource:
    """The file with values for some settings, and no search."""
    chosen = source.copy()
    chosen.data.pop("search", None)
    for name, value in settings.items():
        Setting.parse(name).put(chosen, value, origin)
    return chosen


@dataclass(frozen=True)
class Fold:
    """One benchmark and split seed: training specs that train here, and those held out to judge by."""

    benchmark: Benchmark
    method: Method
    train: Specs
    validation: Specs
    demonstrations: tuple[DemonstrationsArtifact, ...]
    seed: int

    def content(self) -> Content:
        """Everything that decides which specs and demonstrations the fold consists of."""
        return {
            "benchmark": self.benchmark.identity,
            "train": self.train,
            "validation": self.validation,
            "demonstrations": keys(self.demonstrations),
            "seed": self.seed,
        }

    @property
    def key(self) -> str:
        """Name of the fold's training."""
        return content_key("validation", 1, {**self.method.content(), **self.content()})


def folds(experiment: Experiment, search: Search) -> list[Fold]:
    """The folds of an experiment. ConfigError where there are too few training specs to hold some out."""
    found = []
    for name in experiment.benchmarks:
        benchmark = get_benchmark(name)
        experts = experts_of(experiment, benchmark)
        for seed in experiment.split.seeds:
            train = experiment.split.resolve(benchmark, experiment.specs.indices(benchmark), seed).train
            try:
                held_out = random_split(len(train), 1 - search.validation_fraction, seed)
            except ValueError as error:
                raise ConfigError(
                    f"search.validation_fraction: the {len(train)} training specs of {name} cannot be divided: {error}"
                ) from None
            kept = [train[index] for index in held_out.train]
            shown = train if get_generator(search.method).few_shot else kept
            found.append(
                Fold(
                    benchmark,
                    method_of(experiment, benchmark, search.method),
                    specs_at(benchmark, kept),
                    specs_at(benchmark, [train[index] for index in held_out.test]),
                    demonstrations_of(experiment, benchmark, experts, shown),
                    derive_seed("search", experiment.seed, name, seed),
                )
            )
    return found


def study_of(experiment: Experiment) -> StudyArtifact:
    """The study of an experiment with a search; its key names all that the outcome depends on."""
    search = experiment.search
    assert search is not None
    found = folds(experiment, search)
    methods = {fold.benchmark.name: fold.method for fold in found}
    content: Content = {
        "search": search.model_dump(),
        "folds": [fold.content() for fold in found],
        "base": [method.content() for method in methods.values()],
    }
    return StudyArtifact(content, tuple(sorted({key for fold in found for key in keys(fold.demonstrations)})))


def rung_epochs(epochs: int, rungs: int, reduction: float) -> list[int]:
    """Epochs at which trials are compared: the last is all of them, each earlier one a ``reduction``-th."""
    return sorted({max(1, round(epochs / reduction**back)) for back in range(rungs)})


def run(source: YamlSource, session: Session) -> YamlSource:
    """Make what all trials share, search, store the outcome, and return the file with the best settings."""
    experiment, store = check_point(source), session.store
    assert experiment.search is not None
    shared = shared_inputs(experiment, experiment.search)
    plan = Plan(experiment)
    discard_damaged(store, shared)
    for artifact in shared:
        plan.add(artifact)
    failures = session.execute(plan, wanted=shared).failures
    if failures:
        reasons = "\n".join(f"{failure.name}: {failure.reason}" for failure in failures.values())
        raise SweepFailed(f"the search has nothing to learn from:\n{reasons}")
    study = study_of(experiment)
    best = study.make(store, lambda workspace: _trials(source, experiment, study.key, workspace, session))
    shutil.rmtree(store.workspaces("search"), ignore_errors=True)
    session.say(f"search: the best settings are {best}")
    return with_settings(source, best)


def shared_inputs(experiment: Experiment, search: Search) -> list[Artifact]:
    """Artifacts that every trial needs, whatever settings it tries."""
    effects = {Setting.parse(name).effect for name in search.space}
    shown = [artifact for fold in folds(experiment, search) for artifact in fold.demonstrations]
    if Effect.EXPERTS in effects:
        return []
    if effects & {Effect.DEMONSTRATIONS, Effect.PROTOCOL}:
        return [artifact.experts for artifact in shown]
    return list(shown)


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


def _trials(
    source: YamlSource, experiment: Experiment, study: str, workspace: Workspace, session: Session
) -> list[Outcome]:
    """Run the trials that are missing; every trial that ended."""
    search = experiment.search
    assert search is not None
    before = _ended(workspace)
    if len(before) >= wanted_trials(search):
        return before
    request = fit_to_cluster(experiment.resources.generator, experiment.resources)
    task = TrialTask(source, session.store.uri, study, request.threads, request.gpu, start_switch())
    keeper = Keeper(workspace, len(before), session.stop, task.switch)
    with session.stop.patiently():
        results = _tune(experiment, before, task, request, session, keeper)
    errors = [str(error).strip() for error in results.errors]
    for error in errors:
        last = escape(error.splitlines()[-1] if error else "?")
        session.console.print(f"search: a trial failed and is not counted: {last}", highlight=False)
    after = _ended(workspace)
    if not after:
        raise SweepFailed("every trial of the search failed; the first error was:\n" + "".join(errors[:1]))
    return after


def _tune(
    experiment: Experiment,
    before: list[Outcome],
    task: TrialTask,
    request: TaskResources,
    session: Session,
    keeper: Keeper,
) -> tune.ResultGrid:
    import optuna

    search = experiment.search
    assert search is not None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if (every := combinations(search)) is not None and len(every) <= search.trials:
        tried = [outcome.settings for outcome in before]
        asked, rewards = [settings for settings in every if settings not in tried], []
    else:
        asked, rewards = [outcome.settings for outcome in before], [outcome.value for outcome in before]
    searcher = OptunaSearch(
        space=distributions(experiment),
        metric=METRIC,
        mode="max",
        sampler=optuna.samplers.TPESampler(seed=derive_seed("study", experiment.seed) + len(before)),
        points_to_evaluate=asked or None,
        evaluated_rewards=rewards or None,
    )
    scheduler = ASHAScheduler(
        time_attr="rung",
        metric=METRIC,
        mode="max",
        max_t=len(rung_epochs(experiment.training_of(search.method).epochs, search.rungs, search.reduction)),
        grace_period=1,
        reduction_factor=search.reduction,
    )
    config = tune.TuneConfig(
        search_alg=searcher,
        scheduler=scheduler,
        num_samples=wanted_trials(search) - len(before),
        max_concurrent_trials=session.most or None,
    )
    trainable = tune.with_resources(tune.with_parameters(search_trial, task=task), placement(request))
    return run_tune(session.store, f"search-{task.study}", trainable, config, keeper, deaths=DEATHS)


def _ended(workspace: Workspace) -> list[Outcome]:
    """The trials that ``Keeper`` kept, in the order in which they ended."""
    return [Outcome(**json.loads(file.read_text())) for file in sorted(workspace.folder.glob("trial-*.json"))]


class Keeper(Callback):
    """Keeps the value of every ended trial, so that a killed search does not lose it, and passes a stop on."""

    def __init__(self, workspace: Workspace, count: int, stop: StopRequest, switch: ActorHandle[Switch]) -> None:
        self._workspace, self._count, self._stop, self._switch = workspace, count, stop, switch

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        if self._stop.requested:
            self._switch.turn_on.remote()
            running = any(trial.status == Trial.RUNNING for trial in trials)
            if not running or self._stop.overdue:
                self._stop.check()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        last = trial.last_result
        if METRIC in last and not last.get("stopped"):
            outcome = Outcome(trial.config, last[METRIC], last["epochs"], bool(last["complete"]))
            write_text(
                self._workspace.folder / f"trial-{self._count:05d}.json", json.dumps(dataclasses.asdict(outcome))
            )
            self._workspace.sync()
            self._count += 1

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Callback, ())


def search_trial(config: dict[str, Json], task: TrialTask) -> None:
    """A Tune trial: train every fold up to each rung, report the mean return on the held-out specs there."""
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
    for rung, epochs in enumerate(rungs, start=1):
        value = float(np.mean([fit.value(epochs) for fit in fits]))
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
