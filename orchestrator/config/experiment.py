"""Experiment: contents of an experiment file, checked key by key. Checks across keys are in ``config.checks``."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, cast

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from hypogen import zoo
from hypogen.benchmarks import BENCHMARKS, Benchmark
from hypogen.errors import did_you_mean
from hypogen.experts import ALGORITHMS
from hypogen.generators import GENERATORS
from hypogen.policy import PolicyShape
from hypogen.references import REFERENCES
from hypogen.splits import Split
from hypogen.training import TrainingSettings
from orchestrator.artifacts import PROBES
from orchestrator.config.sections import (
    DemonstrationChoice,
    EvaluationChoice,
    ExpertChoice,
    Resources,
    Search,
    Section,
    SpecChoice,
    SplitChoice,
    UntilDecided,
)
from orchestrator.config.sharing import shared

METHODS = ("expert", *GENERATORS, *REFERENCES)
"""Methods in the order of tables and figures."""
ANY_RATE = 1e30
TRAINING = "training"
"""Key under which a method has training settings of its own."""
T = TypeVar("T")


def _settings(kind: type[T], base: T, value: object) -> T:
    """``base`` (a settings dataclass) updated with the mapping ``value``; every problem names its key."""
    if isinstance(value, kind):
        return value
    if value is None:
        return base
    if not isinstance(value, Mapping):
        raise PydanticCustomError("mapping", "write it as `key: value` lines")
    fields = {field.name: field for field in dataclasses.fields(cast(Any, kind))}
    checked = {}
    for key, item in value.items():
        if key not in fields:
            raise PydanticCustomError("key", f"unknown key '{key}': {did_you_mean(str(key), fields)}", {"key": key})
        try:
            checked[key] = _adapter(cast(type, kind), key).validate_python(item)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            raise PydanticCustomError("type", f"{first['msg']} (got {item!r})", {"key": key}) from None
    try:
        return cast(T, dataclasses.replace(cast(Any, base), **checked))
    except ValueError as error:
        # A message begins with the key at fault.
        named = [word for word in re.findall(r"\w+", str(error)) if word in checked]
        raise PydanticCustomError("value", str(error), {"key": named[0] if named else ""}) from None


@cache
def _adapter(kind: type, key: str) -> TypeAdapter[Any]:
    """Validator of one field of a settings dataclass."""
    return TypeAdapter(typing.get_type_hints(kind)[key], config=ConfigDict(allow_inf_nan=False))


def _expert(value: object) -> ExpertChoice:
    if isinstance(value, ExpertChoice):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("mapping", "write it as `{recipe: fast}` or `{source: zoo}`")
    changes = dict(value)
    origin = changes.pop("source", "train")
    if origin not in ("train", "zoo"):
        raise PydanticCustomError("source", f"must be train or zoo (got {origin!r})", {"key": "source"})
    if origin == "zoo":
        recipe = str(changes.pop("recipe", None) or "")
        if recipe and recipe not in zoo.recipes():
            remedy = did_you_mean(recipe, zoo.recipes())
            raise PydanticCustomError(
                "recipe", f"none of the zoo's experts has the recipe {recipe!r}: {remedy}", {"key": "recipe"}
            )
        if changes:
            key = next(iter(changes))
            raise PydanticCustomError(
                "zoo", "the zoo's experts are trained already: leave this out, or `source: zoo`", {"key": str(key)}
            )
        return ExpertChoice(source="zoo", recipe=recipe)
    algorithm = str(changes.pop("algorithm", next(iter(ALGORITHMS))))
    recipes = ALGORITHMS[algorithm].recipes if algorithm in ALGORITHMS else {}
    recipe = str(changes.pop("recipe", next(iter(recipes), "")))
    for key, value, known in (("algorithm", algorithm, ALGORITHMS), ("recipe", recipe, recipes)):
        if value not in known:
            raise PydanticCustomError(key, f"unknown {key} {value!r}: {did_you_mean(value, known)}", {"key": key})
    return ExpertChoice("train", algorithm, recipe, _settings(type(recipes[recipe]), recipes[recipe], changes))


@dataclass(frozen=True)
class MethodChoice:
    """One entry of ``methods:``.

    Attributes:
        settings: The method's own settings dataclass; None for the experts.
        training: What its training has in place of the experiment's settings.
    """

    settings: Any
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _methods(value: object) -> dict[str, MethodChoice]:
    if isinstance(value, list):
        value = {str(name): {} for name in value}
    if not isinstance(value, Mapping) or not value:
        raise PydanticCustomError("methods", "name at least one method, for example `methods: [expert, hypogen]`")
    chosen: dict[str, MethodChoice] = {}
    for name, changes in value.items():
        if isinstance(changes, MethodChoice):
            chosen[name] = changes
            continue
        if name not in METHODS:
            raise PydanticCustomError(
                "method", f"unknown method '{name}': {did_you_mean(str(name), METHODS)}", {"key": name}
            )
        if name == "expert":
            if changes:
                raise PydanticCustomError(
                    "expert", "an expert has no settings here; they stand under `experts:`", {"key": name}
                )
            chosen[name] = MethodChoice(None)
            continue
        kind = (GENERATORS[name] if name in GENERATORS else REFERENCES[name]).settings
        with _below(name):
            training = _own_training(changes) if name in GENERATORS and isinstance(changes, Mapping) else {}
            own = {key: item for key, item in changes.items() if key != TRAINING} if training else changes
            chosen[name] = MethodChoice(_settings(kind, kind(), own or {}), training)
    return chosen


@contextlib.contextmanager
def _below(section: str) -> Iterator[None]:
    """Have errors name their key with the section that it stands in."""
    try:
        yield
    except PydanticCustomError as error:
        key = (error.context or {}).get("key", "")
        raise PydanticCustomError("settings", error.message_template, {"key": f"{section}.{key}".rstrip(".")}) from None


def _own_training(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under a method's ``training:``, each setting checked by itself."""
    given = changes.get(TRAINING)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise PydanticCustomError("mapping", "write it as `key: value` lines", {"key": TRAINING})
    if "seed" in given:
        raise PydanticCustomError(
            "seed", "all methods count their trainings alike: give training.seed", {"key": TRAINING}
        )
    with _below(TRAINING):  # the two rates are compared by `training_of`: one of them may be the experiment's
        settings = _settings(TrainingSettings, TrainingSettings(learning_rate=ANY_RATE), given)
    return {key: getattr(settings, key) for key in given}


