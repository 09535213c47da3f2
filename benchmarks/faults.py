"""Drill: a real sweep, disturbed in one way after another, must end in the tables of an undisturbed one.

    python benchmarks/faults.py [--seed 0] [--faults 20] [--only NAME]

Each fault happens to a tiny sweep of its own, at a moment that the seed draws; the command is then given again until
it ends with status 0. ``tests.simulation.history`` does the same on simulated processes, clocks and disks, a thousand
times as fast. Exit status 1: a table differs, a row is lost or doubled, or more than one fault took the command given
again, a killed driver aside.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import psutil
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from orchestrator.artifacts.integrity import MANIFEST
from tests.helpers.experiments import DETERMINISTIC, ROOT, TINY, Killed, environment, tables
from tests.helpers.s3 import BUCKET, S3Server

COMMANDS = 5
"""How often the command may be given."""
LIMIT_S = 300.0
"""A command that takes longer hangs."""
DISK = "200m"
TRAINING = ("staging/experts-*", "staging/generator-*", "work/experts/*/*", "work/generator/*/*")
"""Moments, as what is there in the storage: a training has begun, or has a checkpoint."""
TASKS = ("staging/demonstrations-*", "staging/rollouts-*")
"""Moments: an actor makes something."""
ORDER = ("experts", "demonstrations", "generator", "rollouts")
"""Kinds, each of which is read when the next one is made; the last one, when rows are written."""
DEADLINES = {"expert": 30, "generator": 30, "rollout": 20}
"""Seconds, for processes that are stopped."""


class Skipped(Exception):
    """A fault that this machine, or this moment, does not allow."""


@dataclass
class Scene:
    """A sweep that a fault happens to, with a folder of its own.

    Attributes:
        reference: Storage of the undisturbed sweep.
        storage: Its own storage.
        chance: Draws moments and targets.
        moment: Description of what was done and when.
        runs: Commands that have been given.
        family: Processes that the sweep started, as far as they may outlive it.
    """

    folder: Path
    reference: Path
    server: S3Server
    chance: random.Random
    storage: Path | str
    moment: str = ""
    runs: list[Killed] = field(default_factory=list)
    family: set[psutil.Process] = field(default_factory=set)
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def path(self) -> Path:
        """The experiment's file."""
        return self.reference.parent / "tiny.yaml"

    def start(self, *words: str) -> Killed:
        """Give the command."""
        self.runs.append(Killed(self.path, self.storage, "--address", "local", *words))
        return self.runs[-1]

    def wait(self, run: Killed, moments: Iterable[str], ready: Callable[[], object] = lambda: True) -> None:
        """Wait for one of some moments, and for whatever else must be so then."""
        moment = self.chance.choice(sorted(moments))
        self.moment = moment.rpartition("-*")[0] or moment
        came = run.until(lambda: any(Path(self.storage).glob(moment)) and ready(), LIMIT_S)
        self.remember(run)
        if not came:
            raise Skipped(f"the moment {self.moment} never came")

    def remember(self, run: Killed) -> None:
        """Note the processes that a command has started."""
        with contextlib.suppress(psutil.Error):
            self.family.update(psutil.Process(run.process.pid).children(recursive=True))

    def end(self) -> None:
        """Leave no process and no mount behind."""
        for process in (run.process for run in self.runs if run.process.poll() is None):
            process.kill()
            process.wait()
        _, left = psutil.wait_procs(self.family, timeout=3)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=3)
        self.closing.close()


# Faults


def strike(
    scene: Scene, name: str, number: signal.Signals, moments: Iterable[str], every: bool = False, words: str = ""
) -> None:
    """Send a signal to one of the sweep's processes of a name, or to all of them."""
    run, found = scene.start(*words.split()), list[int]()

    def look() -> bool:
        found[:] = run.workers(name)
        return bool(found)

    scene.wait(run, moments, look)
    for pid in found if every else [scene.chance.choice(found)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_the_driver(scene: Scene) -> None:
    run = scene.start()
    scene.wait(run, (*TRAINING, *TASKS))
    run.kill()


def kill_the_node(scene: Scene) -> None:
    """Nothing can be started any more on the only node."""
    run = scene.start()
    scene.wait(run, (*TRAINING, *TASKS), lambda: run.workers("raylet/raylet"))
    for pid in (*run.workers("ray::"), *run.workers("raylet/raylet")):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def fill_the_disk(scene: Scene) -> None:
    """The storage is a small disk that has no space left for a while."""
    disk = scene.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        raise Skipped(f"no small disk: {mounted.stderr.strip()}")
    scene.closing.callback(lambda: subprocess.run(["umount", "--lazy", disk], check=True))
    scene.storage = disk / "runs"
    run = scene.start()
    scene.wait(run, (*TRAINING, *TASKS))
    filling, seconds = disk / "filling", scene.chance.uniform(5, 15)
    with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 2**16)
    time.sleep(seconds)
    filling.unlink()
    scene.moment += f", full for {seconds:.0f} s"


