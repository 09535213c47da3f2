"""Failures told apart and hanging noticed, with real Ray, real processes and real files."""

from __future__ import annotations

import io
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import yaml
from ray.cluster_utils import Cluster

from orchestrator.config.experiment import Experiment
from orchestrator.config.loading import expand, load
from orchestrator.console import progress
from orchestrator.exceptions import Interrupted
from orchestrator.execution.cluster import Address, connected
from orchestrator.execution.state import ExecutionState
from tests.helpers.clusters import NODE
from tests.helpers.experiments import TINY, environment
from tests.helpers.troubles import Recorder, Trial, Troubled, TroubledTask, expected

KINDS = (Troubled, TroubledTask)
TROUBLES = ("io_error_at_first", "die_at_first", "diverge")


def experiment(folder: Path, **resources: object) -> Experiment:
    """The tiny experiment without GPUs, for its resources and its seed."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(TINY), "resources": {"rollout": {"workers": 1}, **resources}}))
    return expand(load(path))[0].experiment


@pytest.fixture(scope="module")
def one_node() -> Iterator[None]:
    with connected(Address("local", "test"), num_cpus=2):
        yield


@pytest.fixture
def two_nodes() -> Iterator[str]:
    """Id of the second of two nodes on this machine, connected."""
    if ray.is_initialized():
        ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **NODE})
    broken = cluster.add_node(num_cpus=3, **NODE)
    cluster.wait_for_nodes()
    with connected(Address(cluster.address, "test")):
        yield broken.node_id
    cluster.shutdown()


@pytest.fixture(scope="module")
def troubled(one_node: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, ExecutionState]:
    """One execution in which each trouble happens to a trial and to an actor."""
    folder = tmp_path_factory.mktemp("troubled")
    made = Trial(experiment(folder, generator={"cpu": 0.5, "gpu": 0}), folder)
    wanted = [made.artifact(kind, trouble) for kind in KINDS for trouble in TROUBLES]
    wanted += [made.artifact(TroubledTask, "bug"), made.artifact(Troubled, "out_of_memory_at_first")]
    wanted += [made.artifact(kind, "none", "held") for kind in KINDS]
    holders = {artifact.label: hold(made, artifact) for artifact in wanted[-2:]}

    def let_go() -> None:
        for label, holder in holders.items():
            if any(note.startswith(f"{label} waits") for note in made.recorder.notes):
                holder.kill()

    made.recorder = Recorder(let_go)
    try:
        return made, made.execute(*wanted)
    finally:
        for holder in holders.values():
            holder.kill()
            holder.wait()


def hold(made: Trial, artifact: Troubled) -> subprocess.Popen[str]:
    """Another process that makes an artifact, and doesn't get on with it."""
    code = "import sys; from pathlib import Path; from orchestrator.artifacts.lock import locked\n"
    code += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    path = Path(made.store.root, "locks", f"{artifact.kind}-{artifact.key}")
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    (made.notes / f"{artifact.label}.holder").write_text(str(holder.pid))
    return holder


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_for_another_process_says_so_once(
    troubled: tuple[Trial, ExecutionState], kind: type[Troubled]
) -> None:
    made, _ = troubled
    artifact = made.artifact(kind, "none", "held")
    pid = (made.notes / f"{artifact.label}.holder").read_text()
    (note,) = made.notes_on(artifact)
    assert note.startswith(f"{artifact.label} waits: pid {pid} on {platform.node()} makes it since ")
    assert made.made(artifact) == expected(), "and makes it once the other process is gone"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("trouble", "said"),
    [("io_error_at_first", "OSError: the disk is away; again in"), ("die_at_first", "its process {} on")],
)
def test_what_passes_heals_by_itself(
    troubled: tuple[Trial, ExecutionState], kind: type[Troubled], trouble: str, said: str
) -> None:
    made, state = troubled
    artifact = made.artifact(kind, trouble)
    assert artifact.key not in state.failures and made.made(artifact) == expected()
    attempts, (note,) = made.attempts(artifact), made.notes_on(artifact)
    assert len(attempts) == 2 and said.format(attempts[0][0]) in note


