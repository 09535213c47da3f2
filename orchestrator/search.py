"""``search:`` instead of a grid: Optuna proposes settings, ASHA stops the poor ones, the best are then run as usual.

A trial trains on a part of the *training* specs and is judged on the rest of them, for every benchmark and split
seed; test specs are never seen. What each trial reached is kept, so a killed search goes on where it was, and the
outcome is an artifact of its own.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape

from hypogen import training
from hypogen.benchmarks import get_benchmark
from hypogen.generators import GENERATORS, FewShotGenerator
from hypogen.provenance import surroundings
from hypogen.rollouts import rollout
from hypogen.splits import random_split
from hypogen.training import TrainingSettings
from orchestrator import plan as plans
from orchestrator import stages
from orchestrator.errors import ConfigError, SweepFailed
from orchestrator.experiment import check, dotted
from orchestrator.plan import Plan, content_key, derive_seed
from orchestrator.schema import Experiment, TaskResources
from orchestrator.source import Source
from orchestrator.store import Store, Workspace, write_text

METRIC = "validation_return"


def stored(source: Source, store: Store) -> Source | None:
    """The file with the best settings in place: at once if there is no search, or its outcome is stored; else None."""
    base = check_point(source)
    if base.search is None:
        return source
    key = content_key("study", study_payload(base))
    return (
        with_settings(source, store.manifest("study", key)["summary"]["best"]) if store.exists("study", key) else None
    )


def check_point(source: Source) -> Experiment:
    """The experiment without its grid. ConfigError where an end or a choice of its search space makes it invalid."""
    point = source.copy()
    point.data.pop("grid", None)
    experiment = check(point)
    for name, part in experiment.search.space.items() if experiment.search else ():
        for value in part.choice or part.uniform or part.loguniform or ():
            tried = point.copy()
            tried.set(dotted(name), value, source.origin(("search", "space", name)))
            check(tried)
    return experiment


def with_settings(source: Source, best: dict[str, Any]) -> Source:
    """The file with the settings that a search found, and no search."""
    chosen = source.copy()
    del chosen.data["search"]
    for name, value in best.items():
        chosen.set(dotted(name), value, "the outcome of the search")
    return chosen


def study_payload(experiment: Experiment) -> dict[str, Any]:
    """Everything that the outcome of the search depends on, but for the order in which trials happened to end."""
    search = experiment.search
    assert search is not None
    return {
        "search": search.model_dump(),
        "folds": [dataclasses.asdict(fold) for fold in folds(Plan(experiment), experiment)],
        "base": [
            plans.generator_settings(experiment, get_benchmark(name), search.method) for name in experiment.benchmarks
        ],
    }


@dataclasses.dataclass(frozen=True)
class Fold:
    """One benchmark and split seed: training specs that train here, and those held out to judge by."""

    benchmark: str
    train: list[list[float]]
    validation: list[list[float]]
    demonstrations: list[str]
    seed: int


def folds(plan: Plan, experiment: Experiment) -> list[Fold]:
    """The folds, with the experts and demonstrations that they need added to ``plan``."""
    assert experiment.search is not None
    found = []
    for name in experiment.benchmarks:
        benchmark = get_benchmark(name)
        population = plans.add_experts(plan, experiment, benchmark)
        for seed in experiment.split.seeds:
            train = experiment.split.resolve(benchmark, experiment.specs.indices(benchmark), seed).train
            try:
                held_out = random_split(len(train), 1 - experiment.search.validation_fraction, seed)
            except ValueError as error:
                raise ConfigError(
                    f"search.validation_fraction: the {len(train)} training specs of {name} cannot be divided: {error}"
                ) from None
            kept = [train[index] for index in held_out.train]
            shown = train if GENERATORS[experiment.search.method].few_shot else kept
            found.append(
                Fold(
                    name,
                    benchmark.grid[kept].tolist(),
                    benchmark.grid[[train[index] for index in held_out.test]].tolist(),
                    plans.add_demonstrations(plan, experiment, benchmark, population, shown),
                    derive_seed("search", experiment.seed, name, seed),
                )
            )
    return found


def rung_epochs(epochs: int, rungs: int, reduction: float) -> list[int]:
    """Epochs at which trials are compared: the last is all of them, each earlier one a ``reduction``-th."""
    return sorted({max(1, round(epochs / reduction**back)) for back in range(rungs)})


def run(source: Source, store: Store, console: Console, max_concurrent: int) -> Source:
    """Make the experts and demonstrations, search, store the outcome, and return the file with the best settings."""
    experiment = check_point(source)
    payload = study_payload(experiment)
    key = content_key("study", payload)
    inputs = Plan(experiment)
    found = folds(inputs, experiment)
    _make_inputs(inputs, store, console)

    def build(folder: Path, workspace: Workspace) -> dict[str, Any]:
        trials = _study(experiment, found, key, store, workspace, console, max_concurrent)
        complete = [trial for trial in trials if trial["epochs"] == experiment.training.epochs or trial["complete"]]
        best = max(complete or trials, key=lambda trial: trial[METRIC])
        (folder / "trials.json").write_text(json.dumps(trials, indent=1))
        console.print(
            f"search: best of {len(trials)} trials: {best['settings']} ({METRIC} {best[METRIC]:.1f})", highlight=False
        )
        return {
            "kind": "study",
            "key": key,
            "payload": payload,
            "parents": sorted({parent for fold in found for parent in fold.demonstrations}),
            "started": stages.now(),
            "device": "cpu",
            "work": 0.0,
            "summary": {"best": best["settings"], METRIC: best[METRIC], "trials": len(trials)},
            **surroundings(),
        }

    if store.make("study", key, build):
        shutil.rmtree(store.workspaces("search"), ignore_errors=True)
        stages.write_provenance(store, store.manifest("study", key))
    return with_settings(source, store.manifest("study", key)["summary"]["best"])


def _make_inputs(inputs: Plan, store: Store, console: Console) -> None:
    from orchestrator.estimate import Estimate
    from orchestrator.graph import Graph
    from orchestrator.progress import Progress
    from orchestrator.schedule import execute

    graph = Graph(inputs, store, wanted=inputs.nodes)
    if graph.missing:
        with Progress(console, graph, Estimate(graph, workers=1)) as progress:
            failures = execute(inputs, graph, store, progress)
        if failures:
            reasons = "\n".join(f"{failure.label}: {failure.reason}" for failure in failures.values())
            raise SweepFailed(f"the search has nothing to learn from:\n{reasons}")


def _study(
    experiment: Experiment,
    found: list[Fold],
    key: str,
    store: Store,
    workspace: Workspace,
    console: Console,
    max_concurrent: int,
) -> list[dict[str, Any]]:
    """Run the trials that are missing; every trial that ended, with its settings and what it reached."""
    import optuna
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    from orchestrator.cluster import fit_to_cluster
    from orchestrator.schedule import placement, run_tune

    search = experiment.search
    assert search is not None
    before = _ended(workspace)
    if len(before) >= search.trials:
        return before
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searcher = OptunaSearch(
        space=distributions(experiment),
        metric=METRIC,
        mode="max",
        sampler=optuna.samplers.TPESampler(seed=derive_seed("study", experiment.seed) + len(before)),
        points_to_evaluate=[trial["settings"] for trial in before] or None,
        evaluated_rewards=[trial[METRIC] for trial in before] or None,
    )
    request = fit_to_cluster(experiment.resources.generator, experiment.resources)
    fixed = _told(experiment, found, key, store, request)
    scheduler = ASHAScheduler(
        time_attr="rung",
        metric=METRIC,
        mode="max",
        max_t=len(fixed["rungs"]),
        grace_period=1,
        reduction_factor=search.reduction,
    )
    results = run_tune(
        store,
        f"search-{key}",
        tune.with_resources(tune.with_parameters(search_trial, fixed=fixed), placement(request)),
        tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=search.trials - len(before),
            max_concurrent_trials=max_concurrent or None,
        ),
        _keeper(workspace, len(before)),
    )
    errors = [str(error).strip() for error in results.errors]
    for error in errors:
        last = escape(error.splitlines()[-1] if error else "?")
        console.print(f"search: a trial failed and is not counted: {last}", highlight=False)
    after = _ended(workspace)
    if not after:
        raise SweepFailed("every trial of the search failed; the first error was:\n" + "".join(errors[:1]))
    return after


def _told(experiment: Experiment, found: list[Fold], key: str, store: Store, request: TaskResources) -> dict[str, Any]:
    """What every trial is told, whatever settings it tries."""
    search = experiment.search
    assert search is not None
    points = [
        {
            **plans.generator_settings(experiment, get_benchmark(fold.benchmark), search.method),
            **dataclasses.asdict(fold),
        }
        for fold in found
    ]
    return {
        "storage": store.uri,
        "folds": points,
        "rungs": rung_epochs(experiment.training.epochs, search.rungs, search.reduction),
        "method": search.method,
        "episodes": search.episodes,
        "study": key,
        "threads": request.threads,
        "gpu": request.gpu,
    }


def distributions(experiment: Experiment) -> dict[str, Any]:
    """The search space as Optuna's distributions."""
    import optuna

    assert experiment.search is not None
    made: dict[str, Any] = {}
    for name, part in experiment.search.space.items():
        if part.choice is not None:
            made[name] = optuna.distributions.CategoricalDistribution(part.choice)
        else:
            bounds = part.uniform or part.loguniform
            assert bounds is not None
            made[name] = optuna.distributions.FloatDistribution(*bounds, log=part.loguniform is not None)
    return made