def _benchmarks(value: object) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        raise PydanticCustomError(
            "benchmarks", "name at least one benchmark, for example `benchmarks: [cheetah-speed]`"
        )
    names = list(map(str, names))
    for index, name in enumerate(names):
        if name not in BENCHMARKS:
            raise PydanticCustomError(
                "benchmark", f"unknown benchmark {name!r}: {did_you_mean(name, BENCHMARKS)}", {"key": str(index)}
            )
    return list(dict.fromkeys(names))


def _probes(value: object) -> list[str]:
    if not isinstance(value, list):
        raise PydanticCustomError("probes", "write a list, for example `probes: [random_start]`")
    for index, name in enumerate(map(str, value)):
        if name not in PROBES:
            raise PydanticCustomError(
                "probe", f"unknown probe {name!r}: {did_you_mean(name, PROBES)}", {"key": str(index)}
            )
    return list(map(str, value))


def _policy(value: object) -> PolicyShape | None:
    if value is None or isinstance(value, PolicyShape):
        return value
    return _settings(PolicyShape, PolicyShape(), value)


class Experiment(Section):
    """One checked experiment without a grid: the contents of one cell of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    description: str = ""
    seed: int = Field(default=0, ge=0)
    benchmarks: Annotated[list[str], BeforeValidator(_benchmarks)]
    methods: Annotated[dict[str, MethodChoice], BeforeValidator(_methods)]
    specs: SpecChoice = SpecChoice()
    split: SplitChoice = SplitChoice()
    policy: Annotated[Any, BeforeValidator(_policy)] = None
    experts: Annotated[ExpertChoice, BeforeValidator(_expert)] = ExpertChoice()
    demonstrations: DemonstrationChoice = DemonstrationChoice()
    training: Annotated[
        TrainingSettings, BeforeValidator(lambda v: _settings(TrainingSettings, TrainingSettings(), v))
    ] = TrainingSettings()
    evaluation: EvaluationChoice = EvaluationChoice()
    probes: Annotated[list[str], BeforeValidator(_probes)] = Field(default_factory=list)
    resources: Resources = Resources()
    search: Search | None = None
    until_decided: UntilDecided | None = None
    table: str = "main"

    @property
    def generators(self) -> list[str]:
        """Methods that are trained on demonstrations."""
        return [method for method in self.methods if method in GENERATORS]

    @shared("methods", "training")
    def training_of(self, method: str) -> TrainingSettings:
        """Settings of a method's training: the experiment's, but for its own. Raises ValueError where they clash."""
        return dataclasses.replace(self.training, **self.methods[method].training)

    @shared("split", "specs")
    def split_of(self, benchmark: Benchmark, seed: int) -> Split:
        """Split of the benchmark's specs for one seed. Raises ValueError when it is impossible."""
        return self.split.resolve(benchmark, self.specs.indices(benchmark), seed)

    def shape(self, benchmark: Benchmark) -> PolicyShape:
        """Shape of the generated policies; by default the paper's for the benchmark's simulator."""
        return self.policy or PolicyShape(layers=benchmark.policy_layers)
