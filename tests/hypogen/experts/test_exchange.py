"""Whoever's expert is best on a spec serves it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hypogen import zoo
from hypogen.experts.exchange import EPISODES, exchange
from hypogen.rollouts import rollout

NAME = "cheetah-exact-speed"


@pytest.fixture(scope="module")
def experts():
    """Experts of four speeds far apart, of which the first two have changed places."""
    four = zoo.load(NAME).select([2, 9, 15, 20])
    return dataclasses.replace(four.select([1, 0, 2, 3]), specs=four.specs)


def test_experts_that_changed_places_change_back(experts):
    exchanged, chosen = exchange(NAME, experts, seed=0)
    assert chosen.tolist() == [1, 0, 2, 3]
    assert np.array_equal(exchanged.specs, experts.specs)
    for source, (weight, before) in enumerate(zip(exchanged.actor.weights[0], experts.actor.weights[0], strict=True)):
        assert source in (0, 1) or weight.equal(before)
    assert exchanged.critic.weights[0][0].equal(experts.critic.weights[0][1])
    seeds = np.arange(4 * EPISODES).reshape(4, EPISODES)
    fresh = rollout(NAME, experts.specs, exchanged.actor, seeds).returns.mean(axis=1)
    assert np.abs(fresh - exchanged.returns).max() < 40, "what they were judged by holds on other episodes"


def test_the_same_seed_gives_the_same_exchange(experts):
    (first, _), (again, _) = (exchange(NAME, experts, seed=3, threads=threads) for threads in (1, 2))
    assert first.actor.weights[0].equal(again.actor.weights[0]) and np.array_equal(first.returns, again.returns)
