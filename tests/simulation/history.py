"""Histories: a sweep on a simulated cluster, what goes wrong meanwhile, and what must be so at the end.

    python -m tests.simulation.history --seeds 10000     # many histories; the seeds of those that break a rule
    python -m tests.simulation.history --seed 4711       # one again, with all that happened

Execution state, searcher, attempts, retries, pool, store, locks, checkpoints and results are the orchestrator's own.
What the artifacts hold is made up, but follows from their inputs, step by step: whatever is lost or taken twice shows.

The rules: the command, given again where it ended, comes to an end; the tables are those of an undisturbed sweep to the
last bit, no row lost or doubled; no finished artifact is ever other than whole, unless the disk itself damaged it; and
nothing that was there is made again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from hypogen.checkpoints import Checkpoint
from hypogen.errors import Stopped
from orchestrator.artifacts import ARTIFACTS, KINDS, Artifact, RolloutsArtifact
from orchestrator.artifacts.artifact import Task, read_curve, write_curve
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.integrity import MANIFEST, damage
from orchestrator.config.loading import expand, load
from orchestrator.config.sections import TaskResources
from orchestrator.execution import execution, requests, trainings
from orchestrator.execution.attempts import Attempts
from orchestrator.execution.execution import Session
from orchestrator.execution.stopping import StopRequest
from orchestrator.planning.plan import Plan, build
from results.result_store import ResultStore
from tests.helpers.experiments import TINY
from tests.simulation.cluster import Cluster
from tests.simulation.disk import Disk
from tests.simulation.processes import Hang, Process, World

NODES = ("head", "a", "b")
COMMANDS = 12
"""How often the command may be given in one history."""
LIMIT_S = 1e4
"""Simulated seconds after which a history hangs."""
STEPS = 4
"""Steps in which an artifact is made, with a checkpoint after each."""
TABLES = ("runs", "episodes", "curves")


class Broken(Exception):
    """A rule was broken."""


# What artifacts hold


def content_of(store: Store, artifact: Artifact) -> bytes:
    """What a stored artifact holds."""
    return (artifact.folder(store) / "content").read_bytes()


def make_up(artifact: Artifact, store: Store, folder: Path, task: Task) -> dict[str, Any]:
    """Stands for the real making: a chain of hashes over the inputs, with checkpoints."""
    files = Checkpoint(task.checkpoint, {"key": artifact.key})
    state = files.load()
    if state is None:
        inputs = b"".join(content_of(store, parent) for parent in artifact.inputs)
        state = {"step": 0, "chain": hashlib.sha256(artifact.key.encode() + inputs).hexdigest()}
    while state["step"] < STEPS:
        time.sleep(1.5)
        state = {"step": state["step"] + 1, "chain": hashlib.sha256(state["chain"].encode()).hexdigest()}
        files.save(state)
        task.report({"update": state["step"], "updates": STEPS})
        if task.stop():
            raise Stopped(artifact.key)
    (folder / "content").write_text(state["chain"])
    write_curve(folder, [{"epoch": 1, "step": 1, "metric": "loss", "value": int(state["chain"][:8], 16)}])
    return {"steps": STEPS, "parameters": 1, "mean_return": 0.0}


def measured_episodes(artifact: RolloutsArtifact, store: Store) -> dict[str, np.ndarray]:
    """Stands for the arrays of a real rollout."""
    shape = (len(artifact.specs), len(artifact.seeds[0]))
    generator = np.random.default_rng(list(content_of(store, artifact)))
    flags = np.zeros(shape, dtype=bool)
    return {"returns": generator.random(shape), "lengths": np.ones(shape, int), "failed": flags, "success": ~flags}


@cache
def the_plan() -> Plan:
    """Eight trainings, demonstrations and rollouts of three runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tiny.yaml")
        path.write_text(TINY)
        return build(expand(load(path, None, ["resources.rollout.workers=0"])))


# What goes wrong


