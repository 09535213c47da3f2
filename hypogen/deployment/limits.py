"""Specs that a person asks for: from words to numbers, and which of them a policy is generated for.

A spec on the benchmark's grid goes without saying. One off it, but within its range, is what generators are for, and
nobody measured it: a warning. One beyond the range by more than ``MARGIN`` of it, or one that means nothing (a target
speed of 0, a length that is not positive), is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypogen.benchmarks import Benchmark
from hypogen.contexts import Variable
from hypogen.errors import did_you_mean

MARGIN = 0.1
"""Share of a variable's range on the grid by which a spec may lie beyond either end."""
_SAME = 1e-9

Spec = tuple[float, ...]
"""Raw values [C] in the benchmark's units."""


def parse(benchmark: Benchmark, text: str) -> Spec:
    """The spec [C] that ``speed=3.7`` or ``speed=3,length=0.4`` names. ValueError when it names another or none."""
    values = {}
    for part in text.split(","):
        name, equals, number = (word.strip() for word in part.partition("="))
        if not equals:
            raise ValueError(f"{text!r} is no spec of {benchmark.name}: write it as {_example(benchmark)}")
        if name in values:
            raise ValueError(f"{text!r}: {name} is there twice; give --spec once for each spec")
        try:
            values[name] = float(number)
        except ValueError:
            raise ValueError(
                f"{name}={number}: {number!r} is no number; write a spec as {_example(benchmark)}"
            ) from None
    return named(benchmark, values)


def named(benchmark: Benchmark, values: Mapping[str, float]) -> Spec:
    """The spec [C] with these values by name. ValueError unless they are exactly those that the benchmark varies."""
    known = [variable.name for variable in benchmark.variables]
    for name in values:
        if name in benchmark.fixed:
            raise ValueError(f"{benchmark.name} does not vary {name}, which is {benchmark.fixed[name]:g} in it")
        if name not in known:
            raise ValueError(f"{benchmark.name} has no variable {name!r}: {did_you_mean(name, known)}")
    missing = [name for name in known if name not in values]
    if missing:
        raise ValueError(f"{benchmark.name}: no value for {', '.join(missing)}; write a spec as {_example(benchmark)}")
    return tuple(float(values[name]) for name in known)


def check(benchmark: Benchmark, spec: Spec) -> str | None:
    """None for a ``spec`` [C] on the grid, else a warning. ValueError for one that is refused."""
    benchmark.values(spec)
    remarks = []
    for variable, value in zip(benchmark.variables, spec, strict=True):
        low, high = variable.grid[0], variable.grid[-1]
        margin = MARGIN * (high - low)
        if not low - margin <= value <= high + margin:
            raise ValueError(
                f"{benchmark.name}: {_value(variable, value)} is refused: policies are generated for {low - margin:g} "
                f"to {high + margin:g}, the grid's {low:g} to {high:g} and {MARGIN:.0%} of that range beyond either end"
            )
        if not low <= value <= high:
            remarks.append(f"{_value(variable, value)} lies beyond the grid, {low:g} to {high:g}")
        elif min(abs(value - known) for known in variable.grid) > _SAME:
            remarks.append(f"{_value(variable, value)} lies between the specs of the grid")
    return f"{benchmark.name}: {'; '.join(remarks)}: no measurement says how good this policy is" if remarks else None


def described(benchmark: Benchmark, spec: Any) -> str:
    """A spec [C] for people, such as ``speed=3.7 m/s, length=0.4 m``."""
    return ", ".join(_value(variable, float(value)) for variable, value in zip(benchmark.variables, spec, strict=True))


def _value(variable: Variable, value: float) -> str:
    return f"{variable.name}={value:g} {variable.unit}"


def _example(benchmark: Benchmark) -> str:
    return ",".join(f"{variable.name}={variable.grid[-1]:g}" for variable in benchmark.variables)
