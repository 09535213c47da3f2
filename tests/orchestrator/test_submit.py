"""``python -m orchestrator.submit`` to a real cluster of one node, by its Jobs API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest
import requests
from ray.job_submission import JobStatus

from orchestrator import submit, supervised
from orchestrator.exceptions import UserError
from orchestrator.submit import STOPPED, Job
from results.result_store import ResultStore
from tests.helpers.clusters import free_port
from tests.helpers.experiments import ROOT, TINY, environment

LIMIT_S = 240.0


@dataclass
class Cluster:
    """A head, and somebody who reaches its dashboard alone.

    Attributes:
        head: Process that all others of the head come from.
    """

    address: str
    storage: Path
    head: psutil.Process
    variables: dict[str, str]

    def submit(self, *words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "orchestrator.submit", *map(str, words), "--address", self.address]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def sweeps(self) -> list[psutil.Process]:
        """Processes of sweeps on the head."""
        found = []
        for process in self.head.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[1:3] == ["-m", "orchestrator.sweep"]:
                    found.append(process)
        return found


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=LIMIT_S)
    return process.returncode, output


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One with a token, whose nodes find the storage in their environment."""
    folder = Path(tempfile.mkdtemp(prefix="submit-"))  # a short path: Ray's sockets lie in it
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    kept = {name: value for name, value in environment().items() if name not in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    user = {**kept, "HOME": str(folder), "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    there = {**user, "RAY_AUTH_MODE": "token", "HYPOGEN_STORAGE": str(folder / "runs")}
    there["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    del there["PYTHONPATH"]  # the code is sent along
    dashboard = free_port()
    command = ["ray", "start", "--head", "--block", f"--port={free_port()}", f"--dashboard-port={dashboard}"]
    command.append(f"--dashboard-agent-listen-port={free_port()}")  # another Ray of this host may have the usual one
    log = (folder / "head.log").open("wb")
    head = subprocess.Popen(
        [Path(sys.executable).with_name("ray"), *command[1:], "--num-cpus=2", "--object-store-memory=200000000"],
        env=there, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Cluster(f"http://127.0.0.1:{dashboard}", folder / "runs", psutil.Process(head.pid), user)
    finally:
        family = psutil.Process(head.pid).children(recursive=True)
        head.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(timeout=20)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        head.kill()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def listening(cluster: Cluster) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(cluster.address.split(":")[-1]))):
        return True
    return False


def test_a_driver_that_dies_begins_again_and_ends_with_the_table(cluster: Cluster, tiny: Path) -> None:
    until(lambda: listening(cluster))
    first = cluster.submit(tiny)
    until(lambda: any((cluster.storage / "work").glob("*/*")) or first.poll() is not None)
    assert first.poll() is None, ended(first)
    [driver] = cluster.sweeps()
    joined = cluster.submit(tiny)
    driver.send_signal(signal.SIGKILL)
    status, output = ended(first)
    assert status == 0 and "died (SIGKILL): it begins again" in output and "cheetah-speed  hypogen" in output, output
    status, output = ended(joined)
    assert status == 0 and "runs already: joined" in output, output
    commits = ResultStore(str(cluster.storage / "results")).table("SELECT DISTINCT git_commit FROM provenance")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert commits.to_pylist() == [{"git_commit": head.stdout.strip() or None}]


def test_a_sweep_is_stopped_with_checkpoints_and_by_its_own_command(cluster: Cluster, tiny: Path) -> None:
    words = (tiny, "--set", "training.epochs=100000", "--set", "methods={hypogen: {}}")
    assert ended(cluster.submit(*words, "--detach"))[0] == 0
    until(lambda: any((cluster.storage / "work" / "generator").glob("*")))
    follower = cluster.submit(*words)
    time.sleep(5)
    status, output = ended(cluster.submit(*words, "--stop"))
    assert status == 0 and "the same command continues" in output, output
    status, output = ended(follower)
    assert status == STOPPED and "stopped by SIGTERM" in output, output
    assert any((cluster.storage / "work" / "generator").glob("*/*")), "no checkpoint"
    assert not cluster.sweeps()
    assert ended(cluster.submit(*words, "--stop"))[0] == 1, "it does not run"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--profile", "nobody"], "unknown profile 'nobody'"),
        (["--set", "training.epoch=3"], "training.epoch"),
        (["--max-concurent", "3"], "--max-concurent"),
        (["--storage", "runs"], "its whole path, or s3://"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_sent(words: list[str], said: str, tiny: Path) -> None:
    with pytest.raises(UserError) as caught:
        Job.of(tiny, words)
    assert said in str(caught.value)


def test_without_a_cluster_it_says_how_to_reach_one(tiny: Path) -> None:
    command = [sys.executable, "-m", "orchestrator.submit", tiny, "--address", "http://127.0.0.1:1"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2 and "http://127.0.0.1:1" in done.stderr and "ray dashboard" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_cluster_without_a_storage_makes_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HYPOGEN_STORAGE", raising=False)
    assert supervised.main(["tiny.yaml"]) == 2
    assert "give --storage" in capfd.readouterr().err


class Interrupted:
    """A Jobs API whose connection is lost while the log is read, and again when the status is asked for."""

    def __init__(self) -> None:
        self.lost = iter(
            [aiohttp.ServerDisconnectedError(), requests.exceptions.ConnectionError(), RuntimeError("502")]
        )
        self.text = "one\ntwo\nthree\n"

    async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        for position, line in enumerate(self.text.splitlines(keepends=True)):
            if position == 1 and (error := next(self.lost, None)):
                raise error
            yield line

    def get_job_status(self, name: str) -> JobStatus:
        if error := next(self.lost, None):
            raise error
        return JobStatus.SUCCEEDED


def test_a_lost_connection_is_taken_up_where_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(submit, "LOOK_S", 0.01)
    asyncio.run(submit._follow(Interrupted(), "some"))  # type: ignore[arg-type]
    assert capsys.readouterr().out == "one\ntwo\nthree\n"
