"""Demonstrations are the experts' own steps, and survive the disk."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from hypogen.demonstrations import Demonstrations, collect, collect_successes, returns_to_go
from hypogen.experts import Critic
from hypogen.experts.scripted import ScriptedPolicy
from hypogen.policy import Policy
from hypogen.rollouts import rollout

SPECS = np.array([[-3.0], [4.0], [15.0]])
SEEDS = np.arange(6).reshape(3, 2)
DTYPES = {"specs": torch.float64, "lengths": torch.int64, "terminated": torch.bool}


def layers(*sizes: int) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    pairs = list(pairwise(sizes))
    return (
        tuple(torch.randn(3, b, a, generator=generator) / a**0.5 for a, b in pairs),
        tuple(torch.randn(3, b, generator=generator) for _, b in pairs),
    )


@pytest.fixture(scope="module")
def collected() -> tuple[Demonstrations, Policy, Critic]:
    torch.set_num_threads(1)
    policy, critic = Policy(*layers(9, 16, 2)), Critic(*layers(11, 16, 16, 1))
    return collect("finger-speed", SPECS, policy, critic, SEEDS), policy, critic


def test_collect_records_the_rollout_and_the_critic(collected: tuple[Demonstrations, Policy, Critic]) -> None:
    demonstrations, policy, critic = collected
    _, steps = rollout("finger-speed", SPECS, policy, SEEDS, record=True)
    assert demonstrations.observations.shape == (3, 2, 1000, 9)
    for field in dataclasses.fields(steps):
        assert torch.equal(getattr(demonstrations, field.name), getattr(steps, field.name))
    assert torch.equal(demonstrations.next_observations[:, :, :-1], demonstrations.observations[:, :, 1:])
    assert demonstrations.specs.tolist() == SPECS.tolist()
    for spec in range(3):
        one = critic.select([spec])
        values = one(demonstrations.observations[spec, 1].unsqueeze(0), demonstrations.actions[spec, 1].unsqueeze(0))
        torch.testing.assert_close(demonstrations.values[spec, 1], values[0])


def test_under_noise_the_expert_shows_what_it_would_do_and_the_episode_depends_on_its_seed_alone(
    collected: tuple[Demonstrations, Policy, Critic],
) -> None:
    calm, policy, critic = collected
    noisy = collect("finger-speed", SPECS, policy, critic, SEEDS, noise=0.3)
    assert torch.equal(noisy.observations[:, :, 0], calm.observations[:, :, 0])
    assert not torch.equal(noisy.observations[:, :, 1], calm.observations[:, :, 1])
    seen = noisy.observations.flatten(1, 2)
    torch.testing.assert_close(noisy.actions.flatten(1, 2), policy(seen))
    torch.testing.assert_close(noisy.values.flatten(1, 2), critic(seen, noisy.actions.flatten(1, 2)))
    alone = collect("finger-speed", SPECS[2:], policy.select([2]), critic.select([2]), SEEDS[2:, 1:], noise=0.3)
    assert torch.equal(alone.observations[0, 0, 1], noisy.observations[2, 1, 1])
    _, steps = rollout("finger-speed", SPECS, policy, SEEDS, threads=2, record=True, noise=0.3)
    assert torch.equal(steps.rewards, noisy.rewards)


def test_dtypes_and_that_they_can_be_learned_from(collected: tuple[Demonstrations, Policy, Critic]) -> None:
    demonstrations = collected[0]
    for field in dataclasses.fields(demonstrations):
        tensor = getattr(demonstrations, field.name)
        assert tensor.dtype == DTYPES.get(field.name, torch.float32)
    weight = torch.ones(9, requires_grad=True)
    (demonstrations.observations * weight).sum().backward()
    torch.testing.assert_close(weight.grad, demonstrations.observations.sum((0, 1, 2)))


def test_save_load_select_concatenate(collected: tuple[Demonstrations, Policy, Critic], tmp_path: Path) -> None:
    demonstrations = collected[0]
    demonstrations.save(tmp_path / "demonstrations.safetensors")
    loaded = Demonstrations.load(tmp_path / "demonstrations.safetensors")
    joined = Demonstrations.concatenate([demonstrations.select([2]), demonstrations.select([0, 1])])
    for field in dataclasses.fields(demonstrations):
        tensor = getattr(demonstrations, field.name)
        assert torch.equal(getattr(loaded, field.name), tensor)
        assert torch.equal(getattr(joined, field.name), tensor[[2, 0, 1]])
    with pytest.raises(ValueError, match="no demonstrations"):
        Demonstrations.concatenate([])


def test_fields_that_disagree_are_refused(collected: tuple[Demonstrations, Policy, Critic]) -> None:
    demonstrations = collected[0]
    for field in dataclasses.fields(demonstrations):
        with pytest.raises(ValueError, match="disagree"):
            dataclasses.replace(demonstrations, **{field.name: getattr(demonstrations, field.name)[:2]})


def test_mujoco_episodes_are_whole_and_end_by_the_clock(
    collected: tuple[Demonstrations, Policy, Critic], tmp_path: Path
) -> None:
    demonstrations = collected[0]
    assert demonstrations.lengths.tolist() == [[1000, 1000]] * 3 and not demonstrations.terminated.any()
    part = demonstrations.pick([1])
    assert torch.equal(part.actions, demonstrations.actions[:, 1:])
    joined = Demonstrations.join([part, demonstrations.pick([0])])
    assert torch.equal(joined.values, demonstrations.values[:, [1, 0]])


class Clumsy(ScriptedPolicy):
    """The scripted expert, but it does nothing where the cube lies on the left."""

    def __call__(self, observations: torch.Tensor) -> torch.Tensor:
        return super().__call__(observations) * (observations[..., 33:34] > 0)

    def select(self, indices):
        return Clumsy(self._benchmark, self._points[list(indices)])


def test_only_successes_are_shown_and_failures_are_tried_again() -> None:
    name, specs, seeds = "liftcube-stiffness", [[1000.0], [1400.0]], [[0, 1, 2], [3, 4, 5]]
    shown = collect_successes(name, specs, Clumsy(name, specs), seeds)
    assert shown.terminated.all() and shown.lengths.max() == shown.rewards.shape[2] < 100
    at_first = rollout(name, specs, Clumsy(name, specs), seeds)
    assert 0 < at_first.success.sum() < 6  # some had to be tried again
    assert np.array_equal(shown.lengths.numpy()[at_first.success], at_first.lengths[at_first.success])
    assert (shown.observations[:, :, 0, 33] > 0).all()
    one = collect_successes(name, specs[1:], Clumsy(name, specs[1:]), seeds[1:], threads=2)
    length = one.rewards.shape[2]
    assert torch.equal(shown.observations[1:, :, :length], one.observations)
    last = shown.lengths - 1
    assert torch.equal(shown.values.gather(2, last[..., None]), shown.rewards.gather(2, last[..., None]))
    assert not shown.values[torch.arange(shown.rewards.shape[2]) > last[..., None]].any()


def test_an_expert_that_always_fails_is_given_up() -> None:
    idle = Policy((torch.zeros(1, 7, 42),), (torch.zeros(1, 7),))
    with pytest.raises(ValueError, match="failed 1 episodes in a row"):
        collect_successes("liftcube-damping", [[100.0]], idle, [[0]], attempts=1)


def test_returns_to_go_are_discounted_sums() -> None:
    assert returns_to_go(torch.tensor([[1.0, 2.0, 4.0]]), 0.5).tolist() == [[3.0, 4.0, 4.0]]


def test_episodes_of_other_lengths_join_with_zeros(collected: tuple[Demonstrations, Policy, Critic]) -> None:
    long = collected[0].select([0])
    tensors = {field.name: getattr(long, field.name) for field in dataclasses.fields(long)}
    short = Demonstrations(
        **{name: t[:, :, :5] if t.ndim > 2 else t for name, t in tensors.items()} | {"lengths": None}
    )
    joined = Demonstrations.concatenate([short, long])
    assert joined.lengths.tolist() == [[5, 5], [1000, 1000]]
    assert torch.equal(joined.observations[0, :, :5], short.observations[0])
    assert not joined.observations[0, :, 5:].any()