def _ended(workspace: Workspace) -> list[dict[str, Any]]:
    """What `_keeper` kept of the trials that ended, in the order in which they did."""
    return [json.loads(file.read_text()) for file in sorted(workspace.folder.glob("trial-*.json"))]


def _keeper(workspace: Workspace, count: int) -> Any:
    """Keeps what every ended trial reached, so that a killed search does not lose it."""
    from ray.tune import Callback

    class Keeper(Callback):
        def __init__(self) -> None:
            self.count = count

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            last = trial.last_result
            if METRIC in last:
                record = {
                    "settings": trial.config,
                    METRIC: last[METRIC],
                    "epochs": last["epochs"],
                    "complete": bool(last["complete"]),
                }
                write_text(workspace.folder / f"trial-{self.count:05d}.json", json.dumps(record))
                workspace.sync()
                self.count += 1

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return (Callback, ())

    return Keeper()


def search_trial(config: dict[str, Any], fixed: dict[str, Any]) -> None:
    """A Tune trial: train every fold up to each rung, report the mean return on the held-out specs there."""
    from ray import tune

    store = Store(fixed["storage"])
    torch.set_num_threads(fixed["threads"])
    points = [_apply(point, config, fixed["method"]) for point in fixed["folds"]]
    fits = [_fold(store, fixed, point) for point in points]
    for rung, epochs in enumerate(fixed["rungs"], start=1):
        value = float(np.mean([step(epochs) for step in fits]))
        tune.report({METRIC: value, "rung": rung, "epochs": epochs, "complete": rung == len(fixed["rungs"])})


