"""The zoo's experts are what their cards say, and the command that makes them makes the same again after a kill."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from hypogen import zoo
from hypogen.benchmarks import BENCHMARKS, get_benchmark
from hypogen.experts import RECIPES
from hypogen.rollouts import rollout
from hypogen.zoo.__main__ import PAPER, ROUNDING_LOSS, app, page, summary

ROOT = Path(__file__).resolve().parents[2]
FLOOR = {"cheetah-speed": 870.0}
"""Mean return that a benchmark's experts must reach."""


def test_has_the_benchmark_that_everything_defaults_to() -> None:
    assert "cheetah-speed" in zoo.benchmarks()


@pytest.mark.parametrize("name", zoo.names())
def test_a_few_experts_reach_exactly_what_their_card_says(name: str) -> None:
    card, experts = zoo.card(name), zoo.load(name)
    grid = get_benchmark(card.benchmark).grid
    assert np.array_equal(experts.specs, grid)
    assert len(card.returns) == len(card.deviations) == len(card.seeds) == len(grid)
    few = [0, len(grid) // 3, len(grid) - 1]
    seeds = [card.seeds[spec] for spec in few]
    returns = rollout(card.benchmark, grid[few], experts.actor.select(few), seeds).returns
    expected = [card.returns[spec] for spec in few]
    # Another processor may round a product otherwise, and a gait amplifies that over a thousand steps.
    assert np.allclose(returns.mean(axis=1), expected, rtol=0.03), (returns.mean(axis=1), expected)


@pytest.mark.parametrize("name", zoo.names())
def test_was_made_by_the_recipe_as_it_is_now(name: str) -> None:
    card = zoo.card(name)
    now = dataclasses.asdict(RECIPES[card.recipe])
    assert {**card.settings, "precision": now["precision"]} == now
    assert card.seconds > 0 and card.git_commit


@pytest.mark.parametrize(("benchmark", "mean"), FLOOR.items())
def test_as_good_as_the_papers(benchmark: str, mean: float) -> None:
    card = zoo.card(benchmark)
    assert card.episodes == 10
    assert np.mean(card.returns) >= mean


def test_the_papers_returns_are_those_of_its_table() -> None:
    table = csv.DictReader((ROOT / "results/paper/table01.csv").open())
    means = {
        f"{row['environment']}-{row['context']}": float(row["value"]) for row in table if row["method"] == "expert"
    }
    assert means == PAPER


@pytest.mark.parametrize("name", zoo.names())
def test_rounding_costs_nothing_that_matters(name: str) -> None:
    card, experts = zoo.card(name), zoo.load(name)
    stored = load_file(zoo.ROOT / name / "actor.safetensors")
    assert {str(tensor.dtype) for tensor in stored.values()} == {f"torch.{card.stored}"}
    weights = [*experts.actor.weights, *experts.actor.biases, *experts.critic.weights, *experts.critic.biases]
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert bool(card.unrounded) == (card.stored == "float16")
    if card.unrounded:
        assert np.mean(card.returns) >= (1 - ROUNDING_LOSS) * np.mean(card.unrounded)


@pytest.mark.parametrize("name", zoo.names())
def test_has_a_learning_curve_that_ends_at_the_last_update(name: str) -> None:
    card, curve = zoo.card(name), zoo.load(name).curve
    assert {row["spec"] for row in curve} == set(range(len(card.returns)))
    assert max(row["update"] for row in curve) == card.settings["updates"]


@pytest.mark.parametrize("name", zoo.names())
def test_the_readme_has_every_card(name: str) -> None:
    text = (zoo.ROOT / "README.md").read_text()
    assert page(zoo.card(name)) in text
    assert summary([zoo.card(each) for each in zoo.names()]) in text


def test_experts_of_another_meaning_of_the_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name = zoo.benchmarks()[0]
    changed = dataclasses.replace(get_benchmark(name), revision=get_benchmark(name).revision + 1)
    monkeypatch.setitem(BENCHMARKS, name, changed)
    with pytest.raises(ValueError, match=f"of revision .* of {name}, which is now at revision {changed.revision}"):
        zoo.load(name)


def test_small_enough_for_git() -> None:
    assert sum(file.stat().st_size for file in zoo.ROOT.rglob("*") if file.is_file()) < 49 * 2**20


def test_unknown_benchmark_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no experts for 'cheetah-sped': did you mean 'cheetah-speed'\? Known"):
        zoo.load("cheetah-sped")


def test_changed_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = zoo.benchmarks()[0]
    zoo.add(zoo.load(name), zoo.card(name), tmp_path)
    monkeypatch.setattr(zoo, "ROOT", tmp_path)
    zoo.load(name)
    record = json.loads((tmp_path / name / "experts.json").read_text())
    record["returns"][0] += 1
    (tmp_path / name / "experts.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="restore them with git"):
        zoo.load(name)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["cheeta-speed"], "unknown benchmark 'cheeta-speed': did you mean 'cheetah-speed'? Known: cheetah-speed, "),
        (["liftcube-stiffnes"], "unknown benchmark 'liftcube-stiffnes': did you mean 'liftcube-stiffness'? Known: ch"),
        (["liftcube-stiffness"], "the recipes train experts in MuJoCo, and liftcube-stiffness is not there. Known: "),
        (["cheetah-speed", "--device", "cud"], "unknown device 'cud': did you mean 'cuda'? Known: cpu, cuda."),
    ],
)
def test_a_misspelt_word_of_the_command_is_one_line_and_status_2(
    words: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["train", *words])
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(line) and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_check_sets_fresh_episodes_beside_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["check", "finger-exact-speed", "--episodes", "1", *words])
        return done.exit_code, done.output

    mean = np.mean(zoo.card("finger-exact-speed").returns)
    status, line = check()
    found = re.fullmatch(rf"finger-exact-speed: ([\d.]+), card {mean:.2f}, [+-]\d.\d\d%\n", line)
    assert status == 0 and found and abs(float(found[1]) / mean - 1) < 0.02 and float(found[1]) != round(mean, 2)
    card = dataclasses.replace(zoo.card("finger-exact-speed"), returns=(900.0,))
    monkeypatch.setattr(zoo, "card", lambda name: card)
    assert check()[0] == 1


