"""What holds for every method that adapts: it needs the demonstrations of a spec, of no other, and only at its turn."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from hypogen.benchmarks import get_benchmark
from hypogen.generators import GENERATORS, FewShotGenerator, build
from hypogen.generators.base import Batch
from hypogen.generators.storage import load, save
from hypogen.policy import Policy
from hypogen.training import TrainingSettings, fit
from tests.helpers.imitation import demonstrations_of, tiny_demonstrations, tiny_generator

torch.set_num_threads(1)
FEW_SHOT = [method for method, entry in GENERATORS.items() if entry.few_shot]


def test_those_that_adapt_say_so():
    assert (
        {"meta_policy", "pearl"} <= set(FEW_SHOT) <= GENERATORS.keys() - {"hypogen", "hyperzero", "uvfa", "cond_policy"}
    )
    for method, entry in GENERATORS.items():
        assert isinstance(tiny_generator(method), FewShotGenerator) == entry.few_shot


@pytest.mark.parametrize("method", FEW_SHOT)
def test_a_spec_that_it_never_adapted_to_is_named(method):
    generator, demos = tiny_generator(method), tiny_demonstrations()
    fit(generator, demos.select([0, 1]), TrainingSettings(epochs=1, batch_size=48), 0)
    with pytest.raises(ValueError, match=r"never adapted to \[\(1\.0, 0\.3\).*call adapt\(\)"):
        generator.policy(demos.specs)
    generator.adapt(demos.select([0, 2]))
    assert generator.policy(demos.specs[[2, 0, 2]]).specs == 3
    with pytest.raises(ValueError, match="never adapted to") as error:
        generator.policy(demos.specs[[0, 1]])
    assert str(tuple(demos.specs[1].tolist())) in str(error.value)
    with pytest.raises(ValueError, match=r"wants specs \[S, 2\], not \[4\]"):
        generator.policy(demos.specs[:, 0])


@pytest.mark.parametrize("method", FEW_SHOT)
def test_adapting_changes_no_weight_and_each_spec_has_its_own_policy(method):
    generator, demos = tiny_generator(method), tiny_demonstrations()
    before = [parameter.clone() for parameter in generator.parameters()]
    generator.adapt(demos)
    assert all(torch.equal(a, b) for a, b in zip(before, generator.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in generator.parameters())
    policy = generator.policy(demos.specs)
    actions = demos.actions.clone()
    actions[1] = -actions[1]
    generator.adapt(replace(demos, actions=actions))
    changed = [
        not torch.equal(a, b) for a, b in zip(policy.biases[0], generator.policy(demos.specs).biases[0], strict=True)
    ]
    assert changed == [False, True, False, False]


@pytest.mark.parametrize("method", FEW_SHOT)
def test_it_adapts_on_so_many_episodes(method):
    """Whatever their length."""
    whole = tiny_demonstrations(episodes=3)
    demos = replace(whole, lengths=torch.tensor([[40, 12, 7]] * 4), terminated=torch.tensor([[False, True, True]] * 4))
    two, all_of_them = tiny_generator(method, adaptation_episodes=2), tiny_generator(method)
    two.adapt(demos)
    all_of_them.adapt(demos.pick([0, 1]))
    expected = all_of_them.policy(demos.specs).biases[0]
    assert torch.equal(two.policy(demos.specs).biases[0], expected)
    all_of_them.adapt(demos)
    assert not torch.equal(all_of_them.policy(demos.specs).biases[0], expected)
    with pytest.raises(ValueError, match="adaptation_episodes is 4, but there are 3 demonstrations"):
        tiny_generator(method, adaptation_episodes=4).adapt(demos)
    with pytest.raises(ValueError, match="adaptation_episodes must be an integer of at least 1"):
        tiny_generator(method, adaptation_episodes=0)


@pytest.mark.parametrize("method", ["meta_policy", "pearl"])
def test_fine_tuning_is_adam_on_the_action_loss(method):
    """By torch's Adam on a copy of the generator whose policy is written out; epochs of batches of 512 in one order."""
    overrides = {"finetune_epochs": 2, **({"inner_steps": 3} if method == "meta_policy" else {})}
    generator, demos = tiny_generator(method, **overrides), tiny_demonstrations(episodes=15).select([1])
    generator.adapt(demos)
    copy, context, order = deepcopy(generator), Batch.of(demos), torch.Generator().manual_seed(0)
    latent = copy.posterior(context)[0].detach() if method == "pearl" else demos.specs
    weights = [*copy.encoder.parameters(), *copy.layers.parameters()]
    optimizer, count = torch.optim.Adam(weights, 1e-3), context.rewards.shape[1]
    assert count > 512
    for _ in range(2):
        for rows in torch.randperm(count, generator=order).split(512):
            hidden = torch.cat([copy.encoder(latent).expand(len(rows), -1), context.observations[0, rows]], -1)
            for position, layer in enumerate(copy.layers):
                hidden = layer(torch.relu(hidden) if position else hidden)
            optimizer.zero_grad()
            (torch.tanh(hidden) - context.actions[0, rows]).square().mean().backward()
            optimizer.step()
    tuned = Policy(*copy.layers.fold(copy.encoder(latent)))(context.observations)
    found = generator.policy(demos.specs)(context.observations)
    torch.testing.assert_close(found, tuned, atol=2e-5, rtol=0)
    plain = tiny_generator(method, **{**overrides, "finetune_epochs": 0})
    plain.adapt(demos)
    assert (plain.policy(demos.specs)(context.observations) - tuned).abs().max() > 1e-3
    assert all(torch.equal(a, b) for a, b in zip(generator.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("method", FEW_SHOT)
def test_a_loaded_generator_adapts_again(method, tmp_path):
    generator = build(method, get_benchmark("finger-speed"), settings=tiny_generator(method).settings)
    demos = demonstrations_of(generator.benchmark, generator.benchmark.grid[:2])
    generator.adapt(demos)
    save(generator, tmp_path)
    loaded = load(tmp_path)
    with pytest.raises(ValueError, match="never adapted to"):
        loaded.policy(demos.specs)
    loaded.adapt(demos)
    # Not to the last bit: the file's tensors are aligned otherwise in memory, and the kernels notice.
    torch.testing.assert_close(loaded.policy(demos.specs).biases, generator.policy(demos.specs).biases)


@pytest.mark.parametrize("method", FEW_SHOT)
def test_a_step_needs_samples_to_adapt_on_and_to_judge_by(method):
    with pytest.raises(ValueError, match=r"batch_size 4 leaves 1 sample of a spec in a step, but .* needs 2"):
        fit(tiny_generator(method), tiny_demonstrations(), TrainingSettings(epochs=1, batch_size=4), 0)
    fit(tiny_generator(method), tiny_demonstrations(), TrainingSettings(epochs=1, batch_size=8), 0)
