"""The experiment file: its profiles, the cells of its grid, and all that can be wrong with it.

    source = load("experiments/ablation_k.yaml", profile="smoke", assignments=["seed=1"])
    cells = expand(source)        # one checked Experiment for every point of the grid

Everything wrong with a file is a ConfigError that names the line and the remedy, and is raised here: before Ray
starts and before anything is written.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel

from hypogen import zoo
from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.errors import did_you_mean
from hypogen.experts import SIMULATOR
from hypogen.generators import GENERATORS
from hypogen.policy import PolicyShape
from hypogen.probes import has_updates
from orchestrator.errors import ConfigError
from orchestrator.schema import METHODS, Experiment
from orchestrator.source import KeyPath, Source, parse_assignment, read


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of the grid: the values it sets (dotted keys) and the experiment they give."""

    values: dict[str, Any]
    experiment: Experiment


def load(path: str | Path, profile: str | None = None, assignments: Iterable[str] = ()) -> Source:
    """The file with the profile and then the ``--set`` assignments on top. ConfigError if any cannot be read.

    A profile is part of the experiment's name (``ablation_k-smoke``), so its rows are never taken for the paper's.
    """
    source = read(Path(path))
    profiles = source.data.pop("profiles", None) or {}
    if profile is not None:
        if not isinstance(profiles, Mapping) or profile not in profiles:
            known = did_you_mean(profile, profiles) if profiles else "This file has none."
            raise ConfigError(f"{path}: unknown profile '{profile}': {known}")
        for key, value in (profiles[profile] or {}).items():
            where = source.origin(("profiles", profile, key))
            target = dotted(str(key))
            source.set(target, value, where)
            for inner, line in list(source.origins.items()):  # a value inside a section keeps its own line
                if inner[:3] == ("profiles", profile, str(key)) and len(inner) > 3:
                    source.origins[(*target, *inner[3:])] = line
        source.data["name"] = f"{source.data.get('name', Path(path).stem)}-{profile}"
    for text in assignments:
        key_path, value = parse_assignment(text)
        source.set(dotted(".".join(key_path)), value, f"--set {text}")
    return source


def dotted(key: str) -> KeyPath:
    """The path of a setting; ``hypogen.blocks`` and ``methods.hypogen.blocks`` are the same one.

    Below ``grid`` and ``search.space`` stand names of settings, dots and all.
    """
    path = tuple(key.split("."))
    for section in (("grid",), ("search", "space")):
        if path[: len(section)] == section and len(path) > len(section):
            return (*section, ".".join(path[len(section) :]))
    return ("methods", *path) if path[0] in METHODS else path


def expand(source: Source) -> list[Cell]:
    """Every cell of the grid, checked. ConfigError at the first that makes no sense."""
    base = source.copy()
    grid = base.data.pop("grid", None) or {}
    if not isinstance(grid, Mapping):
        raise ConfigError(f"{source.origin(('grid',))}: grid: write it as `setting: [values]` lines.")
    first = check(base)
    for key, values in grid.items():
        where = source.origin(("grid", key))
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{where}: grid.{key}: give a list of at least one value, not {values!r}.")
        _check_grid_key(first, str(key), where)
    cells = []
    for values in itertools.product(*grid.values()):
        point = base.copy()
        for key, value in zip(grid, values, strict=True):
            index = grid[key].index(value)
            point.set(dotted(str(key)), value, source.origin(("grid", key, index)))
        cells.append(Cell(dict(zip(map(str, grid), values, strict=True)), check(point)))
    return cells


def check(source: Source) -> Experiment:
    """The typed experiment. ConfigError with origin and remedy for the first problem."""
    try:
        experiment = Experiment.model_validate(source.data)
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error, source)) from None
    for name in experiment.benchmarks:
        _check_benchmark(experiment, get_benchmark(name), source)
        _check_adaptation(experiment, get_benchmark(name), source)
    _check_measurements(experiment, source)
    return experiment


def _check_adaptation(experiment: Experiment, benchmark: Benchmark, source: Source) -> None:
    """A few-shot method cannot adapt on more demonstrations of a spec than there are."""
    there = experiment.demonstrations.count(benchmark)
    for method, settings in experiment.methods.items():
        wanted = getattr(settings, "adaptation_episodes", None)
        if wanted is not None and wanted > there:
            where = source.origin(("methods", method, "adaptation_episodes"))
            raise ConfigError(
                f"{where}: {method}.adaptation_episodes: {wanted} is more than demonstrations.episodes ({there}). "
                "Raise those, or leave it out to adapt on all there are."
            )


def _check_warmup(experiment: Experiment, benchmark: Benchmark, specs: int, source: Source) -> None:
    """A training must be longer than its warm-up; ManiSkill's episodes end early, so for them that is seen later."""
    training = experiment.training
    samples = experiment.demonstrations.count(benchmark) * benchmark.episode_steps
    steps = training.epochs * math.prod(training.epoch_parts(specs, samples))
    if experiment.generators and training.warmup_steps >= steps:
        raise ConfigError(
            f"{source.origin(('training', 'warmup_steps'))}: training.warmup_steps: {training.warmup_steps} leaves "
            f"nothing of a training on {benchmark.name}: at most {steps} steps. Give less, or raise training.epochs."
        )


