"""Policies against plain numpy, folding against concatenation, and files."""

import numpy as np
import pytest
import torch

from hypogen.policy import Policy, PolicyShape, concatenate, fold_condition

torch.set_num_threads(1)


def random_policy(specs=3, sizes=((5, 7), (7, 4), (4, 2)), seed=0, dtype=torch.float64) -> Policy:
    rng = torch.Generator().manual_seed(seed)
    weights = tuple(torch.randn(specs, out, inn, generator=rng, dtype=dtype) for inn, out in sizes)
    biases = tuple(torch.randn(specs, out, generator=rng, dtype=dtype) for _, out in sizes)
    return Policy(weights, biases)


def test_actions_equal_a_loop_over_specs_and_episodes():
    policy = random_policy()
    observations = torch.randn(3, 4, 5, dtype=torch.float64)
    actions = policy(observations).numpy()
    assert actions.shape == (3, 4, 2)
    for s in range(3):
        for e in range(4):
            hidden = observations[s, e].numpy()
            for layer, (weight, bias) in enumerate(zip(policy.weights, policy.biases, strict=True)):
                hidden = weight[s].numpy() @ hidden + bias[s].numpy()
                hidden = np.tanh(hidden) if layer == 2 else np.maximum(hidden, 0)
            np.testing.assert_allclose(actions[s, e], hidden, atol=1e-12)


def test_folded_condition_equals_concatenation():
    weight, bias = torch.randn(6, 3 + 5, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    condition, observations = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 9, 5, dtype=torch.float64)
    w, b = fold_condition(weight, bias, condition)
    folded = torch.einsum("soi,sei->seo", w, observations) + b[:, None]
    joined = torch.cat([condition[:, None].expand(-1, 9, -1), observations], dim=-1)
    torch.testing.assert_close(folded, joined @ weight.T + bias, atol=1e-12, rtol=0)


def test_select_concatenate_and_sizes():
    policy = random_policy()
    assert (policy.specs, policy.observation_dim, policy.action_dim) == (3, 5, 2)
    observations = torch.randn(3, 2, 5, dtype=torch.float64)
    picked = policy.select([2, 0, 2])
    torch.testing.assert_close(picked(observations[[2, 0, 2]]), policy(observations)[[2, 0, 2]])
    both = concatenate([policy, picked])
    assert both.specs == 6
    torch.testing.assert_close(both.weights[1][3], policy.weights[1][2])


def test_a_saved_policy_is_the_same_policy(tmp_path):
    policy = random_policy(dtype=torch.float32)
    shared = Policy((policy.weights[0][:1].expand(3, -1, -1), *policy.weights[1:]), policy.biases)
    shared.save(tmp_path / "policy.safetensors")
    loaded = Policy.load(tmp_path / "policy.safetensors")
    for ours, theirs in zip(shared.weights + shared.biases, loaded.weights + loaded.biases, strict=True):
        assert torch.equal(ours, theirs)


def test_unreadable_files_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no policy"):
        Policy.load(tmp_path / "absent.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ValueError, match=r"cut\.safetensors is not a readable policy"):
        Policy.load(tmp_path / "cut.safetensors")


def test_layers_that_do_not_fit_are_refused():
    policy = random_policy()
    with pytest.raises(ValueError, match="do not fit"):
        Policy(policy.weights[::-1], policy.biases[::-1])
    with pytest.raises(ValueError, match="as many biases"):
        Policy(policy.weights, policy.biases[:1])


def test_shape_counts_linear_layers():
    assert PolicyShape(2, 256).sizes(17, 6) == ((17, 256), (256, 6))
    assert PolicyShape(3, 8).sizes(5, 2) == ((5, 8), (8, 8), (8, 2))
    with pytest.raises(ValueError, match="layers must be at least 1, not 0"):
        PolicyShape(0)
