"""Search space: which settings ``search.space`` may hold, and their distributions.

A trial rebuilds the experiment with its values, so every setting that decides a generator, its demonstrations, its
experts or the size of its training set can be searched. Anything else is refused with its line: it would change
nothing that a trial measures, or what the trials are compared on.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from orchestrator.artifacts.artifact import Json
from orchestrator.config.experiment import Experiment
from orchestrator.config.sections import Range, Search
from orchestrator.config.setting import Effect, Setting
from orchestrator.config.yaml_source import YamlSource
from orchestrator.exceptions import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_SEARCHED = (Effect.EXPERTS, Effect.DEMONSTRATIONS, Effect.GENERATOR)
_TRAIN_FRACTION = ("split", "train_fraction")


def check_space(experiment: Experiment, search: Search, source: YamlSource) -> None:
    """ConfigError for a method that is not there and for a setting that a trial cannot try."""
    if search.method not in experiment.generators:
        raise ConfigError(
            f"{source.origin(('search', 'method'))}: search.method: '{search.method}' is not under `methods:`. "
            f"Name one of: {', '.join(experiment.generators)}."
        )
    for name, part in search.space.items():
        _check_setting(Setting.parse(name), part, experiment, search, source.origin(("search", "space", name)))


def _check_setting(setting: Setting, part: Range, experiment: Experiment, search: Search, where: str) -> None:
    found = setting.find(experiment, where)
    if setting.method not in (None, search.method):
        raise ConfigError(f"{where}: search.space: {setting} is no setting of {search.method}, which is searched.")
    if setting.effect not in _SEARCHED and setting.path != _TRAIN_FRACTION:
        raise ConfigError(
            f"{where}: search.space: {setting} cannot be searched: it does not decide the trained generator, or it "
            "decides where trials are compared. Settings of the method, policy, training, demonstrations, experts, "
            "and split.train_fraction can; for others use `grid:`."
        )
    bounds = part.uniform or part.loguniform
    if bounds and is_whole(found.annotation) and any(bound != int(bound) for bound in bounds):
        raise ConfigError(f"{where}: search.space: {setting} takes whole numbers: give whole bounds, or a `choice`.")
    if bounds and isinstance(found.value, str | bool):
        raise ConfigError(f"{where}: search.space: {setting} is no number: give a `choice`.")


def is_whole(annotation: object) -> bool:
    """Whether a setting of that type takes whole numbers only."""
    options = getattr(annotation, "__args__", (annotation,))
    return int in options and float not in options


def with_settings(
    source: YamlSource, settings: Mapping[str, Json], origin: str = "the outcome of the search"
) -> YamlSource:
    """The file with values for some settings, and no search."""
    chosen = source.copy()
    chosen.data.pop("search", None)
    for name, value in settings.items():
        Setting.parse(name).put(chosen, value, origin)
    return chosen


def combinations(search: Search) -> list[dict[str, Json]] | None:
    """All settings of a space of choices alone; None where there are infinitely many."""
    if any(part.choice is None for part in search.space.values()):
        return None
    values = itertools.product(*(part.choice or () for part in search.space.values()))
    return [dict(zip(search.space, chosen, strict=True)) for chosen in values]


def wanted_trials(search: Search) -> int:
    """How many trials there are to be: no more than there are different settings."""
    every = combinations(search)
    return search.trials if every is None else min(search.trials, len(every))


def distributions(experiment: Experiment) -> dict[str, BaseDistribution]:
    """The search space as Optuna's distributions; whole numbers for settings that take no others."""
    import optuna

    assert experiment.search is not None
    made: dict[str, BaseDistribution] = {}
    for name, part in experiment.search.space.items():
        bounds, log = part.uniform or part.loguniform, part.loguniform is not None
        if part.choice is not None:
            made[name] = optuna.distributions.CategoricalDistribution(cast(Sequence[str | float | None], part.choice))
        elif bounds and is_whole(Setting.parse(name).find(experiment, name).annotation):
            made[name] = optuna.distributions.IntDistribution(int(bounds[0]), int(bounds[1]), log=log)
        elif bounds:
            made[name] = optuna.distributions.FloatDistribution(*bounds, log=log)
    return made
