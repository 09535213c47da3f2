"""`hypogen export` and `hypogen film` on the runs of a storage that a real experiment filled."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

import hypogen
from hypogen.deployment import KnownPolicies
from hypogen.minari_data import load_minari
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.demonstrations_artifact import load_demonstrations
from orchestrator.artifacts.generator_artifact import GeneratorArtifact
from orchestrator.artifacts.making import make_all
from orchestrator.command import app
from orchestrator.config.loading import expand, load
from orchestrator.execution.measured import write_run
from orchestrator.planning.plan import Plan, build
from orchestrator.stored_runs import find
from orchestrator.stored_runs import load as load_run
from tests.helpers.experiments import ROOT, TINY

METHODS = {
    **yaml.safe_load(TINY)["methods"],
    "hyperzero": {"embedding_dim": 8},
    "pearl": {"adaptation_episodes": 1},
    "nearest": {},
}
SEEN = np.random.default_rng(0).normal(size=(8, 17)).astype(np.float32)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("experiment") / "tiny.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(TINY), "methods": METHODS}))
    return build(expand(load(path)))


@pytest.fixture(scope="module")
def storage(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A storage with every run of the plan, made one after the other in this process."""
    store = Store(str(tmp_path_factory.mktemp("runs")))
    make_all(store, plan.artifacts.values())
    for run in plan.runs.values():
        write_run(store, run)
    return store.uri


def key(plan: Plan, method: str) -> str:
    (found,) = [run.key for run in plan.runs.values() if run.method == method]
    return found


def call(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)), env={"HYPOGEN_STORAGE": None})


@pytest.mark.parametrize("method", ["hypogen", "hyperzero", "cond_policy", "pearl", "expert"])
def test_stored_policies_are_those_that_were_rolled_out(method: str, plan: Plan, storage: str) -> None:
    """And a generator's, at a spec that no policy is stored of, its own."""
    run = next(run for run in plan.runs.values() if run.method == method)
    trained = load_run(run.key, storage)
    asked = tuple(map(tuple, run.benchmark.grid[[spec.row for spec in run.specs]].tolist()))
    stored = run.acting.policy(Store(storage), asked)
    for row, spec in enumerate(asked):
        acted = stored.select([row])(torch.from_numpy(SEEN)[None])[0].numpy()
        np.testing.assert_allclose(trained.at(spec).act(SEEN), acted, atol=1e-5)
    if isinstance(trained, KnownPolicies):
        with pytest.raises(ValueError, match="has policies for"):
            trained.policy(speed=3.7)
    else:
        with pytest.warns(UserWarning):
            assert trained.policy(speed=3.7).act(SEEN).shape == (8, 6)


def test_a_policy_and_a_generator_are_exported(plan: Plan, storage: str, tmp_path: Path) -> None:
    run = key(plan, "hyperzero")
    done = call("export", run[:6], "--spec", "speed=3.7", "-o", tmp_path / "policy.onnx", "--storage", storage)
    assert done.exit_code == 0, done.output
    assert "warning: cheetah-speed: speed=3.7 m/s lies between the specs of the grid" in done.stderr
    assert f"{tmp_path}/policy.onnx: hyperzero, cheetah-speed, speed=3.7 m/s" in done.stdout
    assert call("export", run, "-o", tmp_path / "generator.onnx", "--storage", storage).exit_code == 0
    with pytest.warns(UserWarning):
        acts = load_run(run, storage).policy(speed=3.7).act(SEEN)
    session = onnxruntime.InferenceSession(str(tmp_path / "policy.onnx"))
    assert (session.run(None, {"observation": SEEN})[0] == acts).all()
    session = onnxruntime.InferenceSession(str(tmp_path / "generator.onnx"))
    assert (session.run(None, {"observation": SEEN, "spec": np.array([3.7])})[0] == acts).all()


def test_a_folder_goes_to_a_model_hub_and_comes_back(plan: Plan, storage: str, tmp_path: Path) -> None:
    run = key(plan, "hypogen")
    done = call("export", run, "-o", tmp_path / "mine", "--storage", storage)
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {
        "README.md",
        "generator.json",
        "generator.safetensors",
    }
    _, header, text = (tmp_path / "mine" / "README.md").read_text().split("---\n", 2)
    assert "license" not in yaml.safe_load(header), "the weights are whose they are"
    assert "cheetah-speed" in yaml.safe_load(header)["tags"]
    assert f"| origin | run {run} |" in text and "| speed=" in text and "| test |" in text
    again = hypogen.load(tmp_path / "mine").policy(speed=5)
    assert (again.act(SEEN) == load_run(run, storage).policy(speed=5).act(SEEN)).all()


