"""What the command prints before and after: the plan of a dry run, and the closing table."""

from __future__ import annotations

import itertools
import os

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hypogen.generators import parameter_breakdown, sketch
from orchestrator import search
from orchestrator.cluster import Address
from orchestrator.estimate import Estimate, duration, parameters
from orchestrator.experiment import expand
from orchestrator.graph import KINDS, Graph
from orchestrator.plan import Plan, build
from orchestrator.source import Source
from orchestrator.stages import generator_arguments
from orchestrator.store import Store
from results import ResultStore, render

PAPER_PARAMETERS = {
    "hypogen": 70.0,
    "hyperzero": 25.1,
    "uvfa": 0.7,
    "cond_policy": 0.7,
    "meta_policy": 0.7,
    "pearl": 0.7,
}
"""Millions, for the paper's ManiSkill policy (table 15, "Original")."""

SHOWN_GENERATORS = 30


def dry_run(console: Console, source: Source, store: Store, address: Address) -> None:
    """Print what is there, what is missing, how large the generators are and how long it will take."""
    found = search.stored(source, store)
    if found is None:
        chosen = search.check_point(source).search
        assert chosen is not None
        console.print(
            f"search: {chosen.trials} trials over {', '.join(chosen.space)} come first; below is the run of the best."
        )
        found = search.with_settings(source, {})
    plan = build(expand(found))
    graph = Graph(plan, store)
    workers = os.cpu_count() or 1
    estimate = Estimate(graph, workers)
    wall = estimate.wall(graph)
    table = Table(
        "", "there", "missing", "work", "time here", box=None, padding=(0, 2, 0, 0), title=None, header_style="dim"
    )
    for kind in KINDS:
        counts = graph.counts(kind)
        if not any(counts.values()):
            continue
        missing = [node for node in graph.missing.values() if node.kind == kind]
        work, here = estimate.seconds(missing), wall.get(kind, 0.0)
        table.add_row(
            kind,
            str(counts["stored"]),
            str(len(missing)),
            duration(work) if missing else "-",
            duration(here) if missing else "-",
        )
    runs = len(plan.runs) - len(graph.missing_runs)
    table.add_row("runs", str(runs), str(len(graph.missing_runs)), "", "")
    where = f"storage {store.given}, Ray at {address.value} ({address.reason})"
    console.print(f"{plan.experiment.name}: {len(plan.members)} runs, {where}", highlight=False)
    console.print(table)
    console.print(
        f"about {duration(sum(wall.values()))} with {workers} CPU cores and no GPU; 'work' is one worker's time.\n",
        highlight=False,
    )
    _print_generators(console, plan)


def _print_generators(console: Console, plan: Plan) -> None:
    """Parameter counts, each distinct generator once, and what the paper's count is made of."""
    generators = [node for node in plan.nodes.values() if node.kind == "generator"]
    sizes: dict[str, int] = {}
    for node in generators:
        changed = next(cell for run, cell in plan.members.items() if plan.runs[run].policy == node.key)
        about = ", ".join(f"{key}={value}" for key, value in changed.items())
        name = f"{node.payload['benchmark']} {node.payload['method']}" + (f" ({about})" if about else "")
        if name not in sizes:
            sizes[name] = parameters(node)
    for name, count in itertools.islice(sizes.items(), SHOWN_GENERATORS):
        console.print(f"  {name}: {count / 1e6:.1f} M parameters", highlight=False)
    for method in dict.fromkeys(node.payload["method"] for node in generators):
        node = next(node for node in generators if node.payload["method"] == method)
        _explain_size(console, method, node.payload)


def _explain_size(console: Console, method: str, payload: dict) -> None:
    """The same method at the paper's ManiSkill policy, part by part, beside the paper's figure."""
    from hypogen.benchmarks import get_benchmark
    from hypogen.policy import PolicyShape

    settings = type(generator_arguments(payload)[3])()
    generator = sketch(method, get_benchmark("liftcube-cube-size"), PolicyShape(layers=3), settings)
    parts = parameter_breakdown(generator)
    total = sum(parts.values())
    shown = ", ".join(f"{name} {count / 1e6:.1f}" for name, count in parts.items() if count >= 0.05e6)
    beside = f"; the paper says {PAPER_PARAMETERS[method]} M" if method in PAPER_PARAMETERS else ""
    console.print(
        f"  {method} with its default settings and the ManiSkill policy: {total / 1e6:.1f} M ({shown}){beside}",
        highlight=False,
    )


def closing(console: Console, plan: Plan, graph: Graph, store: Store) -> None:
    """Print the experiment's table, what failed, where the results lie and what to type next."""
    experiment = plan.experiment
    made = {kind: graph.counts(kind)["made"] for kind in KINDS}
    counted = ", ".join(f"{count} {kind}" for kind, count in made.items() if count) or "nothing"
    console.print(f"{experiment.name}: made {counted}; the rest was there.\n", highlight=False)
    done = len(plan.runs) - sum(not graph.complete(run) for run in graph.missing_runs.values())
    if done:
        console.out(render(experiment.table, ResultStore(store.results), experiment=experiment.name))
    causes = [failure for key, failure in graph.failures.items() if graph.is_cause(key)]
    for failure in causes:
        console.print(f"[bold red]failed[/bold red] {escape(str(failure))}", highlight=False)
    if waited := len(graph.failures) - len(causes):
        console.print(f"[bold red]failed[/bold red] {waited} more that needed what failed", highlight=False)
    if graph.failures and store.is_full():
        console.print(f"The disk under {store.root} is full: free some space, then give the same command again.")
    if graph.failures:
        console.print(
            "Tracebacks: SELECT artifact, kind, error FROM provenance WHERE status = 'failed'", highlight=False
        )
    option = "" if store.given == "runs" else f" --storage {store.given}"
    console.print(f"\nResults: {store.given}/results (Parquet). Next:", highlight=False)
    console.print(
        f"  python -m results table {experiment.table} --experiment {experiment.name}{option}", highlight=False
    )
    query = 'SELECT method, spec, avg("return") FROM episodes JOIN runs USING (run) GROUP BY ALL ORDER BY ALL'
    console.print(f"  python -m results query '{query}'{option}", highlight=False)
