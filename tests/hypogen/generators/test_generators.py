"""What holds for every registered generator, and what is particular to the encoder, the heads and the baselines."""

import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from hypogen.benchmarks import BENCHMARKS, get_benchmark
from hypogen.generators import GENERATORS, build, get_generator, parameter_breakdown, parameter_count, sketch
from hypogen.generators.encoder import SpecEncoder
from hypogen.generators.hyperzero import HyperZeroSettings
from hypogen.generators.storage import DESCRIPTION, WEIGHTS, load, save
from hypogen.generators.value import NormalisedCritic, imitation_losses
from hypogen.policy import PolicyShape
from hypogen.training import TrainingSettings, fit
from tests.helpers.experiments import ROOT
from tests.helpers.imitation import (
    SHAPE,
    plain_mlp,
    shown,
    tiny_batch,
    tiny_benchmark,
    tiny_demonstrations,
    tiny_generator,
)

torch.set_num_threads(1)
SPECS = tiny_benchmark().grid[[0, 44, 89]]


@pytest.mark.parametrize("method", GENERATORS)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_generator_makes_one_policy_a_spec(method, layers):
    generator = shown(tiny_generator(method, shape=replace(SHAPE, layers=layers)), SPECS)
    policy = generator.policy(SPECS)
    assert [tuple(w.shape) for w in policy.weights] == [(3, o, i) for i, o in replace(SHAPE, layers=layers).sizes(5, 2)]
    actions = policy(torch.randn(3, 7, 5))
    assert actions.shape == (3, 7, 2) and actions.abs().max() <= 1
    alone = generator.policy(SPECS[1:2])  # a spec's policy does not depend on the others asked for with it
    torch.testing.assert_close(alone.weights[0][0], policy.weights[0][1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("method", GENERATORS)
def test_a_generator_overfits_a_tiny_problem(method):
    generator = tiny_generator(method)
    shown = tiny_demonstrations(specs=4 if generator.reads_specs else 1)
    rows = fit(generator, shown, TrainingSettings(epochs=150, batch_size=80, learning_rate=3e-3), 0)
    assert rows[-1]["action"] < 0.1 * rows[0]["action"]
    if "value" in rows[0]:
        assert rows[-1]["value"] < 0.3 * rows[0]["value"]


@pytest.mark.parametrize("method", GENERATORS)
def test_the_seed_decides_the_weights_and_leaves_the_global_state_alone(method):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (tiny_generator(method, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    policies = [shown(generator, SPECS).policy(SPECS).weights[0] for generator in (one, same, other)]
    assert torch.equal(policies[0], policies[1]) and not torch.equal(policies[0], policies[2])


@pytest.mark.parametrize("method", GENERATORS)
def test_defaults_build_for_every_benchmark(method):
    for benchmark in BENCHMARKS.values():
        generator = sketch(method, benchmark)
        counts = parameter_breakdown(generator)
        assert generator.shape == PolicyShape(benchmark.policy_layers, 256)
        assert sum(counts.values()) == parameter_count(generator) > 0


def test_parameter_counts_of_the_paper_settings():
    """Counted by hand for the ManiSkill policy, 42 -> 256 -> 256 -> 7 (the paper: 70.0, 25.1 and 0.7 million)."""
    encoder = 2 * 64 + 4 * 65 * 64 + 65 * 128 + 4 * 129 * 128 + 129 * 256 + 4 * 257 * 256
    policy = 43 * 256 + 257 * 256 + 257 * 7
    value = 257 * (50 * 256 + 257)
    inside = 321 * 128  # the hidden layer of a block's networks, on [pseudo activation, code]
    block = {
        "gradients.loss_slope": 257 * 128 + 129 * 64,
        "gradients.observation": 257 * 128 + 129 * 64,
        "gradients.activations": 2 * (inside + 129 * 64),
        "gradients.activation_jacobians": 2 * (inside + 129 * 64 * 64),
        "gradients.parameter_jacobians": 3 * (inside + 129 * 64 * 256),
        "steps": (3 * 256 + 256 + 1) * 128 + 129,
    }
    expected = {
        "encoder": encoder,
        "start": policy,
        "layer_encoders": 256 * policy + 3 * 256,
        **{part: 8 * count for part, count in block.items()},
        "layer_decoders": 257 * policy,
        "value_head": value,
    }
    lift = get_benchmark("liftcube-stiffness")
    assert parameter_breakdown(sketch("hypogen", lift)) == expected
    assert parameter_count(sketch("hypogen", lift)) == sum(expected.values()) == 107_464_727
    assert parameter_count(sketch("hyperzero", lift)) == encoder + 257 * policy + value
    conditioned = encoder + 299 * 256 + 257 * 256 + 257 * 7
    context = 93 * 200 + 2 * 201 * 200 + 201 * 10
    assert parameter_count(sketch("cond_policy", lift)) == parameter_count(sketch("meta_policy", lift)) == conditioned
    assert parameter_count(sketch("uvfa", lift)) == conditioned + 306 * 256 + 257
    assert parameter_count(sketch("pearl", lift)) == conditioned + 4 * 64 + context


@pytest.mark.parametrize("method", GENERATORS)
def test_a_stored_generator_is_the_same_generator(method, tmp_path):
    settings = tiny_generator(method).settings
    generator = build(method, get_benchmark("finger-speed"), SHAPE, settings, seed=3)
    save(generator, tmp_path / "generator")
    loaded = load(tmp_path / "generator")
    assert (loaded.benchmark, loaded.shape, loaded.settings) == (generator.benchmark, SHAPE, settings)
    specs = generator.benchmark.grid[:4]
    policies = [shown(made, specs).policy(specs) for made in (loaded, generator)]
    assert torch.equal(policies[0].weights[-1], policies[1].weights[-1])


def test_damaged_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{DESCRIPTION} is missing"):
        load(tmp_path)
    settings = tiny_generator("cond_policy").settings
    save(build("cond_policy", get_benchmark("finger-speed"), SHAPE, settings), tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    for damaged in (whole[: len(whole) // 2], b""):
        (tmp_path / WEIGHTS).write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{WEIGHTS} is damaged"):
            load(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(whole)
    description = (tmp_path / DESCRIPTION).read_text()
    (tmp_path / DESCRIPTION).write_text(description.replace('"hidden_dim": 16', '"hidden_dim": 17'))
    with pytest.raises(ValueError, match="of another generator"):
        load(tmp_path)
    (tmp_path / DESCRIPTION).write_text(description[:20])
    with pytest.raises(ValueError, match="does not describe a generator"):
        load(tmp_path)


def test_unknown_names_and_settings_are_answered_with_what_is_known():
    with pytest.raises(ValueError, match=r"unknown generator 'hypergen': did you mean .*Known: hypogen, hyperzero"):
        get_generator("hypergen")
    with pytest.raises(ValueError, match="hyperzero takes HyperZeroSettings, not CondPolicySettings"):
        build("hyperzero", tiny_benchmark(), SHAPE, GENERATORS["cond_policy"].settings())
    embedding = [entry for entry in GENERATORS.values() if "embedding_dim" in entry.settings.__dataclass_fields__]
    assert len(embedding) >= 6, "all of the paper's"
    for entry in embedding:
        with pytest.raises(ValueError, match="embedding_dim"):
            entry.settings(embedding_dim=0)
        with pytest.raises(ValueError, match="embedding_dim must be a positive multiple of 4"):
            entry.build(tiny_benchmark(), SHAPE, entry.settings(embedding_dim=10))
    for entry in GENERATORS.values():
        with pytest.raises(FrozenInstanceError):
            entry.settings().embedding_dim = 8


def test_the_encoder_scales_over_the_whole_grid_or_not_at_all():
    benchmark = tiny_benchmark()
    torch.manual_seed(0)
    unit = SpecEncoder(benchmark, 16, "unit").double()
    raw = SpecEncoder(benchmark, 16, "raw").double()
    raw.load_state_dict(unit.state_dict())
    low, high = benchmark.grid.min(axis=0), benchmark.grid.max(axis=0)
    scaled = 2 * (SPECS - low) / (high - low) - 1
    torch.testing.assert_close(unit(SPECS), raw(scaled), atol=1e-12, rtol=0)
    assert not torch.allclose(unit(SPECS), raw(SPECS))
    assert torch.equal(unit(torch.as_tensor(SPECS)), unit(SPECS))
    with pytest.raises(ValueError, match=r"wants specs \[S, 2\], not \[3\]"):
        unit(SPECS[:, 0])


def test_the_encoder_is_six_residual_blocks():
    encoder = SpecEncoder(tiny_benchmark(), 16, "raw").double()
    numbers = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}

    def linear(name, values):
        return numbers[f"{name}.weight"] @ values + numbers[f"{name}.bias"]

    def residual(stage, values):
        inner = linear(f"stages.{stage}.layers.1", np.maximum(values, 0))
        return values + linear(f"stages.{stage}.layers.3", np.maximum(inner, 0))

    values = SPECS[1]
    for first in (0, 3, 6):  # a linear layer, then two residual blocks
        values = residual(first + 2, residual(first + 1, linear(f"stages.{first}", values)))
    np.testing.assert_allclose(encoder(SPECS).detach()[1], values, atol=1e-12)
    widths = [encoder.stages[i].out_features for i in (0, 3, 6)]
    assert widths == [4, 8, 16] and len(encoder.stages) == 9


def test_cond_policy_folds_its_embedding_exactly():
    generator = tiny_generator("cond_policy", shape=replace(SHAPE, layers=3)).double()
    observations = torch.randn(3, 6, 5, dtype=torch.float64)
    embedding = generator.encoder(SPECS)
    actions = torch.tanh(
        plain_mlp(generator.layers, torch.cat([embedding[:, None].expand(-1, 6, -1), observations], -1))
    )
    torch.testing.assert_close(generator.policy(SPECS)(observations), actions, atol=1e-12, rtol=0)


@pytest.mark.parametrize("method", ["hyperzero", "hypogen"])
def test_losses_are_those_of_the_paper(method):
    """Action MSE, Q to the expert's Q1 and a semi-gradient TD error, in units of 1/(1 - discount)."""
    generator, batch = tiny_generator(method).double(), tiny_batch(dtype=torch.float64)
    losses = generator.losses(batch)
    policy, critic = generator.policy(batch.specs), generator.value_head(generator.encoder(batch.specs))
    squares = {"action": 0.0, "value": 0.0, "td": 0.0}
    q = 100.0 * critic(batch.observations, batch.actions)
    following = 100.0 * critic(batch.next_observations, policy(batch.next_observations))
    for s in range(3):
        for i in range(batch.rewards.shape[1]):
            hidden = batch.observations[s, i]
            for n, (weight, bias) in enumerate(zip(policy.weights, policy.biases, strict=True)):
                hidden = weight[s] @ (torch.relu(hidden) if n else hidden) + bias[s]
            squares["action"] += float((torch.tanh(hidden) - batch.actions[s, i]).detach().square().mean())
            squares["value"] += float(q.detach()[s, i] - batch.values[s, i]) ** 2 / 1e4
            later = 0.99 * following.detach()[s, i] * batch.continues[s, i]
            squares["td"] += float(q.detach()[s, i] - later - batch.rewards[s, i]) ** 2 / 1e4
    for name, total in squares.items():
        assert losses[name].item() == pytest.approx(total / batch.rewards.numel(), rel=1e-9), name


@pytest.mark.parametrize("method", ["hyperzero", "uvfa"])
def test_the_authors_losses_are_those_of_their_code(method):
    """Q in the rewards' units; the td error is that of the recorded value, with a gradient through the next Q."""
    overrides = {"value_loss": "authors", **({"value_action": "expert"} if method == "uvfa" else {})}
    generator, batch = tiny_generator(method, **overrides).double(), tiny_batch(dtype=torch.float64)
    losses = generator.losses(batch)
    embedding, policy = generator.encoder(batch.specs), generator.policy(batch.specs)
    if method == "hyperzero":
        critic = generator.value_head(embedding)
    else:
        critic = NormalisedCritic(*generator.value_branch.fold(embedding))
    q = critic(batch.observations, batch.actions)
    following = critic(batch.next_observations, policy(batch.next_observations).detach())
    td = batch.values - batch.rewards - 0.99 * batch.continues * following
    torch.testing.assert_close(losses["value"], (q - batch.values).square().mean())
    torch.testing.assert_close(losses["td"], td.square().mean())
    torch.testing.assert_close(losses["action"], (policy(batch.observations) - batch.actions).square().mean())
    weights = list((generator.value_head if method == "hyperzero" else generator.value_branch).parameters())
    both = (
        torch.autograd.grad(losses["td"], weights, retain_graph=True),
        torch.autograd.grad(td.square().mean(), weights),
    )
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert ours.abs().sum() > 0


def test_the_authors_heads_begin_as_theirs_do():
    """Uniform within 0.05, the last layer's within 0.008, no bias, no units: the linear map is the layer."""
    generator = build("hyperzero", tiny_benchmark(), PolicyShape(3, 64), HyperZeroSettings(heads="authors"))
    for heads in (generator.policy_head.heads, generator.value_head.layers.heads):
        for head, bound in zip(heads, [0.05] * (len(heads) - 1) + [0.008], strict=True):
            assert 0.9 * bound < head.linear.weight.abs().max() <= bound
            assert float(head.linear.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
            assert not head.linear.bias.any()
    embedding = generator.encoder(SPECS)
    flat = torch.nn.functional.linear(embedding, generator.policy_head.heads[0].linear.weight)
    policy, (inputs, outputs) = generator.policy(SPECS), generator.sizes[0]
    torch.testing.assert_close(policy.weights[0], flat[:, : inputs * outputs].view(-1, outputs, inputs))
    torch.testing.assert_close(policy.biases[0], flat[:, inputs * outputs :])


def test_the_value_losses_teach_the_critic_and_not_the_policy():
    generator, batch = tiny_generator("hyperzero"), tiny_batch()
    embedding = generator.encoder(batch.specs).detach()
    policy = generator.policy(batch.specs)
    losses = imitation_losses(policy, generator.value_head(embedding), batch, 0.99)
    heads, value = list(generator.policy_head.parameters()), list(generator.value_head.parameters())
    both = losses["value"] + losses["td"]
    assert all(gradient is None for gradient in torch.autograd.grad(both, heads, allow_unused=True, retain_graph=True))
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(both, value))


def test_untrained_hyperzero_policies_are_like_fresh_mlps():
    generator = build("hyperzero", tiny_benchmark(), PolicyShape(3, 256))
    for weight in generator.policy(SPECS).weights:
        assert 0.4 < float(weight.detach().std()) * math.sqrt(weight.shape[2]) < 0.8


def test_generators_import_without_ray_and_simulators():
    code = (
        "import sys, hypogen.generators, hypogen.generators.storage, hypogen.training\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'ray', 'mujoco', 'dm_control', 'orchestrator', 'results'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_counting_parameters_imports_neither_torchs_compiler_nor_sympy() -> None:
    program = """
import sys
from hypogen.benchmarks import get_benchmark
from hypogen.generators import GENERATORS, sketch
for method in GENERATORS:
    sketch(method, get_benchmark("cheetah-speed"))
assert not {"torch._dynamo", "sympy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
