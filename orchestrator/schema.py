"""The experiment file's schema: one model a section, with the defaults, which are the paper's."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from hypogen.benchmarks import BENCHMARKS, Benchmark
from hypogen.errors import did_you_mean
from hypogen.experts import ALGORITHMS, RECIPES, Settings
from hypogen.generators import GENERATORS
from hypogen.policy import PolicyShape
from hypogen.splits import Split, evenly_spaced_split, explicit_split, random_split
from hypogen.training import TrainingSettings

METHODS = ("expert", *GENERATORS)
DEFAULT_RECIPE = "paper"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SpecChoice(_Section):
    """A part of a benchmark's grid: every n-th spec, or a list. The default is the whole grid."""

    every: int = Field(default=1, ge=1)
    values: list[list[float]] | None = None

    def indices(self, benchmark: Benchmark) -> tuple[int, ...]:
        if self.values is None:
            return tuple(range(0, len(benchmark.grid), self.every))
        return tuple(sorted({benchmark.index(tuple(spec)) for spec in self.values}))


class SplitChoice(_Section):
    """Which specs train and which test; what is left out follows the paper's protocol for the benchmark."""

    kind: Literal["random", "evenly_spaced", "explicit"] | None = None
    train_fraction: float | None = Field(default=None, gt=0, lt=1)
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0, 1, 2, 3, 4], min_length=1)
    train: list[list[float]] | None = None
    test: list[list[float]] | None = None

    def resolve(self, benchmark: Benchmark, among: tuple[int, ...], seed: int) -> Split:
        """The split of the specs ``among`` for one seed. ValueError when it is impossible."""
        kind = self.kind or ("explicit" if self.train is not None else benchmark.split)
        fraction = self.train_fraction or benchmark.train_fraction
        if kind == "explicit":
            if self.train is None or self.test is None:
                raise ValueError("an explicit split needs `train` and `test`, each a list of specs")
            return explicit_split(benchmark, self.train, self.test)
        if kind == "random":
            return random_split(len(benchmark.grid), fraction, seed, self.test_fraction, among=among)
        chosen = evenly_spaced_split(len(among), fraction)
        return Split(tuple(among[i] for i in chosen.train), tuple(among[i] for i in chosen.test))

    def kind_for(self, benchmark: Benchmark) -> str:
        return self.kind or ("explicit" if self.train is not None else benchmark.split)


@dataclasses.dataclass(frozen=True)
class ExpertChoice:
    """Which experts: the zoo's ready ones, scripted ones, or trained ones by a recipe with the experiment's changes."""

    source: Literal["train", "zoo"] = "train"
    algorithm: str = "td3"
    recipe: str = DEFAULT_RECIPE
    settings: Settings = RECIPES[DEFAULT_RECIPE]


class DemonstrationChoice(_Section):
    """Episodes a spec (default: the paper's for the benchmark); in ManiSkill successful ones only.

    ``noise``: deviation of what disturbs the experts' actions while they show what they would do (the paper: 0).
    ``discount`` is of the values in ManiSkill's demonstrations; MuJoCo's are the experts' critics'.
    """

    episodes: int | None = Field(default=None, ge=1)
    noise: float = Field(default=0.0, ge=0)
    discount: float = Field(default=0.99, ge=0, lt=1)

    def count(self, benchmark: Benchmark) -> int:
        return self.episodes or benchmark.demonstrations


