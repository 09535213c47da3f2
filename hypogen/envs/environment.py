"""Environment: robot, task and contexts as pure data. Each simulator's package adds what its physics needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hypogen.contexts import Benchmark, Tolerance, Variable
from hypogen.simulators import Simulator


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What sets one context apart from the others of its environment.

    Attributes:
        defaults: Values in place of the environment's own defaults, by the variable's name.
        tolerance, published, revision, note: Those of its benchmark (see :class:`hypogen.contexts.Benchmark`).
    """

    defaults: Mapping[str, float] = field(default_factory=dict)
    tolerance: Tolerance | None = None
    published: bool = True
    revision: int = 1
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Environment:
    """A robot and its task, with every context that benchmarks vary in it.

    Attributes:
        name: Key in its registry, and first half of its benchmarks' names.
        defaults: Value of every variable where it does not vary, by name.
        units: Unit of every variable, by name.
        contexts: Grid of each variable that varies, by the context's name and the variable's.
        terms: What sets a context apart from the others, by its name; most have nothing.
        observation_dim: Length of a flat observation.
        action_dim: Length of an action; every action lies in [-1, 1].
        simulator: Physics engine that runs it.
        episode_steps, policy_layers, success, train_fraction, split, episodes, demonstrations: Protocol of its
            benchmarks (see :class:`hypogen.contexts.Benchmark`).
    """

    name: str
    defaults: Mapping[str, float]
    units: Mapping[str, str]
    contexts: Mapping[str, Mapping[str, tuple[float, ...]]]
    observation_dim: int
    action_dim: int
    simulator: Simulator
    episode_steps: int
    policy_layers: int
    success: str
    train_fraction: float
    split: Literal["random", "evenly_spaced"]
    episodes: int
    demonstrations: int
    terms: Mapping[str, Terms] = field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the context variables that its physics or its reward consumes."""
        raise NotImplementedError

    def benchmarks(self) -> list[Benchmark]:
        """One benchmark per context, in the order of ``contexts``."""
        return [self._benchmark(context, grids) for context, grids in self.contexts.items()]

    def check(self, benchmark: Benchmark) -> None:
        """Raises ValueError unless the variables of ``benchmark`` are exactly those that this environment consumes."""
        given = [*benchmark.fixed, *(variable.name for variable in benchmark.variables)]
        known = f"{self.name} consumes {', '.join(self.variables)}"
        for name in given:
            if name not in self.variables:
                raise ValueError(f"{benchmark.name}: nothing in the simulator consumes the variable {name!r}; {known}")
        for name in self.variables:
            if name not in given:
                raise ValueError(f"{benchmark.name}: no value for the variable {name!r}; {known}")

    def _benchmark(self, context: str, grids: Mapping[str, tuple[float, ...]]) -> Benchmark:
        terms = self.terms.get(context, Terms())
        defaults = {**self.defaults, **terms.defaults}
        return Benchmark(
            name=f"{self.name}-{context}",
            environment=self.name,
            context=context,
            simulator=self.simulator,
            variables=tuple(Variable(name, self.units[name], defaults[name], grid) for name, grid in grids.items()),
            fixed={name: value for name, value in defaults.items() if name not in grids},
            observation_dim=self.observation_dim,
            action_dim=self.action_dim,
            episode_steps=self.episode_steps,
            policy_layers=self.policy_layers,
            success=self.success,
            train_fraction=self.train_fraction,
            split=self.split,
            episodes=self.episodes,
            demonstrations=self.demonstrations,
            tolerance=terms.tolerance,
            published=terms.published,
            revision=terms.revision,
            note=terms.note,
        )
