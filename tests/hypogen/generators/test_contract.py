"""Every generator on every MuJoCo benchmark: from recorded episodes to the returns of policies for unseen specs."""

from functools import cache

import numpy as np
import pytest
import torch

from hypogen.benchmarks import BENCHMARKS, get_benchmark
from hypogen.demonstrations import Demonstrations, collect
from hypogen.generators import GENERATORS, FewShotGenerator, build
from hypogen.rollouts import rollout
from hypogen.training import TrainingSettings, fit
from tests.helpers.imitation import SHAPE, SMALL

torch.set_num_threads(1)
MUJOCO = [name for name, benchmark in BENCHMARKS.items() if benchmark.simulator.name == "mujoco"]
TRAIN, TEST = [0, 2], [1, 3]
STEPS = 200
TRAINING = TrainingSettings(epochs=6, batch_size=50, learning_rate=3e-3)


@cache
def recorded(name: str) -> Demonstrations:
    """The first steps of four specs' episodes; an untrained hypernetwork plays the experts."""
    benchmark = get_benchmark(name)
    specs = benchmark.grid[np.linspace(0, len(benchmark.grid) - 1, 4).astype(int)]
    experts = build("hyperzero", benchmark, SHAPE, GENERATORS["hyperzero"].settings(embedding_dim=16), seed=1)
    policy = experts.policy(specs).detach()
    whole = collect(name, specs, policy, lambda observations, actions: 50.0 + actions.sum(-1), np.arange(4)[:, None])
    return Demonstrations(
        whole.specs,
        *(getattr(whole, name)[:, :, :STEPS] for name in ("observations", "actions", "rewards")),
        *(getattr(whole, name)[:, :, :STEPS] for name in ("next_observations", "values")),
    )


def trained(method: str, name: str):
    settings = GENERATORS[method].settings(**SMALL.get(method, {}))
    generator = build(method, get_benchmark(name), SHAPE, settings, seed=0)
    return generator, fit(generator, recorded(name).select(TRAIN), TRAINING, seed=0)


@pytest.mark.parametrize("name", MUJOCO)
@pytest.mark.parametrize("method", GENERATORS)
def test_from_demonstrations_to_returns(method, name):
    benchmark, test = get_benchmark(name), recorded(name).select(TEST)
    generator, rows = trained(method, name)
    again, same_rows = trained(method, name)
    assert rows == same_rows and rows[-1]["loss"] < rows[0]["loss"] and rows[-1]["action"] < rows[0]["action"]
    assert isinstance(generator, FewShotGenerator) == GENERATORS[method].few_shot
    if isinstance(generator, FewShotGenerator):
        with pytest.raises(ValueError, match="never adapted"):
            generator.policy(test.specs)
        generator.adapt(test)
        again.adapt(test)
    policy = generator.policy(test.specs).detach()
    sizes = SHAPE.sizes(benchmark.observation_dim, benchmark.action_dim)
    assert [tuple(weight.shape) for weight in policy.weights] == [(2, outputs, inputs) for inputs, outputs in sizes]
    assert [tuple(bias.shape) for bias in policy.biases] == [(2, outputs) for _, outputs in sizes]
    seeds = [[5], [6]]
    returns = rollout(name, test.specs.numpy(), policy, seeds).returns
    assert returns.shape == (2, 1) and np.isfinite(returns).all()
    repeated = rollout(name, test.specs.numpy(), again.policy(test.specs).detach(), seeds).returns
    np.testing.assert_array_equal(returns, repeated)
