"""Plan of a search: its folds of the training specs, what all trials share, and the study that keeps its outcome."""

from __future__ import annotations

from dataclasses import dataclass

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.generators import get_generator
from hypogen.splits import random_split
from orchestrator.artifacts import Artifact, DemonstrationsArtifact
from orchestrator.artifacts.artifact import Content, Specs, content_key, derive_seed, specs_at
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.demonstrations_artifact import keys
from orchestrator.artifacts.generator_artifact import Method
from orchestrator.artifacts.study_artifact import StudyArtifact
from orchestrator.config.experiment import Experiment
from orchestrator.config.loading import check
from orchestrator.config.search_space import with_settings
from orchestrator.config.sections import Search
from orchestrator.config.setting import Effect, Setting
from orchestrator.config.yaml_source import YamlSource
from orchestrator.exceptions import ConfigError
from orchestrator.planning.inputs import demonstrations_of, experts_of, method_of


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


def rung_epochs(epochs: int, rungs: int, reduction: float) -> list[int]:
    """Epochs at which trials are compared: the last is all of them, each earlier one a ``reduction``-th."""
    return sorted({max(1, round(epochs / reduction**back)) for back in range(rungs)})
