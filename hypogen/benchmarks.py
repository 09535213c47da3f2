"""Every benchmark by name: the 17 of the paper's tables 6 to 9, ours beside them, and those added since.

    ======================  ==========================================================================================
    ours                    difference from the paper's
    ======================  ==========================================================================================
    <robot>-exact-speed     faster than asked earns less, so that the policy of a neighbouring speed does not do
    cheetah-length-at-10    target of 10 m/s, which the paper's table 6 states; its numbers were measured at 1 m/s, the
                            target of ``cheetah-length``
    finger-length-at-15     the same: 15 rad/s as stated, where ``finger-length`` asks for 1 rad/s
    ======================  ==========================================================================================

``Benchmark.published`` tells the two kinds apart, and ``Benchmark.note`` says what a reader must know. Each comes from
the file of its environment under :mod:`hypogen.envs`. Nothing here imports a simulator.
"""

from __future__ import annotations

from hypogen.contexts import Benchmark, Variable
from hypogen.envs import ENVIRONMENTS
from hypogen.errors import did_you_mean

__all__ = ["BENCHMARKS", "Benchmark", "Variable", "get_benchmark"]

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for environment in ENVIRONMENTS.values() for benchmark in environment.benchmarks()
}
"""Every benchmark, by name."""


def get_benchmark(name: str) -> Benchmark:
    """The benchmark called ``name``; ValueError with the closest and all known names when there is none."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    raise ValueError(f"unknown benchmark {name!r}: {did_you_mean(str(name), BENCHMARKS)}")
