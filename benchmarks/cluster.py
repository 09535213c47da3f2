"""Drill: a sweep on a cluster of machines, one of which goes for good and another of which comes, all on this machine.

    python benchmarks/cluster.py [--experiment FILE] [--set KEY=VALUE]      # as root; needs sshd, rsync, iproute2

Each machine has a host name, network, processes, home and temporary folder of its own (``tests.helpers.machines``).
From the desk, ``ray up`` brings Ray up by ssh with ``cluster/local.yaml``, what is marked EDIT filled in, and
``orchestrator.submit`` sends the sweep to the head. When the worker has begun a training its plug is pulled, and a
third machine, which the file names and which was off, is switched on. Exit status 1: the table is not the undisturbed
one to the last byte, a machine made nothing, or a Ray is left behind.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from results.result_store import ResultStore
from tests.helpers.experiments import ROOT, environment, tables
from tests.helpers.machines import NETWORK, USER, CannotSimulate, Machine, Rack, check

EXPERIMENT = Path("experiments/quickstart.yaml")
SETTINGS = ["training.epochs=3", "name=quickstart"]
"""What makes the quickstart take a minute: enough for a machine to go and another to come."""
RAY = "ray"
TRAINING = "ray::ImplicitFunc.train"
NODE = "raylet/raylet"
SPARE = f"{NETWORK}.3"
"""A machine that is named from the start and switched on in the middle."""
LIMIT_S = 900.0
PROVENANCE = """
    SELECT host, kind, count(*) AS artifacts, string_agg(DISTINCT git_commit[:10], ', ') AS "commit"
    FROM provenance GROUP BY host, kind ORDER BY host, kind
"""


class Failed(Exception):
    """What did not go as it should; says what."""


def main(
    experiment: Annotated[Path, typer.Option(help="Experiment file of this project.")] = EXPERIMENT,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Instead of the drill's own settings.")] = None,
) -> None:
    """Print what happens with the seconds since the start, and who made what."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves nothing behind either
    words = [str(experiment), *(word for setting in settings or SETTINGS for word in ("--set", setting))]
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        try:
            check()
            Drill(Path(name), words).play()
        except (CannotSimulate, Failed) as error:
            print(error, file=sys.stderr)
            raise typer.Exit(1) from None


