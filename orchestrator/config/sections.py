"""Sections of an experiment file: one model per section, with the paper's settings as defaults."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from hypogen.benchmarks import Benchmark
from hypogen.experts import RECIPES
from hypogen.splits import Split, evenly_spaced_split, explicit_split, random_split

DEFAULT_RECIPE = "paper"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SpecChoice(Section):
    """Part of a benchmark's grid: every n-th spec, or a list. The default is the whole grid."""

    every: int = Field(default=1, ge=1)
    values: list[list[float]] | None = None

    def indices(self, benchmark: Benchmark) -> tuple[int, ...]:
        if self.values is None:
            return tuple(range(0, len(benchmark.grid), self.every))
        return tuple(sorted({benchmark.index(tuple(spec)) for spec in self.values}))


class SplitChoice(Section):
    """Split into training and test specs; fields that are left out follow the paper's protocol for the benchmark."""

    kind: Literal["random", "evenly_spaced", "explicit"] | None = None
    train_fraction: float | None = Field(default=None, gt=0, lt=1)
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0, 1, 2, 3, 4], min_length=1)
    train: list[list[float]] | None = None
    test: list[list[float]] | None = None

    @pydantic.field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            raise ValueError(f"{twice[0]} is given twice, and would count one split as two")
        return seeds

    def resolve(self, benchmark: Benchmark, among: tuple[int, ...], seed: int) -> Split:
        """Split of the specs ``among`` for one seed. Raises ValueError when it is impossible."""
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
    """Choice of experts: the zoo's, scripted ones, or ones trained by a recipe with the experiment's changes.

    ``recipe``: of the zoo's, that of those it has by several, and empty for each benchmark's own.
    """

    source: Literal["train", "zoo"] = "train"
    algorithm: str = "td3"
    recipe: str = DEFAULT_RECIPE
    settings: Any = RECIPES[DEFAULT_RECIPE]  # settings dataclass of the algorithm


class DemonstrationChoice(Section):
    """Number of episodes per spec (default: the paper's for the benchmark); in ManiSkill only successful ones count.

    ``noise``: standard deviation of the noise that disturbs the experts' actions while recording (the paper: 0).
    ``discount``: discount of the values in ManiSkill's demonstrations; MuJoCo's values come from the experts' critics.
    """

    episodes: int | None = Field(default=None, ge=1)
    noise: float = Field(default=0.0, ge=0)
    discount: float = Field(default=0.99, ge=0, lt=1)

    def count(self, benchmark: Benchmark) -> int:
        return self.episodes or benchmark.demonstrations


class EvaluationChoice(Section):
    """Number of episodes per spec (default: the paper's for the benchmark), and the specs that are rolled out.

    ``during_training_every``: epochs between two further policies that are rolled out, for return against epoch.
    ``selection: best_test`` evaluates, of all these policies and the final one, the policy with the best mean return
    *on the test specs* (on ManiSkill: the most successes). It serves only to compare with the authors, who do the same,
    and every row is marked with it.
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
        """Epochs before the ``last`` whose policies are rolled out."""
        every = self.during_training_every
        return list(range(every, last, every)) if every else []


class TaskResources(Section):
    """Resources of one training. ``gpu`` is dropped on a cluster without GPUs; ``threads`` is for PyTorch.

    ``deadline_s``: seconds without a report after which its process is killed, and another one goes on.
    """

    cpu: float = Field(default=1.0, ge=0)
    gpu: float = Field(default=0.0, ge=0)
    threads: int = Field(default=1, ge=1)
    deadline_s: float = Field(default=1800.0, gt=0)


class RolloutResources(Section):
    """Pool of rollout actors. ``workers: 0`` means one per CPU of the cluster.

    By default they reserve nothing, so that a cluster that loses a node never leaves a training without room.
    """

    workers: int = Field(default=0, ge=0)
    cpu: float = Field(default=0.0, ge=0, lt=1)
    deadline_s: float = Field(default=900.0, gt=0)


class Resources(Section):
    """Resources per stage. ``gpus``: use GPUs if some run now (auto), request them even if none do (always), never."""

    expert: TaskResources = TaskResources(gpu=1.0)
    generator: TaskResources = TaskResources(gpu=0.25)
    rollout: RolloutResources = RolloutResources()
    gpus: Literal["auto", "always", "never"] = "auto"


class UntilDecided(Section):
    """Add splits, in the order of `split.seeds`, until it is decided which of these methods is ahead, or all are used.

    ``step``: splits added at a time. ``alpha``: chance of any wrong decision, over all pairs, benchmarks and stages.
    """

    methods: list[str] = Field(min_length=2)
    step: int = Field(default=4, ge=1)
    alpha: float = Field(default=0.05, gt=0, lt=1)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(itertools.combinations(dict.fromkeys(self.methods), 2))

    def level(self, benchmarks: int) -> float:
        """Each comparison's share of ``alpha``."""
        return self.alpha / (len(self.pairs) * benchmarks)


class Range(Section):
    """One dimension of a search: exactly one of the three fields."""

    choice: list[JsonValue] | None = Field(default=None, min_length=1)
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


class Search(Section):
    """Search by Optuna (TPE), with ASHA to stop poor settings early; both see only specs held out from *training*.

    Where the space is of choices alone, and has no more of them than `trials`, each is tried once.
    """

    method: str
    space: dict[str, Range] = Field(min_length=1)
    trials: int = Field(default=20, ge=1)
    validation_fraction: float = Field(default=0.25, gt=0, lt=1)
    episodes: int = Field(default=2, ge=1)
    rungs: int = Field(default=3, ge=1)
    reduction: float = Field(default=3.0, gt=1)