def _apply(point: dict[str, Any], config: dict[str, Any], method: str) -> dict[str, Any]:
    """A fold's generator payload with a trial's settings in it."""
    changed = {
        **point,
        "settings": dict(point["settings"]),
        "policy": dict(point["policy"]),
        "training": dict(point["training"]),
    }
    sections = {method: "settings", "policy": "policy", "training": "training"}
    for name, value in config.items():
        path = dotted(name)
        section, key = (path[1], path[2]) if path[0] == "methods" else (path[0], path[1])
        changed[sections[section]][key] = value
    return changed


def _fold(store: Store, fixed: dict[str, Any], point: dict[str, Any]) -> Callable[[int], float]:
    """A function that trains one fold on to a number of epochs and returns its return on the held-out specs."""
    generator = stages.build_generator(point)
    demonstrations = stages.load_demonstrations(store, point, point["train"])
    workspace = Workspace(store, "search", f"{fixed['study']}-{content_key('validation', point)}")
    validation = np.asarray(point["validation"], dtype=np.float64)
    seeds = [
        [derive_seed("validation", point["seed"], row, e) for e in range(fixed["episodes"])]
        for row in range(len(validation))
    ]

    def step(epochs: int) -> float:
        reached = workspace.folder / f"epoch-{epochs}"  # of a trial that was killed after this rung, or is tried again
        if not reached.exists():
            write_text(reached, repr(measure(epochs)))
            workspace.sync()
        return float(reached.read_text())

    def measure(epochs: int) -> float:
        device = "cuda" if fixed["gpu"] else "cpu"
        training.fit(
            generator,
            demonstrations,
            TrainingSettings(**point["training"]),
            point["seed"],
            checkpoint=workspace.folder / "checkpoint",
            device=device,
            until=epochs,
        )
        workspace.sync()
        if isinstance(generator, FewShotGenerator):
            generator.adapt(stages.load_demonstrations(store, point, point["validation"]))
        with torch.no_grad():
            policy = generator.policy(validation).to("cpu")
        return float(rollout(point["benchmark"], validation, policy, seeds).returns.mean())

    return step
