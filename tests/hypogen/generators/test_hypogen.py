"""HyPoGen against equations 6 to 8 written out in plain loops, and its gradient against finite differences."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from hypogen.generators.hypogen import HyPoGenSettings, Jacobian
from hypogen.policy import PolicyShape
from tests.helpers.imitation import tiny_benchmark, tiny_generator

torch.set_num_threads(1)
TINY = {"blocks": 2, "hidden_dim": 4, "weight_dim": 3, "activation_dim": 2, "embedding_dim": 8}
SPECS = tiny_benchmark().grid[[3, 40, 77]]


def tiny(layers=2, dtype=torch.float64, **overrides):
    shape = PolicyShape(layers=layers, hidden_dim=3)
    return tiny_generator("hypogen", shape=shape, **{**TINY, **overrides}).to(dtype)


# --- equations 6-8 in plain loops: one spec at a time, every matrix written out -----------------------------------


def oracle_mlp(numbers, name, inputs):
    """The linear layers below `name`, in order, with ReLU between them."""
    found = {int(key[len(name) + 1 :].split(".")[0]) for key in numbers if key.startswith(f"{name}.")}
    values = list(inputs)
    for position, index in enumerate(sorted(found)):
        weight, bias = numbers[f"{name}.{index}.weight"], numbers[f"{name}.{index}.bias"]
        values = [max(v, 0.0) for v in values] if position else values
        values = [bias[o] + sum(weight[o][i] * values[i] for i in range(len(values))) for o in range(len(bias))]
    return values


def oracle_jacobian(numbers, name, inputs):
    """The matrix [rows][columns] that psi^z or psi^theta puts out: linear in its last hidden activations."""
    deep = any(key.startswith(f"{name}.features") for key in numbers)
    hidden = [max(v, 0.0) for v in oracle_mlp(numbers, f"{name}.features.0", inputs)] if deep else list(inputs)
    weight, bias = numbers[f"{name}.weight"], numbers[f"{name}.bias"]
    unit = len(weight) ** -0.5 if "activation_jacobians" in name else 1.0
    return [
        [
            bias[r][c] + sum(unit * weight[r * len(hidden) + h][c] * hidden[h] for h in range(len(hidden)))
            for c in range(len(bias[0]))
        ]
        for r in range(len(bias))
    ]


def oracle_product(left, right):
    return [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*right, strict=True)] for row in left
    ]


def oracle_psi(numbers, block, codes, embedding):
    """Equation 8, literally: for each n the product over m = 1..N-n, then the parameters' Jacobian."""
    count = len(codes)
    z = [oracle_mlp(numbers, f"gradients.{block}.observation", embedding)]
    for n in range(1, count):
        z.append(oracle_mlp(numbers, f"gradients.{block}.activations.{n - 1}", z[n - 1] + codes[n - 1]))
    update = []
    for n in range(1, count + 1):
        product = [oracle_mlp(numbers, f"gradients.{block}.loss_slope", embedding)]
        for m in range(1, count - n + 1):
            layer = count - m + 1
            name = f"gradients.{block}.activation_jacobians.{layer - 2}"
            product = oracle_product(product, oracle_jacobian(numbers, name, z[layer - 1] + codes[layer - 1]))
        name = f"gradients.{block}.parameter_jacobians.{n - 1}"
        product = oracle_product(product, oracle_jacobian(numbers, name, z[n - 1] + codes[n - 1]))
        update.append(product[0])
    return update


def oracle_step(numbers, block, codes, embedding):
    if f"steps.{block}.value" in numbers:
        return numbers[f"steps.{block}.value"][0][0]
    inputs = [value for code in codes for value in code] + embedding
    return -0.01 * (1.0 + oracle_mlp(numbers, f"steps.{block}.network", inputs)[0])


def oracle_encode(numbers, block, parameters, sizes):
    codes = []
    for n, (fan_in, fan_out) in enumerate(sizes):
        scale = (3.0 * fan_in / (fan_out * (fan_in + 1))) ** 0.5
        scaled = [value * scale for value in parameters[n]]
        weight = numbers[f"layer_encoders.{block}.{n}.linear.weight"]
        bias = numbers[f"layer_encoders.{block}.{n}.linear.bias"]
        codes.append([bias[o] + sum(w * v for w, v in zip(weight[o], scaled, strict=True)) for o in range(len(bias))])
    return codes


