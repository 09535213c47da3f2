"""Rollouts against single gymnasium environments and a plain loop."""

import gymnasium
import numpy as np
import pytest
import torch

from hypogen.experts.scripted import ScriptedPolicy
from hypogen.policy import Policy
from hypogen.rollouts import Episodes, FailureRule, rollout
from hypogen.simulators import MANISKILL, MUJOCO

SPECS = np.array([[-3.0], [8.0]])
SEEDS = np.array([[5, 6], [7, 5]])


def random_policy(specs: int, observation_dim: int, action_dim: int) -> Policy:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    return Policy(
        (
            torch.randn(specs, 16, observation_dim, generator=generator),
            torch.randn(specs, action_dim, 16, generator=generator),
        ),
        (torch.randn(specs, 16, generator=generator), torch.randn(specs, action_dim, generator=generator)),
    )


def test_rollout_equals_single_environments() -> None:
    policy = random_policy(2, 9, 2)
    episodes, steps = rollout("finger-speed", SPECS, policy, SEEDS, record=True)
    for spec in range(2):
        for episode in range(2):
            env = gymnasium.make("hypogen/finger-speed-v0", spec=tuple(SPECS[spec]))
            observation, _ = env.reset(seed=int(SEEDS[spec, episode]))
            total = 0.0
            for step in range(1000):
                seen = steps.observations[spec, episode, step]
                assert np.array_equal(seen.numpy(), observation.astype(np.float32))
                action = steps.actions[spec, episode, step]
                if step % 100 == 0:
                    expected = policy.select([spec])(seen.view(1, 1, -1))[0, 0]
                    torch.testing.assert_close(action, expected)
                observation, reward, _, truncated, _ = env.step(action.numpy())
                assert steps.rewards[spec, episode, step].item() == np.float32(reward)
                assert np.array_equal(
                    steps.next_observations[spec, episode, step].numpy(), observation.astype(np.float32)
                )
                total += reward
            assert truncated
            assert episodes.returns[spec, episode] == total
            assert episodes.lengths[spec, episode] == 1000
            env.close()


def test_threads_and_recording_do_not_matter() -> None:
    policy = random_policy(2, 17, 6)
    plain = rollout("cheetah-speed", SPECS, policy, SEEDS, threads=2)
    recorded, steps = rollout("cheetah-speed", SPECS, policy, SEEDS, record=True)
    assert np.array_equal(plain.returns, recorded.returns)
    np.testing.assert_allclose(steps.rewards.double().sum(-1).numpy(), plain.returns, rtol=1e-5)
    for spec in range(2):
        for episode in range(2):
            low = (steps.rewards[spec, episode] < 0.05).tolist()
            longest = max(len(run) for run in "".join("x" if is_low else " " for is_low in low).split(" "))
            assert plain.failed[spec, episode] == (longest >= 50)
    assert np.array_equal(plain.success, ~plain.failed)


def test_failure_is_fifty_low_rewards_in_a_row() -> None:
    rule = FailureRule(4)
    for step in range(200):
        broken = 0.2 if step == 49 else 0.0  # world 0 recovers just before the fiftieth, then fails
        early = 0.0 if step < 49 else 1.0  # world 1 recovers for good just before the fiftieth
        late = 0.0 if step >= 150 else 1.0
        rule.update(np.array([broken, early, late, 0.05]))
        assert rule.failed[0] == (step >= 99)
    assert rule.failed.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("specs", "policies", "seeds"),
    [(SPECS, 3, SEEDS), (SPECS, 2, SEEDS[:1]), (SPECS[0], 2, SEEDS), (SPECS, 2, SEEDS[0]), (SPECS, 2, SEEDS[:, :0])],
)
def test_wrong_shapes_are_refused(specs: np.ndarray, policies: int, seeds: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"specs|seeds"):
        rollout("finger-speed", specs, random_policy(policies, 9, 2), seeds)


def test_a_benchmark_is_judged_by_its_simulators_measure() -> None:
    episodes = Episodes(np.array([[150.0, 20.0, 130.0]]), np.array([[200, 30, 200]]), np.array([[True, False, True]]))
    assert episodes.mean_score(MUJOCO) == 100.0 and episodes.mean_score(MANISKILL) == pytest.approx(1 / 3)


def test_maniskill_episodes_end_at_success_or_after_200_steps() -> None:
    specs, seeds = np.array([[500.0], [1500.0]]), np.array([[0, 1], [2, 3]])
    done, steps = rollout("liftcube-stiffness", specs, ScriptedPolicy("liftcube-stiffness", specs), seeds, record=True)
    assert done.success.all() and not done.failed.any() and (done.lengths < 100).all()
    longest = done.lengths.max()
    assert steps.observations.shape == (2, 2, longest, 42) and steps.rewards.shape == (2, 2, longest)
    np.testing.assert_allclose(steps.rewards.double().sum(-1).numpy(), done.returns, rtol=1e-6)
    for spec, episode in np.ndindex(2, 2):
        length = done.lengths[spec, episode]
        assert steps.rewards[spec, episode, length - 1] == 1.0  # normalised: what success pays
        for tensor in (steps.observations, steps.next_observations, steps.actions):
            assert tensor[spec, episode, :length].abs().sum(-1).min() > 0
            assert not tensor[spec, episode, length:].any()
        after, before = steps.next_observations[spec, episode], steps.observations[spec, episode]
        assert torch.equal(after[: length - 1], before[1:length])


def test_maniskill_failures_last_200_steps() -> None:
    idle = Policy((torch.zeros(1, 7, 42),), (torch.zeros(1, 7),))
    done, steps = rollout("liftcube-damping", [[100.0]], idle, [[4]], record=True)
    assert done.failed.all() and not done.success.any() and done.lengths.tolist() == [[200]]
    assert steps.rewards.shape == (1, 1, 200)


def test_rounds_and_processes_do_not_matter() -> None:
    """More seeds than fit at once, the last round overlapping the one before."""
    specs, count = np.array([[1400.0]]), MANISKILL.episodes_at_once + 3
    expert = ScriptedPolicy("liftcube-stiffness", specs)
    seeds = np.arange(count)[None] + 50
    done, steps = rollout("liftcube-stiffness", specs, expert, seeds, record=True)
    part = slice(count - 4, count)
    few, few_steps = rollout("liftcube-stiffness", specs, expert, seeds[:, part], threads=2, record=True)
    assert np.array_equal(done.lengths[:, part], few.lengths) and np.array_equal(done.returns[:, part], few.returns)
    length = few_steps.rewards.shape[2]
    assert torch.equal(steps.observations[:, part, :length], few_steps.observations)
