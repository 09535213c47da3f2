"""Whole, tiny trainings: they learn, continue exactly after any interruption, and can be saved."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hypogen.benchmarks import get_benchmark
from hypogen.errors import Diverged, Stopped
from hypogen.experts import RECIPES, Experts, TD3Settings, population, resolve, train
from hypogen.experts.population import _sources

SPECS = [[-5.0], [5.0], [10.0]]
TINY = TD3Settings(
    updates=30,
    batch_size=8,
    hidden_dim=8,
    n_step=3,
    seed_steps=990,  # so that the first episode ends, and the replay goes on, among the updates
    exploration_steps=500,
    evaluate_every=20,
    evaluation_episodes=1,
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Killed(Exception):
    """Stands for a kill: nothing in the training may catch it."""


def assert_equal(ours: Experts, theirs: Experts) -> None:
    for name in ("actor", "critic"):
        for ours_layer, theirs_layer in zip(
            (*getattr(ours, name).weights, *getattr(ours, name).biases),
            (*getattr(theirs, name).weights, *getattr(theirs, name).biases),
            strict=True,
        ):
            assert torch.equal(ours_layer, theirs_layer)
    assert ours.curve == theirs.curve
    assert np.array_equal(ours.returns, theirs.returns)
    assert np.array_equal(ours.specs, theirs.specs)


@pytest.mark.parametrize("variant", ["own", "shared", "wrapped", "joint"])
def test_killed_and_resumed_ends_the_same(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "_PROGRESS_EVERY_S", 0.0)  # so that it can be killed after any update
    changes = {
        "own": {"environments": 2, "steps_per_update": 2, "seed_steps": 1980},
        "shared": {"shared_replay": True},
        "wrapped": {"shared_replay": True, "replay_capacity": 1000, "precision": "bfloat16"},
        "joint": {"shared_replay": True, "joint_fraction": 0.45, "keep": "best", "evaluate_every": 5},
    }[variant]
    settings = dataclasses.replace(TINY, **changes)
    undisturbed = train("finger-speed", SPECS, settings, seed=1)

    deaths = itertools.chain([3, 1, 9, 13], itertools.repeat(1000))
    for attempt in range(10):
        death, calls = next(deaths), itertools.count(1)

        def kill(_: dict, death: int = death, calls: itertools.count = calls) -> None:
            if next(calls) == death:
                raise Killed

        every_s = 0.0 if attempt != 1 else 1000.0  # once, work is lost between the last checkpoint and the kill
        try:
            resumed = train("finger-speed", SPECS, settings, 1, tmp_path, kill, checkpoint_every_s=every_s)
            break
        except Killed:
            continue
    assert attempt == 4
    assert_equal(resumed, undisturbed)


@pytest.mark.parametrize("variant", ["own", "joint"])
def test_stopped_and_called_again_ends_the_same(variant: str, tmp_path: Path) -> None:
    changes = {"own": {}, "joint": {"shared_replay": True, "joint_fraction": 0.45, "keep": "best", "evaluate_every": 5}}
    settings = dataclasses.replace(TINY, **changes[variant])
    undisturbed = train("finger-speed", SPECS, settings, seed=1)
    done: list[int] = []
    for stop_at in (1, 7, 14, 29):
        calls = itertools.count(done[-1] + 1 if done else 1)
        with pytest.raises(Stopped, match=f"after {stop_at} updates"):
            train(
                "finger-speed",
                SPECS,
                settings,
                1,
                tmp_path,
                lambda row: done.append(row["update"]),
                checkpoint_every_s=1e6,
                stop=lambda stop_at=stop_at, calls=calls: next(calls) == stop_at,
            )
        done.append(stop_at)
    asked: list[int] = []
    resumed = train("finger-speed", SPECS, settings, 1, tmp_path, stop=lambda: bool(asked.append(1)))
    assert_equal(resumed, undisturbed)
    assert not asked, "one update was left, and after the last there is nothing to stop"


def test_without_a_place_for_a_checkpoint_it_just_stops() -> None:
    with pytest.raises(Stopped):
        train("finger-speed", SPECS, dataclasses.replace(TINY, seed_steps=20), 0, stop=lambda: True)


def test_other_seed_other_experts_and_threads_do_not_matter() -> None:
    settings = dataclasses.replace(TINY, updates=4, seed_steps=20, exploration_steps=10)
    first, again = train("finger-speed", SPECS, settings, 0), train("finger-speed", SPECS, settings, 0, threads=2)
    assert_equal(first, again)
    other = train("finger-speed", SPECS, settings, 1)
    assert not torch.equal(other.actor.weights[0], first.actor.weights[0])


def test_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, updates=2, seed_steps=20)
    train("finger-speed", SPECS, settings, 0, tmp_path, checkpoint_every_s=0.0)
    with pytest.raises(ValueError, match=r"another|other settings"):
        train("finger-speed", SPECS, settings, 1, tmp_path)


def test_divergence_is_raised_and_never_saved(tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, updates=200, seed_steps=20, learning_rate=1e38)
    with pytest.raises(Diverged, match="NaN"):
        train("finger-speed", SPECS, settings, 0, tmp_path, checkpoint_every_s=0.0)
    if (tmp_path / "state.safetensors").exists():
        assert load_file(tmp_path / "state.safetensors")["learner/critic"].isfinite().all()


def test_progress_and_curve() -> None:
    rows: list[dict] = []
    experts = train("finger-speed", SPECS, dataclasses.replace(TINY, seed_steps=20), 0, on_progress=rows.append)
    assert [row["update"] for row in experts.curve] == [20] * 3 + [30] * 3
    assert [row["spec"] for row in experts.curve] == [0, 1, 2] * 2
    assert experts.returns.tolist() == [row["return"] for row in experts.curve[3:]]
    evaluated = [row for row in rows if row["update"] in (20, 30)]
    assert evaluated[-1]["mean_return"] == pytest.approx(experts.returns.mean())
    assert all(row["updates"] == 30 and row["updates_per_s"] > 0 for row in rows)


def test_experts_learn() -> None:
    """Fingers that should spin slowly: within seconds far above standing still, which earns 100."""
    changes = {"updates": 3000, "batch_size": 64, "hidden_dim": 64, "learning_rate": 1e-3, "tau": 0.02}
    changes |= {"exploration_initial": 0.6, "precision": "float32", "evaluate_every": 3000}
    settings = dataclasses.replace(RECIPES["fast"], **changes)
    experts = train("finger-speed", [[2.0], [3.0], [5.0]], settings, seed=0)
    assert experts.returns.mean() > 250


def test_the_best_weights_of_each_spec_are_kept() -> None:
    constant = {"exploration_initial": 0.3, "exploration_final": 0.3}  # so that ending earlier changes nothing before
    settings = dataclasses.replace(TINY, updates=12, seed_steps=20, evaluate_every=3, **constant)
    last = train("finger-speed", SPECS, settings, seed=0)
    best = train("finger-speed", SPECS, dataclasses.replace(settings, keep="best"), seed=0)
    assert best.curve == last.curve
    curve = np.array([row["return"] for row in best.curve]).reshape(-1, len(SPECS))
    assert np.array_equal(best.returns, curve.max(axis=0)) and np.array_equal(last.returns, curve[-1])
    assert (best.returns > last.returns).any()
    for spec, evaluation in enumerate(curve.argmax(axis=0).tolist()):
        there = train("finger-speed", SPECS, dataclasses.replace(settings, updates=3 * (evaluation + 1)), seed=0)
        assert torch.equal(there.actor.weights[0][spec], best.actor.weights[0][spec])
        assert torch.equal(there.critic.weights[0][spec], best.critic.weights[0][spec])


def test_save_load_select_concatenate(tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, updates=2, seed_steps=20)
    experts = train("finger-speed", SPECS, settings, 0)
    experts.save(tmp_path / "experts")
    assert_equal(Experts.load(tmp_path / "experts"), experts)
    assert_equal(
        Experts.concatenate([experts.select([0]), experts.select([1, 2])]).select([2, 0]), experts.select([2, 0])
    )
    assert experts.select([2]).curve == [{"update": 2, "spec": 0, "return": experts.returns[2]}]
    observations, actions = torch.randn(3, 7, 9), torch.rand(3, 7, 2)
    values = experts.critic(observations, actions)
    assert values.shape == (3, 7)
    torch.testing.assert_close(experts.critic.select([1])(observations[1:2], actions[1:2]), values[1:2])


def test_replay_is_shared_only_among_equal_dynamics() -> None:
    from hypogen.benchmarks import get_benchmark

    benchmark = get_benchmark("cheetah-speed-length")
    specs = np.array([[1.0, 0.5], [2.0, 0.4], [3.0, 0.5], [4.0, 0.4]])
    settings = TD3Settings(environments=2, shared_replay=True)
    assert [list(s) for s in _sources(benchmark, specs, settings)] == [[0, 1, 4, 5], [2, 3, 6, 7]] * 2
    own = dataclasses.replace(settings, shared_replay=False)
    assert [list(s) for s in _sources(benchmark, specs, own)] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_resolve_leaves_nothing_to_the_machine() -> None:
    assert resolve(TD3Settings(precision="auto")).precision in ("float32", "bfloat16")
    assert resolve(RECIPES["paper"]) == RECIPES["paper"]


@pytest.mark.parametrize("benchmark", ["cheetah-speed", "cheetah-exact-speed"])
def test_shared_transitions_are_rewarded_for_the_benchmarks_kind_of_target(
    benchmark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewarded, reward = [], population.envs.reward

    def note(environment: str, features: torch.Tensor, speed: torch.Tensor, *kind: object) -> torch.Tensor:
        rewarded.append((features, speed, reward(environment, features, speed, *kind)))
        return rewarded[-1][-1]

    monkeypatch.setattr(population.envs, "reward", note)
    train(benchmark, [[-5.0], [0.05], [5.0]], dataclasses.replace(TINY, updates=3, shared_replay=True), seed=0)
    assert len(rewarded) == 3
    faster = 0
    for features, speed, given in rewarded:
        assert speed.flatten().tolist() == torch.tensor([-5.0, 0.05, 5.0]).tolist()
        assert torch.equal(given, reward("cheetah", features, speed, get_benchmark(benchmark).tolerance))
        too_fast = features[1, ..., 0] > 0.2  # 0.05 m/s is asked for
        faster += int(too_fast.sum())
        assert bool(((given[1][too_fast] == 1) == (benchmark == "cheetah-speed")).all())
    assert faster > 0
