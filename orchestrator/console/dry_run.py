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
from orchestrator.artifacts.artifact import Place
from orchestrator.artifacts.artifact_store import Store
from orchestrator.config.loading import Cell, expand
from orchestrator.config.search_space import with_settings
from orchestrator.config.yaml_source import YamlSource
from orchestrator.execution.cluster import Address
from orchestrator.execution.estimate import Estimate, duration
from orchestrator.execution.instances import Instance, parse_nodes
from orchestrator.execution.schedule import Share, SimulatedSchedule, simulate
from orchestrator.execution.state import ExecutionState
from orchestrator.planning import study
from orchestrator.planning.plan import Plan, build, in_brackets

SHOWN_GENERATORS = 30
BOUND = 0.8
"""A schedule is bound by its longest chain where that takes at least so much of it."""


def print_plan(
    console: Console, state: ExecutionState, address: Address, nodes: str | None = None, most: int = 0
) -> None:
    """Print it; nothing is started. ``nodes``: those to simulate the schedule on; else this machine without a GPU."""
    plan, cpus = state.plan, os.cpu_count() or 1
    cluster = parse_nodes(nodes) if nodes else [Instance("this machine", cpus)]
    gpus = 0.0 if plan.experiment.resources.gpus == "never" else sum(node.gpus for node in cluster)
    estimate = Estimate(state, sum(node.cpus for node in cluster), gpus)
    where = escape(f"storage {state.store.given}, Ray at {address.value} ({address.reason})")
    console.print(f"{plan.experiment.name}: {len(plan.runs)} runs, {where}", highlight=False)
    schedule = simulate(state, estimate.of, cluster, plan.experiment.resources, most)
    console.print(_overview(state, estimate, schedule))
    where = f"on {nodes}" if nodes else f"with {cpus} CPU cores and no GPU"
    _print_schedule(console, schedule, where, plan)
    _print_generators(console, plan)


def state_of(console: Console, source: YamlSource, cells: Sequence[Cell], store: Store) -> ExecutionState:
    """What is there and missing for a file and the cells of its grid; where a search comes first, it says so."""
    found = study.stored(source, store)
    if found is None:
        chosen = study.check_point(source).search
        assert chosen is not None
        console.print(
            f"search: {chosen.trials} trials over {', '.join(chosen.space)} come first; below is the run of the best."
        )
        found = with_settings(source, {})
    wanted = cells[0].experiment.until_decided
    if wanted is not None:
        console.print(
            f"until_decided: {wanted.step} splits at a time, as long as one of {', '.join(wanted.methods)} is not "
            "known to be ahead; below are all splits."
        )
    return ExecutionState(build(cells if found is source else expand(found)), store)


def _print_schedule(console: Console, schedule: SimulatedSchedule, where: str, plan: Plan) -> None:
    """How long it takes, what it costs, how full the nodes are, and what it waits for."""
    cost = "" if schedule.usd is None else f", {schedule.usd:,.2f} dollars on demand"
    lines = [f"about {duration(schedule.wall_s)} {where}{cost}; 'work' is one worker's time."]
    if schedule.spans:
        lines += [_use(name, share) for name, share in (("GPU", schedule.gpus), ("CPU", schedule.cpus)) if share.total]
        lines.append(_bound(schedule, plan))
    console.print("\n".join(lines) + "\n", highlight=False, markup=False)


def _use(name: str, share: Share) -> str:
    """How full the CPUs or GPUs are."""
    before = (
        "" if share.held_before is None else f" ({share.held_before:.0%} until no training waits for room any more)"
    )
    return f"  {share.total:g} {name}s: trainings hold {share.held:.0%}{before}; {share.busy:.0%} compute"


def _bound(schedule: SimulatedSchedule, plan: Plan) -> str:
    """What the schedule waits for: its longest chain, or room."""
    longest = [artifact for artifact in schedule.chain if artifact.place is Place.TRIAL] or schedule.chain
    names = " → ".join(plan.name(artifact.key) for artifact in longest)
    bound = "bound by" if schedule.chain_s > BOUND * schedule.wall_s else "bound by room;"
    return f"  {bound} the longest chain: {duration(schedule.chain_s)}, {names}"


def _overview(state: ExecutionState, estimate: Estimate, schedule: SimulatedSchedule) -> Table:
    """A row per kind of artifact."""
    table = Table("", "there", "missing", "work", "begun, done", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for kind in KINDS:
        counts = state.counts(kind)
        if not any(counts.values()):
            continue
        missing = [artifact for artifact in state.missing.values() if artifact.kind == kind]
        spans = [schedule.spans[artifact.key] for artifact in missing]
        shown = ["-", "-"]
        if missing:
            first, last = min(begun for begun, _ in spans), max(done for _, done in spans)
            shown = [duration(estimate.seconds(missing)), f"{duration(first)}, {duration(last)}"]
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
