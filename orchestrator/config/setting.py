"""One path per setting: what a grid, ``--set``, a search space, a row and an error message mean by its name.

setting = Setting.parse("hypogen.blocks")       # methods.hypogen.blocks is the same one
setting.find(experiment)                        # its value and type; ConfigError where there is none
setting.effect                                  # what changing it makes anew
"""

from __future__ import annotations

import dataclasses
import enum
import typing
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from hypogen.errors import did_you_mean
from hypogen.policy import PolicyShape
from orchestrator.artifacts.artifact import PASSING_SETTINGS, Json
from orchestrator.config.experiment import METHODS, TRAINING, Experiment, MethodChoice
from orchestrator.config.yaml_source import EXPERT_CHOICES, KeyPath, YamlSource
from orchestrator.exceptions import ConfigError


class Effect(enum.IntEnum):
    """The first artifacts that a change of a setting makes anew; all that follow from them are, too."""

    NOTHING = 0
    """How it is run or shown, not what is measured."""
    PROTOCOL = 1
    """Which methods are compared where: benchmarks, specs, splits and seeds."""
    EXPERTS = 2
    DEMONSTRATIONS = 3
    GENERATOR = 4
    MEASUREMENT = 5


_EFFECTS = {
    **dict.fromkeys(
        ("name", "description", "table", "resources", "search", "until_decided", "grid", "profiles"), Effect.NOTHING
    ),
    **dict.fromkeys(("seed", "benchmarks", "specs", "split"), Effect.PROTOCOL),
    "experts": Effect.EXPERTS,
    "demonstrations": Effect.DEMONSTRATIONS,
    **dict.fromkeys(("methods", "policy", "training"), Effect.GENERATOR),
    **dict.fromkeys(("evaluation", "probes"), Effect.MEASUREMENT),
}


@dataclass(frozen=True)
class Found:
    """A setting as an experiment has it.

    Attributes:
        value: Its value.
        annotation: Its type, as declared.
    """

    value: object
    annotation: object


@dataclass(frozen=True)
class Setting:
    """The path of one setting in an experiment file."""

    path: KeyPath

    @classmethod
    def parse(cls, text: str) -> Setting:
        """The setting that a dotted name means: a method's section may be named without ``methods``.

        Below ``grid`` and ``search.space`` stand names of settings, dots and all.
        """
        path = tuple(text.split("."))
        for section in (("grid",), ("search", "space")):
            if path[: len(section)] == section and len(path) > len(section):
                return cls((*section, ".".join(path[len(section) :])))
        return cls(("methods", *path) if path[0] in METHODS else path)

    def __str__(self) -> str:
        return ".".join(self.path[1:] if self.path[0] == "methods" and len(self.path) > 1 else self.path)

    @property
    def method(self) -> str | None:
        """The method whose setting it is, if it is one's."""
        return self.path[1] if self.path[0] == "methods" and len(self.path) > 2 else None

    @property
    def effect(self) -> Effect:
        """What changing it makes anew."""
        if TRAINING in (self.path[0], *self.path[2:3]) and self.path[-1] in PASSING_SETTINGS:
            return Effect.NOTHING
        if self.path == ("methods",) or (self.path[0] == "methods" and len(self.path) == 2):
            return Effect.PROTOCOL
        return _EFFECTS.get(self.path[0], Effect.NOTHING)

    def put(self, source: YamlSource, value: Json, origin: str) -> None:
        """Write a value into a file. ConfigError where the setting is of a method that the file does not name."""
        if self.method is not None and self.method not in source.names(("methods",)):
            raise ConfigError(
                f"{origin}: {self}: {self.method} is not under `methods:`. Add it there, or with "
                f"--set 'methods.{self.method}={{}}' first."
            )
        source.set(self.path, value, origin)

    def find(self, experiment: Experiment, origin: str) -> Found:
        """The setting in a checked experiment. ConfigError, blamed on ``origin``, where there is no such setting."""
        here: object = experiment
        annotation: object = Experiment
        for depth, part in enumerate(self.path):
            here, known = self._level(here, depth, experiment)
            if part not in known:
                shown = ".".join(self.path[:depth]) or "an experiment"
                raise ConfigError(
                    f"{origin}: '{self}' is not a setting: {shown} has no '{part}': {did_you_mean(part, known)}"
                )
            annotation = _annotation(here, part)
            here = here[part] if isinstance(here, Mapping) else getattr(here, part)
        return Found(here, annotation)

    def _level(self, here: object, depth: int, experiment: Experiment) -> tuple[object, list[str]]:
        """Where the part at ``depth`` is looked for, and the names that are known there."""
        if depth == 1 and self.path[0] == "experts":  # the recipe's settings stand beside the choices
            settings = experiment.experts.settings
            known = [*EXPERT_CHOICES, *fields_of(settings)]
            return (experiment.experts if self.path[1] in EXPERT_CHOICES else settings), known
        if depth == 1 and self.path[0] == "policy":
            here = experiment.policy or PolicyShape()
        if isinstance(here, MethodChoice):  # a generator's training settings stand beside its own
            trained = self.path[1] in experiment.generators
            if trained and self.path[2] == TRAINING:
                return {TRAINING: experiment.training_of(self.path[1])}, [TRAINING]
            return here.settings, [*fields_of(here.settings), *([TRAINING] if trained else [])]
        return here, fields_of(here)


def fields_of(value: object) -> list[str]:
    """Names of the settings that stand below a value."""
    if isinstance(value, BaseModel):
        return list(type(value).model_fields)
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return [str(key) for key in value] if isinstance(value, Mapping) else []


def _annotation(section: object, name: str) -> object:
    """Declared type of a field."""
    if isinstance(section, BaseModel):
        return type(section).model_fields[name].annotation
    return typing.get_type_hints(type(section)).get(name) if dataclasses.is_dataclass(section) else None
