"""One agent for all specs: it learns as TD3 on [spec, observation] does, and parts into experts without a loss."""

import dataclasses

import pytest
import torch

from hypogen.experts.joint import JointTD3
from hypogen.experts.settings import Schedule, TD3Settings
from hypogen.experts.td3 import PopulationTD3, TransitionBatch
from hypogen.policy import Policy, stacked_mlp

S, B, D, A = 3, 4, 5, 2
CONDITIONS = torch.tensor([[-1.0, 0.5], [0.2, 0.0], [1.0, -0.3]])
SETTINGS = TD3Settings(batch_size=7, joint_batch_size=B, hidden_dim=16, learning_rate=1e-2, tau=0.1)
NOW = Schedule(learning_rate=1e-2, exploration_std=0.4, saturation_penalty=0.0)


def random_batch(generator: torch.Generator) -> tuple[TransitionBatch, torch.Tensor]:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    batch = TransitionBatch(
        normal(S, B, D), normal(S, B, A).tanh(), normal(S, B), 0.9 + 0 * normal(S, B), normal(S, B, D)
    )
    return batch, normal(S, B, A)


MEMBERS = {1: [[0, 1, 2]], 2: [[0, 1], [2, 2]], 3: [[0], [1], [2]]}
"""Which specs each of so many agents serves; one that has fewer serves its last one twice."""


def trained(agents: int, updates: int = 6) -> JointTD3:
    torch.set_num_threads(1)
    settings = dataclasses.replace(SETTINGS, joint_agents=agents)
    joint = JointTD3(CONDITIONS, D, A, settings, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        joint.update(*random_batch(generator), NOW)
    return joint


def rows_of(agents: int, tensor: torch.Tensor, told: bool = False) -> torch.Tensor:
    """What ``[S, B, …]`` of the specs is to the agents, ``[G, P * B, …]``, written here with loops."""
    whole = []
    for members in MEMBERS[agents]:
        rows = [torch.cat([CONDITIONS[s], row]) if told else row for s in members for row in tensor[s]]
        whole.append(torch.stack(rows))
    return torch.stack(whole)


@pytest.mark.parametrize("agents", MEMBERS)
def test_learns_as_agents_on_spec_and_observation_do(agents: int) -> None:
    joint = trained(agents)
    per_agent = len(MEMBERS[agents][0])
    settings = dataclasses.replace(SETTINGS, batch_size=per_agent * B)
    plain = PopulationTD3(agents, 2 + D, A, settings, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        batch, noise = random_batch(generator)
        rows = TransitionBatch(
            rows_of(agents, batch.observations, told=True),
            rows_of(agents, batch.actions),
            rows_of(agents, batch.returns),
            rows_of(agents, batch.discounts),
            rows_of(agents, batch.next_observations, told=True),
        )
        plain.update(rows, rows_of(agents, noise), NOW)
    for key, value in plain.state().items():
        assert (joint.state()[key] == value).all(), key
    observations = torch.randn(S, 9, D)
    expected = plain.act(rows_of(agents, observations, told=True)).view(agents, per_agent, 9, A)
    for agent, members in enumerate(MEMBERS[agents]):
        for place, spec in enumerate(members):
            torch.testing.assert_close(joint.act(observations)[spec], expected[agent, place])


@pytest.mark.parametrize("agents", MEMBERS)
def test_parts_into_experts_that_act_and_value_the_same(agents: int) -> None:
    joint = trained(agents)
    whole, experts = joint._agents, joint.part()
    observations, actions = torch.randn(S, 9, D), torch.rand(S, 9, A)
    for policy in (joint.policy(), experts.policy()):
        torch.testing.assert_close(policy(observations), joint.act(observations))
    pairs = torch.cat([observations, actions], -1)
    torch.testing.assert_close(stacked_mlp(*experts.q1(), pairs), stacked_mlp(*joint.q1(), pairs))

    def outputs(weights: tuple[torch.Tensor, ...], biases: tuple[torch.Tensor, ...], network: int, spec: int, x):
        layers = [(w[network : network + 1], b[network : network + 1]) for w, b in zip(weights, biases, strict=True)]
        told = torch.cat([CONDITIONS[spec].expand(len(x), -1), x], dim=-1)
        return stacked_mlp(*zip(*layers, strict=True), told.unsqueeze(0))[0]

    target_actions = Policy(*experts.target_actor.export())(observations)
    critics = [stacked_mlp(*net.linear(), pairs.repeat(2, 1, 1)) for net in (experts.critic, experts.target_critic)]
    for agent, members in enumerate(MEMBERS[agents]):
        for spec in members:
            target = torch.tanh(outputs(*whole.target_actor.linear(), agent, spec, observations[spec]))
            torch.testing.assert_close(target_actions[spec], target)
            for ours, theirs in zip(critics, (whole.critic, whole.target_critic), strict=True):
                for twin in (0, 1):  # all first critics stand before all second ones
                    expected = outputs(*theirs.linear(), twin * agents + agent, spec, pairs[spec])
                    torch.testing.assert_close(ours[twin * S + spec], expected)


def test_experts_go_their_own_ways_after_parting() -> None:
    experts = trained(agents=1).part()
    before = experts.policy()
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    batch = TransitionBatch(
        normal(S, 7, D), normal(S, 7, A).tanh(), normal(S, 7), 0.9 + 0 * normal(S, 7), normal(S, 7, D)
    )
    for _ in range(2):
        experts.update(batch, normal(S, 7, A), NOW)
    after = experts.policy()
    assert torch.equal(before.weights[1][0], before.weights[1][1])
    assert not torch.equal(after.weights[1][0], after.weights[1][1])