class Drill:
    """One sweep on one machine, and again on a cluster that changes meanwhile."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self._folder, self._words, self._started = folder, words, time.monotonic()
        self._storage, self._undisturbed = folder / "shared" / "runs", folder / "undisturbed"
        self._project = folder / "hypogen"

    def play(self) -> None:
        """The whole drill. Raises Failed."""
        self._alone()
        self._lay_out()
        rack = Rack(self._folder, seen=[ROOT, Path(sys.prefix), Path(sys.base_prefix)])
        try:
            head, worker = self._add(rack, "node-1"), self._add(rack, "node-2")
            self._bring_up(rack.desk, head, worker)
            with self._submitted(rack.desk) as sweep:
                self._wait("a generator in training", sweep, lambda: any(self._storage.glob("work/generator/*")))
                self._wait("a training on node-2", sweep, lambda: worker.processes(TRAINING))
                worker.pull_the_plug()
                self._say("node-2 is gone for good: its plug was pulled while it trained")
                spare = self._add(rack, "node-3")
                self._say("node-3 was switched on")
                self._wait("Ray on node-3", sweep, lambda: spare.processes(NODE))
                self._say("node-3 has joined")
                if sweep.wait(timeout=LIMIT_S):
                    raise Failed(f"the sweep ended with status {sweep.returncode}: see its log above")
            self._say("the sweep has ended with status 0")
            self._compare()
            self._at(rack.desk, "ray down -y local.yaml")
            self._at(rack.desk, f"ssh -o StrictHostKeyChecking=no {USER}@{spare.address} bash --login -ic 'ray\\ stop'")
            left = [machine.name for machine in (head, spare) if not _until(lambda m=machine: not m.processes(RAY), 60)]
            if left:
                raise Failed(f"`ray down`, and `ray stop` on the worker, left Ray on {', '.join(left)}")
            self._say("ray down, and ray stop on the worker: no Ray is left")
        finally:
            rack.close()

    def _alone(self) -> None:
        """The same sweep, undisturbed, on this machine alone."""
        command = [sys.executable, "-m", "orchestrator.sweep", *self._words, "--address", "local"]
        done = subprocess.run(
            [*command, "--storage", self._undisturbed], cwd=ROOT, env=environment(), capture_output=True, text=True
        )
        if done.returncode:
            raise Failed(done.stdout + done.stderr)
        self._say("undisturbed, on one machine: done")

    def _lay_out(self) -> None:
        """This project with its environment in .venv, as every machine has it, and a folder that all of them mount."""
        self._storage.parent.mkdir()
        self._project.mkdir()
        for path in ROOT.iterdir():
            if path.name != ".venv":
                (self._project / path.name).symlink_to(path)
        (self._project / ".venv").symlink_to(sys.prefix)

    def _add(self, rack: Rack, name: str) -> Machine:
        machine = rack.add(name)
        (machine.home / "hypogen").symlink_to(self._project)
        return machine

    def _bring_up(self, desk: Machine, head: Machine, worker: Machine) -> None:
        (desk.home / "hypogen").symlink_to(self._project)
        (desk.home / "local.yaml").write_text(self._filled_in(head.address, [worker.address, SPARE]))
        self._at(desk, "ray get-auth-token --generate")
        self._at(desk, "ray up -y --no-config-cache local.yaml")
        self._say("ray up: the head runs")
        if not _until(lambda: worker.processes(NODE)):
            raise Failed(f"no Ray on {worker.name}")
        self._say("the worker has joined")

    def _filled_in(self, head: str, workers: list[str]) -> str:
        """The cluster's file, with what is marked EDIT in it."""
        text = (ROOT / "cluster" / "local.yaml").read_text()
        for given, ours in (
            ("192.168.0.1 ", f"{head} "),
            ("[192.168.0.2, 192.168.0.3]", f"[{', '.join(workers)}]"),
            ("/shared/hypogen-runs", str(self._storage)),
        ):
            if text.count(given) != 1:
                raise Failed(f"cluster/local.yaml: no '{given}' to fill in")
            text = text.replace(given, ours)
        return text

    @contextlib.contextmanager
    def _submitted(self, desk: Machine) -> Iterator[subprocess.Popen[bytes]]:
        """The sweep, submitted through `ray dashboard`; its output is this process's."""
        with (self._folder / "dashboard.log").open("wb") as log:
            line = desk.command("ray dashboard local.yaml")
            tunnel = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            self._at(
                desk,
                "curl -s --retry 60 --retry-delay 1 --retry-all-errors -o /dev/null http://127.0.0.1:8265/api/version",
            )
            line = desk.command(f"cd hypogen && python -m orchestrator.submit {subprocess.list2cmdline(self._words)}")
            sweep = subprocess.Popen(line, stdin=subprocess.DEVNULL, start_new_session=True)
            try:
                yield sweep
            finally:
                for process in (sweep, tunnel):
                    process.kill()
                    process.wait()

    def _compare(self) -> None:
        """The tables, and who made them."""
        if tables(self._storage) != tables(self._undisturbed):
            raise Failed("the tables DIFFER from those of the undisturbed sweep")
        self._say("the tables are those of the undisturbed sweep, to the last byte")
        found = ResultStore(str(self._storage / "results")).table(PROVENANCE).to_pylist()
        shown = Table(*found[0])
        for row in found:
            shown.add_row(*map(str, row.values()))
        Console().print(shown)
        if idle := {"node-1", "node-2", "node-3"} - {row["host"] for row in found}:
            raise Failed(f"made nothing: {', '.join(sorted(idle))}")

    def _at(self, machine: Machine, line: str) -> None:
        """Run a line of shell there. Failed, with what it printed, where it fails."""
        line = f"export RAY_UP_enable_autoscaler_v2=0; {line}"
        done = subprocess.run(
            machine.command(line), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S
        )
        if done.returncode:
            raise Failed(f"{machine.name}: {line}\n{done.stdout}{done.stderr}")

    def _wait(self, what: str, sweep: subprocess.Popen[bytes], condition: Callable[[], object]) -> None:
        if not _until(lambda: condition() or sweep.poll() is not None) or sweep.poll() is not None:
            raise Failed(f"{what}: not before the sweep's end (status {sweep.poll()})")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:5.0f} s  {text}", flush=True)


def _until(condition: Callable[[], object], seconds: float = LIMIT_S) -> bool:
    """Wait for a condition; whether it came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    typer.run(main)
