"""Inputs of a generator as an experiment asks for them: experts, demonstrations, and the generator itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from hypogen import zoo
from hypogen.benchmarks import Benchmark
from hypogen.experts import ControllerAlgorithm, PopulationAlgorithm, SpecAlgorithm, get_algorithm
from hypogen.generators import get_generator
from hypogen.references import get_reference
from hypogen.splits import Split
from orchestrator.artifacts import (
    ControllerExperts,
    DemonstrationsArtifact,
    GeneratorArtifact,
    JoinedExperts,
    PopulationExperts,
    ReferenceArtifact,
    SpecExpert,
    ZooExperts,
)
from orchestrator.artifacts.artifact import derive_seed, episode_seeds, specs_at
from orchestrator.artifacts.experts_artifact import ExpertsArtifact
from orchestrator.artifacts.generator_artifact import Method
from orchestrator.config.experiment import Experiment
from orchestrator.config.sharing import shared


@shared("experts", "specs", "seed")
def experts_of(experiment: Experiment, benchmark: Benchmark) -> ExpertsArtifact:
    """Experts for every spec that the experiment looks at; of the zoo's, all that it has."""
    chosen = experiment.experts
    if chosen.source == "zoo":
        name = zoo.name_of(benchmark.name, chosen.recipe)
        return ZooExperts(benchmark=benchmark, name=name, digest=zoo.card(name).digest)
    algorithm = get_algorithm(chosen.algorithm)
    settings, rows = algorithm.resolve(chosen.settings), experiment.specs.indices(benchmark)
    if isinstance(algorithm, SpecAlgorithm):
        return JoinedExperts(benchmark=benchmark, parts=_one_by_one(experiment, benchmark, algorithm, rows))
    specs = specs_at(benchmark, rows)
    if isinstance(algorithm, ControllerAlgorithm):
        return ControllerExperts(benchmark=benchmark, algorithm=algorithm.name, specs=specs)
    assert isinstance(algorithm, PopulationAlgorithm)
    seed = derive_seed("experts", experiment.seed, benchmark.name)
    return PopulationExperts(benchmark=benchmark, algorithm=algorithm.name, specs=specs, settings=settings, seed=seed)


def _one_by_one(
    experiment: Experiment, benchmark: Benchmark, algorithm: SpecAlgorithm, rows: Sequence[int]
) -> tuple[SpecExpert, ...]:
    """One training per spec, from the default outwards where each starts from a neighbour's weights."""
    settings = algorithm.resolve(experiment.experts.settings)
    default = benchmark.scale([[variable.default for variable in benchmark.variables]])
    places = {row: benchmark.scale(benchmark.grid[row]) for row in rows}
    made: dict[int, SpecExpert] = {}
    for row in sorted(rows, key=lambda row: float(np.abs(places[row] - default).max())):
        near = min(made, key=lambda other: float(np.abs(places[other] - places[row]).max()), default=None)
        start = made[near] if algorithm.starts_from_neighbour(settings) and near is not None else None
        (spec,) = specs_at(benchmark, [row])
        made[row] = SpecExpert(
            benchmark=benchmark,
            algorithm=algorithm.name,
            spec=spec,
            settings=settings,
            start=start,
            seed=derive_seed("experts", experiment.seed, benchmark.name, int(row)),
        )
    return tuple(made[row] for row in rows)


def groups(benchmark: Benchmark, rows: Sequence[int]) -> list[tuple[int, ...]]:
    """Rows of the grid in parts of a fixed size, so that results don't depend on how many workers there are."""
    size = benchmark.simulator.specs_per_task
    return [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]


def demonstrations_of(
    experiment: Experiment, benchmark: Benchmark, experts: ExpertsArtifact, needed: Iterable[int]
) -> tuple[DemonstrationsArtifact, ...]:
    """Demonstrations that cover the specs at the rows ``needed`` of the grid."""
    wanted = set(needed)
    every = _demonstrations(experiment, benchmark, experts)
    return tuple(artifact for group, artifact in every.items() if not wanted.isdisjoint(group))


@shared("demonstrations", "specs", "seed")
def _demonstrations(
    experiment: Experiment, benchmark: Benchmark, experts: ExpertsArtifact
) -> dict[tuple[int, ...], DemonstrationsArtifact]:
    """Demonstrations of all the experiment's specs, by the rows of the grid that they cover."""
    chosen = experiment.demonstrations
    return {
        group: DemonstrationsArtifact(
            benchmark=benchmark,
            experts=experts,
            specs=specs_at(benchmark, group),
            seeds=episode_seeds("demonstrations", experiment.seed, benchmark, group, chosen.count(benchmark)),
            noise=chosen.noise,
            discount=chosen.discount,
        )
        for group in groups(benchmark, experiment.specs.indices(benchmark))
    }


def reference_of(
    experiment: Experiment, benchmark: Benchmark, experts: ExpertsArtifact, split: Split, seed: int, method: str
) -> ReferenceArtifact:
    """A reference method on the split with that seed, with experts of its own where it trains some."""
    settings, train = experiment.methods[method].settings, specs_at(benchmark, split.train)
    if (name := get_reference(method).algorithm) is not None:
        experts = PopulationExperts(
            benchmark=benchmark,
            algorithm=name,
            specs=train,
            settings=get_algorithm(name).resolve(settings.training()),
            seed=derive_seed("reference", experiment.seed, benchmark.name, method, seed, *_again(experiment)),
        )
    return ReferenceArtifact(
        benchmark=benchmark, method=method, settings=settings, experts=experts, train=train, split_seed=seed
    )


def _again(experiment: Experiment) -> tuple[int, ...]:
    """What tells a training from the same one with the first seed."""
    return (experiment.training.seed,) if experiment.training.seed else ()


@shared()
def method_of(experiment: Experiment, benchmark: Benchmark, name: str) -> Method:
    """A method as the experiment sets it for a benchmark."""
    return Method(name, experiment.methods[name].settings, experiment.shape(benchmark), experiment.training_of(name))


def generator_of(
    experiment: Experiment, benchmark: Benchmark, experts: ExpertsArtifact, split: Split, seed: int, method: str
) -> GeneratorArtifact:
    """A generator of a method, trained on the demonstrations of the training specs of the split with that seed.

    A few-shot method also adapts to all of the split's specs, with demonstrations of them, once it is trained.
    """
    adapt = sorted({*split.train, *split.test}) if get_generator(method).few_shot else []
    return GeneratorArtifact(
        benchmark=benchmark,
        method=method_of(experiment, benchmark, method),
        demonstrations=demonstrations_of(experiment, benchmark, experts, {*split.train, *adapt}),
        train=specs_at(benchmark, split.train),
        adapt=specs_at(benchmark, adapt) if adapt else None,
        epochs=tuple(experiment.evaluation.epochs(experiment.training_of(method).epochs)),
        seed=derive_seed("generator", experiment.seed, benchmark.name, seed, *_again(experiment)),
        samples=experiment.demonstrations.count(benchmark) * benchmark.usual_steps,
        split_seed=seed,
    )
