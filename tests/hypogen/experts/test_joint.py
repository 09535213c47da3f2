"""One agent for all specs: it learns as TD3 on [spec, observation] does, and parts into experts without a loss."""

import torch

from hypogen.experts.joint import JointTD3
from hypogen.experts.settings import Schedule, TD3Settings
from hypogen.experts.td3 import Batch, PopulationTD3
from hypogen.policy import Policy, stacked_mlp

S, B, D, A = 3, 4, 5, 2
CONDITIONS = torch.tensor([[-1.0, 0.5], [0.2, 0.0], [1.0, -0.3]])
SETTINGS = TD3Settings(batch_size=7, joint_batch_size=B, hidden_dim=16, learning_rate=1e-2, tau=0.1)
NOW = Schedule(learning_rate=1e-2, exploration_std=0.4, saturation_penalty=0.0)


def random_batch(generator: torch.Generator) -> tuple[Batch, torch.Tensor]:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    batch = Batch(normal(S, B, D), normal(S, B, A).tanh(), normal(S, B), 0.9 + 0 * normal(S, B), normal(S, B, D))
    return batch, normal(S, B, A)


def trained(updates: int = 6) -> JointTD3:
    torch.set_num_threads(1)
    agent = JointTD3(CONDITIONS, D, A, SETTINGS, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        agent.update(*random_batch(generator), NOW)
    return agent


def conditioned(observations: torch.Tensor) -> torch.Tensor:
    """[spec, observation], written here with a loop."""
    rows = [torch.cat([CONDITIONS[s], row]) for s, rows in enumerate(observations) for row in rows]
    return torch.stack(rows).unsqueeze(0)


def test_learns_as_one_agent_on_spec_and_observation() -> None:
    agent = trained()
    plain = PopulationTD3(
        1,
        2 + D,
        A,
        TD3Settings(**{**vars(SETTINGS), "batch_size": S * B}),
        torch.Generator().manual_seed(0),
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        batch, noise = random_batch(generator)
        rows = Batch(
            conditioned(batch.observations),
            batch.actions.reshape(1, S * B, A),
            batch.returns.reshape(1, S * B),
            batch.discounts.reshape(1, S * B),
            conditioned(batch.next_observations),
        )
        plain.update(rows, noise.reshape(1, S * B, A), NOW)
    observations = torch.randn(S, 9, D)
    torch.testing.assert_close(agent.act(observations), plain.act(conditioned(observations)).view(S, 9, A))
    for key, value in plain.state().items():
        assert (agent.state()[key] == value).all(), key


def test_parts_into_experts_that_act_and_value_the_same() -> None:
    agent = trained()
    experts = agent.part()
    observations, actions = torch.randn(S, 9, D), torch.rand(S, 9, A)
    for policy in (agent.policy(), experts.policy()):
        torch.testing.assert_close(policy(observations), agent.act(observations))
    pairs = torch.cat([observations, actions], -1)
    torch.testing.assert_close(stacked_mlp(*experts.q1(), pairs), stacked_mlp(*agent.q1(), pairs))

    mine = conditioned(observations)
    whole = agent._agents
    target = torch.tanh(stacked_mlp(*whole.target_actor.linear(), mine)).view(S, 9, A)
    torch.testing.assert_close(Policy(*experts.target_actor.export())(observations), target)
    pairs_of_both = pairs.repeat(2, 1, 1)  # the experts' critics stand as [all first, all second]
    for ours, theirs in ((experts.critic, whole.critic), (experts.target_critic, whole.target_critic)):
        both = torch.cat([mine, actions.reshape(1, -1, A)], -1).expand(2, -1, -1)
        expected = stacked_mlp(*theirs.linear(), both).view(2 * S, 9, 1)
        torch.testing.assert_close(stacked_mlp(*ours.linear(), pairs_of_both), expected)


def test_experts_go_their_own_ways_after_parting() -> None:
    experts = trained().part()
    before = experts.policy()
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    batch = Batch(normal(S, 7, D), normal(S, 7, A).tanh(), normal(S, 7), 0.9 + 0 * normal(S, 7), normal(S, 7, D))
    for _ in range(2):
        experts.update(batch, normal(S, 7, A), NOW)
    after = experts.policy()
    assert torch.equal(before.weights[1][0], before.weights[1][1])
    assert not torch.equal(after.weights[1][0], after.weights[1][1])
