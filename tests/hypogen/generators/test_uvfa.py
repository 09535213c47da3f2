"""UVFA: both folded branches against plain forwards, and what its losses teach."""

from dataclasses import replace

import pytest
import torch

from tests.helpers.imitation import SHAPE, plain_mlp, tiny_batch, tiny_generator

torch.set_num_threads(1)


def conditioned(embedding, *inputs):
    """[embedding, inputs], row by row, of embeddings [S, F] and inputs [S, B, in]."""
    return torch.cat([embedding[:, None].expand(-1, inputs[0].shape[1], -1), *inputs], dim=-1)


def test_the_folded_policy_is_the_plain_forward():
    generator, batch = tiny_generator("uvfa", shape=replace(SHAPE, layers=3)).double(), tiny_batch(dtype=torch.float64)
    expected = torch.tanh(
        plain_mlp(generator.action_branch, conditioned(generator.encoder(batch.specs), batch.observations))
    )
    torch.testing.assert_close(generator.policy(batch.specs)(batch.observations), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("value_action", ["predicted", "expert"])
def test_losses_are_those_of_plain_branches(value_action):
    generator, batch = tiny_generator("uvfa", value_action=value_action).double(), tiny_batch(dtype=torch.float64)
    embedding = generator.encoder(batch.specs)

    def act(observations):
        return torch.tanh(plain_mlp(generator.action_branch, conditioned(embedding, observations)))

    def value(observations, actions):
        return 100 * plain_mlp(generator.value_branch, conditioned(embedding, observations, actions))[..., 0]

    predicted = act(batch.observations)
    q = value(batch.observations, predicted if value_action == "predicted" else batch.actions)
    target = batch.rewards + 0.99 * batch.continues * value(batch.next_observations, act(batch.next_observations))
    losses = generator.losses(batch)
    assert losses["action"].item() == pytest.approx((predicted - batch.actions).square().mean().item(), rel=1e-9)
    assert losses["value"].item() == pytest.approx((q - batch.values).square().mean().item() / 1e4, rel=1e-9)
    assert losses["td"].item() == pytest.approx((q - target).square().mean().item() / 1e4, rel=1e-9)


def test_the_value_branch_learns_and_leaves_the_action_branch_alone():
    generator = tiny_generator("uvfa")
    losses = generator.losses(tiny_batch())
    (losses["value"] + losses["td"]).backward()
    assert all(parameter.grad is None for parameter in generator.action_branch.parameters())
    for part in (generator.value_branch, generator.encoder):
        assert all(parameter.grad.abs().sum() > 0 for parameter in part.parameters())


def test_an_unknown_value_action_is_named():
    with pytest.raises(ValueError, match="value_action must be one of predicted, expert, not 'best'"):
        tiny_generator("uvfa", value_action="best")