class EvaluationChoice(_Section):
    """Episodes a spec (default: the paper's for the benchmark), and which specs are rolled out.

    ``during_training_every``: epochs between two policies that are rolled out as well, for return against epoch.
    ``selection: best_test`` takes for the episodes, of all these policies and the final one, the policy with the best
    mean return *on the test specs*: only to compare with the authors, who do, and marked in every row.
    """

    episodes: int | None = Field(default=None, ge=1)
    roles: list[Literal["train", "test"]] = Field(default=["test"], min_length=1)
    during_training_every: int | None = Field(default=None, ge=1)
    selection: Literal["final", "best_test"] = "final"

    @pydantic.model_validator(mode="after")
    def _selectable(self) -> EvaluationChoice:
        if self.selection == "best_test" and self.during_training_every is None:
            raise ValueError("selection best_test chooses among the policies of during_training_every: give that too")
        if self.during_training_every is not None and "test" not in self.roles:
            raise ValueError("during_training_every rolls out test specs: add `test` to roles")
        return self

    def epochs(self, last: int) -> list[int]:
        """The epochs before the ``last`` whose policies are rolled out."""
        every = self.during_training_every
        return list(range(every, last, every)) if every else []


class TaskResources(_Section):
    """What one task takes. ``gpu`` is dropped on a cluster without GPUs; ``threads`` is for PyTorch."""

    cpu: float = Field(default=1.0, ge=0)
    gpu: float = Field(default=0.0, ge=0)
    threads: int = Field(default=1, ge=1)


class RolloutResources(_Section):
    """The pool of rollout actors. ``workers: 0`` means one for every CPU of the cluster.

    By default they reserve nothing, so that a cluster that loses a node never leaves a training without room.
    """

    workers: int = Field(default=0, ge=0)
    cpu: float = Field(default=0.0, ge=0, lt=1)
    deadline_s: float = Field(default=900.0, gt=0)


class Resources(_Section):
    """``gpus``: use them if the cluster has some now (auto), ask for them although none runs yet (always), never."""

    expert: TaskResources = TaskResources(gpu=1.0)
    generator: TaskResources = TaskResources(gpu=0.25)
    rollout: RolloutResources = RolloutResources()
    gpus: Literal["auto", "always", "never"] = "auto"


