"""Meta Policy against MAML written with torch.func on the policy before it is folded, one spec at a time."""

from dataclasses import replace

import pytest
import torch
from torch.func import functional_call, grad
from torch.nn import functional

from tests.helpers.imitation import SHAPE, plain_mlp, tiny_batch, tiny_demonstrations, tiny_generator

torch.set_num_threads(1)
STRONG = {"inner_steps": 3, "inner_learning_rate": 0.05}
"""Inner steps that change the policy a lot, so that a wrong derivative shows."""


class Plain(torch.nn.Module):
    """An MLP on [embedding, observation]: nothing folded, nothing stacked."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, embedding, observations):
        inputs = torch.cat([embedding.expand(len(observations), -1), observations], dim=-1)
        return torch.tanh(plain_mlp(self.layers, inputs))


def inner_loop(plain, embedding, observations, actions, settings):
    """The layers' parameters after the inner steps of one spec."""

    def loss(theta):
        return functional.mse_loss(functional_call(plain, theta, (embedding, observations)), actions)

    theta = dict(plain.named_parameters())
    for _ in range(settings.inner_steps):
        slopes = grad(loss)(theta)
        if not settings.second_order:
            slopes = {name: slope.detach() for name, slope in slopes.items()}
        theta = {name: value - settings.inner_learning_rate * slopes[name] for name, value in theta.items()}
    return theta


def outer_loss(generator, batch):
    """Mean over specs of the loss on the second half of the transitions, after inner steps on the first."""
    middle = batch.rewards.shape[1] // 2
    plain, total = Plain(generator.layers), 0.0
    for s, embedding in enumerate(generator.encoder(batch.specs)):
        observations, actions = batch.observations[s], batch.actions[s]
        adapted = inner_loop(plain, embedding, observations[:middle], actions[:middle], generator.settings)
        predicted = functional_call(plain, adapted, (embedding, observations[middle:]))
        total = total + functional.mse_loss(predicted, actions[middle:])
    return total / len(batch.specs)


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_meta_gradient_is_that_of_torch_func(second_order, layers):
    shape = replace(SHAPE, layers=layers)
    generator = tiny_generator("meta_policy", shape=shape, second_order=second_order, **STRONG).double()
    batch, parameters = tiny_batch(dtype=torch.float64), dict(generator.named_parameters())
    expected = outer_loss(generator, batch)
    loss = generator.losses(batch)["action"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    gradients = [torch.autograd.grad(value, list(parameters.values())) for value in (loss, expected)]
    for name, ours, theirs in zip(parameters, *gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-8, msg=lambda text, name=name: f"{name}: {text}")


def test_first_order_is_another_gradient():
    gradients = []
    for second_order in (True, False):
        generator = tiny_generator("meta_policy", second_order=second_order, **STRONG).double()
        loss = generator.losses(tiny_batch(dtype=torch.float64))["action"]
        gradients.append(torch.autograd.grad(loss, generator.layers[0].weight)[0])
    assert (gradients[0] - gradients[1]).norm() > 0.01 * gradients[0].norm()


def test_adapting_takes_the_inner_steps_on_the_demonstrations():
    generator, demos = tiny_generator("meta_policy", **STRONG), tiny_demonstrations()
    generator.adapt(demos)
    policy = generator.policy(demos.specs)
    assert not any(tensor.requires_grad for tensor in (*policy.weights, *policy.biases))
    plain, elsewhere = Plain(generator.layers), torch.randn(4, 9, 5)
    for s, embedding in enumerate(generator.encoder(demos.specs)):
        observations, actions = demos.observations[s].flatten(0, 1), demos.actions[s].flatten(0, 1)
        adapted = inner_loop(plain, embedding, observations, actions, generator.settings)
        expected = functional_call(plain, adapted, (embedding, elsewhere[s]))
        torch.testing.assert_close(policy(elsewhere)[s], expected, atol=1e-5, rtol=1e-5)
        before = functional.mse_loss(plain(embedding, observations), actions)
        after = functional.mse_loss(functional_call(plain, adapted, (embedding, observations)), actions)
        assert after < 0.95 * before


def test_wrong_settings_are_named():
    for wrong in ({"inner_steps": 0}, {"inner_learning_rate": 0.0}, {"inner_learning_rate": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            tiny_generator("meta_policy", **wrong)
