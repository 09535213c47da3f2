"""A pool of Ray actors that roll policies out, and one that sums up what they measure while they do."""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import ray

from hypogen.benchmarks import get_benchmark
from orchestrator import stages
from orchestrator.errors import UserError
from orchestrator.graph import Graph
from orchestrator.plan import Node, Plan
from orchestrator.schema import RolloutResources
from orchestrator.store import Store

ROLLING = ("demonstrations", "probe", "rollouts")

ATTEMPTS = 3
"""How often a task may outlast its deadline before it fails: its process may have been stopped, or it is too long."""


class RolloutWorker:
    """Makes demonstrations, probe and rollouts artifacts, one at a time."""

    def __init__(self, storage: str) -> None:
        self._store = Store(storage)

    def make(self, node: Node, aggregator: Any) -> None:
        """Make one artifact; the episodes of a rollout go to the aggregator as well."""
        stages.make(self._store, node.kind, node.key, node.payload, node.inputs, node.work)
        if node.kind == "rollouts":
            returns = stages.load_episodes(self._store, node.key)["returns"]
            aggregator.add.remote(node.key, returns.mean(axis=1).tolist(), returns.std(axis=1).tolist())


class Aggregator:
    """Mean, deviation and in/out-of-distribution means of everything that was rolled out, as it comes in.

    The tables are computed from the stored episodes; this is for whoever watches.
    """

    def __init__(self, groups: dict[str, list[tuple[str, list[tuple[int, bool]]]]]) -> None:
        """``groups``: rollouts key -> (name of a group, [(row of the rollouts, in distribution), …])."""
        self._groups = groups
        self._specs: dict[str, list[tuple[float, float, bool]]] = defaultdict(list)
        self._seen: set[str] = set()

    def add(self, key: str, means: list[float], deviations: list[float]) -> None:
        """Take in one rollouts artifact: mean and deviation over the episodes of each of its specs ``[S]``."""
        if key in self._seen:  # a worker that was restarted says it again
            return
        self._seen.add(key)
        for name, members in self._groups.get(key, []):
            self._specs[name].extend((means[row], deviations[row], inside) for row, inside in members)

    def snapshot(self) -> dict[str, dict[str, float]]:
        """For each group: specs counted, mean, deviation over episodes, and the means in and out of distribution."""
        return {name: _summary(specs) for name, specs in self._specs.items()}


def _summary(specs: list[tuple[float, float, bool]]) -> dict[str, float]:
    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else math.nan

    return {
        "specs": len(specs),
        "mean": mean([value for value, _, _ in specs]),
        "std_episodes": mean([deviation for _, deviation, _ in specs]),
        "in_distribution": mean([value for value, _, inside in specs if inside]),
        "out_of_distribution": mean([value for value, _, inside in specs if not inside]),
    }


def live_groups(plan: Plan) -> dict[str, list[tuple[str, list[tuple[int, bool]]]]]:
    """Which groups of the live display each rollouts artifact counts in: one a benchmark, method and cell."""
    groups: dict[str, list[tuple[str, list[tuple[int, bool]]]]] = defaultdict(list)
    for key, cell in plan.members.items():
        run = plan.runs[key]
        values = ", ".join(f"{name}={value}" for name, value in cell.items())
        name = f"{run.row['benchmark']} {run.row['method']}" + (f" ({values})" if values else "")
        benchmark = get_benchmark(run.row["benchmark"])
        inside = {index: flag for index, _, flag in run.specs}
        for rollouts in run.rollouts:
            indices = [benchmark.index(tuple(spec)) for spec in plan.nodes[rollouts].payload["specs"]]
            groups[rollouts].append(
                (name, [(row, inside[index]) for row, index in enumerate(indices) if index in inside])
            )
    return dict(groups)


class Pool:
    """Feeds the rollout actors from the graph. Actors that die come back; one that hangs is replaced."""

    def __init__(self, graph: Graph, resources: RolloutResources, on_done: Callable[[str], None]) -> None:
        self._graph, self._resources, self._on_done = graph, resources, on_done
        cpus = int(ray.cluster_resources().get("CPU", 1))
        count = resources.workers or max(1, cpus)
        self._worker_class = ray.remote(RolloutWorker).options(
            num_cpus=resources.cpu, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
        )
        self.aggregator: Any = (
            ray.remote(Aggregator).options(num_cpus=0, max_restarts=-1).remote(live_groups(graph.plan))
        )
        self._idle = [self._start() for _ in range(count)]
        self._busy: dict[Any, tuple[Any, Node, float]] = {}
        self._hung: Counter[str] = Counter()

    def _start(self) -> Any:
        return self._worker_class.remote(self._graph.store.uri)

    @property
    def busy(self) -> bool:
        return bool(self._busy)

    def poll(self, timeout_s: float = 0.0) -> None:
        """Collect what is finished (waiting up to ``timeout_s`` for the first), then hand out what is ready."""
        if self._busy:
            done, _ = ray.wait(list(self._busy), num_returns=1, timeout=timeout_s)
            while done:
                self._collect(done[0])
                done, _ = ray.wait(list(self._busy), num_returns=1, timeout=0) if self._busy else ([], [])
        self._replace_hung()
        for node in self._graph.ready(ROLLING):
            if not self._idle:
                break
            worker = self._idle.pop()
            self._graph.start(node.key)
            self._busy[worker.make.remote(node, self.aggregator)] = (worker, node, time.monotonic())

    def _collect(self, reference: Any) -> None:
        worker, node, _ = self._busy.pop(reference)
        self._idle.append(worker)
        try:
            ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            self._graph.fail(node.key, str(error.cause or error) if isinstance(error.cause, UserError) else str(error))
        except ray.exceptions.RayError:
            self._graph.fail(node.key, traceback.format_exc())
        else:
            self._on_done(node.key)

    def _replace_hung(self) -> None:
        """A stopped process is never noticed by Ray, so every task has a deadline."""
        now = time.monotonic()
        for reference, (worker, node, started) in list(self._busy.items()):
            if now - started > self._resources.deadline_s:
                del self._busy[reference]
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.kill(worker)
                self._hung[node.key] += 1
                if self._hung[node.key] < ATTEMPTS:
                    self._graph.release(node.key)
                else:
                    self._graph.fail(
                        node.key,
                        f"took longer than {self._resources.deadline_s:g} s {ATTEMPTS} times: give it more time, "
                        "`--set resources.rollout.deadline_s=…`",
                    )
                self._idle.append(self._start())

    def snapshot(self) -> Any:
        """A reference to the aggregator's numbers, to be waited for without blocking."""
        return self.aggregator.snapshot.remote()