def damage_an_artifact(scene: Scene, harm: Callable[[Path], None], name: str = "*.safetensors") -> None:
    """Harm a file of a sweep that was cut off when no artifact of the next kind, and no row, was there."""
    position = scene.chance.randrange(len(ORDER))
    shutil.copytree(scene.reference, scene.storage)
    for gone in ("results", *(f"artifacts/{kind}" for kind in ORDER[position + 1 :])):
        shutil.rmtree(Path(scene.storage, gone))
    harm_one(scene, f"artifacts/{ORDER[position]}/*/{name}", harm)
    scene.start()


def damage_results(scene: Scene) -> None:
    """Harm a file of results, and repair before the command."""
    shutil.copytree(scene.reference, scene.storage)
    harm_one(scene, f"results/{scene.chance.choice(DETERMINISTIC)}/*.parquet", scene.chance.choice(HARMS))
    command = [sys.executable, "-m", "orchestrator.store", "check", "--repair", "--storage", str(scene.storage)]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    scene.start()


def harm_one(scene: Scene, pattern: str, harm: Callable[[Path], None]) -> None:
    """Harm one of the files that a pattern finds in the storage."""
    file = scene.chance.choice(sorted(Path(scene.storage).glob(pattern)))
    harm(file)
    scene.moment = f"{harm.__name__} {file.parent.parent.name if 'artifacts' in pattern else file.parent.name}"
    scene.moment += f"/…/{file.name}" if "artifacts" in pattern else ""


