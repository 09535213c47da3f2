"""The scripted controller: it solves the task, from what it sees alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hypogen.envs import make_vector
from hypogen.experts.scripted import ScriptedPolicy
from hypogen.rollouts import rollout

HARD = {
    "liftcube-cube-size": [[0.01], [0.02], [0.03]],
    "liftcube-stiffness": [[500.0]],
    "pickcube-damping": [[50.0], [150.0]],
    "pickcube-arm-length": [[0.7], [2.0]],
}


@pytest.mark.parametrize("name", HARD)
def test_it_solves_the_extremes_of_the_grids(name):
    """All 158 specs are in ``python benchmarks/maniskill.py scripted``."""
    specs = np.array(HARD[name])
    seeds = 100 + np.arange(3 * len(specs)).reshape(len(specs), 3)
    episodes = rollout(name, specs, ScriptedPolicy(name, specs), seeds)
    assert episodes.success.all()
    assert np.median(episodes.lengths) < 60


def observations(name: str, rows: int) -> torch.Tensor:
    return torch.from_numpy(make_vector(name, [[1000.0]] * rows).reset(seed=0)[0])


@pytest.mark.parametrize("name", ["liftcube-stiffness", "pickcube-stiffness"])
def test_an_action_depends_on_its_own_observation_and_spec_alone(name):
    seen = observations(name, 6).view(2, 3, -1)
    policy = ScriptedPolicy(name, [[1000.0], [500.0]])
    actions = policy(seen)
    assert actions.shape == (2, 3, 7) and actions.dtype == torch.float32
    assert actions.abs().max() <= 1 and torch.equal(actions[..., 6], torch.ones(2, 3))  # an open gripper
    assert torch.equal(actions[1:, 2:], policy.select([1])(seen[1:, 2:]))
    assert torch.equal(policy(seen), actions)  # nothing is remembered


def test_a_slower_arm_is_told_to_go_further_by_as_much_as_it_is_slower():
    """The default arm, and faster ones, are told the same."""
    seen = observations("liftcube-stiffness", 2)[None, 1:]
    seen[..., 25:28] = seen[..., 32:35] + 0.002  # next to the cube's middle, where no action is a full step

    def told(context: str, value: float) -> torch.Tensor:
        return ScriptedPolicy(f"liftcube-{context}", [[value]])(seen)[0, 0, :6]

    default = told("stiffness", 1000.0)
    assert 0 < default.abs().max() < 0.5
    assert torch.equal(told("stiffness", 1500.0), default) and torch.equal(told("damping", 50.0), default)
    torch.testing.assert_close(told("stiffness", 500.0), 2 * default)
    torch.testing.assert_close(told("damping", 150.0), 1.5 * default)


def test_other_benchmarks_are_refused():
    with pytest.raises(ValueError, match="ManiSkill benchmarks, not for cheetah-speed"):
        ScriptedPolicy("cheetah-speed", [[1.0]])