FAULTS: dict[str, int] = {
    "kill": 6,
    "kill the driver": 3,
    "stop": 2,
    "lose a node": 2,
    "cut the power": 3,
    "fill the disk": 2,
    "fail to write": 4,
    "run out of memory": 2,
    "jump": 1,
    "damage": 2,
    "start a second sweep": 2,
}
"""Kinds of faults, by how often."""


class History:
    """One history.

    Args:
        seed: Everything follows from it.
        faults: Most faults.
    """

    def __init__(self, seed: int, root: Path, faults: int = 6) -> None:
        self.seed, self.random = seed, random.Random(seed)
        self.world = World(seed)
        self.storage = root / "runs"
        self.scratch = root / "scratch"
        self.scratch.mkdir(parents=True)
        self.cluster = Cluster(self.world, NODES, self.scratch)
        self.disk = Disk(self.world, self.storage, self._before)
        kinds = self.random.choices(
            list(FAULTS), list(FAULTS.values()), k=self.random.randint(1, faults) if faults else 0
        )
        self._due = sorted((self.random.randrange(1, 700), kind) for kind in kinds)
        self._operations, self._full_until_s, self._last_operation_s = 0, 0.0, 0.0
        self._raise: BaseException | None = None
        self._drivers: list[Process] = []
        self._doomed: dict[Process, float] = {}
        self._broken: Broken | None = None
        self._commands = itertools.count(1)
        self._cut: list[str] = []
        self._damaged: set[tuple[str, str]] = set()
        self.made: Counter[str] = Counter()
        self.aside: Counter[str] = Counter()
        self.outcomes: list[str] = []

    # Faults

    def _before(self, name: str) -> None:
        """An operation of a process is about to happen: the moment for whatever is due."""
        self._operations += 1
        self._last_operation_s = self.world.now
        if self._due and self._operations >= self._due[0][0]:
            _, kind = self._due.pop(0)
            self.world.note(f"{kind}, where {self._me().name} is about to {name}")
            self.disk.faulty = True
            try:
                getattr(self, "_" + kind.replace(" ", "_"))()
            finally:
                self.disk.faulty = False
            self.world.pause()  # the end of whoever was killed
        if self.world.now < self._full_until_s and name in ("write", "mkdir"):
            raise OSError(28, "No space left on device")
        if self._raise is not None:
            error, self._raise = self._raise, None
            raise error

    def _me(self) -> Process:
        process = self.world.here()
        assert process is not None
        return process

    def _kill(self) -> None:
        me = self._me()
        if me in self._drivers:
            return self._kill_the_driver()
        me.kill()
        return self._check_whole()

    def _kill_the_driver(self) -> None:
        driver = self.random.choice([one for one in self._drivers if not one.gone] or [self._me()])
        driver.kill()

    def _stop(self) -> None:
        me = self._me()
        if me not in self._drivers:
            me.stopped_until = self.world.now + self.random.choice((30.0, 4000.0))

    def _lose_a_node(self) -> None:
        node = self.random.choice(NODES[1:])
        self.cluster.lose(node)
        self._check_whole()
        back = self.world.now + self.random.choice((5.0, 200.0))

        def return_it() -> None:
            self.world.pause(seconds=back - self.world.now)
            self.cluster.alive[node] = True

        self.world.start("return of a node", "nowhere", return_it)

    def _cut_the_power(self) -> None:
        for process in self.world.processes:
            process.kill()
        self._cut = [str(path) for path in self.disk.cut_power(self.random)]
        self.world.note(f"torn: {self._cut}")
        self._check_whole()

    def _fill_the_disk(self) -> None:
        self._full_until_s = self.world.now + self.random.choice((0.1, 3.0, 100.0))

    def _fail_to_write(self) -> None:
        self._raise = OSError(5, "Input/output error")

    def _run_out_of_memory(self) -> None:
        if self._me() not in self._drivers:
            self._raise = MemoryError()

    def _jump(self) -> None:
        self.world.skew += self.random.choice((-3600.0, 3600.0, 1e7))

    def _damage(self) -> None:
        whole = sorted(path.parent for path in self.storage.glob(f"artifacts/*/*/{MANIFEST}"))
        if whole:
            folder = self.random.choice(whole)
            path = self.random.choice(sorted(file for file in folder.iterdir() if file.is_file()))
            content = bytearray(path.read_bytes())
            if content:
                content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
                with path.open("r+b") as file:
                    file.write(content)
                self._damaged.add((folder.parent.name, folder.name))
                self.world.note(f"damaged {path}")

    def _start_a_second_sweep(self) -> None:
        self._command()

    # Rules

    def _check_whole(self) -> None:
        """A finished artifact is whole at any moment, unless the disk damaged it."""
        for path in self.storage.glob(f"artifacts/*/*/{MANIFEST}"):
            name = (path.parent.parent.name, path.parent.name)
            if name not in self._damaged and (reason := damage(path.parent)) is not None:
                self._broken = self._broken or Broken(f"{name} is finished, but {reason}")

    def _check_end(self, store: Store, reference: dict[str, bytes]) -> None:
        found = results_of(self.storage)
        if found != reference:
            different = sorted(name for name in reference if found.get(name) != reference[name])
            raise Broken(f"other tables: {different}, too many: {sorted(found.keys() - reference.keys())}")
        for key, times in self.made.items():
            if times > 1 + self.aside[key]:
                raise Broken(f"{key} was made {times} times, and set aside {self.aside[key]} times")

    # The sweep

    def _command(self) -> None:
        self._drivers.append(self.world.start(f"driver{next(self._commands)}", "head", self._drive))

    def _drive(self) -> None:
        """The command: what ``orchestrator.sweep`` does with a plan."""
        watcher = SimpleNamespace(
            **{name: lambda *_: None for name in ("training", "finished", "completed", "stopping", "waiting")},
            damaged=self.world.note,
            note=self.world.note,
            refresh=lambda ask, final=False: None,
        )
        session = Session(
            Store(str(self.storage)),
            None,  # type: ignore[arg-type]
            StopRequest(),
            lambda *_: contextlib.nullcontext(watcher),
        )
        state = session.execute(the_plan())
        self.outcomes.append("failed" if state.failures else "done")
        for failure in state.failures.values():
            self.world.note(f"failed: {failure}")

    def _reap(self) -> None:
        """Without its driver, a sweep's Ray ends, a little later."""
        if not any(driver.gone for driver in self._drivers):
            return
        for process in self.world.processes:
            parent: Any = getattr(process, "parent", None)
            if parent is None or not parent.gone or process.gone:
                continue
            if process not in self._doomed:
                self._doomed[process] = self.world.now + self.random.choice((0.0, 0.05, 3.0))
                self.world.alarms.append(self._doomed[process])
            if self.world.now >= self._doomed[process]:
                process.kill()

    def _quiet(self) -> bool:
        self._reap()
        idle_s = self.world.now - self._last_operation_s
        self.world.patience = 1.0 if idle_s < 10 else 20.0
        return not [process for process in self.world.processes if not process.unwound]

    def run(self, reference: dict[str, bytes]) -> None:
        """From the first command to the last. Raises Broken or Hang where a rule is broken."""
        with self._taken_over(), self.disk.taken_over():
            try:
                for _ in range(COMMANDS):
                    self._command()
                    mine = self._drivers[-1]
                    self.world.run(self._quiet, self.world.now + LIMIT_S)
                    self._check_whole()
                    if self._broken is not None:  # what a process raises may be caught on the way
                        raise self._broken
                    error = mine.reason
                    self.world.note(f"{mine.name}: {'killed' if mine.dead else error or self.outcomes[-1]}")
                    self.world.now += 20.0  # until somebody looks
                    store = Store(str(self.storage))
                    if self._cut:
                        self._repair(store)
                    elif not mine.dead and error is None and self.outcomes[-1] == "done" and not self._left(store):
                        self._check_end(store, reference)
                        return
                raise Broken(f"not done after {COMMANDS} commands")
            finally:
                self.world.end()

    def _left(self, store: Store) -> bool:
        """Whether a next command would find something to do: damage that this one had no reason to read."""
        for found in store.problems(KINDS):
            if (found.kind, found.key) not in self._damaged:
                raise Broken(str(found))
            store.set_aside(found.kind, found.key)
        self._damaged.clear()
        return False

    def _repair(self, store: Store) -> None:
        """``orchestrator.store check --repair``, as after a power cut."""
        self._cut = []
        for found in store.problems(KINDS):
            store.set_aside(found.kind, found.key)
        results = ResultStore(store.results)
        for table, key, _ in results.problems():
            results.set_aside(table, key, f"{store.root}/damaged/results")

    @contextlib.contextmanager
    def _taken_over(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:

            def put(owner: Any, name: str, value: Any) -> None:
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)

            for module in self.cluster.modules():
                put(module, "ray", self.cluster)
            put(trainings, "tune", self.cluster.tune)
            put(trainings, "run_tune", self.cluster.run_tune)
            put(execution, "_check_shared", lambda store: None)
            put(trainings, "discard_left", lambda store: None)
            put(execution, "Attempts", partial(Attempts, clock=lambda: time.monotonic()))
            put(requests, "fit_to_cluster", lambda request, resources: TaskResources(cpu=1))
            put(requests, "room_for", lambda bundles: 1)
            for kind in {cls for artifact in ARTIFACTS for cls in artifact.__mro__ if "make" in vars(cls)}:
                put(kind, "make", make_up)
            for kind in {cls for artifact in ARTIFACTS for cls in artifact.__mro__ if "curve" in vars(cls)}:
                put(kind, "curve", read_curve)
            put(RolloutsArtifact, "load", measured_episodes)
            publish, set_aside, written = Store._publish, Store.set_aside, ResultStore._publish
            history = self

            def publishing(store: Store, staging: Path, kind: str, key: str) -> None:
                publish(store, staging, kind, key)
                history.made[key] += 1

            def setting_aside(store: Store, kind: str, key: str) -> str:
                history.aside[key] += 1
                target = set_aside(store, kind, key)
                history._damaged.discard((kind, key))
                return target

            def writing(results: ResultStore, path: str, content: Any) -> None:
                history.disk.operation("write")
                written(results, path, content)
                history.disk.operation("write")

            put(Store, "_publish", publishing)
            put(Store, "set_aside", setting_aside)
            put(ResultStore, "_publish", writing)
            yield


