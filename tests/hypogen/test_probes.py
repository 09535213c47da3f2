"""The probes against numbers that can be worked out by hand, on a toy whose updates are known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hypogen.demonstrations import Demonstrations
from hypogen.generators import GENERATORS
from hypogen.policy import Policy, PolicyShape
from hypogen.probes import policy_from_starts, random_starts, start_statistics, update_losses
from tests.helpers.imitation import tiny_demonstrations, tiny_generator


class Toy:
    """A policy of one layer, 1 -> 1: every update adds the spec's value to the weight; theta^0 is weight 0, bias 0."""

    settings = SimpleNamespace(blocks=2)
    shape = PolicyShape(layers=1)
    start = (torch.zeros(2),)

    def policy(self, specs, updates=None, start=None) -> Policy:
        first = (start or self.start)[0]
        values = torch.as_tensor(np.asarray(specs)).float()[:, 0]
        weight = first[0] + (self.settings.blocks if updates is None else updates) * values
        return Policy((weight[:, None, None],), (first[1].expand(len(values), 1),))


def demonstrations() -> Demonstrations:
    """Two specs, 1 and 2; the expert does tanh(2 s) at s in (0, 1)."""
    observations = torch.tensor([0.0, 1.0]).expand(2, 1, 2)[..., None]
    rest = torch.zeros(2, 1, 2)
    return Demonstrations(
        torch.tensor([[1.0], [2.0]], dtype=torch.float64),
        observations,
        torch.tanh(2 * observations),
        rest,
        observations,
        rest,
    )


def test_the_loss_after_each_update_is_that_of_the_policy_so_far() -> None:
    losses = update_losses(Toy(), demonstrations())
    wanted = math.tanh(2)
    expected = [[(math.tanh(k * spec) - wanted) ** 2 / 2 for spec in (1, 2)] for k in range(3)]
    assert losses.numpy() == pytest.approx(np.array(expected), abs=1e-7)
    assert losses[2, 0] == losses[1, 1] == 0


def test_the_loss_on_the_way_from_starts_that_the_specs_take_in_turn() -> None:
    starts = [[torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 0.5])]]
    losses = update_losses(Toy(), demonstrations(), starts)
    wanted = math.tanh(2)
    first = [(math.tanh(1 + k) - wanted) ** 2 / 2 for k in range(3)]
    second = [(math.tanh(0.5) ** 2 + (math.tanh(2 * k + 0.5) - wanted) ** 2) / 2 for k in range(3)]
    assert losses.T.numpy() == pytest.approx(np.array([first, second]), abs=1e-7)


def test_the_last_loss_is_the_one_that_training_lowers() -> None:
    generator, shown = tiny_generator("hypogen"), tiny_demonstrations()
    losses = update_losses(generator, shown)
    policy = generator.policy(shown.specs).detach()
    error = policy(shown.observations.flatten(1, 2)) - shown.actions.flatten(1, 2)
    assert losses.shape == (generator.settings.blocks + 1, 4)
    assert float(losses[-1].mean()) == pytest.approx(float(error.square().mean()), rel=1e-5)


def test_statistics_of_the_response_to_a_start() -> None:
    starts = [[torch.tensor([0.0, 3.0])], [torch.tensor([2.0, 3.0])]]
    statistics = start_statistics(Toy(), np.array([[1.0], [2.0]]), starts)
    # The weights of spec 1 are 2 and 4, of spec 2 they are 4 and 6: lengths 3 and 5, 1 away from their means.
    assert statistics == {"fc1.weight": pytest.approx((4.0, 1.0)), "fc1.bias": pytest.approx((3.0, 0.0))}


def test_a_generator_that_ignores_its_start_shows_no_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, specs = tiny_generator("hypogen"), tiny_demonstrations().specs
    starts = random_starts(generator, 3, seed=0)
    responding = start_statistics(generator, specs, starts)
    assert list(responding) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert all(deviation > 0 for _, deviation in responding.values())
    answer = generator.policy(specs)
    monkeypatch.setattr(generator, "policy", lambda specs, start: answer)
    ignoring = [deviation for _, deviation in start_statistics(generator, specs, starts).values()]
    assert ignoring == pytest.approx([0.0] * 4, abs=1e-5)


def test_random_starts_lie_in_the_papers_range_and_depend_on_their_seed() -> None:
    generator = tiny_generator("hypogen")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, other = (random_starts(generator, 2, seed) for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    numbers = torch.cat([layer for start in one for layer in start])
    assert [layer.shape for layer in one[0]] == [layer.shape for layer in generator.start]
    assert numbers.abs().max() <= 0.1 and numbers.std() == pytest.approx(0.1 / math.sqrt(3), rel=0.1)
    assert not torch.equal(one[0][0], one[1][0]) and not torch.equal(one[0][0], other[0][0])
    assert torch.equal(one[1][1], random_starts(generator, 2, 0)[1][1])


def test_the_starts_take_turns_over_the_specs() -> None:
    starts = [[torch.tensor([0.0, 3.0])], [torch.tensor([2.0, 5.0])]]
    policy = policy_from_starts(Toy(), np.array([[1.0], [2.0], [3.0]]), starts)
    assert policy.weights[0].flatten().tolist() == [2.0, 6.0, 6.0]
    assert policy.biases[0].flatten().tolist() == [3.0, 5.0, 3.0]


def test_only_a_method_with_updates_can_be_probed() -> None:
    assert [name for name, entry in GENERATORS.items() if entry.has_updates] == ["hypogen"]
