"""PPO experts, tiny: the artifact is what RLlib trained, and an interrupted training continues."""

from __future__ import annotations

import json
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from safetensors import safe_open

from hypogen.benchmarks import get_benchmark
from hypogen.checkpoints import Checkpoint
from hypogen.demonstrations import Demonstrations, returns_to_go
from hypogen.errors import Diverged, Stopped
from hypogen.experts import PPO_RECIPES, Experts, PPOSettings
from hypogen.experts.cloning import _steps
from hypogen.experts.ppo import (
    ActorCritic,
    _configure,
    _fresh_seed,
    _learner,
    _networks,
    _PPOTraining,
    _set_weights,
    finished,
    train,
)
from hypogen.experts.scripted import ScriptedPolicy
from hypogen.rollouts import rollout

NAME = "liftcube-stiffness"
TINY = replace(
    PPO_RECIPES["laptop"],
    steps=32,
    batch_size=16,
    minibatch_size=8,
    epochs=1,
    hidden_dim=8,
    environments=2,
    evaluate_every=16,
    evaluation_episodes=1,
    episode_steps=10,
    start="fresh",
    initial_log_std=-0.5,
)


TINY_PENALTY = 0.2
"""RLlib's KL coefficient at the start; a policy that hardly changes halves it."""


class Killed(Exception):
    """Stands for whatever ends a training from outside."""


@pytest.fixture(scope="module", autouse=True)
def cluster():
    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_the_networks_are_those_that_rllib_trained():
    benchmark = get_benchmark(NAME)
    algorithm = _configure(benchmark, np.array([700.0]), TINY, 0, "cpu").build_algo()
    algorithm.train()
    module = algorithm.get_module()
    assert isinstance(module, ActorCritic)
    learned = algorithm.learner_group.get_weights()["default_policy"]
    for name, tensor in module.state_dict().items():
        assert np.array_equal(tensor.numpy(), learned[name])
    actor, critic = _networks(module, benchmark.action_dim)
    observations, actions = torch.randn(1, 5, 42), torch.rand(1, 5, 7)
    outputs = module.forward_inference({"obs": observations[0]})["action_dist_inputs"]
    torch.testing.assert_close(actor(observations)[0], outputs[:, :7])
    torch.testing.assert_close(critic(observations, actions)[0], module.compute_values({"obs": observations[0]}))

    expert = Experts(np.array([[700.0]]), actor, critic, np.zeros(1))
    other = _configure(benchmark, np.array([750.0]), TINY, 1, "cpu").build_algo()
    _set_weights(other, expert)
    learner = other.learner_group.get_weights()["default_policy"]
    for name, tensor in other.get_module().state_dict().items():
        assert np.array_equal(tensor.numpy(), learner[name])
        if name != "log_std":
            assert np.array_equal(learner[name], learned[name])
    algorithm.stop()
    other.stop()


@pytest.mark.parametrize("ends", [False, True])
def test_success_ends_a_training_episode_only_where_it_shall(ends):
    settings = replace(TINY, ends_at_success=ends, episode_steps=60)
    config = _configure(get_benchmark(NAME), np.array([1000.0]), settings, 0, "cpu")
    assert PPOSettings().ends_at_success is False
    env = gymnasium.make(config.env, **config.env_config)
    scripted = ScriptedPolicy(NAME, [[1000.0]])
    observation, _ = env.reset(seed=0)
    succeeded = []
    for _ in range(60):
        action = scripted(torch.from_numpy(observation)[None, None])[0, 0].numpy()
        observation, _, terminated, truncated, infos = env.step(action)
        succeeded.append(infos["success"])
        assert terminated == (ends and infos["success"])
        if terminated or truncated:
            break
    env.close()
    assert any(succeeded) and (len(succeeded) < 60) == ends and truncated is not ends


def test_an_interrupted_training_continues_from_its_last_evaluation(tmp_path):
    reports, resumed = [], []

    def stop(values):
        reports.append(values)
        if values["update"] == 32:
            raise Killed

    with pytest.raises(Killed):
        train(NAME, [700.0], TINY, 0, checkpoint=tmp_path, on_progress=stop)
    assert [report["update"] for report in reports] == [16, 32]
    with safe_open(tmp_path / "state.safetensors", "pt") as file:
        assert json.loads(file.metadata()["values"])["steps"] == 16
    assert [path.name for path in tmp_path.rglob("*")] == ["state.safetensors"], "none of RLlib's pickles"
    expert = train(NAME, [700.0], TINY, 0, checkpoint=tmp_path, on_progress=resumed.append)
    assert [report["update"] for report in resumed] == [32]
    assert expert.specs.tolist() == [[700.0]] and len(expert.actor.weights) == 3
    assert [row["update"] for row in expert.curve] == [0, 16, 32]
    again = train(NAME, [700.0], TINY, 0, checkpoint=tmp_path)
    assert torch.equal(again.actor.weights[0], expert.actor.weights[0])
    assert again.curve == expert.curve and again.returns == expert.returns, "it was over: not measured once more"
    with pytest.raises(ValueError, match="other settings"):
        train(NAME, [700.0], TINY, 1, checkpoint=tmp_path)


def test_a_stopped_training_continues_from_where_it_stopped(tmp_path):
    settings, reports = replace(TINY, evaluate_every=32), []
    with pytest.raises(Stopped, match="after 16 steps"):
        train(NAME, [700.0], settings, 0, checkpoint=tmp_path, on_progress=reports.append, stop=lambda: True)
    expert = train(NAME, [700.0], settings, 0, checkpoint=tmp_path, on_progress=reports.append, stop=lambda: False)
    assert [report["update"] for report in reports] == [16, 32]
    assert [row["update"] for row in expert.curve] == [0, 32]
    with pytest.raises(Stopped):
        train(NAME, [700.0], settings, 0, stop=lambda: True)


