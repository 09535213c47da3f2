"""The population's update against plain single agents, written here with autograd and torch's own optimiser."""

import copy

import pytest
import torch
from torch import nn

from hypogen.experts.settings import TD3Settings
from hypogen.experts.td3 import PopulationTD3, TransitionBatch

S, B, D, A = 3, 16, 5, 2
SETTINGS = TD3Settings(
    batch_size=B, hidden_dim=24, learning_rate=1e-2, tau=0.1, actor_every=2, target_every=3, saturation_penalty=0.02
)
NOW = SETTINGS.at(0)._replace(exploration_std=0.4)


class SingleTD3:
    """One agent as the textbook has it, starting from the given layers."""

    def __init__(self, actor: nn.Sequential, critics: list[nn.Sequential]) -> None:
        self.actor, self.critics = actor, critics
        self.target_actor, self.target_critics = copy.deepcopy(actor), copy.deepcopy(critics)
        self.actor_optimizer = torch.optim.Adam(actor.parameters(), lr=SETTINGS.learning_rate)
        parameters = [p for critic in critics for p in critic.parameters()]
        self.critic_optimizer = torch.optim.Adam(parameters, lr=SETTINGS.learning_rate)

    def update(self, batch: TransitionBatch, noise: torch.Tensor, std: float, number: int) -> None:
        with torch.no_grad():
            smoothing = (noise * std).clamp(-SETTINGS.noise_clip, SETTINGS.noise_clip)
            action = (torch.tanh(self.target_actor(batch.next_observations)) + smoothing).clamp(-1, 1)
            pair = torch.cat([batch.next_observations, action], -1)
            target = batch.returns + batch.discounts * torch.min(*[q(pair).squeeze(-1) for q in self.target_critics])
        pair = torch.cat([batch.observations, batch.actions], -1)
        loss = sum(nn.functional.mse_loss(q(pair).squeeze(-1), target) for q in self.critics)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        if number % SETTINGS.actor_every == 0:
            outputs = self.actor(batch.observations)
            value = self.critics[0](torch.cat([batch.observations, torch.tanh(outputs)], -1)).mean()
            loss = SETTINGS.saturation_penalty * outputs.square().sum(-1).mean() - value
            self.actor_optimizer.zero_grad()
            loss.backward()
            self.actor_optimizer.step()
        if number % SETTINGS.target_every == 0:
            nets = [self.actor, *self.critics]
            for online, target_net in zip(nets, [self.target_actor, *self.target_critics], strict=True):
                for ours, theirs in zip(online.parameters(), target_net.parameters(), strict=True):
                    theirs.data += SETTINGS.tau * (ours.data - theirs.data)


def single_mlp(layers, index: int) -> nn.Sequential:
    modules: list[nn.Module] = []
    for weight, bias in zip(*layers, strict=True):
        linear = nn.Linear(weight.shape[2], weight.shape[1])
        linear.weight.data, linear.bias.data = weight[index].clone(), bias[index].clone()
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def random_batch(generator: torch.Generator) -> TransitionBatch:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return TransitionBatch(
        normal(S, B, D), normal(S, B, A).tanh(), normal(S, B), torch.rand(S, B, generator=generator), normal(S, B, D)
    )


def make_population(precision: str = "float32") -> PopulationTD3:
    torch.set_num_threads(1)
    settings = TD3Settings(**{**vars(SETTINGS), "precision": precision})
    return PopulationTD3(S, D, A, settings, torch.Generator().manual_seed(0))


def weights_after(population: PopulationTD3, updates: int, agents: list[SingleTD3] = ()) -> None:
    generator = torch.Generator().manual_seed(1)
    for number in range(1, updates + 1):
        batch, noise = random_batch(generator), torch.randn(S, B, A, generator=generator)
        population.update(batch, noise, NOW)
        for spec, agent in enumerate(agents):
            agent.update(TransitionBatch(*(part[spec] for part in batch)), noise[spec], 0.4, number)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_population_update_equals_separate_agents(scale: float) -> None:
    """With weights twice as large, actions lie near their ends, and smoothing would take them beyond."""
    population = make_population()
    for network in (population.actor, population.target_actor):
        network.flat.mul_(scale)
        network.refresh()
    agents = [
        SingleTD3(
            single_mlp(population.actor.linear(), spec),
            [single_mlp(population.critic.linear(), twin * S + spec) for twin in range(2)],
        )
        for spec in range(S)
    ]
    weights_after(population, 7, agents)
    for spec, agent in enumerate(agents):
        pairs = [(agent.actor, population.actor, spec), (agent.target_actor, population.target_actor, spec)]
        for twin in range(2):
            pairs.append((agent.critics[twin], population.critic, twin * S + spec))
            pairs.append((agent.target_critics[twin], population.target_critic, twin * S + spec))
        for module, stacked, row in pairs:
            ours = single_mlp(stacked.linear(), row)
            for mine, theirs in zip(ours.parameters(), module.parameters(), strict=True):
                torch.testing.assert_close(mine.data, theirs.data, rtol=1e-4, atol=2e-5)


