"""Card of a folder with a generator or experts: a ``README.md`` as model hubs show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypogen.benchmarks import Benchmark
from hypogen.deployment.limits import Spec, described
from hypogen.deployment.policies import KnownPolicies, Trained, title_of


@dataclass(frozen=True)
class Measured:
    """Returns of one spec's episodes: role is ``train`` or ``test``."""

    spec: Spec
    role: str
    mean: float
    episodes: int


def card(
    trained: Trained, origin: str, measured: Sequence[Measured] = (), facts: Mapping[str, str] | None = None
) -> str:
    """The card as Markdown with a YAML header.

    Args:
        origin: Where it comes from, in words, such as the key of its run.
        measured: What it was measured to return, if anything.
        facts: More lines of the table of facts, by name.
    """
    benchmark, title = trained.benchmark, title_of(trained.method)
    header = ["library_name: hypogen", "pipeline_tag: reinforcement-learning"]
    tags = ["reinforcement-learning", "robotics", "policy-generation", benchmark.name, trained.method]
    rows = {"origin": origin, "method": title, **_sizes(benchmark), **(facts or {})}
    return "\n".join(
        [
            "---",
            *header,
            "tags:",
            *(f"- {tag}" for tag in tags),
            "---",
            "",
            f"# {title} on {benchmark.name}",
            "",
            *([f"{benchmark.note[0].upper()}{benchmark.note[1:]}.", ""] if benchmark.note else []),
            _kind(trained),
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in rows.items()),
            "",
            "```python",
            "import hypogen",
            "",
            f'policy = hypogen.load("path/of/this/folder").policy({_arguments(trained)})',
            "action = policy.act(observation)",
            "```",
            "",
            *_measurements(benchmark, measured),
        ]
    )


def _kind(trained: Trained) -> str:
    variables = " and ".join(variable.name for variable in trained.benchmark.variables)
    if isinstance(trained, KnownPolicies):
        return (
            f"Policies for {len(trained.specs)} specs ({variables}) that it was trained or adapted for, and no others."
        )
    return f"A policy generator: from a spec ({variables}) to a policy's weights, without a demonstration of that spec."


def _sizes(benchmark: Benchmark) -> dict[str, str]:
    grids = "; ".join(f"{v.name} {v.grid[0]:g} to {v.grid[-1]:g} {v.unit}" for v in benchmark.variables)
    return {
        "benchmark": benchmark.identity,
        "spec": grids,
        "observation": f"{benchmark.observation_dim} numbers, as the environment gives them",
        "action": f"{benchmark.action_dim} numbers in [-1, 1]",
    }


def _arguments(trained: Trained) -> str:
    grid = trained.specs if isinstance(trained, KnownPolicies) else trained.benchmark.grid
    spec = grid[-1].tolist()
    return ", ".join(f"{v.name}={value:g}" for v, value in zip(trained.benchmark.variables, spec, strict=True))


def _measurements(benchmark: Benchmark, measured: Sequence[Measured]) -> list[str]:
    if not measured:
        return []
    lines = ["| spec | role | mean return | episodes |", "| --- | --- | ---: | ---: |"]
    for one in measured:
        lines.append(f"| {described(benchmark, one.spec)} | {one.role} | {one.mean:.2f} | {one.episodes} |")
    return ["## Measured", "", *lines, ""]
