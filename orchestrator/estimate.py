"""How long a plan will take: from what the store's artifacts took, else from figures of a two-core machine."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from hypogen.benchmarks import get_benchmark
from hypogen.generators import parameter_count, sketch
from orchestrator.graph import KINDS, Graph
from orchestrator.plan import Node
from orchestrator.stages import generator_arguments

STEP_S = 2.0e-5
"""An environment step of a rollout, policy included. These figures are of one core of a two-core machine."""

EXPERT_UPDATE_S = 3.7e-4
EXPERT_SAMPLE_S = 1.2e-10
"""An expert's update: a constant part, and one for each sample and pair of hidden units."""

READY_S = 1.0
"""Experts that the zoo has are copied, and scripted ones are only named."""

PPO_STEP_S = 5.0e-3
MANISKILL_STEP_S = 4.0e-3
"""An environment step of PPO, updates included; and of a rollout in ManiSkill, resets included."""

MANISKILL_ROLLOUT = 2.5
"""How many times as long a generated policy's episodes are as the expert's: those that fail take all the steps."""

GENERATOR_SAMPLE_S = 6.0e-6
GENERATOR_PARAMETER_S = 9.5e-9
"""A generator's training step: for each sample of the batch and for each parameter, with two trainings side by side."""

META_STEP = 4.0
"""How many times as long a step takes that differentiates through the inner steps of MAML."""

SAMPLES = 8
"""Artifacts of a kind that are looked at to learn how long one takes here."""


class Estimate:
    """Seconds for each missing artifact, and for what is left of a graph."""

    def __init__(self, graph: Graph, workers: int) -> None:
        self._workers = max(workers, 1)
        self._nominal = {key: nominal_seconds(node) for key, node in graph.missing.items()}
        self._factor = {kind: measured_factor(graph, kind) for kind in KINDS}
        self._begun: dict[str, float] = {}

    def seconds(self, nodes: Iterable[Node]) -> float:
        """Seconds of work in all, if one worker did it."""
        return sum(self._nominal[node.key] * self._factor[node.kind] for node in nodes)

    def wall(self, graph: Graph) -> dict[str, float]:
        """Seconds by kind, with the trainings of a kind side by side where there are workers for them."""
        by_kind: dict[str, list[Node]] = defaultdict(list)
        for key, node in graph.missing.items():
            if key not in graph.made and key not in graph.failures:
                by_kind[node.kind].append(node)
        return {kind: self.seconds(nodes) / self._parallel(kind, len(nodes)) for kind, nodes in by_kind.items()}

    def _parallel(self, kind: str, count: int) -> int:
        return max(1, min(self._workers, count))

    def left(self, graph: Graph) -> float:
        """Seconds until the graph is made, with what the running artifacts have behind them taken off."""
        now = time.monotonic()
        for key in graph.running:
            self._begun.setdefault(key, now)
        behind: dict[str, float] = defaultdict(float)
        for key in graph.running:
            node = graph.plan.nodes[key]
            share = min(now - self._begun[key], 0.95 * self._nominal[key] * self._factor[node.kind])
            behind[node.kind] += share / self._parallel(node.kind, len(graph.running))
        return sum(max(seconds - behind[kind], 0.0) for kind, seconds in self.wall(graph).items())


def nominal_seconds(node: Node) -> float:
    """Seconds on one worker of the reference machine."""
    if node.kind == "experts":
        if "settings" not in node.payload:
            return READY_S
        settings = node.payload["settings"]
        if "spec" in node.payload:
            return node.work * PPO_STEP_S
        return node.work * (EXPERT_UPDATE_S + EXPERT_SAMPLE_S * settings["batch_size"] * settings["hidden_dim"] ** 2)
    if node.kind == "generator":
        steps = node.work / node.payload["training"]["batch_size"]
        relative = META_STEP if node.payload["method"] == "meta_policy" else 1.0
        return relative * (node.work * GENERATOR_SAMPLE_S + steps * GENERATOR_PARAMETER_S * parameters(node))
    simulator = get_benchmark(node.payload["benchmark"]).simulator
    if simulator.name == "mujoco":
        return node.work * STEP_S
    generated = node.kind == "rollouts" and node.payload["policy_kind"] != "experts"
    return node.work * MANISKILL_STEP_S * (MANISKILL_ROLLOUT if generated else 1.0)


def parameters(node: Node) -> int:
    """Parameters of a generator, counted without allocating them."""
    described = {name: node.payload[name] for name in ("method", "benchmark", "policy", "settings")}
    return _parameters(json.dumps(described))


@cache
def _parameters(described: str) -> int:
    return parameter_count(sketch(*generator_arguments(json.loads(described))))


def measured_factor(graph: Graph, kind: str) -> float:
    """Measured over nominal seconds of a few stored artifacts of the plan; 1 when there are none."""
    nodes = [node for node in graph.plan.nodes.values() if node.kind == kind and node.key not in graph.missing]
    ratios = []
    for node in nodes[:SAMPLES]:
        if graph.store.exists(kind, node.key):
            ratios.append(graph.store.manifest(kind, node.key)["seconds"] / max(nominal_seconds(node), 1e-9))
    return statistics.median(ratios) if ratios else 1.0


def duration(seconds: float) -> str:
    """``"42 s"``, ``"7 min"``, ``"3.5 h"``, ``"2.1 d"``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"