def test_a_checkpoint_restores_networks_optimiser_and_penalty(tmp_path):
    benchmark, spec = get_benchmark(NAME), np.array([700.0])
    first, second = (_configure(benchmark, spec, TINY, seed, "cpu").build_algo() for seed in (0, 1))
    try:
        for _ in range(2):
            first.train()
        trained, resumed = (_PPOTraining(algorithm, benchmark, spec, TINY, 0, 1) for algorithm in (first, second))
        Checkpoint(tmp_path, {}).save(trained.state())
        resumed.restore(Checkpoint(tmp_path, {}).load())
        ours, theirs = _learner(second), _learner(first)
        buffers, expected = (learner.get_optimizer().state_dict() for learner in (ours, theirs))
        assert expected["state"][0]["step"] > 0 and buffers["param_groups"] == expected["param_groups"]
        assert buffers["state"].keys() == expected["state"].keys()
        for number, values in expected["state"].items():
            assert all(torch.equal(buffers["state"][number][name], value) for name, value in values.items())
        penalties = [float(learner.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID]) for learner in (ours, theirs)]
        assert penalties[0] == penalties[1] != TINY_PENALTY
        for name, tensor in first.get_module().state_dict().items():
            assert torch.equal(second.get_module().state_dict()[name], tensor)
            assert torch.equal(ours.module[DEFAULT_MODULE_ID].state_dict()[name], tensor)
        second.train()
        moved = second.get_module().state_dict()["actor.0.weight"] - first.get_module().state_dict()["actor.0.weight"]
        assert 0 < moved.abs().max() < 5 * TINY.learning_rate, "Adam goes on in steps of its learning rate"
    finally:
        first.stop()
        second.stop()


def test_a_checkpoint_is_never_written_from_a_network_that_is_not_finite(tmp_path):
    broken = replace(TINY, evaluate_every=32, learning_rate=1e30)
    with pytest.raises(Diverged, match="a weight is NaN after 16 steps"):
        train(NAME, [700.0], broken, 0, checkpoint=tmp_path, stop=lambda: True)
    with safe_open(tmp_path / "state.safetensors", "pt") as file:
        assert json.loads(file.metadata()["values"])["steps"] == 0, "that of the evaluation before"


def test_a_resumed_training_draws_other_random_numbers_than_before():
    assert _fresh_seed(7, None) == 7
    seeds = {_fresh_seed(seed, {"steps": steps}) for seed in (0, 7) for steps in (0, 16, 32)}
    assert len(seeds | {0, 7}) == 8 and all(0 <= seed < 2**31 for seed in seeds)


def test_it_can_start_from_another_expert():
    over = replace(TINY, steps=16, evaluate_every=16, learning_rate=1e-12)
    first = train(NAME, [1000.0], over, 0)
    second = train(NAME, [950.0], over, 1, start=first)
    for one, other in zip(first.actor.weights, second.actor.weights, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_it_can_start_from_a_clone_of_the_scripted_controller():
    """Of the same spec and seed, and again the same; a checkpoint takes its place."""
    settings = replace(
        TINY, start="cloned", clone_episodes=8, clone_epochs=200, hidden_dim=64, evaluate_every=16, learning_rate=1e-12
    )
    _, steps = rollout(NAME, [[700.0]], ScriptedPolicy(NAME, [[700.0]]), [[5, 6]], record=True)
    seen, shown = steps.observations[:, :, :20].flatten(1, 2), steps.actions[:, :, :20].flatten(1, 2)
    fresh, cloned, again = (
        train(NAME, [700.0], replace(settings, start=start), 0) for start in ("fresh", "cloned", "cloned")
    )
    errors = [float((expert.actor(seen) - shown).square().mean()) for expert in (fresh, cloned)]
    assert errors[1] < errors[0] / 1.5
    assert torch.equal(again.actor.weights[0], cloned.actor.weights[0])
    with pytest.raises(Stopped, match="cloning"):
        train(NAME, [700.0], settings, 0, stop=lambda: True)


def test_a_clone_learns_values_of_episodes_that_go_on_after_success():
    discount, rewards = 0.85, torch.tensor([0.2, 0.5, 1.0, 0.0])
    shown = Demonstrations(
        specs=torch.zeros(1, 1, dtype=torch.float64),
        observations=torch.zeros(1, 1, 4, 2),
        actions=torch.zeros(1, 1, 4, 1),
        rewards=rewards[None, None],
        next_observations=torch.zeros(1, 1, 4, 2),
        values=returns_to_go(rewards, discount)[None, None],
        lengths=torch.tensor([[3]]),
    )
    on = 1 / (1 - discount)  # the last reward, again and again
    _, _, values = _steps(shown, discount)
    torch.testing.assert_close(values, torch.tensor([0.2 + discount * (0.5 + discount * on), 0.5 + discount * on, on]))


def test_it_is_over_at_the_success_rate_asked_for_or_after_the_last_step():
    curve = [{"update": 16, "success": 0.9}]
    assert not finished(curve, TINY) and finished(curve, replace(TINY, success_rate=0.9))
    assert not finished(curve, replace(TINY, success_rate=None)) and finished(curve, replace(TINY, steps=16))


def test_wrong_benchmarks_and_settings():
    with pytest.raises(ValueError, match="not for cheetah-speed"):
        train("cheetah-speed", [1.0], TINY, 0)
    with pytest.raises(ValueError, match="success_rate must be in"):
        PPOSettings(success_rate=1.5)
    with pytest.raises(ValueError, match="minibatch_size must be at most batch_size"):
        PPOSettings(batch_size=100)