def oracle_decode(numbers, block, codes, sizes):
    parameters = []
    for n, (fan_in, _) in enumerate(sizes):
        weight = numbers[f"layer_decoders.{block}.{n}.linear.weight"]
        bias = numbers[f"layer_decoders.{block}.{n}.linear.bias"]
        flat = [bias[o] + sum(w * v for w, v in zip(weight[o], codes[n], strict=True)) for o in range(len(bias))]
        parameters.append([value / fan_in**0.5 for value in flat])
    return parameters


def oracle_normalise(layer):
    mean = sum(layer) / len(layer)
    variance = sum((v - mean) ** 2 for v in layer) / len(layer)
    return [(v - mean) / (variance + 1e-5) ** 0.5 for v in layer]


def oracle_parameters(generator, embedding, updates):
    """theta^k of one spec, flat, layer by layer."""
    numbers = {name: tensor.tolist() for name, tensor in generator.state_dict().items()}
    settings, sizes = generator.settings, generator.sizes
    parameters = [numbers[f"start.{n}"] for n in range(len(sizes))]
    codes = oracle_encode(numbers, 0, parameters, sizes)
    for k in range(updates):
        block = 0 if settings.share_blocks else k
        if settings.space == "full":
            codes = oracle_encode(numbers, block, parameters, sizes)
        step = oracle_step(numbers, k, codes, embedding)
        update = oracle_psi(numbers, block, codes, embedding)
        if settings.space == "full":
            update = [oracle_normalise(layer) for layer in oracle_decode(numbers, block, update, sizes)]
            parameters = [
                [p + step * u for p, u in zip(*pair, strict=True)] for pair in zip(parameters, update, strict=True)
            ]
        else:
            codes = [[c + step * u for c, u in zip(*pair, strict=True)] for pair in zip(codes, update, strict=True)]
    return parameters if settings.space == "full" else oracle_decode(numbers, 0, codes, sizes)


@pytest.mark.parametrize(
    ("layers", "overrides"),
    [
        (2, {}),
        (3, {}),
        (1, {}),
        (3, {"blocks": 3, "step_size": "scalar"}),
        (2, {"block_depth": 1}),
        (3, {"block_depth": 4, "share_blocks": True}),
        (2, {"space": "full"}),
        (3, {"space": "full", "step_size": "scalar", "share_blocks": True}),
    ],
    ids=str,
)
def test_generated_weights_equal_equations_6_to_8(layers, overrides):
    generator = tiny(layers, **overrides)
    with torch.no_grad():
        for parameter in generator.parameters():  # biases start at zero and steps tiny: give every number a say
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=torch.float64))
    embeddings = generator.encoder(SPECS).tolist()
    changes = []
    for updates in range(generator.settings.blocks + 1):
        policy = generator.policy(SPECS, updates=updates).detach()
        for s, embedding in enumerate(embeddings):
            expected = oracle_parameters(generator, embedding, updates)
            for n, (fan_in, fan_out) in enumerate(generator.sizes):
                weight = np.reshape(expected[n][: fan_in * fan_out], (fan_out, fan_in))
                np.testing.assert_allclose(policy.weights[n][s], weight, atol=1e-10, rtol=0)
                np.testing.assert_allclose(policy.biases[n][s], expected[n][fan_in * fan_out :], atol=1e-10, rtol=0)
        changes.append(policy.weights[0])
    moved = [float((after - before).abs().max()) for before, after in pairwise(changes)]
    assert min(moved) > 1e-6, "an update that does nothing would make this comparison empty"


@pytest.mark.parametrize("overrides", [{}, {"space": "full", "step_size": "scalar"}], ids=str)
def test_gradient_equals_finite_differences(overrides):
    generator = tiny(3, **overrides)
    names, values = zip(*generator.named_parameters(), strict=True)
    random = torch.Generator().manual_seed(1)
    observations = torch.randn(3, 4, 5, generator=random, dtype=torch.float64)

    def loss():
        return generator.policy(SPECS)(observations).square().mean()

    gradients = torch.autograd.grad(loss(), values, allow_unused=True)
    checked = 0
    for name, parameter, gradient in zip(names, values, gradients, strict=True):
        if name.startswith("value_head"):
            assert gradient is None
            continue
        direction = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        with torch.no_grad():
            parameter.add_(1e-6 * direction)
            ahead = loss()
            parameter.sub_(2e-6 * direction)
            behind = loss()
            parameter.add_(1e-6 * direction)
        slope = float((gradient * direction).sum())
        assert float(ahead - behind) / 2e-6 == pytest.approx(slope, rel=1e-5, abs=1e-9), name
        checked += slope != 0.0
    assert checked > 40


