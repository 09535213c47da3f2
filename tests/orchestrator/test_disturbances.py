"""Sweeps that are disturbed: killed, stopped, twice at once, too slow, on nodes that go. They end as if undisturbed.

``benchmarks/faults.py`` disturbs one in twenty ways.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from results.result_store import ResultStore
from tests.helpers.clusters import NODE
from tests.helpers.experiments import Killed, sweep, tables


def test_a_killed_driver_leaves_work_that_the_same_command_finishes(undisturbed: Path, tmp_path: Path) -> None:
    path, storage = undisturbed.parent / "tiny.yaml", tmp_path / "runs"
    moments: list[Callable[[], object]] = [
        lambda: list(storage.glob("staging/experts-*")),
        lambda: list(storage.glob("staging/generator-*/*")) or list(storage.glob("artifacts/generator/*")),
    ]
    for moment in moments:
        run = Killed(path, storage, "--address", "local")
        assert run.until(moment), run.kill()
        run.kill()
    Killed(path, storage, "--address", "local").finish()
    assert tables(storage) == tables(undisturbed)
    left = [
        folder for name in ("tune", "staging", "work") for folder in storage.glob(f"{name}/**/*") if folder.is_file()
    ]
    assert not left, "nothing half made stays behind"


def test_killed_trials_and_killed_or_stopped_rollout_actors_change_nothing(undisturbed: Path, tmp_path: Path) -> None:
    path, storage = undisturbed.parent / "tiny.yaml", tmp_path / "runs"
    more = ["--set", "resources.rollout.deadline_s=15", "--set", "resources.rollout.workers=2"]
    run = Killed(path, storage, "--address", "local", *more)
    assert run.until(lambda: list(storage.glob("staging/experts-*"))), run.kill()
    trials = run.workers("ray::ImplicitFunc")
    for pid in trials:
        os.kill(pid, signal.SIGKILL)
    assert run.until(
        lambda: list(storage.glob("staging/demonstrations-*")) + list(storage.glob("staging/rollouts-*"))
    ), run.kill()
    actors = run.workers("ray::RolloutWorker")
    for number, pid in enumerate(actors):  # one is only stopped: Ray never notices, so the pool's deadline must
        os.kill(pid, signal.SIGKILL if number % 2 else signal.SIGSTOP)
    run.finish()
    assert trials and len(actors) == 2
    assert tables(storage) == tables(undisturbed)


def test_where_a_private_ray_dies_the_command_begins_again(undisturbed: Path, tmp_path: Path) -> None:
    """By its GCS; ``benchmarks/faults.py`` kills its raylet as well."""
    path, storage = undisturbed.parent / "tiny.yaml", tmp_path / "runs"
    run = Killed(path, storage, "--address", "local")
    assert run.until(lambda: list(storage.glob("staging/experts-*"))), run.kill()
    for pid in run.workers("gcs_server"):
        os.kill(pid, signal.SIGKILL)
    printed = run.finish()
    assert printed.count("Ray has died") == 1 and printed.count("Ray: local") == 2
    assert tables(storage) == tables(undisturbed)


def test_two_sweeps_on_one_store_at_once(undisturbed: Path, tmp_path: Path) -> None:
    path, storage = undisturbed.parent / "tiny.yaml", tmp_path / "runs"
    runs = [Killed(path, storage, "--address", "local") for _ in range(2)]
    printed = [run.finish() for run in runs]
    assert all("hypogen" in text for text in printed)
    assert tables(storage) == tables(undisturbed)


def test_a_diverging_trial_is_listed_and_stops_nobody(undisturbed: Path, tmp_path: Path) -> None:
    storage = shutil.copytree(undisturbed, tmp_path / "runs")
    path = tmp_path / "diverging.yaml"
    path.write_text((undisturbed.parent / "tiny.yaml").read_text().replace("name: tiny", "name: diverging"))
    with path.open("a") as file:
        file.write("grid: {training.learning_rate: [1e-3, 1e30]}\n")
    done = sweep(path, "--storage", storage, "--address", "local")
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("failed")]
    assert any("Diverged" in line and "hypogen" in line for line in failed), done.stdout
    assert all("split 0 (training.learning_rate=1e+30)" in line for line in failed if "Diverged" in line)
    at_once = [line for line in done.stdout.splitlines() if " failed " in line and line.startswith(" ")]
    assert at_once and all("Diverged" in line for line in at_once), "said when it happened, without what waited for it"
    store = ResultStore(storage / "results")
    errors = store.frame("SELECT error FROM provenance WHERE status = 'failed' AND kind = 'generator'").error
    assert len(errors) and all("Traceback" in text and "Diverged" in text for text in errors)
    (query,) = (line.removeprefix("Tracebacks: ") for line in done.stdout.splitlines() if line.startswith("Traceb"))
    joined = store.frame(query)
    causes = joined[joined.error.str.contains("Diverged")]
    assert set(causes.label) == {line.split(": ")[0].removeprefix("failed ") for line in failed if "Diverged" in line}
    assert set(causes.cell) == {'{"training.learning_rate":1e+30}'}
    assert "made nothing" in done.stdout, "what the other cells need was there"


def test_a_task_that_always_outlasts_its_deadline_fails_by_name(undisturbed: Path, tmp_path: Path) -> None:
    storage = shutil.copytree(undisturbed, tmp_path / "runs")
    more = ["methods=[expert]", "evaluation.episodes=200", "resources.rollout.deadline_s=0.02"]
    words = [word for assignment in more for word in ("--set", assignment)]
    done = sweep(undisturbed.parent / "tiny.yaml", "--storage", storage, "--address", "local", *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "took longer than 0.02 s: give it more time" in done.stdout and "(3 times)" in done.stdout


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[tuple[str, Callable[[], None]]]:
    """A cluster of two nodes on this machine, and a way to lose the second."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **NODE})
    node = cluster.add_node(num_cpus=2, **NODE)
    cluster.wait_for_nodes()
    yield cluster.address, lambda: cluster.remove_node(node, allow_graceful=False)
    cluster.shutdown()


def test_a_cluster_of_two_nodes_gives_the_same_rows_and_may_lose_one(
    undisturbed: Path, tmp_path: Path, two_nodes: tuple[str, Callable[[], None]]
) -> None:
    address, lose = two_nodes
    path, storage = undisturbed.parent / "tiny.yaml", tmp_path / "runs"
    run = Killed(path, storage, "--address", address, "--set", "resources.rollout.workers=3")
    assert run.until(lambda: list(storage.glob("artifacts/demonstrations/*"))), run.kill()
    lose()
    printed = run.finish()
    assert f"Ray: {address}" in printed
    assert tables(storage) == tables(undisturbed)
