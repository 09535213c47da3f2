"""The whole path, as a user runs it: real MuJoCo, real training, real Ray, in subprocesses that may be killed."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from hypogen.policy import Policy
from orchestrator.artifacts import GeneratorArtifact
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.generator_artifact import POLICY
from orchestrator.artifacts.making import make
from orchestrator.config.loading import expand, load
from orchestrator.planning.plan import build
from results.result_store import ResultStore
from tests.helpers.experiments import ROOT, Killed, environment, sweep, tables


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of one run from nothing."""
    from tests.helpers.experiments import TINY

    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(TINY)
    done = sweep("tiny.yaml", "--storage", "./runs", "--address", "local", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder / "runs"


def test_from_one_yaml_to_one_table(undisturbed: Path) -> None:
    printed = (undisturbed.parent / "stdout").read_text()
    for method in ("expert", "hypogen", "cond_policy"):
        assert any(method in line and "cheetah-speed" in line for line in printed.splitlines()), printed
    assert "--storage ./runs" in printed and "Results: ./runs/results" in printed
    store = ResultStore(undisturbed / "results")
    counted = store.frame(
        "SELECT method, count(*) AS n FROM runs JOIN episodes USING (run) GROUP BY method ORDER BY method"
    )
    assert counted.values.tolist() == [["cond_policy", 4], ["expert", 10], ["hypogen", 4]]
    assert store.frame("SELECT count(*) AS n FROM provenance WHERE status = 'done' AND seconds > 0").n[0] == 9
    curve = store.frame("SELECT DISTINCT metric FROM curves JOIN runs USING (run) WHERE method = 'hypogen' ORDER BY 1")
    assert {"loss", "action", "value", "td"} <= set(curve.metric)
    assert not list((undisturbed / "work").rglob("*.safetensors")) and not list((undisturbed / "staging").iterdir())


def test_the_printed_next_commands_work(undisturbed: Path) -> None:
    printed = (undisturbed.parent / "stdout").read_text()
    commands = [line.strip() for line in printed.splitlines() if line.strip().startswith("hypogen results")]
    assert len(commands) == 2
    for command in commands:
        words = command.replace("hypogen", f"{sys.executable} -m orchestrator.command", 1)
        done = subprocess.run(
            words, shell=True, capture_output=True, text=True, cwd=undisturbed.parent, env=environment()
        )
        assert done.returncode == 0 and "hypogen" in done.stdout, done.stdout + done.stderr


def test_the_same_command_again_makes_nothing_and_needs_no_ray(undisturbed: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in undisturbed.rglob("*") if file.is_file()}
    done = sweep(undisturbed.parent / "tiny.yaml", "--storage", undisturbed)
    assert done.returncode == 0
    assert "made nothing" in done.stdout and "Ray" not in done.stdout
    for result in undisturbed.glob("results/runs/*"):
        os.utime(result)  # so that nothing is remembered: the plan is made and compared
    anew = sweep(undisturbed.parent / "tiny.yaml", "--storage", undisturbed)
    assert anew.stdout == done.stdout and anew.returncode == 0
    for result in undisturbed.glob("results/runs/*"):
        os.utime(result, ns=(before[result], before[result]))
    assert {file: file.stat().st_mtime_ns for file in undisturbed.rglob("*") if file.is_file()} == before


def test_dry_run_says_what_is_there_and_starts_nothing(undisturbed: Path, tmp_path: Path) -> None:
    path = undisturbed.parent / "tiny.yaml"
    there = sweep(path, "--storage", undisturbed, "--dry-run", "--set", "split.seeds=[0, 1]")
    assert there.returncode == 0, there.stderr
    row = next(line.split() for line in there.stdout.splitlines() if line.startswith("generator"))
    assert row[1:3] == ["2", "2"], "two generators are there, the second split's two are missing"
    assert "cheetah-speed hypogen: 0.5 M parameters" in there.stdout
    assert "the paper says 70.0 M" in there.stdout
    sweep(path, "--storage", tmp_path / "nothing", "--dry-run")
    assert not (tmp_path / "nothing").exists()


SIX = ("hypogen", "hyperzero", "uvfa", "cond_policy", "meta_policy", "pearl")
FEW_SHOT = {"meta_policy", "pearl"}


@pytest.fixture(scope="module")
def all_methods(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The file and the storage of a sweep with every method, on the experts that are there."""
    folder = tmp_path_factory.mktemp("all_methods")
    storage = shutil.copytree(undisturbed, folder / "runs")
    data = yaml.safe_load((undisturbed.parent / "tiny.yaml").read_text())
    methods = {**dict.fromkeys(SIX), "hypogen": data["methods"]["hypogen"]}
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump({**data, "name": "all", "methods": methods}))
    dry = sweep(path, "--storage", storage, "--dry-run")
    assert dry.returncode == 0 and all(f"{method}: " in dry.stdout for method in SIX), dry.stdout + dry.stderr
    done = sweep(path, "--storage", storage, "--address", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    return path, storage


def test_all_six_methods_run(all_methods: tuple[Path, Path]) -> None:
    frame = ResultStore(all_methods[1] / "results").frame(
        "SELECT method, few_shot, role, count(*) AS n FROM runs JOIN episodes USING (run) JOIN experiments USING (run) "
        "WHERE experiment = 'all' GROUP BY ALL ORDER BY method"
    )
    assert [tuple(row) for row in frame.values] == [(name, name in FEW_SHOT, "test", 4) for name in sorted(SIX)]


@pytest.mark.parametrize("method", sorted(FEW_SHOT))
def test_few_shot_methods_train_the_same_whatever_they_adapt_to(all_methods: tuple[Path, Path], method: str) -> None:
    path, storage = all_methods
    store, plan = Store(str(storage)), build(expand(load(path)))
    both_specs = next(run.acting for run in plan.runs.values() if run.method == method)
    assert isinstance(both_specs, GeneratorArtifact) and both_specs.adapt is not None
    alone = dataclasses.replace(both_specs, adapt=both_specs.train)
    assert make(store, alone)
    folders = [artifact.folder(store) for artifact in (both_specs, alone)]
    for file in ("generator.safetensors", "curve.json"):
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()
    both, train = (Policy.load(folder / POLICY) for folder in folders)
    rows = [both_specs.adapt.index(spec) for spec in both_specs.train]
    assert both.specs == 5 and torch.equal(both.select(rows).biases[0], train.biases[0])


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
    run = Killed(path, storage, "--address", "local", "--set", "resources.rollout.deadline_s=15")
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
    assert trials and actors
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
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 * 2**20})
    node = cluster.add_node(num_cpus=2, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes()
    yield cluster.address, lambda: cluster.remove_node(node, allow_graceful=False)
    cluster.shutdown()


def test_a_cluster_of_two_nodes_gives_the_same_rows_and_may_lose_one(
    undisturbed: Path, tmp_path: Path, two_nodes: tuple[str, Callable[[], None]]
) -> None:
    address, lose = two_nodes
    path, storage = undisturbed.parent / "tiny.yaml", tmp_path / "runs"
    run = Killed(path, storage, "--address", address)
    assert run.until(lambda: list(storage.glob("artifacts/demonstrations/*"))), run.kill()
    lose()
    printed = run.finish()
    assert f"Ray: {address}" in printed
    assert tables(storage) == tables(undisturbed)


def test_what_cannot_work_is_refused_before_anything_is_written(undisturbed: Path, tmp_path: Path) -> None:
    path = undisturbed.parent / "tiny.yaml"
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    cases = [
        (("--storage", blocked / "runs"), "cannot be written"),
        (("--address", "127.0.0.1:1"), "nothing answers there"),
        (("--address", "head"), "host:port"),
        (("--address", "ray://head:10001"), "from outside of a cluster"),
        (("--set", "hypogen.blocks=0"), "--set hypogen.blocks=0: methods.hypogen.blocks"),
        (("--profile", "smoke"), "unknown profile"),
    ]
    for words, message in cases:
        storage = () if "--storage" in words else ("--storage", tmp_path / "runs")
        done = sweep(path, *words, *storage)
        assert done.returncode == 2, done.stdout + done.stderr
        assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
        assert done.stdout == ""
        assert not (tmp_path / "runs").exists()


def test_help_waits_for_neither_torch_nor_ray() -> None:
    code = (
        "import sys, orchestrator.sweep; print([m for m in ('torch', 'ray', 'mujoco', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment())
    assert done.stdout.strip() == "[]"
    assert "--dry-run" in sweep("--help").stdout
