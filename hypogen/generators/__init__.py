"""Policy generators: methods that map a spec to a policy. A new one is a file here and an entry in GENERATORS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from hypogen.benchmarks import Benchmark
from hypogen.errors import did_you_mean
from hypogen.generators.base import Batch, Generator, parameter_breakdown, parameter_count
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
    """A method: its settings, how to build it, and whether it adapts with demonstrations of the test specs."""

    settings: type
    build: Callable[[Benchmark, PolicyShape, Any], Generator]
    few_shot: bool = False


GENERATORS: dict[str, GeneratorEntry] = {
    "hypogen": GeneratorEntry(HyPoGenSettings, HyPoGen),
    "hyperzero": GeneratorEntry(HyperZeroSettings, HyperZero),
    "uvfa": GeneratorEntry(UVFASettings, UVFA),
    "cond_policy": GeneratorEntry(CondPolicySettings, CondPolicy),
    "meta_policy": GeneratorEntry(MetaPolicySettings, MetaPolicy, few_shot=True),
    "pearl": GeneratorEntry(PEARLSettings, PEARL, few_shot=True),
}
"""Every method, by name."""


def get_generator(name: str) -> GeneratorEntry:
    """The entry of method `name`; ValueError with the closest and all known names when there is none."""
    if name in GENERATORS:
        return GENERATORS[name]
    raise ValueError(f"unknown generator {name!r}: {did_you_mean(str(name), GENERATORS)}")


def build(
    name: str, benchmark: Benchmark, shape: PolicyShape | None = None, settings: Any = None, seed: int = 0
) -> Generator:
    """An untrained generator whose weights depend on `seed` alone; torch's global random state is left as it was.

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
    """The generator without its numbers (on torch's meta device): for counting parameters at no cost."""
    with torch.device("meta"):
        return build(name, benchmark, shape, settings)
