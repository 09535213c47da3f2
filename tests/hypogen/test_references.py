"""Reference methods: contract over every registered one and every benchmark, and oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hypogen import zoo
from hypogen.benchmarks import BENCHMARKS, Benchmark, get_benchmark
from hypogen.demonstrations import Selectable
from hypogen.experts.scripted import ScriptedPolicy
from hypogen.policy import Policy, fold_condition
from hypogen.references import REFERENCES, InterpolateSettings, NearestSettings, get_reference
from hypogen.references.interpolate import neighbours
from hypogen.references.nearest import nearest_rows
from hypogen.rollouts import rollout
from hypogen.splits import random_split


class Seen:
    """Linear experts whose action is a number of their own spec, and a record of the specs that were asked for."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark, self.specs = benchmark, list[tuple[float, ...]]()

    def __call__(self, specs: np.ndarray) -> Policy:
        self.specs += map(tuple, specs.tolist())
        shape = (len(specs), self.benchmark.action_dim, self.benchmark.observation_dim)
        places = torch.from_numpy(self.benchmark.scale(specs)).float().mean(dim=1)
        return Policy((torch.zeros(shape),), (places[:, None].expand(shape[:2]).clone(),))


def split_of(benchmark: Benchmark, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    split = random_split(len(benchmark.grid), benchmark.train_fraction, seed)
    return benchmark.grid[list(split.train)], benchmark.grid[list(split.test)]


def act(policy: Selectable, benchmark: Benchmark) -> torch.Tensor:
    observations = torch.linspace(-1, 1, benchmark.observation_dim).expand(policy.specs, 1, -1)
    return policy(observations)[:, 0]


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_acts_at_every_benchmark_and_sees_training_specs_only(name: str, benchmark: Benchmark) -> None:
    reference, seen = get_reference(name), Seen(benchmark)
    train, test = split_of(benchmark)
    if len(train) < 1 + train.shape[1]:
        train = benchmark.grid[:: len(benchmark.grid) // 4]
    policy = reference.policy(benchmark, reference.settings(), train, seen, test)
    actions = act(policy, benchmark)
    assert policy.specs == len(test) and actions.shape == (len(test), benchmark.action_dim)
    assert set(seen.specs) <= set(map(tuple, train.tolist()))
    assert torch.equal(act(policy.select([2, 0]), benchmark), actions[[2, 0]])
    at_home = reference.policy(benchmark, reference.settings(), train, seen, train)
    torch.testing.assert_close(act(at_home, benchmark), act(seen(train), benchmark), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["cheetah-speed", "walker-speed-length", "liftcube-stiffness"])
def test_nearest_is_the_expert_at_the_smallest_scaled_distance(name: str) -> None:
    benchmark = get_benchmark(name)
    train, test = split_of(benchmark, seed=3)
    span = benchmark.grid.max(axis=0) - benchmark.grid.min(axis=0)
    policy = get_reference("nearest").policy(benchmark, NearestSettings(), train, Seen(benchmark), test)
    for row, spec in enumerate(test):
        best = min(train, key=lambda known: round(float(np.hypot.reduce((known - spec) / span)), 9))
        alone = Seen(benchmark)(best[None])
        assert torch.equal(act(policy.select([row]), benchmark), act(alone, benchmark))


def test_nearest_may_keep_to_the_same_direction() -> None:
    benchmark, train = get_benchmark("cheetah-speed"), np.array([[-0.5], [4.0]])
    chosen = [
        get_reference("nearest").policy(benchmark, NearestSettings(same), train, Seen(benchmark), np.array([[1.0]]))
        for same in (False, True)
    ]
    alone = [act(Seen(benchmark)(train[[row]]), benchmark) for row in (0, 1)]
    assert [torch.equal(act(policy, benchmark), expected) for policy, expected in zip(chosen, alone, strict=True)]


def test_where_no_training_spec_has_the_direction_the_nearest_of_all_counts() -> None:
    benchmark, train = get_benchmark("cheetah-speed"), np.array([[9.0], [2.0], [5.0]])
    assert nearest_rows(benchmark, NearestSettings(same_direction=True), train, np.array([[-1.0]])).tolist() == [1]


def test_on_a_plane_three_neighbours_are_mixed() -> None:
    benchmark = get_benchmark("cheetah-speed-length")
    train = benchmark.grid[[0, 1, len(benchmark.grid) // 2, -1]]
    rows, shares = neighbours(benchmark, InterpolateSettings(), train, benchmark.grid[[2]])
    assert rows.shape == shares.shape == (1, 3) and shares.min() > 0
    rows, _ = neighbours(benchmark, InterpolateSettings(neighbours=9), train, benchmark.grid[[2]])
    assert sorted(rows[0].tolist()) == [0, 1, 2, 3]


def test_interpolation_weighs_by_inverse_distance() -> None:
    benchmark, train = get_benchmark("cheetah-speed"), np.array([[-10.0], [2.0], [5.0]])
    rows, shares = neighbours(benchmark, InterpolateSettings(), train, np.array([[3.0], [5.0]]))
    assert rows.tolist() == [[1, 2], [2, 1]]
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3], [1.0, 0.0]], atol=1e-6)
    policy = get_reference("interpolate").policy(benchmark, InterpolateSettings(), train, Seen(benchmark), train)
    experts = Seen(benchmark)(np.array([[2.0], [5.0]]))
    mixed = get_reference("interpolate").policy(
        benchmark, InterpolateSettings(), train, Seen(benchmark), np.array([[3.0]])
    )
    first, second = act(experts, benchmark)
    torch.testing.assert_close(act(mixed, benchmark)[0], 2 / 3 * first + 1 / 3 * second)
    assert policy.specs == 3


def test_averaged_weights_are_a_network_and_control_laws_have_none() -> None:
    benchmark = get_benchmark("liftcube-stiffness")
    train, test = split_of(benchmark)
    settings = InterpolateSettings(mix="weights")
    policy = get_reference("interpolate").policy(benchmark, settings, train, Seen(benchmark), test)
    assert isinstance(policy, Policy)

    def laws(specs: np.ndarray) -> ScriptedPolicy:
        return ScriptedPolicy(benchmark.name, specs)

    assert get_reference("interpolate").policy(benchmark, InterpolateSettings(), train, laws, test).specs == len(test)
    with pytest.raises(ValueError, match="mix must be actions here"):
        get_reference("interpolate").policy(benchmark, settings, train, laws, test)


def test_joint_is_exact_for_an_agent_that_is_told_the_spec() -> None:
    """Oracle: a network on [spec, observation], folded at the training specs and at the test specs."""
    benchmark = get_benchmark("walker-speed-length")
    train, test = split_of(benchmark)
    numbers = torch.Generator().manual_seed(0)
    sizes = ((benchmark.observation_dim + 2, 16), (16, benchmark.action_dim))
    weights = [torch.randn(out, inputs, generator=numbers) for inputs, out in sizes]
    biases = [torch.randn(out, generator=numbers) for _, out in sizes]

    def agent(specs: np.ndarray) -> Policy:
        told = torch.from_numpy(benchmark.scale(specs)).float()
        weight, bias = fold_condition(weights[0], biases[0], told)
        rest = (weights[1].expand(len(specs), -1, -1), biases[1].expand(len(specs), -1))
        return Policy((weight, rest[0]), (bias, rest[1]))

    joint = get_reference("joint")
    policy = joint.policy(benchmark, joint.settings(), train, agent, test)
    torch.testing.assert_close(act(policy, benchmark), act(agent(test), benchmark), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="needs 3 training specs in general position"):
        joint.policy(benchmark, joint.settings(), train[:2], agent, test)


def test_an_unknown_reference_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="did you mean 'nearest'"):
        get_reference("nearst")


def test_copying_the_nearest_expert_of_cheetah_speed_returns_what_it_returned() -> None:
    """Split 0 by an independent check, with the zoo's experts: 841 to two per cent, whatever the processor."""
    benchmark, experts = get_benchmark("cheetah-speed"), zoo.load("cheetah-speed")
    train, test = split_of(benchmark)
    rows = {tuple(spec): row for row, spec in enumerate(experts.specs.tolist())}

    def of(specs: np.ndarray) -> Policy:
        return experts.actor.select([rows[tuple(spec)] for spec in specs.tolist()])

    policy = get_reference("nearest").policy(benchmark, NearestSettings(), train, of, test)
    seeds = [[1000 * row + episode for episode in range(2)] for row in range(len(test))]
    assert rollout(benchmark.name, test, policy, seeds).returns.mean() == pytest.approx(841, rel=0.02)