def _check_measurements(experiment: Experiment, source: Source) -> None:
    """Probes and evaluation during training must have something to look at."""
    every, epochs = experiment.evaluation.during_training_every, experiment.training.epochs
    if every is not None and every >= epochs:
        raise ConfigError(
            f"{source.origin(('evaluation', 'during_training_every'))}: evaluation.during_training_every: {every} is "
            f"not within the training of {epochs} epochs. Give less, or raise training.epochs."
        )
    where = source.origin(("probes",))
    if experiment.probes and not any(map(has_updates, experiment.generators)):
        able = ", ".join(filter(has_updates, GENERATORS))
        raise ConfigError(f"{where}: probes: no method here makes its policies update by update. Add one of: {able}.")
    if experiment.probes and experiment.evaluation.selection != "final":
        raise ConfigError(f"{where}: probes: they look at the final generator. Leave evaluation.selection at `final`.")


def _check_benchmark(experiment: Experiment, benchmark: Benchmark, source: Source) -> None:
    if experiment.experts.source == "zoo" and benchmark.name not in zoo.benchmarks():
        raise ConfigError(
            f"{source.origin(('experts', 'source'))}: experts.source: the zoo has no experts for {benchmark.name}, "
            f"only for {', '.join(zoo.benchmarks()) or 'none'}. Train some: `experts: {{recipe: fast}}`."
        )
    algorithm = experiment.experts.algorithm
    if SIMULATOR[algorithm] != benchmark.simulator.name:
        fit = [name for name, simulator in SIMULATOR.items() if simulator == benchmark.simulator.name]
        raise ConfigError(
            f"{source.origin(('experts', 'algorithm'))}: experts.algorithm: {algorithm} makes no experts for "
            f"{benchmark.name}. Write `experts: {{algorithm: {fit[0]}}}`; known for it: {', '.join(fit)}."
        )
    try:
        among = experiment.specs.indices(benchmark)
    except ValueError as error:
        raise ConfigError(f"{source.origin(('specs', 'values'))}: specs.values: {error}") from None
    for seed in experiment.split.seeds:
        try:
            split = experiment.split.resolve(benchmark, among, seed)
        except ValueError as error:
            raise ConfigError(f"{source.origin(('split',))}: split: {benchmark.name}: {error}") from None
        outside = set(split.train + split.test) - set(among)
        if outside:
            raise ConfigError(
                f"{source.origin(('split',))}: split: {benchmark.name}: specs that `specs:` leaves out are split."
            )
        _check_warmup(experiment, benchmark, len(split.train), source)
    search = experiment.search
    if search is not None:
        where = source.origin(("search", "method"))
        if search.method not in experiment.methods or search.method == "expert":
            named = [name for name in experiment.methods if name != "expert"]
            raise ConfigError(
                f"{where}: search.method: '{search.method}' is not under `methods:`. Name one of: {', '.join(named)}."
            )
        for key in search.space:
            _check_grid_key(experiment, key, source.origin(("search", "space", key)))


def _check_grid_key(experiment: Experiment, key: str, where: str) -> None:
    """A grid may vary any setting that exists, and only those."""
    path = dotted(key)
    here: Any = experiment
    for depth, part in enumerate(path):
        known = _fields(here)
        if path[0] == "experts" and depth == 1:
            choices = ["source", "algorithm", "recipe"]
            known = [*choices, *_fields(experiment.experts.settings)]
            here = experiment.experts if part in choices else experiment.experts.settings
        if path[0] == "policy" and depth == 1:
            here, known = PolicyShape(), _fields(PolicyShape())
        if part not in known:
            shown = ".".join(path[:depth]) or "an experiment"
            raise ConfigError(
                f"{where}: '{key}' is not a setting: {shown} has no '{part}': {did_you_mean(part, known)}"
            )
        here = here[part] if isinstance(here, Mapping) else getattr(here, part)
    if path[0] in ("name", "description", "table", "resources", "search"):
        raise ConfigError(
            f"{where}: a grid over {key} changes nothing that is measured; vary methods, training, split, …"
        )


def _fields(value: Any) -> list[str]:
    if isinstance(value, BaseModel):
        return list(type(value).model_fields)
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return [str(key) for key in value] if isinstance(value, Mapping) else []


def _explain(error: pydantic.ValidationError, source: Source) -> str:
    lines = []
    for problem in error.errors():
        path = tuple(str(part) for part in problem["loc"])
        key = (problem.get("ctx") or {}).get("key")
        path = (*path, *str(key).split(".")) if key else path
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key '{path[-1]}': {did_you_mean(path[-1], _known_at(path[:-1]))}"
        elif problem["type"] == "missing":
            message = "is missing; write it"
        elif isinstance(problem.get("input"), int | float | str) and not key:
            message = f"{message} (got {_show(problem['input'])})"
        lines.append(f"{source.origin(path)}: {'.'.join(path)}: {message}")
    return "\n".join(lines)


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and not math.isnan(value) else repr(value)


def _known_at(path: KeyPath) -> list[str]:
    """The keys that the schema knows at a path."""
    here: Any = Experiment
    for part in path:
        annotation = (
            here.model_fields[part].annotation if hasattr(here, "model_fields") and part in here.model_fields else None
        )
        options = [annotation, *getattr(annotation, "__args__", ())]
        here = next((kind for kind in options if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if here is None:
            return []
    extra = ["grid", "profiles"] if here is Experiment else []
    return [*here.model_fields, *extra]