def test_updates_form_a_chain_from_the_start_that_a_probe_may_replace():
    generator = tiny(2, blocks=3)
    whole, last = generator.policy(SPECS), generator.policy(SPECS, updates=3)
    assert torch.equal(whole.weights[0], last.weights[0])
    first = generator.policy(SPECS, updates=0)
    assert torch.equal(first.weights[0][0], first.weights[0][2]), "no update has seen the spec yet"
    assert not torch.equal(whole.weights[0][0], whole.weights[0][2])
    given = generator.policy(SPECS, start=list(generator.start))
    assert torch.equal(given.weights[1], whole.weights[1])
    other = [torch.empty_like(layer).uniform_(-0.1, 0.1) for layer in generator.start]
    assert (generator.policy(SPECS, start=other).weights[0] - whole.weights[0]).abs().max() > 1e-3
    for updates in (-1, 4):
        with pytest.raises(ValueError, match=r"updates must lie in 0\.\.3"):
            generator.policy(SPECS, updates=updates)


@pytest.mark.parametrize("step_size", ["network", "scalar"])
def test_steps_begin_near_a_hundredth_downhill(step_size):
    generator = tiny_generator("hypogen", step_size=step_size)
    codes, embedding = torch.randn(2, 50, 16), torch.randn(50, 16)
    for step in generator.steps:
        assert float(step(codes, embedding).mean()) == pytest.approx(-0.01, rel=0.2)


def test_an_untrained_policy_is_like_a_fresh_mlp():
    generator = tiny_generator("hypogen", shape=PolicyShape(3, 256), blocks=8, hidden_dim=64, weight_dim=64)
    policy = generator.policy(tiny_benchmark().grid).detach()
    for weight in policy.weights:  # torch draws within 1/sqrt(in), a standard deviation of 0.577 / sqrt(in)
        assert 0.4 < float(weight.std()) * weight.shape[2] ** 0.5 < 0.8


@pytest.mark.parametrize("depth", [1, 2, 10])
def test_directions_neither_die_nor_grow_along_the_chain(depth):
    shape = PolicyShape(layers=7, hidden_dim=16)
    generator = tiny_generator("hypogen", shape=shape, hidden_dim=64, activation_dim=32, block_depth=depth)
    directions = generator.gradients[0](torch.randn(7, 50, 16), torch.randn(50, 16))
    assert directions.shape == (7, 50, 16)
    deviation = directions.std(dim=(1, 2))
    assert deviation.min() > 0.03 and deviation.max() < 4.0


def test_one_adam_step_moves_a_link_of_the_chain_by_little():
    """In plain units it moves by a third, and policies of seven layers diverge within ten steps at rate 1e-4."""
    torch.manual_seed(0)
    link = Jacobian(320, 64, 64, HyPoGenSettings(), steady=True)
    row, inputs = torch.randn(8, 64), torch.randn(8, 320)
    before = link(row, inputs)
    optimizer = torch.optim.Adam(link.parameters(), lr=1e-4)
    before.sum().backward()
    optimizer.step()
    moved = (link(row, inputs) - before).detach().square().mean().sqrt()
    assert 0.0 < float(moved) < 0.05
    assert float(before.detach().std()) == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blocks": 0}, "blocks must be an integer of at least 1, not 0"),
        ({"block_depth": 0}, "block_depth"),
        ({"hidden_dim": 1.5}, "hidden_dim"),
        ({"step_size": "adam"}, "step_size must be one of network, scalar"),
        ({"space": "dual"}, "space must be one of latent, full"),
        ({"spec_scaling": "log"}, "spec_scaling must be one of unit, raw"),
        ({"discount": 1.0}, "discount must lie in"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        HyPoGenSettings(**wrong)
