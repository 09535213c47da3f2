"""Policy generators: methods that map a spec to a policy. A new method is one file here and one GENERATORS entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hypogen.benchmarks import Benchmark
from hypogen.errors import did_you_mean
from hypogen.generators.base import Batch, Generator, parameter_breakdown, parameter_count
from hypogen.generators.blind import Blind, BlindSettings
from hypogen.generators.cond_policy import CondPolicy, CondPolicySettings
from hypogen.generators.few_shot import FewShotGenerator
from hypogen.generators.hyperzero import HyperZero, HyperZeroSettings
from hypogen.generators.hypogen import HyPoGen, HyPoGenSettings
from hypogen.generators.meta_policy import MetaPolicy, MetaPolicySettings
from hypogen.generators.pearl import PEARL, PEARLSettings
from hypogen.generators.uvfa import UVFA, UVFASettings
from hypogen.policy import PolicyShape

__all__ = [
    "GENERATORS",
    "Batch",
    "FewShotGenerator",
    "Generator",
    "GeneratorEntry",
    "build",
    "get_generator",
    "parameter_breakdown",
    "parameter_count",
    "sketch",
]


@dataclass(frozen=True)
class GeneratorEntry:
    """Registry entry of a method.

    Attributes:
        settings: Frozen dataclass of the method's settings; its defaults are the paper's.
        build: Function that makes an untrained generator from a benchmark, a policy shape and settings.
        title: Name in tables and figures, such as ``HyPoGen``.
        color: Colour in figures, ``#rrggbb``; None for the next free one.
        paper_parameters: Millions of parameters for the paper's ManiSkill policy (its table 15, "Original").
        step_factor: Duration of a training step relative to other methods with the same number of parameters.
    """

    settings: type
    build: type[Generator]
    title: str
    color: str | None = None
    paper_parameters: float | None = None
    step_factor: float = 1.0

    @property
    def few_shot(self) -> bool:
        """Whether the method adapts with demonstrations of the test specs."""
        return issubclass(self.build, FewShotGenerator)

    @property
    def has_updates(self) -> bool:
        """Whether the method updates its policies step by step from a start, so that the updates can be probed."""
        return issubclass(self.build, HyPoGen)


GENERATORS: dict[str, GeneratorEntry] = {
    "hypogen": GeneratorEntry(HyPoGenSettings, HyPoGen, "HyPoGen", "#D55E00", 70.0),
    "hyperzero": GeneratorEntry(HyperZeroSettings, HyperZero, "HyperZero", "#0072B2", 25.1),
    "pearl": GeneratorEntry(PEARLSettings, PEARL, "PEARL", "#CC79A7", 0.7),
    "meta_policy": GeneratorEntry(MetaPolicySettings, MetaPolicy, "Meta Policy", "#009E73", 0.7, step_factor=4.0),
    "uvfa": GeneratorEntry(UVFASettings, UVFA, "UVFA", "#E69F00", 0.7),
    "cond_policy": GeneratorEntry(CondPolicySettings, CondPolicy, "Cond Policy", "#56B4E9", 0.7),
    "blind": GeneratorEntry(BlindSettings, Blind, "Blind policy", "#BBBBBB"),
}
"""All methods by name, in the order of tables and figures: the rows of the paper's table 1 from last to first."""


def get_generator(name: str) -> GeneratorEntry:
    """Entry of method `name`. Raises ValueError with the closest and all known names when there is none."""
    if name in GENERATORS:
        return GENERATORS[name]
    raise ValueError(f"unknown generator {name!r}: {did_you_mean(str(name), GENERATORS)}")


def build(
    name: str, benchmark: Benchmark, shape: PolicyShape | None = None, settings: Any = None, seed: int = 0
) -> Generator:
    """Untrained generator whose weights depend on `seed` alone; torch's global random state stays as it was.

    shape and settings default to the paper's for the benchmark and the method.
    """
    entry = get_generator(name)
    settings = entry.settings() if settings is None else settings
    if not isinstance(settings, entry.settings):
        raise ValueError(f"{name} takes {entry.settings.__name__}, not {type(settings).__name__}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return entry.build(benchmark, shape or PolicyShape(benchmark.policy_layers), settings)


def sketch(name: str, benchmark: Benchmark, shape: PolicyShape | None = None, settings: Any = None) -> Generator:
    """Generator without its numbers (on torch's meta device), for counting parameters at no cost."""
    with torch.device("meta"), _Uninitialised():
        return build(name, benchmark, shape, settings)


class _Uninitialised(TorchFunctionMode):
    """Skips ``torch.nn.init`` and the like: on the meta device there are no numbers to set.

    It would take most of the time, and torch would import SymPy for it.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        fills = getattr(func, "__name__", None) in ("uniform_", "normal_", "div_", "mul_")
        if fills or getattr(func, "__module__", None) == torch.nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))
