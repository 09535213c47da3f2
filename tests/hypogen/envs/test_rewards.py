"""Rewards against dm_control's tolerance, on numbers that its formulas treat differently."""

import numpy as np
import pytest
import torch
from dm_control.utils import rewards
from hypothesis import given
from hypothesis import strategies as st

from hypogen.benchmarks import BENCHMARKS
from hypogen.contexts import Tolerance
from hypogen.envs import FEATURES, reward
from hypogen.envs.mujoco.walker import stand

TOLERANCE = Tolerance(slack=0.1, slack_share=0.05, margin=0.25, margin_share=0.35)
velocities = st.floats(-50, 50)
speeds = st.floats(0.05, 20).flatmap(lambda speed: st.sampled_from([speed, -speed]))


def _tolerance(velocity, speed):
    return rewards.tolerance(
        np.sign(speed) * velocity,
        bounds=(abs(speed), float("inf")),
        margin=abs(speed),
        sigmoid="linear",
        value_at_margin=0.1,
    )


@pytest.mark.parametrize("environment", ["cheetah", "finger"])
@given(velocity=velocities, speed=speeds)
def test_moving_equals_tolerance_to_the_last_bit(environment, velocity, speed):
    assert reward(environment, np.array([velocity]), speed) == _tolerance(velocity, speed)


def _exact(velocity, speed, tolerance):
    slack = tolerance.slack + tolerance.slack_share * abs(speed)
    return rewards.tolerance(
        np.sign(speed) * velocity,
        bounds=(abs(speed) - slack, abs(speed) + slack),
        margin=tolerance.margin + tolerance.margin_share * abs(speed),
        sigmoid="linear",
        value_at_margin=0.1,
    )


@pytest.mark.parametrize("name", [name for name, entry in BENCHMARKS.items() if entry.tolerance is not None])
@given(share=st.floats(-3, 3), speed=speeds)
def test_keeping_a_speed_equals_tolerance_to_the_last_bit(name, share, speed):
    entry = BENCHMARKS[name]
    features = np.array([share * speed, 0.75][: FEATURES[entry.environment]])
    expected = _exact(features[0], speed, entry.tolerance)
    if entry.environment == "walker":
        expected = 0.75 * (5 * expected + 1) / 6
    assert reward(entry.environment, features, speed, entry.tolerance) == expected


@pytest.mark.parametrize("direction", [1, -1])
def test_known_rewards_for_keeping_a_speed(direction):
    """At 2 m/s the band is 1.8 to 2.2, with a margin of 0.95: faster than asked earns as little as slower."""
    features = direction * np.array([[2.0], [1.8], [2.2], [1.8 - 0.95], [2.2 + 0.95], [0.7], [9.0], [-2.0]])
    expected = [1, 1, 1, 0.1, 0.1, 0, 0, 0]
    np.testing.assert_allclose(reward("cheetah", features, direction * 2.0, TOLERANCE), expected, atol=0.05)
    np.testing.assert_allclose(reward("cheetah", features[:5], direction * 2.0, TOLERANCE), expected[:5], atol=1e-9)


@given(velocity=velocities, standing=st.floats(0, 1), speed=speeds)
def test_walking_combines_standing_and_moving_as_dm_control_does(velocity, standing, speed):
    expected = standing * (5 * _tolerance(velocity, speed) + 1) / 6
    assert reward("walker", np.array([velocity, standing]), speed) == expected


@given(st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 1)), min_size=1, max_size=20))
def test_standing_equals_dm_controls_one_number_at_a_time(rows):
    heights, uprights = np.array(rows).T
    expected = [
        (3 * rewards.tolerance(height, bounds=(1.2, float("inf")), margin=0.6) + (1 + upright) / 2) / 4
        for height, upright in zip(heights, uprights, strict=True)
    ]
    assert stand(heights, uprights).tolist() == expected


@pytest.mark.parametrize("environment", ["cheetah", "walker", "finger"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("tolerance", [None, TOLERANCE])
def test_torch_and_numpy_agree_to_the_last_bit(environment, dtype, tolerance):
    rng = np.random.default_rng(0)
    features = rng.uniform(-3, 3, (4, 50, 2 if environment == "walker" else 1)).astype(dtype)
    speed = np.array([[-2.5], [-0.5], [1], [2]], dtype=dtype)
    ours = reward(environment, features, speed, tolerance)
    theirs = reward(environment, torch.from_numpy(features), torch.from_numpy(speed), tolerance)
    assert ours.shape == (4, 50) and ours.dtype == dtype
    assert np.array_equal(ours, theirs.numpy())


@pytest.mark.parametrize("direction", [1, -1])
def test_known_rewards(direction):
    """Standing still earns 0.1, half the target speed 0.55, the target and beyond 1, a ninth backwards nothing."""
    features = direction * np.array([[0.0], [5.0], [10.0], [20.0], [-10 / 9], [-20.0]])
    np.testing.assert_allclose(reward("cheetah", features, direction * 10.0), [0.1, 0.55, 1, 1, 0, 0], atol=1e-12)


def test_wrong_environment_and_features():
    with pytest.raises(ValueError, match="'octopus'; known: cheetah, walker, finger"):
        reward("octopus", np.zeros((1, 1)), 1.0)
    with pytest.raises(ValueError, match=r"walker has 2 feature\(s\), got shape \(3, 1\)"):
        reward("walker", np.zeros((3, 1)), 1.0)