def test_demonstrations_go_to_minari_and_come_back(plan: Plan, storage: str, tmp_path: Path) -> None:
    (run,) = [run for run in plan.runs.values() if run.method == "hypogen"]
    generator = run.acting
    assert isinstance(generator, GeneratorArtifact)
    words = ("export", run.key[:6], "--minari", "hypogen/cheetah-speed/mine-v0", "-o", tmp_path, "--storage", storage)
    done = call(*words)
    assert done.exit_code == 0, done.output
    back, about = load_minari(tmp_path / "hypogen" / "cheetah-speed" / "mine-v0")
    there = load_demonstrations(Store(storage), generator.demonstrations, generator.train)
    for field in dataclasses.fields(there):
        ours, theirs = getattr(there, field.name), getattr(back, field.name)
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    assert about["run"] == run.key and about["experts"] == [generator.demonstrations[0].experts.key]
    assert set(about["packages"]) >= {"torch", "mujoco"}
    again, lookup = call(*words), call("export", key(plan, "nearest"), *words[2:])
    assert again.exit_code == 2 and "already exists" in again.stderr
    assert lookup.exit_code == 2 and "has learned from no demonstrations" in lookup.stderr


def test_a_strip_of_two_runs_is_drawn(plan: Plan, storage: str, tmp_path: Path) -> None:
    runs = (key(plan, "hypogen"), key(plan, "expert"))
    words = ("--spec", "speed=-10", "--seconds", "0.2", "--frames", "2", "--size", "64x48", "--storage", storage)
    done = call("film", *runs, *words, "-o", tmp_path / "strip.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "strip.png").is_file()


def test_a_key_must_name_one_run(plan: Plan, storage: str) -> None:
    assert find(key(plan, "pearl")[:8], storage).method == "pearl"
    with pytest.raises(ValueError, match=r"(?s)no run of .* begins with 'xyz':\n.*cheetah-speed hypogen split 0"):
        find("xyz", storage)
    with pytest.raises(ValueError, match=r"no run of .* begins with ''"):
        find("", storage)
    first = sorted(run.key[0] for run in plan.runs.values())
    shared = next((digit for digit in first if first.count(digit) > 1), None)
    if shared is not None:
        with pytest.raises(ValueError, match=f"{first.count(shared)} runs of .* begin with '{shared}'"):
            find(shared, storage)


REFUSED: list[tuple[Sequence[str], str]] = [
    (("export", "RUN", "--spec", "speed=30", "-o", "p.onnx"), "speed=30 m/s is refused"),
    (("export", "RUN", "--spec", "speed=3", "-o", "p.pt"), "a policy is written as .onnx or .safetensors"),
    (("export", "RUN", "-o", "g.safetensors"), "without --spec the whole generator is written"),
    (("export", "RUN", "-o", "no/such/g.onnx"), "there is no folder no/such"),
    (("export", "EXPERT", "-o", "g.onnx"), "expert is no generator"),
    (("export", "NEAREST", "--spec", "speed=2", "-o", "p.onnx"), "a lookup among experts"),
    (("film", "RUN", "--spec", "speed=3", "-o", "f.gif"), "a film is written as .mp4"),
    (("film", "RUN", "--spec", "speed=3", "-o", "f.png", "--size", "big"), "write it as 320x240"),
    (("film", "RUN", "--spec", "speed=3", "-o", "f.png", "--size", "1920x1080"), "to 640x480"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_makes_no_sense_is_one_line_and_status_2(
    words: Sequence[str], message: str, plan: Plan, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = {"RUN": key(plan, "hypogen"), "EXPERT": key(plan, "expert"), "NEAREST": key(plan, "nearest")}
    done = call(*(keys.get(word, word) for word in words), "--storage", storage)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_a_damaged_generator_is_status_1(plan: Plan, storage: str, tmp_path: Path) -> None:
    run = next(run for run in plan.runs.values() if run.method == "cond_policy")
    file = run.acting.folder(Store(storage)) / "generator.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    done = call("export", run.key, "--spec", "speed=3", "-o", tmp_path / "p.onnx", "--storage", storage)
    file.write_bytes(whole)
    assert done.exit_code == 1
    assert "is damaged" in done.stderr and "hypogen store check --repair" in done.stderr


def test_every_command_of_the_page_works(
    plan: Plan, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order in which a reader types them, on this storage; films are cut short."""
    lines = [line.strip() for line in (ROOT / "docs" / "policies.md").read_text().splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("hypogen ")]
    assert {words[0] for words in commands} == {"results", "export", "film"} and len(commands) == 9
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYPOGEN_STORAGE", storage)
    short = {"film": ["--seconds", "0.1", "--size", "64x48"]}
    for words in commands:
        given = [
            key(plan, "hypogen") if word == "beb5" else "speed=-10" if word == "speed=5" else word for word in words
        ]
        given = ["speed=6" if word == "speed=-3" else word for word in given] if "beb5" in words else given
        done = CliRunner().invoke(app, [*given, *short.get(words[0], [])])
        assert done.exit_code == 0, (words, done.output)
    written = {
        "policy.onnx",
        "policy.safetensors",
        "generator.onnx",
        "cheetah.mp4",
        "strip.png",
        "my-generator",
        "datasets",
    }
    assert written < {path.name for path in tmp_path.iterdir()}
