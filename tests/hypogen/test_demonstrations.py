"""Demonstrations are the experts' own steps, and survive the disk."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from hypogen.demonstrations import Demonstrations, collect
from hypogen.experts import Critic
from hypogen.policy import Policy
from hypogen.rollouts import rollout

SPECS = np.array([[-3.0], [4.0], [15.0]])
SEEDS = np.arange(6).reshape(3, 2)


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


def test_dtypes_and_that_they_can_be_learned_from(collected: tuple[Demonstrations, Policy, Critic]) -> None:
    demonstrations = collected[0]
    for field in dataclasses.fields(demonstrations):
        tensor = getattr(demonstrations, field.name)
        assert tensor.dtype == (torch.float64 if field.name == "specs" else torch.float32)
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