def test_killed_in_the_middle_the_command_ends_the_same(tmp_path: Path) -> None:
    """The real command with a smaller recipe; its second run goes on from the checkpoint of the first."""
    program = (
        "import dataclasses, hypogen.zoo.__main__ as command\n"
        "small = dict(updates=1000, joint_fraction=0.5, hidden_dim=8, batch_size=4, joint_batch_size=2, seed_steps=20,"
        " exploration_steps=20, evaluate_every=1000, evaluation_episodes=1, precision='float32')\n"
        "command.RECIPES = {'fast': dataclasses.replace(command.RECIPES['fast'], **small)}\n"
        "command.CHECKPOINT_EVERY_S = 0.2\n"
        "command.app()\n"
    )

    def words(place: str) -> list[str]:
        folder = tmp_path / place
        options = ["--threads", "1", "--checkpoints", str(folder / "checkpoints"), "--root", str(folder / "zoo")]
        return [sys.executable, "-c", program, "train", "finger-speed", *options]

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words("killed"), env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    state = tmp_path / "killed" / "checkpoints" / "finger-speed-0" / "state.safetensors"
    deadline = time.monotonic() + 240
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None and state.exists()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for place in ("killed", "undisturbed"):
        subprocess.run(words(place), env=environment, check=True, capture_output=True, timeout=240)
    cards = [
        json.loads((tmp_path / place / "zoo/finger-speed/card.json").read_text()) for place in ("killed", "undisturbed")
    ]
    assert cards[0]["digest"] == cards[1]["digest"] and cards[0]["returns"] == cards[1]["returns"]