def flip(file: Path) -> None:
    """Turn one bit over."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def truncate(file: Path) -> None:
    """Keep the first half."""
    os.truncate(file, file.stat().st_size // 2)


def delete(file: Path) -> None:
    """Delete it."""
    file.unlink()


HARMS = (flip, truncate, delete)


def disturb_s3(
    scene: Scene, trouble: Callable[[Scene], contextlib.AbstractContextManager[None]], seconds: float
) -> None:
    """The storage is a bucket whose server is in trouble for a while, from one of its first requests on."""
    asked, server = scene.chance.randrange(2, 60), scene.server
    scene.storage = f"s3://{BUCKET}/{scene.folder.name}"
    server.requests.clear()
    run = scene.start()
    if not run.until(lambda: len(server.requests) >= asked, LIMIT_S):
        raise Skipped(f"request {asked} never came")
    with trouble(scene):
        time.sleep(seconds)
    scene.moment = f"request {asked}, for {seconds:g} s"


@contextlib.contextmanager
def stopped(scene: Scene) -> Iterator[None]:
    """Connections are refused."""
    scene.server.stop()
    try:
        yield
    finally:
        scene.server.start()


@contextlib.contextmanager
def dropping(scene: Scene) -> Iterator[None]:
    """Every other connection ends without an answer, before or after what is asked is done."""
    server = scene.server

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        fate = scene.chance.choice(("before", "after", "no", "no"))
        done = list(server.answer(environ, start_response)) if fate != "before" else [environ["wsgi.input"].read()]
        if fate != "no":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError  # which the server takes for the client's
        return done

    server.instead = answer
    try:
        yield
    finally:
        server.instead = None


@contextlib.contextmanager
def unavailable(scene: Scene) -> Iterator[None]:
    """Every request is answered with status 503."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("503 Slow Down", [("Content-Type", "application/xml")])
        return [b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"]

    scene.server.instead = answer
    try:
        yield
    finally:
        scene.server.instead = None


def start_a_second_sweep(scene: Scene) -> None:
    scene.wait(scene.start(), (*TRAINING, *TASKS))
    scene.start()


STOP_SOON = " ".join(f"--set resources.{name}.deadline_s={seconds}" for name, seconds in DEADLINES.items())
ASIDE = "kill the driver"
"""Nobody is left to go on: the command given again is what it takes."""
FAULTS: dict[str, Callable[[Scene], None]] = {
    "kill a trial": partial(strike, name="ray::ImplicitFunc", number=signal.SIGKILL, moments=TRAINING),
    "kill an actor": partial(strike, name="ray::RolloutWorker.make", number=signal.SIGKILL, moments=TASKS),
    "kill all actors": partial(
        strike, name="ray::RolloutWorker", number=signal.SIGKILL, moments=(*TRAINING, *TASKS), every=True
    ),
    "kill the switch": partial(strike, name="ray::Switch", number=signal.SIGKILL, moments=TRAINING),
    "kill the aggregator": partial(strike, name="ray::Aggregator", number=signal.SIGKILL, moments=(*TRAINING, *TASKS)),
    "kill the driver": kill_the_driver,
    "kill the raylet and its workers": kill_the_node,
    "kill the GCS": partial(strike, name="gcs_server", number=signal.SIGKILL, moments=(*TRAINING, *TASKS)),
    "stop a trial": partial(strike, name="ray::ImplicitFunc", number=signal.SIGSTOP, moments=TRAINING, words=STOP_SOON),
    "stop an actor": partial(
        strike, name="ray::RolloutWorker.make", number=signal.SIGSTOP, moments=TASKS, words=STOP_SOON
    ),
    "fill the disk": fill_the_disk,
    "flip a bit of an artifact": partial(damage_an_artifact, harm=flip),
    "truncate an artifact": partial(damage_an_artifact, harm=truncate),
    "delete a file of an artifact": partial(damage_an_artifact, harm=delete),
    "delete a manifest": partial(damage_an_artifact, harm=delete, name=MANIFEST),
    "damage results, check --repair": damage_results,
    "S3 refuses": partial(disturb_s3, trouble=stopped, seconds=30),
    "S3 drops connections": partial(disturb_s3, trouble=dropping, seconds=20),
    "S3 answers 503": partial(disturb_s3, trouble=unavailable, seconds=20),
    "start a second sweep": start_a_second_sweep,
}


# The drill


@dataclass
class Outcome:
    """What became of a sweep that a fault happened to.

    Attributes:
        commands: How often the command was given, the second of two sweeps at once not counted.
        ended: Whether the last one ended with status 0.
        said: Last words of the commands that did not.
    """

    fault: str
    moment: str
    commands: int
    ended: bool
    seconds: float
    equal: bool
    lost: int
    doubled: int
    said: list[str]

    @property
    def right(self) -> bool:
        """Whether the tables are those of the undisturbed sweep."""
        return self.ended and self.equal and not self.lost and not self.doubled

    @property
    def healed(self) -> str:
        """How the sweep came to its end."""
        if not self.ended:
            return "not"
        return "by itself" if self.commands == 1 else f"command given {self.commands} times"

    def cells(self) -> list[str]:
        """The outcome as a row of the table that is printed."""
        tables = "equal" if self.equal else "DIFFER"
        return [self.fault, self.moment, self.healed, f"{self.seconds:.0f}", tables, str(self.lost), str(self.doubled)]


COLUMNS = ("fault", "moment", "healed", "s", "tables", "lost", "doubled")


def main(
    seed: int = 0,
    faults: Annotated[int, typer.Option(min=1)] = 20,
    only: Annotated[str | None, typer.Option(help="Of the faults drawn, those whose name contains this.")] = None,
) -> None:
    """Print a line per fault, then the table."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    drawn = [(number, name) for number, name in enumerate(draw(seed, faults)) if only is None or only in name]
    if not drawn:
        raise typer.BadParameter(f"{only}: none of the {faults} faults drawn. Known: {', '.join(FAULTS)}.")
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, S3Server().running() as server:
        os.environ |= {**server.environment, "TMPDIR": folder, "RAY_TMPDIR": "/tmp"}
        reference = Path(folder, "undisturbed", "runs")
        undisturbed_s = undisturbed(reference)
        print(f"undisturbed: {undisturbed_s:.0f} s", flush=True)
        outcomes, skipped = list[Outcome](), 0
        for number, name in drawn:
            chance = random.Random(f"{seed} {number}")
            place = Path(folder, f"{number}")
            place.mkdir()
            scene = Scene(place, reference, server, chance, place / "runs")
            try:
                outcomes.append(outcome := suffer(scene, name))
            except Skipped as reason:
                skipped += 1
                print(f"{name}: skipped, {reason}", flush=True)
            else:
                print(*outcome.cells(), sep=" · ", flush=True)
                print(*(f"    {line}" for line in outcome.said), sep="\n", end="\n" * bool(outcome.said), flush=True)
    raise typer.Exit(close(outcomes, skipped, undisturbed_s))


def draw(seed: int, count: int) -> list[str]:
    """Names of the faults, in their order: each kind once before any comes twice."""
    names = list(FAULTS)
    random.Random(seed).shuffle(names)
    return list(itertools.islice(itertools.cycle(names), count))


def undisturbed(storage: Path) -> float:
    """Make the tables that all others are compared with; seconds that it took."""
    storage.parent.mkdir()
    (storage.parent / "tiny.yaml").write_text(TINY)
    started = time.monotonic()
    Killed(storage.parent / "tiny.yaml", storage, "--address", "local").finish()
    return time.monotonic() - started


def suffer(scene: Scene, name: str) -> Outcome:
    """Let a fault happen to a sweep, give the command until it ends well, and look at the tables."""
    started, said = time.monotonic(), list[str]()
    try:
        FAULTS[name](scene)
        together = len(scene.runs)
        statuses = [finish(scene, run, said) for run in scene.runs]
        while statuses[-1] != 0 and len(statuses) < COMMANDS:
            statuses.append(finish(scene, scene.start(), said))
        seconds = time.monotonic() - started
        storage = fetched(scene)
        expected, found = rows(scene.reference), rows(storage)
        return Outcome(
            name,
            scene.moment,
            commands=1 + len(statuses) - together + any(statuses[:together][:-1]),
            ended=statuses[-1] == 0,
            seconds=seconds,
            equal=tables(storage) == tables(scene.reference),
            lost=(expected - found).total(),
            doubled=(found - expected).total(),
            said=said,
        )
    finally:
        scene.end()


def finish(scene: Scene, run: Killed, said: list[str]) -> int | None:
    """Exit status of a command; None for one that hung, and was killed with all its processes."""
    try:
        output, _ = run.process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        scene.remember(run)
        run.kill()
        said.append(f"hung: killed after {LIMIT_S:g} s")
        return None
    if run.process.returncode:
        said += [f"status {run.process.returncode}", *(line[:160] for line in output.strip().splitlines()[-3:])]
    return run.process.returncode


def fetched(scene: Scene) -> Path:
    """A local folder that holds the results as a storage does."""
    if isinstance(scene.storage, Path):
        return scene.storage
    target = scene.folder / "fetched"
    for table in DETERMINISTIC:
        (target / "results" / table).mkdir(parents=True)
        pafs.copy_files(f"{scene.storage}/results/{table}", str(target / "results" / table))
    return target


def rows(storage: Path) -> Counter[str]:
    """All rows of the tables that must not depend on what happened, with how often each is there."""
    files = [file for table in DETERMINISTIC for file in (storage / "results" / table).glob("*.parquet")]
    return Counter(f"{file.parent.name} {row}" for file in files for row in pq.read_table(file).to_pylist())


def close(outcomes: list[Outcome], skipped: int, undisturbed_s: float) -> int:
    """Print the table and the totals; the exit status."""
    shown = Table(*COLUMNS)
    for outcome in outcomes:
        shown.add_row(*outcome.cells())
    Console(width=160).print(shown)
    counted = [outcome for outcome in outcomes if outcome.fault != ASIDE]
    healed = sum(outcome.commands == 1 and outcome.ended for outcome in counted)
    wrong = sum(not outcome.right for outcome in outcomes)
    print(
        f"{len(outcomes)} faults ({skipped} skipped): {wrong} with other tables or without an end, "
        f"{sum(outcome.lost for outcome in outcomes)} rows lost, {sum(outcome.doubled for outcome in outcomes)} "
        f"doubled; {healed} of {len(counted)} healed by themselves, a killed driver aside; undisturbed "
        f"{undisturbed_s:.0f} s, a fault {sum(outcome.seconds for outcome in outcomes) / max(1, len(outcomes)):.0f} s"
    )
    return int(wrong > 0 or healed < len(counted) - 1)


if __name__ == "__main__":
    typer.run(main)
