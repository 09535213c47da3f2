"""Dry run: what is there, what is missing, how large the generators are and how long it will take."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hypogen.benchmarks import get_benchmark
from hypogen.generators import GENERATORS, parameter_breakdown, sketch
from hypogen.policy import PolicyShape
from orchestrator.artifacts import KINDS, GeneratorArtifact
from orchestrator.artifacts.artifact_store import Store
from orchestrator.config.loading import Cell, expand
from orchestrator.config.yaml_source import YamlSource
from orchestrator.execution import search
from orchestrator.execution.cluster import Address
from orchestrator.execution.estimate import Estimate, duration
from orchestrator.execution.state import ExecutionState
from orchestrator.planning.plan import Plan, build, in_brackets

SHOWN_GENERATORS = 30


def print_plan(console: Console, state: ExecutionState, address: Address) -> None:
    """Print it; nothing is started."""
    plan, workers = state.plan, os.cpu_count() or 1
    estimate = Estimate(state, workers)
    where = escape(f"storage {state.store.given}, Ray at {address.value} ({address.reason})")
    console.print(f"{plan.experiment.name}: {len(plan.runs)} runs, {where}", highlight=False)
    console.print(_overview(state, estimate))
    console.print(
        f"about {duration(sum(estimate.wall(state).values()))} with {workers} CPU cores and no GPU; "
        "'work' is one worker's time.\n",
        highlight=False,
    )
    _print_generators(console, plan)


def state_of(console: Console, source: YamlSource, cells: Sequence[Cell], store: Store) -> ExecutionState:
    """What is there and missing for a file and the cells of its grid; where a search comes first, it says so."""
    found = search.stored(source, store)
    if found is None:
        chosen = search.check_point(source).search
        assert chosen is not None
        console.print(
            f"search: {chosen.trials} trials over {', '.join(chosen.space)} come first; below is the run of the best."
        )
        found = search.with_settings(source, {})
    return ExecutionState(build(cells if found is source else expand(found)), store)


def _overview(state: ExecutionState, estimate: Estimate) -> Table:
    """A row per kind of artifact."""
    wall = estimate.wall(state)
    table = Table("", "there", "missing", "work", "time here", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for kind in KINDS:
        counts = state.counts(kind)
        if not any(counts.values()):
            continue
        missing = [artifact for artifact in state.missing.values() if artifact.kind == kind]
        times = (estimate.seconds(missing), wall.get(kind, 0.0))
        shown = [duration(seconds) if missing else "-" for seconds in times]
        table.add_row(kind, str(counts["stored"]), str(len(missing)), *shown)
    there = len(state.plan.runs) - len(state.missing_runs)
    table.add_row("runs", str(there), str(len(state.missing_runs)), "", "")
    return table


def _print_generators(console: Console, plan: Plan) -> None:
    """Parameter counts, each distinct generator once, and the parts of the paper's count."""
    sizes: dict[str, int] = {}
    for run in plan.runs.values():
        if isinstance(run.acting, GeneratorArtifact) and len(sizes) < SHOWN_GENERATORS:
            name = f"{run.benchmark.name} {run.method}{in_brackets(plan.cells[run.key])}"
            if name not in sizes:
                sizes[name] = run.acting.method.parameters(run.benchmark)
    for name, count in sizes.items():
        console.print(f"  {escape(name)}: {count / 1e6:.1f} M parameters", highlight=False)
    for method in dict.fromkeys(run.method for run in plan.runs.values() if run.method in GENERATORS):
        _explain_size(console, method)


def _explain_size(console: Console, method: str) -> None:
    """A method at its defaults and the paper's ManiSkill policy, part by part, beside the paper's figure."""
    entry = GENERATORS[method]
    generator = sketch(method, get_benchmark("liftcube-cube-size"), PolicyShape(layers=3), entry.settings())
    parts = parameter_breakdown(generator)
    total = sum(parts.values())
    shown = ", ".join(f"{name} {count / 1e6:.1f}" for name, count in parts.items() if count >= 0.05e6)
    beside = "" if entry.paper_parameters is None else f"; the paper says {entry.paper_parameters} M"
    console.print(
        f"  {method} with its default settings and the ManiSkill policy: {total / 1e6:.1f} M ({shown}){beside}",
        highlight=False,
    )
