"""PEARL: products and divergences against torch.distributions, its losses written out, and what it may not read."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from hypogen.generators.pearl import kl_to_standard_normal, product_of_gaussians
from hypogen.training import TrainingSettings, fit
from tests.helpers.imitation import plain_mlp, tiny_batch, tiny_demonstrations, tiny_generator

torch.set_num_threads(1)


def gaussians(*shape, seed=0):
    numbers = torch.Generator().manual_seed(seed)
    means = torch.randn(*shape, generator=numbers, dtype=torch.float64)
    return means, 0.1 + torch.rand(*shape, generator=numbers, dtype=torch.float64)


def test_the_product_of_gaussians_has_the_product_of_their_densities():
    means, variances = gaussians(3, 7, 4)
    mean, variance = product_of_gaussians(means, variances)
    points = torch.linspace(-3, 3, 11, dtype=torch.float64)[:, None, None]
    together = Normal(means, variances.sqrt()).log_prob(points[:, None]).sum(dim=2)  # [points, S, L]
    normalised = Normal(mean, variance.sqrt()).log_prob(points)
    constant = together - normalised  # the product's mass, which does not depend on the point
    torch.testing.assert_close(constant, constant[:1].expand_as(constant), atol=1e-9, rtol=0)


def test_the_divergence_is_that_of_torch_distributions():
    mean, variance = gaussians(5, 4)
    standard = Normal(torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64))
    expected = kl_divergence(Normal(mean, variance.sqrt()), standard).sum(dim=-1)
    torch.testing.assert_close(kl_to_standard_normal(mean, variance), expected, atol=1e-12, rtol=0)


def test_losses_are_those_of_a_latent_drawn_from_the_other_half():
    generator, batch = tiny_generator("pearl").double(), tiny_batch(dtype=torch.float64)
    half = batch.rewards.shape[1] // 2
    torch.manual_seed(3)
    losses = generator.losses(batch)
    torch.manual_seed(3)
    noise = torch.randn(3, 4, dtype=torch.float64)
    action, divergence = 0.0, 0.0
    for s in range(3):
        precision, weighted = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
        for i in range(half):
            seen = (batch.observations[s, i], batch.actions[s, i], batch.rewards[s, i : i + 1])
            vote = generator.context_encoder(torch.cat([*seen, batch.next_observations[s, i]]))
            precision += 1 / functional.softplus(vote[4:])
            weighted += vote[:4] / functional.softplus(vote[4:])
        posterior = Normal(weighted / precision, precision.rsqrt())
        latent = generator.encoder(posterior.mean + posterior.stddev * noise[s])
        inputs = torch.cat([latent.expand(batch.rewards.shape[1] - half, -1), batch.observations[s, half:]], dim=-1)
        predicted = torch.tanh(plain_mlp(generator.layers, inputs))
        action += functional.mse_loss(predicted, batch.actions[s, half:]).item() / 3
        divergence += kl_divergence(posterior, Normal(torch.zeros(4), torch.ones(4))).sum().item() / 3
    assert losses["action"].item() == pytest.approx(action, rel=1e-9)
    assert losses["kl"].item() == pytest.approx(divergence, rel=1e-9)


def test_it_never_reads_the_spec():
    generator, batch = tiny_generator("pearl"), tiny_batch()
    losses = []
    for specs in (batch.specs, batch.specs.flip(0)):
        torch.manual_seed(0)
        losses.append(generator.losses(replace(batch, specs=specs)))
    assert losses[0] == losses[1]


def test_the_policy_is_that_of_the_posterior_mean_in_whatever_order_the_context_comes():
    generator, batch = tiny_generator("pearl").double(), tiny_batch(dtype=torch.float64)
    embedding = generator.encoder(generator.posterior(batch)[0])[:, None].expand(-1, 6, -1)
    observations = torch.randn(3, 6, 5, dtype=torch.float64)
    expected = torch.tanh(plain_mlp(generator.layers, torch.cat([embedding, observations], dim=-1)))
    torch.testing.assert_close(generator.infer(batch)(observations), expected, atol=1e-12, rtol=0)
    shuffled = batch.samples(torch.randperm(batch.rewards.shape[1]))
    torch.testing.assert_close(generator.infer(shuffled)(observations), expected, atol=1e-12, rtol=0)


def test_the_divergence_counts_with_its_own_weight():
    generator = tiny_generator("pearl", kl_weight=0.25)
    row = fit(generator, tiny_demonstrations(), TrainingSettings(epochs=1, batch_size=48), 0)[-1]
    assert row["loss"] == pytest.approx(row["action"] + 0.25 * row["kl"], rel=1e-5)


def test_a_sure_vote_stays_finite():
    generator = tiny_generator("pearl")
    with torch.no_grad():
        generator.context_encoder[-1].bias[4:] = -1e4  # softplus is 0 there
    losses = generator.losses(tiny_batch())
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
