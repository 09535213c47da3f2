"""Ray and Tune of a simulation: as much of both as the orchestrator uses, on simulated processes.

Actors take calls one by one; answers arrive late, in any order, or never, when a process or its node is gone by then.
"""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import exceptions, tune
from ray.tune.search import Searcher

from tests.simulation.processes import Process, World

CPUS = 2
"""CPUs of each node."""


class Reference:
    """What a call will return."""

    def __init__(self) -> None:
        self.done, self.value, self.error = False, None, None


class Actor:
    """An actor, as its callers see it."""

    def __init__(self, cluster: Cluster, node: str, make: Callable[[], Any]) -> None:
        self._calls: list[tuple[str, tuple[Any, ...], Reference]] = []
        self._cluster, self._make = cluster, make
        self._process = cluster.start(make.__qualname__, node, self._serve)

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: self._call(name, arguments))

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Reference:
        reference = Reference()
        self._calls.append((name, arguments, reference))
        self._cluster.references.append((reference, self._process))
        return reference

    def _serve(self) -> None:
        world, behind = self._cluster.world, self._make()
        while True:
            world.pause(lambda: bool(self._calls), seconds=1e9)
            if not self._calls:
                continue
            name, arguments, reference = self._calls.pop(0)
            value, error = None, None
            try:
                value = getattr(behind, name)(*arguments)
            except Exception as raised:
                error = exceptions.RayTaskError(name, "".join(map(str, raised.args)) or repr(raised), raised)
            world.pause(seconds=self._cluster.delay())  # the answer is on its way; it is lost if the process dies now
            reference.value, reference.error, reference.done = value, error, True


