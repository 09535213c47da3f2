"""Settings of a run as its row shows them: flat, under the names of an experiment file, beside their defaults."""

from __future__ import annotations

import dataclasses

from hypogen import zoo
from hypogen.benchmarks import Benchmark
from hypogen.experts import get_algorithm
from hypogen.generators import GENERATORS, get_generator
from hypogen.policy import PolicyShape
from hypogen.references import REFERENCES, get_reference
from hypogen.training import TrainingSettings
from orchestrator.artifacts import PROBES
from orchestrator.artifacts.artifact import Json, settings_content
from orchestrator.config.experiment import Experiment
from orchestrator.config.sections import DemonstrationChoice
from orchestrator.config.sharing import shared

Flat = dict[str, Json]
Section = tuple[Flat, Flat]
"""Settings of one section, and their defaults."""


@shared("experts")
def expert_settings(experiment: Experiment, benchmark: Benchmark) -> tuple[str, Flat]:
    """The recipe's name, and every setting by which the experts were, or will be, trained."""
    chosen = experiment.experts
    if chosen.source == "zoo":
        card = zoo.card(zoo.name_of(benchmark.name, chosen.recipe))
        return card.recipe, {"source": "zoo", "algorithm": card.algorithm, **card.settings}
    algorithm = get_algorithm(chosen.algorithm)
    settings = dataclasses.asdict(algorithm.resolve(chosen.settings))
    return algorithm.label(chosen.recipe), {"source": "train", "algorithm": algorithm.name, **settings}


@shared()
def run_settings(experiment: Experiment, benchmark: Benchmark, method: str) -> Section:
    """All settings of a run and their defaults, under names such as ``hypogen.blocks``."""
    sections = {"experts": _experts(experiment, benchmark), "evaluation": _evaluation(experiment, benchmark, method)}
    if method in REFERENCES:
        sections[method] = _dataclass(experiment.methods[method].settings, get_reference(method).settings())
        if get_reference(method).algorithm is not None and experiment.training.seed:
            sections["training"] = {"seed": experiment.training.seed}, {"seed": 0}
    if method in GENERATORS:
        sections[method] = _dataclass(experiment.methods[method].settings, get_generator(method).settings())
        sections["policy"] = _dataclass(experiment.shape(benchmark), PolicyShape(layers=benchmark.policy_layers))
        sections["training"] = settings_content(experiment.training_of(method)), settings_content(TrainingSettings())
        sections["demonstrations"] = _demonstrations(experiment.demonstrations, benchmark)
    if method != "expert":
        # Which specs, where that is not all of them or drawn by a seed: else rows of other specs could be averaged.
        sections["specs"] = experiment.specs.model_dump(exclude_defaults=True), {}
        sections["split"] = _split(experiment, benchmark)
    chosen, defaults = ({name: section[side] for name, section in sections.items()} for side in (0, 1))
    return _flat(chosen), _flat(defaults)


def _flat(sections: dict[str, Flat]) -> Flat:
    return {f"{name}.{key}": value for name, values in sections.items() for key, value in values.items()}


def _dataclass(chosen: object, default: object) -> Section:
    return settings_content(chosen), settings_content(default)


@shared("experts")
def _experts(experiment: Experiment, benchmark: Benchmark) -> Section:
    algorithm = get_algorithm(experiment.experts.algorithm)
    recipe = algorithm.resolve(next(iter(algorithm.recipes.values())))
    defaults: Flat = {"source": "train", "algorithm": algorithm.name, **dataclasses.asdict(recipe)}
    return expert_settings(experiment, benchmark)[1], defaults


def _evaluation(experiment: Experiment, benchmark: Benchmark, method: str) -> Section:
    """More than the episodes only where asked for: a run that is measured more is another run, kept apart by tables."""
    evaluation = experiment.evaluation
    chosen: Flat = {"episodes": evaluation.episodes or benchmark.episodes}
    if method in GENERATORS:
        entry = get_generator(method)
        probes = sorted(name for name in experiment.probes if PROBES[name].applies(entry))
        asked: Flat = {"during_training_every": evaluation.during_training_every, "probes": ", ".join(probes)}
        chosen.update({name: value for name, value in asked.items() if value})
    return chosen, {"episodes": benchmark.episodes}


def _demonstrations(chosen: DemonstrationChoice, benchmark: Benchmark) -> Section:
    default = DemonstrationChoice()
    return (
        {**chosen.model_dump(), "episodes": chosen.count(benchmark)},
        {**default.model_dump(), "episodes": default.count(benchmark)},
    )


def _split(experiment: Experiment, benchmark: Benchmark) -> Section:
    split = experiment.split
    listed: Flat = {"train": split.train, "test": split.test} if split.train else {}
    fraction = split.train_fraction or benchmark.train_fraction
    chosen: Flat = {"train_fraction": fraction, "test_fraction": split.test_fraction, **listed}
    return chosen, {"train_fraction": benchmark.train_fraction, "test_fraction": None}