class Range(_Section):
    """One dimension of a search: exactly one of the three."""

    choice: list[Any] | None = Field(default=None, min_length=1)
    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None

    @pydantic.model_validator(mode="after")
    def _one(self) -> Range:
        given = [name for name in ("choice", "uniform", "loguniform") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of choice, uniform, loguniform")
        bounds = self.uniform or self.loguniform
        if bounds and not bounds[0] < bounds[1]:
            raise ValueError("the lower bound must be below the upper one")
        if self.loguniform and self.loguniform[0] <= 0:
            raise ValueError("loguniform needs a lower bound above 0")
        return self


class Search(_Section):
    """Optuna (TPE) proposes settings, ASHA stops the poor ones early; both see only specs held out from *training*."""

    method: str
    space: dict[str, Range] = Field(min_length=1)
    trials: int = Field(default=20, ge=1)
    validation_fraction: float = Field(default=0.25, gt=0, lt=1)
    episodes: int = Field(default=2, ge=1)
    rungs: int = Field(default=3, ge=1)
    reduction: float = Field(default=3.0, gt=1)


def _settings(kind: type, base: Any, value: Any) -> Any:
    """``base`` (a settings dataclass) with the mapping ``value`` on top; every problem names its key."""
    if isinstance(value, kind):
        return value
    if value is None:
        return base
    if not isinstance(value, Mapping):
        raise PydanticCustomError("mapping", "write it as `key: value` lines")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    checked = {}
    for key, item in value.items():
        if key not in fields:
            raise PydanticCustomError("key", f"unknown key '{key}': {did_you_mean(str(key), fields)}", {"key": key})
        try:
            checked[key] = _adapter(kind, key).validate_python(item)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            raise PydanticCustomError("type", f"{first['msg']} (got {item!r})", {"key": key}) from None
    try:
        return dataclasses.replace(base, **checked)
    except ValueError as error:
        # A message begins with the key that is at fault.
        named = [word for word in re.findall(r"\w+", str(error)) if word in checked]
        raise PydanticCustomError("value", str(error), {"key": named[0] if named else ""}) from None


@cache
def _adapter(kind: type, key: str) -> TypeAdapter[Any]:
    """What checks one field of a settings dataclass."""
    return TypeAdapter(typing.get_type_hints(kind)[key], config=ConfigDict(allow_inf_nan=False))


def _expert(value: Any) -> ExpertChoice:
    if isinstance(value, ExpertChoice):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("mapping", "write it as `{recipe: fast}` or `{source: zoo}`")
    changes = dict(value)
    origin = changes.pop("source", "train")
    if origin not in ("train", "zoo"):
        raise PydanticCustomError("source", f"must be train or zoo (got {origin!r})", {"key": "source"})
    if origin == "zoo":
        if changes:
            key = next(iter(changes))
            raise PydanticCustomError(
                "zoo", "the zoo's experts are trained already: leave this out, or `source: zoo`", {"key": str(key)}
            )
        return ExpertChoice(source="zoo")
    algorithm = str(changes.pop("algorithm", "td3"))
    recipes = ALGORITHMS.get(algorithm, {})
    recipe = str(changes.pop("recipe", next(iter(recipes), "")))
    for key, value, known in (("algorithm", algorithm, ALGORITHMS), ("recipe", recipe, recipes)):
        if value not in known:
            raise PydanticCustomError(key, f"unknown {key} {value!r}: {did_you_mean(value, known)}", {"key": key})
    return ExpertChoice("train", algorithm, recipe, _settings(type(recipes[recipe]), recipes[recipe], changes))


def _methods(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        value = {str(name): {} for name in value}
    if not isinstance(value, Mapping) or not value:
        raise PydanticCustomError("methods", "name at least one method, for example `methods: [expert, hypogen]`")
    chosen: dict[str, Any] = {}
    for name, changes in value.items():
        if name not in METHODS:
            raise PydanticCustomError(
                "method", f"unknown method '{name}': {did_you_mean(str(name), METHODS)}", {"key": name}
            )
        if name == "expert":
            if changes:
                raise PydanticCustomError(
                    "expert", "an expert has no settings here; they stand under `experts:`", {"key": name}
                )
            chosen[name] = None
            continue
        kind = GENERATORS[name].settings
        try:
            chosen[name] = _settings(kind, kind(), changes or {})
        except PydanticCustomError as error:
            key = (error.context or {}).get("key", "")
            raise PydanticCustomError(
                "settings", error.message_template, {"key": f"{name}.{key}".rstrip(".")}
            ) from None
    return chosen


def _benchmarks(value: Any) -> list[str]:
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


def _policy(value: Any) -> PolicyShape | None:
    if value is None or isinstance(value, PolicyShape):
        return value
    shape: PolicyShape = _settings(PolicyShape, PolicyShape(), value)
    return shape


class Experiment(_Section):
    """One checked experiment without a grid: what a cell of the file says."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    description: str = ""
    seed: int = Field(default=0, ge=0)
    benchmarks: Annotated[list[str], BeforeValidator(_benchmarks)]
    methods: Annotated[dict[str, Any], BeforeValidator(_methods)]
    specs: SpecChoice = SpecChoice()
    split: SplitChoice = SplitChoice()
    policy: Annotated[Any, BeforeValidator(_policy)] = None
    experts: Annotated[ExpertChoice, BeforeValidator(_expert)] = ExpertChoice()
    demonstrations: DemonstrationChoice = DemonstrationChoice()
    training: Annotated[
        TrainingSettings, BeforeValidator(lambda v: _settings(TrainingSettings, TrainingSettings(), v))
    ] = TrainingSettings()
    evaluation: EvaluationChoice = EvaluationChoice()
    probes: list[Literal["random_start", "update_losses"]] = []
    resources: Resources = Resources()
    search: Search | None = None
    table: str = "main"

    @property
    def generators(self) -> list[str]:
        """The methods that are trained on demonstrations."""
        return [method for method in self.methods if method != "expert"]

    def shape(self, benchmark: Benchmark) -> PolicyShape:
        """The generated policy's shape; by default the paper's for the benchmark's simulator."""
        return self.policy or PolicyShape(layers=benchmark.policy_layers)