class Cluster:
    """Nodes with their processes, behind the interface of the module ``ray``."""

    exceptions = exceptions

    def __init__(self, world: World, nodes: Iterable[str], scratch: Path) -> None:
        self.world, self.alive, self._scratch = world, dict.fromkeys(nodes, True), scratch
        self.references: list[tuple[Reference, Process]] = []
        self._numbers = itertools.count()
        strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        self.util = SimpleNamespace(scheduling_strategies=strategies)

    def delay(self) -> float:
        """Seconds that a message takes."""
        return self.world.random.choice((0.0, 0.01, 0.1, 5.0))

    def start(self, name: str, node: str, target: Callable[[], object]) -> Process:
        """A process that belongs to the one that starts it: without it, it ends."""
        parent = self.world.here()
        process = self.world.start(name, node, target)
        process.parent = parent  # type: ignore[attr-defined]
        return process

    def lose(self, node: str) -> None:
        """A node, with all its processes, is gone."""
        self.alive[node] = False
        for process in self.world.processes:
            if process.node == node:
                process.kill(exceptions.NodeDiedError("the node is gone"))

    # The module ``ray``

    def remote(self, target: Any) -> Any:
        def options(scheduling_strategy: str = "SPREAD", **_: Any) -> Any:
            def start(*arguments: Any) -> Actor:
                def make() -> Any:
                    return target(*arguments)

                make.__qualname__ = target.__name__
                there = self.alive.get(scheduling_strategy, False)
                return Actor(self, scheduling_strategy if there else self.pick(), make)

            return SimpleNamespace(options=options, remote=start)

        return options()

    def pick(self, avoid: Iterable[str] = ()) -> str:
        """A node for a new process."""
        there = [node for node, up in self.alive.items() if up]
        good = [node for node in there if node not in set(avoid)]
        return self.world.random.choice(good or there)

    def _settle(self) -> None:
        """Let calls to processes that are gone fail."""
        for reference, process in self.references:
            if not reference.done and process.gone:
                reference.error = process.reason or exceptions.ActorDiedError()
                if not isinstance(reference.error, exceptions.RayError):
                    reference.error = exceptions.ActorDiedError()
                reference.done = True
        self.references = [(reference, process) for reference, process in self.references if not reference.done]

    def wait(self, references: list[Reference], num_returns: int = 1, timeout: float | None = None) -> Any:
        def some() -> bool:
            self._settle()
            return any(reference.done for reference in references)

        if timeout != 0:
            self.world.pause(some, seconds=1e9 if timeout is None else timeout)
        some()
        done = [reference for reference in references if reference.done][:num_returns]
        return done, [reference for reference in references if reference not in done]

    def get(self, reference: Reference, timeout: float | None = None) -> Any:
        done, _ = self.wait([reference], timeout=timeout)
        if not done:
            raise exceptions.GetTimeoutError("late")
        if reference.error is not None:
            raise reference.error
        return reference.value

    def kill(self, actor: Any) -> None:
        process = actor if isinstance(actor, Process) else actor._process
        process.kill(exceptions.ActorDiedError())

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(CPUS * sum(self.alive.values())), "memory": 8e9}

    def nodes(self) -> list[dict[str, Any]]:
        resources = {"CPU": float(CPUS), "memory": 4e9}
        return [
            {"NodeID": node, "Alive": up, "NodeManagerAddress": node, "Resources": resources}
            for node, up in self.alive.items()
        ]

    def get_runtime_context(self) -> Any:
        process = self.world.here()
        return SimpleNamespace(get_node_id=lambda: process.node if process else "")

    # The module ``ray.tune``

    @property
    def tune(self) -> Any:
        return SimpleNamespace(
            report=self._report,
            with_resources=lambda trainable, _: trainable,
            TuneConfig=SimpleNamespace,
            PlacementGroupFactory=tune.PlacementGroupFactory,
        )

    def _report(self, values: Mapping[str, Any]) -> None:
        process: Any = self.world.here()
        process.reports.append((self.world.now + self.delay(), dict(values)))
        self.world.pause()

    def run_tune(self, store: Any, name: str, trainable: Callable[..., None], tune_config: Any, callback: Any) -> None:
        """Trials for as long as the searcher suggests some."""
        searcher, running, over, number = tune_config.search_alg, dict[str, Any](), False, 0
        while not over or running:
            while not over and len(running) < CPUS:
                trial_id = f"trial{next(self._numbers)}"
                config = searcher.suggest(trial_id)
                over = config == Searcher.FINISHED
                if over or config is None:
                    break
                trial = self._trial(trial_id, trainable, config)
                running[trial_id] = trial
                callback.on_trial_start(number, [], trial)
            for trial in list(running.values()):
                self._deliver(trial, callback, number)
                process = trial.process
                if process.gone and (process.dead or not process.reports):
                    del running[trial.trial_id]
                    self._end(trial, searcher, callback, number)
            callback.on_step_end(number, [])
            number += 1
            self.world.pause(seconds=self.world.random.choice((0.05, 0.5)))

    def _trial(self, trial_id: str, trainable: Callable[..., None], config: Any) -> Any:
        process: Any = self.start("trial", self.pick(config["terms"].avoid), lambda: trainable(config))
        process.reports = []
        return SimpleNamespace(
            trial_id=trial_id,
            config=config,
            last_result=None,
            process=process,
            temporary_state=SimpleNamespace(ray_actor=process),
            pickled_error_file=str(self._scratch / trial_id),
        )

    def _deliver(self, trial: Any, callback: Any, number: int) -> None:
        while trial.process.reports and trial.process.reports[0][0] <= self.world.now:
            _, trial.last_result = trial.process.reports.pop(0)
            callback.on_trial_result(number, [], trial, trial.last_result)

    def _end(self, trial: Any, searcher: Any, callback: Any, number: int) -> None:
        error = trial.process.reason
        if trial.process.dead and not isinstance(error, exceptions.RayError):
            error = exceptions.ActorDiedError()
        searcher.on_trial_complete(trial.trial_id, trial.last_result, error is not None)
        if error is None:
            callback.on_trial_complete(number, [], trial)
        else:
            Path(trial.pickled_error_file).write_bytes(pickle.dumps(error))
            callback.on_trial_error(number, [], trial)

    # Taking over

    def modules(self) -> list[Any]:
        """The orchestrator's modules that use Ray."""
        return [
            module
            for name, module in list(sys.modules.items())
            if name.startswith("orchestrator.") and getattr(module, "ray", None) is not None
        ]