def test_exports_act_and_value_as_the_networks_do() -> None:
    population = make_population()
    observations = torch.randn(S, 4, D)
    policy = population.policy()
    torch.testing.assert_close(policy(observations), population.act(observations))
    for spec in range(S):
        torch.testing.assert_close(
            policy(observations)[spec], torch.tanh(single_mlp(population.actor.linear(), spec)(observations[spec]))
        )


def test_policy_is_a_copy() -> None:
    population = make_population()
    before = population.policy()
    kept = before.weights[0].clone()
    weights_after(population, 2)
    assert torch.equal(before.weights[0], kept)
    assert not torch.equal(population.policy().weights[0], kept)


def test_bfloat16_follows_float32() -> None:
    exact, coarse = make_population(), make_population("bfloat16")
    torch.testing.assert_close(exact.critic.flat, coarse.critic.flat, rtol=0, atol=0)
    start = exact.critic.flat.clone()
    weights_after(exact, 10)
    weights_after(coarse, 10)
    moved, apart = (exact.critic.flat - start).norm(), (exact.critic.flat - coarse.critic.flat).norm()
    assert 0 < apart < 0.25 * moved


def test_state_continues_to_the_same_bits() -> None:
    for precision in ("float32", "bfloat16"):
        straight, first, second = (make_population(precision) for _ in range(3))
        weights_after(first, 5)
        second.load_state({name: value.copy() for name, value in first.state().items()})
        weights_after(first, 5)
        weights_after(second, 5)
        weights_after(straight, 5)
        weights_after(straight, 5)
        for network in ("actor", "critic", "target_actor", "target_critic"):
            assert torch.equal(getattr(second, network).flat, getattr(straight, network).flat)


def test_finite_notices_nan() -> None:
    population = make_population()
    assert population.finite()
    population.critic.flat[3] = float("nan")
    assert not population.finite()


@pytest.mark.parametrize(
    "wrong",
    [
        {"updates": 0},
        {"learning_rate": -1e-4},
        {"learning_rate": float("nan")},
        {"discount": 1.0},
        {"tau": 0.0},
        {"precision": "float16"},
        {"exploration_fraction": 1.5},
        {"n_step": 0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TD3Settings(**wrong)


def test_schedules() -> None:
    settings = TD3Settings(updates=100, exploration_fraction=0.5, saturation_penalty=0.4)
    assert [round(settings.at(u).saturation_penalty, 6) for u in (0, 25, 50, 99)] == [0.4, 0.2, 0.0, 0.0]
    assert {settings.at(u).learning_rate for u in (0, 50, 100)} == {1e-4}
    falling = TD3Settings(updates=100, learning_rate=1e-3, learning_rate_final=1e-4)
    assert [round(falling.at(u).learning_rate, 6) for u in (0, 50, 100)] == [1e-3, 5.5e-4, 1e-4]
    assert [round(settings.at(u).exploration_std, 6) for u in (0, 25, 50, 99)] == [1.0, 0.55, 0.1, 0.1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_expert_finds_its_own_best_action(precision: str) -> None:
    """A one-step problem with another best action for every expert: the actors end where their own rewards peak."""
    torch.set_num_threads(1)
    settings = TD3Settings(batch_size=64, hidden_dim=32, learning_rate=1e-3, precision=precision)
    generator = torch.Generator().manual_seed(0)
    population = PopulationTD3(S, D, A, settings, generator)
    best = torch.tensor([[-0.5, 0.5], [0.0, 0.3], [0.6, -0.2]]).unsqueeze(1)
    for _ in range(2000):
        observations = 0.1 * torch.randn(S, 64, D, generator=generator)
        actions = torch.rand(S, 64, A, generator=generator) * 2 - 1
        returns = -(actions - best).square().sum(-1)
        batch = TransitionBatch(observations, actions, returns, torch.zeros(S, 64), observations)
        population.update(batch, torch.zeros(S, 64, A), settings.at(0)._replace(exploration_std=0.0))
    found = population.act(0.1 * torch.randn(S, 100, D, generator=generator))
    assert (found - best).abs().mean((1, 2)).max() < 0.2
