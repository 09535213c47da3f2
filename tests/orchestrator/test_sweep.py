"""The whole path, as a user runs it: real MuJoCo, real training, real Ray, in subprocesses that may be killed."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
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
from tests.helpers.experiments import ROOT, environment, sweep


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