def results_of(storage: Path) -> dict[str, bytes]:
    """Every file of the tables that don't depend on what happened on the way."""
    files = [file for table in TABLES for file in sorted((storage / "results" / table).glob("*"))]
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files if not file.name.startswith(".")}


@cache
def undisturbed() -> dict[str, bytes]:
    """The tables of a sweep to which nothing happens."""
    with _folder() as folder:
        history = History(0, folder, faults=0)
        with contextlib.suppress(Broken):
            history.run({})
        return results_of(history.storage)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="history-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def play(seed: int, reference: dict[str, bytes] | None = None) -> History:
    """One history. Raises Broken or Hang, with the seed and what happened, where a rule is broken."""
    expected = undisturbed() if reference is None else reference
    with _folder() as folder:
        history = History(seed, folder)
        try:
            history.run(expected)
        except (Broken, Hang) as error:
            log = "\n".join(history.world.log)
            raise Broken(f"seed {seed}: {error}\n{log}") from None
        return history


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.seed is not None:
        print("\n".join(play(options.seed).world.log))
        return
    began, broken = time.time(), []
    for seed in range(options.first, options.first + options.seeds):
        try:
            play(seed)
        except Broken as error:
            broken.append(seed)
            print(str(error).splitlines()[0], flush=True)
    print(f"{options.seeds} histories in {time.time() - began:.0f} s, {len(broken)} broken: {broken}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
