"""What of a plan is there, what is missing, what can be made now, and what failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.plan import Node, Plan, Run
from orchestrator.store import Store
from results.result_store import ResultStore

KINDS = ("experts", "demonstrations", "generator", "probe", "rollouts")
TRAININGS = frozenset({"experts", "generator"})


@dataclass(frozen=True)
class Failure:
    """An artifact that could not be made: its label and why (a traceback, or the artifact it waited for)."""

    label: str
    reason: str

    def __str__(self) -> str:
        """One line: what it was, and the last line of why."""
        lines = self.reason.strip().splitlines()
        return f"{self.label}: {lines[-1] if lines else '?'}"


class Graph:
    """The missing part of a plan as it is being made. Single-threaded: only the driver touches it."""

    def __init__(self, plan: Plan, store: Store, wanted: Iterable[str] = ()) -> None:
        """``wanted``: keys of artifacts that are needed even if no run asks for them."""
        self.plan, self.store = plan, store
        stored = {kind: store.keys(kind) for kind in KINDS}
        self._stored = {node.key for node in plan.nodes.values() if node.key in stored[node.kind]}
        written = ResultStore(store.results).keys("runs")
        self.missing_runs = {key: run for key, run in plan.runs.items() if key not in written}
        self.missing = self._closure(wanted)
        self.running: set[str] = set()
        self.made: set[str] = set()
        self.failures: dict[str, Failure] = {}

    def _closure(self, wanted: Iterable[str]) -> dict[str, Node]:
        """Missing artifacts that a missing run needs, in plan order; what only made artifacts needed stays out."""
        missing: set[str] = set()
        stack = [*wanted, *(key for run in self.missing_runs.values() for key in run.needs)]
        while stack:
            key = stack.pop()
            if key not in missing and key not in self._stored:
                missing.add(key)
                stack.extend(self.plan.nodes[key].inputs)
        return {key: node for key, node in self.plan.nodes.items() if key in missing}

    def counts(self, kind: str) -> dict[str, int]:
        """How many artifacts of a kind are stored (from before), made, running, failed, waiting."""
        nodes = [node for node in self.plan.nodes.values() if node.kind == kind]
        missing = [node.key for node in nodes if node.key in self.missing]
        made = sum(key in self.made for key in missing)
        running = sum(key in self.running for key in missing)
        failed = sum(key in self.failures for key in missing)
        waiting = len(missing) - made - running - failed
        return {
            "stored": len(nodes) - len(missing),
            "made": made,
            "running": running,
            "failed": failed,
            "waiting": waiting,
        }

    def ready(self, kinds: Iterable[str]) -> list[Node]:
        """Missing artifacts of these kinds whose inputs are there and that nobody works on."""
        kinds = set(kinds)
        return [node for key, node in self.missing.items() if node.kind in kinds and self._is_ready(key, node)]

    def _is_ready(self, key: str, node: Node) -> bool:
        idle = key not in self.running and key not in self.made and key not in self.failures
        return idle and all(parent in self._stored or parent in self.made for parent in node.inputs)

    def start(self, key: str) -> None:
        self.running.add(key)

    def release(self, key: str) -> None:
        """Back to the queue: whoever made it is gone."""
        self.running.discard(key)

    def finish(self, key: str) -> list[Run]:
        """Note that an artifact is there now; the runs that this completes."""
        self.running.discard(key)
        self.made.add(key)
        return [run for run in self.missing_runs.values() if key in run.needs and self.complete(run)]

    def fail(self, key: str, reason: str) -> None:
        """Note a failure, and that everything which needs the artifact cannot be made now."""
        self.running.discard(key)
        label = self.plan.nodes[key].label
        self.failures[key] = Failure(label, reason)
        for other, node in self.missing.items():
            if key in node.inputs and other not in self.failures:
                self.fail(other, f"needs {label}, which failed")

    def is_cause(self, key: str) -> bool:
        """Whether a failed artifact failed by itself, and not for want of another one."""
        return self.failures.keys().isdisjoint(self.plan.nodes[key].inputs)

    def complete(self, run: Run) -> bool:
        """Whether everything that a run is made of is there."""
        return all(key in self._stored or key in self.made for key in run.needs)

    def finished(self, kinds: Iterable[str] = KINDS) -> bool:
        """Whether nothing of these kinds is left to start or to wait for."""
        kinds = set(kinds)
        return all(
            node.kind not in kinds or key in self.made or key in self.failures for key, node in self.missing.items()
        )
