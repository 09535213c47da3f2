"""Loading an experiment file: its profiles, the cells of its grid, and all that can be wrong with it.

    source = load("experiments/ablation_k.yaml", profile="smoke", assignments=["seed=1"])
    cells = expand(source)        # one checked Experiment for every point of the grid

Everything wrong with a file is a ConfigError that names the line and the remedy, and is raised here: before Ray
starts and before anything is written.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pydantic

from hypogen.errors import did_you_mean
from orchestrator.artifacts.artifact import Json
from orchestrator.config.checks import check_experiment
from orchestrator.config.experiment import Experiment
from orchestrator.config.explanation import explain
from orchestrator.config.setting import Effect, Setting
from orchestrator.config.sharing import forget
from orchestrator.config.yaml_source import YamlSource, parse_assignment, read
from orchestrator.exceptions import ConfigError


@dataclass(frozen=True)
class Cell:
    """One point of the grid: the values it sets, by the names of settings, and the experiment they give."""

    values: dict[str, Json]
    experiment: Experiment


def load(path: str | Path, profile: str | None = None, assignments: Iterable[str] = ()) -> YamlSource:
    """The file with the profile and then the ``--set`` assignments on top. ConfigError if any cannot be read.

    Profile and assignments are part of the experiment's name (``ablation_k-smoke``, ``ablation_k-smoke-1f0c3a``), so
    the rows of a changed experiment never take the place of the file's own, unless ``name=…`` says so. Assignments that
    change nothing that is measured, and those beside ``name=…``, leave the name alone.
    """
    source, profiles = _read(Path(path))
    if profile is not None:
        if profile not in profiles:
            known = did_you_mean(profile, map(str, profiles)) if profiles else "This file has none."
            raise ConfigError(f"{path}: unknown profile '{profile}': {known}")
        source = _with_profile(source, profiles, profile)
    _assign(source, list(assignments))
    return source


def check_profiles(path: str | Path) -> None:
    """ConfigError for anything wrong with any profile of a file, whether or not it is used."""
    for source in with_profiles(path):
        expand(source)


def with_profiles(path: str | Path) -> list[YamlSource]:
    """A file under each of its profiles."""
    source, profiles = _read(Path(path))
    return [_with_profile(source, profiles, name) for name in profiles]


def _read(path: Path) -> tuple[YamlSource, Mapping[str, Json]]:
    """The file without its profiles, and these."""
    source = read(path)
    profiles = source.data.pop("profiles", None) or {}
    if not isinstance(profiles, Mapping):
        raise ConfigError(f"{source.origin(('profiles',))}: profiles: write them as `name: {{setting: value}}` lines.")
    source.data.setdefault("name", path.stem)
    return source, {str(name): settings for name, settings in profiles.items()}


def _with_profile(source: YamlSource, profiles: Mapping[str, Json], name: str) -> YamlSource:
    """A copy of the file with one of its profiles on top, and in its name."""
    changed = source.copy()
    settings = profiles[name] or {}
    if not isinstance(settings, Mapping):
        where = source.origin(("profiles", name))
        raise ConfigError(f"{where}: profiles.{name}: write it as `setting: value` lines, not {settings!r}.")
    for key, value in settings.items():
        setting = Setting.parse(str(key))
        setting.put(changed, value, source.origin(("profiles", name, key)))
        for inner, line in source.origins.items():  # a value inside a section keeps its own line
            if inner[:3] == ("profiles", name, str(key)) and len(inner) > 3:
                changed.origins[(*setting.path, *inner[3:])] = line
    changed.data["name"] = f"{source.data['name']}-{name}"
    return changed


def _assign(source: YamlSource, assignments: list[str]) -> None:
    """Apply ``--set`` assignments, and add a digest of those that change what is measured to the name."""
    changes: dict[str, Json] = {}
    named = False
    for text in assignments:
        name, value = parse_assignment(text)
        setting = Setting.parse(name)
        setting.put(source, value, f"--set {text}")
        named = named or setting.path == ("name",)
        if setting.effect is not Effect.NOTHING or setting.path[0] in ("grid", "search", "until_decided"):
            changes[".".join(setting.path)] = value
    if changes and not named:
        text = repr(sorted((name, repr(value)) for name, value in changes.items()))
        source.data["name"] = f"{source.data['name']}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def expand(source: YamlSource) -> list[Cell]:
    """Every cell of the grid, checked. ConfigError at the first that makes no sense."""
    forget()
    base = source.copy()
    grid = base.data.pop("grid", None) or {}
    if not isinstance(grid, Mapping):
        raise ConfigError(f"{source.origin(('grid',))}: grid: write it as `setting: [values]` lines.")
    first = check(base)
    settings = {str(key): Setting.parse(str(key)) for key in grid}
    for name, setting in settings.items():
        twice = [other for other, known in settings.items() if known == setting and other != name]
        searched = [other for other in (first.search.space if first.search else ()) if Setting.parse(other) == setting]
        if twice or searched:
            raise ConfigError(
                f"{source.origin(('grid', name))}: grid.{name}: the same setting as {(twice or searched)[0]} "
                f"{'here' if twice else 'under search.space'}. Keep one of them."
            )
    for (name, setting), values in zip(settings.items(), grid.values(), strict=True):
        where = source.origin(("grid", name))
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{where}: grid.{name}: give a list of at least one value, not {values!r}.")
        _check_grid_key(setting, first, where)
        if first.until_decided is not None and setting.path != ("training", "seed"):
            raise ConfigError(
                f"{where}: grid.{name}: beside `until_decided:` only training.seed may vary, over which is averaged. "
                "Give every other value a file of its own."
            )
    origins = {name: [source.origin(("grid", name, index)) for index in range(len(grid[name]))] for name in settings}
    base.origins = {path: where for path, where in base.origins.items() if path[0] not in ("grid", "profiles")}
    varied = {setting.path[0] for setting in settings.values()}
    cells = []
    for indices in itertools.product(*(range(len(values)) for values in grid.values())):
        point, values = _copy_to_vary(base, first, varied), {}
        for (name, setting), index in zip(settings.items(), indices, strict=True):
            values[name] = grid[name][index]
            setting.put(point, values[name], origins[name][index])
        cells.append(Cell(values, check(point)))
    return cells


def _copy_to_vary(base: YamlSource, checked: Experiment, varied: set[str]) -> YamlSource:
    """A copy of the file to change the sections ``varied`` of; the others, checked already, are the same objects."""
    fixed = {name: getattr(checked, name) for name in Experiment.model_fields if name not in varied}
    own = {name: part for name, part in base.data.items() if name in varied}
    return YamlSource(base.name, {**fixed, **copy.deepcopy(own)}, dict(base.origins))


def check(source: YamlSource) -> Experiment:
    """The typed experiment. ConfigError with origin and remedy for the first problem."""
    try:
        experiment = Experiment.model_validate(source.data)
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, source)) from None
    check_experiment(experiment, source)
    return experiment


def _check_grid_key(setting: Setting, experiment: Experiment, where: str) -> None:
    """A grid may vary any setting that exists and changes what is measured."""
    setting.find(experiment, where)
    if setting.effect is Effect.NOTHING:
        raise ConfigError(
            f"{where}: a grid over {setting} changes nothing that is measured; vary methods, training, split, …"
        )
