"""Checks of an experiment across its keys: each raises a ConfigError with the line to blame and the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hypogen import envs, zoo
from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.errors import MissingPackage, did_you_mean
from hypogen.experts import ALGORITHMS
from hypogen.generators import GENERATORS
from hypogen.references import REFERENCES
from orchestrator.artifacts import PROBES
from orchestrator.config.experiment import Experiment
from orchestrator.config.search_space import check_space
from orchestrator.config.sharing import shared
from orchestrator.config.yaml_source import YamlSource
from orchestrator.exceptions import ConfigError
from results import check_table, sequential
from results.problems import ResultsError


def check_experiment(experiment: Experiment, source: YamlSource) -> None:
    """Everything that no key can tell alone."""
    _check_trainings(experiment, source)
    for name in experiment.benchmarks:
        benchmark = get_benchmark(name)
        _check_variables(benchmark, source)
        _check_experts(experiment, benchmark, source)
        _check_references(experiment, benchmark, source)
        _check_splits(experiment, benchmark, source)
        _check_adaptation(experiment, benchmark, source)
    _check_measurements(experiment, source)
    _check_table(experiment, source)
    _check_decisions(experiment, source)
    if experiment.search is not None:
        check_space(experiment, experiment.search, source)


def _check_decisions(experiment: Experiment, source: YamlSource) -> None:
    """What is to be decided must be among the methods, on splits that differ, and enough of them."""
    wanted = experiment.until_decided
    if wanted is None:
        return
    where = source.origin(("until_decided", "methods"))
    trained = [name for name in experiment.methods if name != "expert"]
    for name in wanted.methods:
        if name not in trained:
            raise ConfigError(f"{where}: until_decided.methods: {name!r}: {did_you_mean(name, trained)}")
    if not wanted.pairs:
        raise ConfigError(f"{where}: until_decided.methods: name two different methods.")
    for name in experiment.benchmarks:
        if (kind := experiment.split.kind_for(get_benchmark(name))) != "random":
            raise ConfigError(
                f"{where}: until_decided: {name} has one {kind} split, to which none can be added. Give "
                "`split: {kind: random}`, or leave it out."
            )
    if "test" not in experiment.evaluation.roles:
        raise ConfigError(
            f"{source.origin(('evaluation', 'roles'))}: evaluation.roles: until_decided compares on test "
            "specs: add `test`."
        )
    comparisons = f"{len(wanted.pairs) * len(experiment.benchmarks)} comparisons at alpha {wanted.alpha:g}"
    seeds, fewest = len(experiment.split.seeds), sequential.fewest(wanted.level(len(experiment.benchmarks)))
    if fewest > sequential.EXACT:
        raise ConfigError(
            f"{where}: until_decided: with {comparisons} none can be decided. Compare fewer methods or benchmarks, or "
            "raise until_decided.alpha."
        )
    if seeds < fewest:
        raise ConfigError(
            f"{source.origin(('split', 'seeds'))}: split.seeds: until_decided can decide nothing on {seeds} splits: "
            f"with {comparisons} it takes {fewest} at least. Give more seeds, not all of which need to be used; a "
            "profile with few of them leaves it out by `until_decided: null`."
        )


def check_simulators(experiments: Iterable[Experiment]) -> None:
    """ConfigError for a benchmark whose simulator is not installed here, as far as it needs an extra."""
    for name in dict.fromkeys(name for experiment in experiments for name in experiment.benchmarks):
        try:
            get_benchmark(name).simulator.require()
        except MissingPackage as error:
            raise ConfigError(f"{name}: {error}") from None


def _check_variables(benchmark: Benchmark, source: YamlSource) -> None:
    try:
        envs.check(benchmark)
    except ValueError as error:
        raise ConfigError(f"{source.origin(('benchmarks',))}: benchmarks: {error}") from None


def _check_table(experiment: Experiment, source: YamlSource) -> None:
    try:
        _check_table_name(experiment)
    except ResultsError as error:
        raise ConfigError(f"{source.origin(('table',))}: table: {error}") from None


@shared("table")
def _check_table_name(experiment: Experiment) -> None:
    check_table(experiment.table)


def _check_adaptation(experiment: Experiment, benchmark: Benchmark, source: YamlSource) -> None:
    """A few-shot method cannot adapt on more demonstrations of a spec than there are."""
    there = experiment.demonstrations.count(benchmark)
    for method, choice in experiment.methods.items():
        wanted = getattr(choice.settings, "adaptation_episodes", None)
        if wanted is not None and wanted > there:
            where = source.origin(("methods", method, "adaptation_episodes"))
            raise ConfigError(
                f"{where}: {method}.adaptation_episodes: {wanted} is more than demonstrations.episodes ({there}). "
                "Raise those, or leave it out to adapt on all there are."
            )


def _check_warmup(experiment: Experiment, benchmark: Benchmark, specs: int, source: YamlSource) -> None:
    """A training must be longer than its warm-up; where episodes may end early, that is seen later."""
    samples = experiment.demonstrations.count(benchmark) * benchmark.episode_steps
    for method in experiment.generators:
        training = experiment.training_of(method)
        steps = training.epochs * math.prod(training.epoch_parts(specs, samples))
        if training.warmup_steps >= steps:
            raise ConfigError(
                f"{source.origin(('training', 'warmup_steps'))}: training.warmup_steps: {training.warmup_steps} leaves "
                f"nothing of a training of {method} on {benchmark.name}: at most {steps} steps. Give less, or raise "
                "training.epochs."
            )


def _check_trainings(experiment: Experiment, source: YamlSource) -> None:
    """A method's own training settings must go together with the experiment's."""
    for method in experiment.generators:
        try:
            experiment.training_of(method)
        except ValueError as error:
            where = source.origin(("methods", method, "training"))
            raise ConfigError(f"{where}: {method}.training: with those of `training:`, {error}") from None


def _check_measurements(experiment: Experiment, source: YamlSource) -> None:
    """Probes and evaluation during training must have something to look at."""
    every = experiment.evaluation.during_training_every
    epochs = min((experiment.training_of(name).epochs for name in experiment.generators), default=math.inf)
    if every is not None and every >= epochs:
        raise ConfigError(
            f"{source.origin(('evaluation', 'during_training_every'))}: evaluation.during_training_every: {every} is "
            f"not within the training of {epochs} epochs. Give less, or raise training.epochs."
        )
    where = source.origin(("probes",))
    for probe in experiment.probes:
        able = [name for name, entry in GENERATORS.items() if PROBES[probe].applies(entry)]
        if not set(able) & set(experiment.generators):
            raise ConfigError(
                f"{where}: probes: no method here can be probed with {probe}. Add one of: {', '.join(able)}."
            )
    if experiment.probes and experiment.evaluation.selection != "final":
        raise ConfigError(f"{where}: probes: they look at the final generator. Leave evaluation.selection at `final`.")


def _check_experts(experiment: Experiment, benchmark: Benchmark, source: YamlSource) -> None:
    if experiment.experts.source == "zoo":
        if benchmark.name not in (known := _zoo_benchmarks(experiment)):
            recipe = f" by recipe {experiment.experts.recipe}" if experiment.experts.recipe else ""
            raise ConfigError(
                f"{source.origin(('experts', 'source'))}: experts.source: the zoo has no experts{recipe} for "
                f"{benchmark.name}, only for {', '.join(known) or 'none'}. Train some: `experts: {{recipe: fast}}`."
            )
        return
    algorithm = experiment.experts.algorithm
    if ALGORITHMS[algorithm].simulator != benchmark.simulator.name:
        fit = [name for name, entry in ALGORITHMS.items() if entry.simulator == benchmark.simulator.name]
        raise ConfigError(
            f"{source.origin(('experts', 'algorithm'))}: experts.algorithm: {algorithm} makes no experts for "
            f"{benchmark.name}. Write `experts: {{algorithm: {fit[0]}}}`; known for it: {', '.join(fit)}."
        )


@shared("experts")
def _zoo_benchmarks(experiment: Experiment) -> tuple[str, ...]:
    return zoo.benchmarks(experiment.experts.recipe)


def _check_references(experiment: Experiment, benchmark: Benchmark, source: YamlSource) -> None:
    """A reference that trains experts of its own needs an algorithm for the benchmark's simulator."""
    for name in experiment.methods:
        algorithm = REFERENCES[name].algorithm if name in REFERENCES else None
        if algorithm is not None and ALGORITHMS[algorithm].simulator != benchmark.simulator.name:
            raise ConfigError(
                f"{source.origin(('methods', name))}: methods.{name}: it trains {algorithm}, which makes no experts "
                f"for {benchmark.name}. Leave it out, or give its benchmarks a file of their own."
            )


def _check_splits(experiment: Experiment, benchmark: Benchmark, source: YamlSource) -> None:
    try:
        among = experiment.specs.indices(benchmark)
    except ValueError as error:
        raise ConfigError(f"{source.origin(('specs', 'values'))}: specs.values: {error}") from None
    for seed in experiment.split.seeds:
        try:
            split = experiment.split_of(benchmark, seed)
        except ValueError as error:
            raise ConfigError(f"{source.origin(('split',))}: split: {benchmark.name}: {error}") from None
        outside = set(split.train + split.test) - set(among)
        if outside:
            raise ConfigError(
                f"{source.origin(('split',))}: split: {benchmark.name}: specs that `specs:` leaves out are split."
            )
        _check_warmup(experiment, benchmark, len(split.train), source)