@pytest.mark.parametrize(
    ("kind", "trouble", "tries", "said"),
    [
        (Troubled, "diverge", 1, "Diverged: loss is NaN"),
        (TroubledTask, "diverge", 1, "Diverged: loss is NaN"),
        (TroubledTask, "bug", 2, "KeyError"),
    ],
)
def test_divergence_is_final_at_once_and_a_bug_at_its_second_try(
    troubled: tuple[Trial, ExecutionState], kind: type[Troubled], trouble: str, tries: int, said: str
) -> None:
    made, state = troubled
    artifact = made.artifact(kind, trouble)
    assert len(made.attempts(artifact)) == tries == 1 + len(made.notes_on(artifact))
    failure = state.failures[artifact.key]
    assert said in str(failure) and ("(2 times)" in str(failure)) == (tries == 2)
    assert f"in _{trouble}" in failure.reason, "the traceback is kept"


def test_a_training_that_ran_out_of_memory_gets_half_a_node(troubled: tuple[Trial, ExecutionState]) -> None:
    made, _ = troubled
    artifact = made.artifact(Troubled, "out_of_memory_at_first")
    assert made.made(artifact) == expected()
    assert [cpus for _, _, cpus in made.attempts(artifact)] == ["0.5", "1"]


def test_a_stopped_process_is_noticed_and_another_one_ends_in_the_same_bits(one_node: None, tmp_path: Path) -> None:
    resources = {"generator": {"gpu": 0, "deadline_s": 2.5}, "rollout": {"workers": 1, "deadline_s": 12}}
    made = Trial(experiment(tmp_path, **resources), tmp_path)
    artifacts, stopped = [made.artifact(kind, "none") for kind in KINDS], dict[str, int]()

    def stop_once() -> None:
        for artifact in artifacts:
            attempts, work = made.attempts(artifact), made.store.workspaces(artifact.kind) / artifact.key
            if artifact.key not in stopped and (work / "checkpoint").exists():
                stopped[artifact.key] = int(attempts[0][0])
                os.kill(stopped[artifact.key], signal.SIGSTOP)

    made.recorder = Recorder(stop_once)
    state = made.execute(*artifacts)
    assert not state.failures and len(stopped) == 2
    for artifact, deadline in zip(artifacts, ("no progress for 2.5 s", "took longer than 12 s"), strict=True):
        assert made.made(artifact) == expected() and len(made.attempts(artifact)) == 2
        assert deadline in made.notes_on(artifact)[0]
    assert not any(map(runs, stopped.values())), "they don't stay behind with their locks"


def runs(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    status = Path("/proc", str(pid), "status")
    return status.exists() and "State:\tZ" not in status.read_text()


@pytest.mark.parametrize(
    ("request_", "said"),
    [({"gpu": 1}, "1 GPU (none here)"), ({"gpu": 0, "cpu": 64}, "64 CPUs on one node (2 CPUs here)")],
)
def test_what_no_node_has_is_named_instead_of_an_estimate(
    one_node: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: dict[str, float], said: str
) -> None:
    class Output(io.StringIO):
        def write(self, text: str) -> int:
            written = super().write(text)
            if f"· waiting for {said}\n" in self.getvalue():
                os.kill(os.getpid(), signal.SIGINT)
            return written

    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.1)
    made = Trial(experiment(tmp_path, gpus="always", generator=request_), tmp_path, output=Output())
    with pytest.raises(Interrupted):
        made.execute(made.artifact(Troubled, "none"))
    assert made.output is not None
    lines = made.output.getvalue().splitlines()
    first = next(number for number, line in enumerate(lines) if line.endswith(f" s waiting for {said}"))
    assert not any("left" in line for line in lines[first:]) and "generator 0/1 · waiting for" in lines[first + 1]


def test_a_broken_node_is_left_out_and_named(two_nodes: str, tmp_path: Path) -> None:
    """The last test of the file: it ends the Ray of the others."""
    made = Trial(experiment(tmp_path, generator={"gpu": 0}), tmp_path)
    (made.notes / "broken").write_text(two_nodes)
    artifacts = [made.artifact(Troubled, "on_a_broken_node", name) for name in "abcdef"]
    state = made.execute(*artifacts)
    assert not state.failures and all(made.made(artifact) == expected() for artifact in artifacts)
    there = [node for artifact in artifacts for _, node, _ in made.attempts(artifact) if node == two_nodes]
    (line,) = (note for note in made.recorder.notes if note.startswith("left out node"))
    assert two_nodes[:8] in line and "for 10 min" in line
    assert len(there) in (3, 4), "what was there, or on its way, and nothing more"
