"""Search instead of a grid: Optuna proposes settings, ASHA stops the poor ones, the best are then run as usual.

A trial rebuilds the experiment with its settings, trains on a part of the *training* specs and is judged on the rest of
them, for every benchmark and split seed; test specs are never seen. Whatever a trial needs beyond what all trials share
(experts of other settings, demonstrations with other noise) it makes itself, into the store. The value of every trial
is kept, so a killed search goes on where it was, and the outcome is an artifact of its own.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from typing import TYPE_CHECKING

from ray import tune
from ray.actor import ActorHandle
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from rich.markup import escape

from orchestrator.artifacts.artifact import derive_seed
from orchestrator.artifacts.making import discard_damaged
from orchestrator.artifacts.study_artifact import Outcome
from orchestrator.artifacts.workspace import Workspace, write_text
from orchestrator.config.experiment import Experiment
from orchestrator.config.search_space import combinations, distributions, wanted_trials, with_settings
from orchestrator.config.yaml_source import YamlSource
from orchestrator.exceptions import SweepFailed
from orchestrator.execution.cluster import fit_to_cluster
from orchestrator.execution.execution import Session
from orchestrator.execution.search_trial import METRIC, TrialTask, search_trial
from orchestrator.execution.switch import Switch, start_switch
from orchestrator.execution.trainings import placement, run_tune
from orchestrator.planning.plan import Plan
from orchestrator.planning.study import check_point, rung_epochs, shared_inputs, study_of

if TYPE_CHECKING:
    from orchestrator.config.sections import TaskResources

DEATHS = 3
"""How often Tune starts a trial again whose process died; it goes on where it was."""


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
    keeper = Keeper(workspace, len(before), wanted_trials(search), session, task.switch)
    with session.stop.patiently():
        results = _tune(experiment, before, task, request, session, keeper)
    errors = [str(error).strip() for error in results.errors]
    for error in errors:
        last = escape(error.splitlines()[-1] if error else "?")
        session.console.print(f"search: a trial failed and is not counted: {last}", highlight=False)
    after = _ended(workspace)
    if all(outcome.value is None for outcome in after):
        reason = (
            f"the first error was:\n{errors[0]}" if errors else "their trainings diverged: try lower learning rates"
        )
        raise SweepFailed(f"every trial of the search failed; {reason}")
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
        asked, rewards = [outcome.settings for outcome in before], [outcome.score for outcome in before]
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
        reuse_actors=True,
    )
    trainable = tune.with_resources(tune.with_parameters(search_trial, task=task), placement(request))
    return run_tune(session.store, f"search-{task.study}", trainable, config, keeper, deaths=DEATHS)


def _ended(workspace: Workspace) -> list[Outcome]:
    """The trials that ``Keeper`` kept, in the order in which they ended."""
    return [Outcome(**json.loads(file.read_text())) for file in sorted(workspace.folder.glob("trial-*.json"))]


class Keeper(Callback):
    """Keeps and shows the value of every ended trial, so that a killed search does not lose it; passes a stop on."""

    def __init__(
        self, workspace: Workspace, count: int, wanted: int, session: Session, switch: ActorHandle[Switch]
    ) -> None:
        self._workspace, self._count, self._wanted, self._switch = workspace, count, wanted, switch
        self._stop, self._say = session.stop, session.say

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        if self._stop.requested:
            self._switch.turn_on.remote()
            running = any(trial.status == Trial.RUNNING for trial in trials)
            if not running or self._stop.overdue:
                self._stop.check()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        last = trial.last_result
        if METRIC in last and not last.get("stopped"):
            value = last[METRIC] if math.isfinite(last[METRIC]) else None
            outcome = Outcome(trial.config, value, last["epochs"], bool(last["complete"]))
            write_text(
                self._workspace.folder / f"trial-{self._count:05d}.json", json.dumps(dataclasses.asdict(outcome))
            )
            self._workspace.sync()
            self._count += 1
            tried = ", ".join(f"{name}={value}" for name, value in outcome.settings.items())
            reached = "diverged" if outcome.value is None else f"{outcome.value:.4g}"
            early = outcome.value is not None and not outcome.complete
            ended = f", stopped after {outcome.epochs} epochs" if early else ""
            self._say(f"search: trial {self._count} of {self._wanted}: {reached} by {tried}{ended}")

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Callback, ())
