"""Contract of every MuJoCo environment: one that is registered is tested, as is one that only these tests register."""

import numpy as np
import pytest
import torch
from dm_control import suite

from hypogen import envs
from hypogen.benchmarks import BENCHMARKS, get_benchmark
from hypogen.envs import mujoco
from hypogen.envs.mujoco import dmc
from hypogen.envs.mujoco.models import model_xml
from tests.hypogen.envs import hopper

KNOWN = {"hopper": hopper.ENVIRONMENT, **mujoco.ENVIRONMENTS}


@pytest.fixture(params=KNOWN)
def environment(request, monkeypatch):
    """A MuJoCo environment with its benchmarks, registered."""
    entry = KNOWN[request.param]
    monkeypatch.setitem(mujoco.ENVIRONMENTS, request.param, entry)
    monkeypatch.setitem(envs.ENVIRONMENTS, request.param, entry)
    for benchmark in entry.benchmarks():
        monkeypatch.setitem(BENCHMARKS, benchmark.name, benchmark)
    return entry


def flat(timestep):
    """A dm_control observation as one array [D]."""
    return np.concatenate([np.ravel(part) for part in timestep.observation.values()])


def defaults(benchmark):
    """The spec at which every variable has its default [C]."""
    return [variable.default for variable in benchmark.variables]


def test_its_name_is_that_of_its_file_and_of_its_benchmarks(environment):
    assert KNOWN[environment.name] is environment
    assert environment.benchmarks() and len(environment.feature_names) > 0
    for benchmark in environment.benchmarks():
        assert benchmark.name == f"{environment.name}-{benchmark.context}"
        assert get_benchmark(benchmark.name) == benchmark
        assert mujoco.get_environment(benchmark) is environment
        envs.check(benchmark)


def test_its_contexts_hold_the_variables_that_it_consumes(environment):
    varied = {name for grids in environment.contexts.values() for name in grids}
    assert varied <= set(environment.variables)
    assert environment.defaults.keys() == environment.units.keys() == set(environment.variables)


def test_the_physics_or_the_reward_depends_on_each_of_its_variables(environment):
    for benchmark in environment.benchmarks():
        low, high = (benchmark.values(spec) for spec in benchmark.grid[[0, -1]])
        for name in (variable.name for variable in benchmark.variables):
            other = {**low, name: high[name]}
            if name == "speed":
                features = np.ones(len(environment.feature_names))
                assert environment.reward(features, low["speed"]) != environment.reward(features, high["speed"])
            else:
                xmls = [model_xml(environment, environment.model_values(values)) for values in (low, other)]
                assert xmls[0] != xmls[1]


def test_at_the_defaults_states_and_observations_are_those_of_dm_controls_own_task(environment):
    benchmark = environment.benchmarks()[0]
    ours = dmc.load(benchmark.name, defaults(benchmark), random=5)
    stock = suite.load(environment.name, environment.suite_task, task_kwargs={"random": 5})
    assert np.array_equal(flat(ours.reset()), flat(stock.reset()))
    rng = np.random.default_rng(1)
    for _ in range(50):
        action = rng.uniform(-1, 1, stock.action_spec().shape)
        assert np.array_equal(flat(ours.step(action)), flat(stock.step(action)))
        assert np.array_equal(ours.physics.get_state(), stock.physics.get_state())


def test_worlds_step_as_their_dm_control_tasks_do(environment):
    """Observations, features and rewards to the last bit, and so the start of the next episode."""
    for benchmark in environment.benchmarks():
        specs, seeds = benchmark.grid[[0, -1]], [3, 15]
        worlds = envs.make_vector(benchmark.name, specs, threads=2)
        references = [dmc.load(benchmark.name, spec, random=seed) for spec, seed in zip(specs, seeds, strict=True)]
        rng = np.random.default_rng(0)
        for seed in (seeds, None):
            observations, _ = worlds.reset(seed=seed)
            assert np.array_equal(observations, [flat(reference.reset()) for reference in references])
            for action in rng.uniform(-1.5, 1.5, (40, *worlds.action_space.shape)):
                observations, rewards, _, _, infos = worlds.step(action)
                timesteps = [reference.step(part) for reference, part in zip(references, action, strict=True)]
                measured = [reference.task.get_features(reference.physics) for reference in references]
                assert np.array_equal(observations, [flat(timestep) for timestep in timesteps])
                assert np.array_equal(infos["features"], measured)
                assert np.array_equal(rewards, [timestep.reward for timestep in timesteps])


def test_sizes_and_length_of_an_episode_are_the_simulators(environment):
    for benchmark in environment.benchmarks():
        reference = dmc.load(benchmark.name, benchmark.grid[0])
        worlds = envs.make_vector(benchmark.name, benchmark.grid[:2])
        observations, infos = worlds.reset(seed=0)
        assert observations.shape == (2, environment.observation_dim) == (2, len(flat(reference.reset())))
        assert (environment.action_dim,) == reference.action_spec().shape == worlds.single_action_space.shape
        assert infos["features"].shape == (2, len(environment.feature_names))
        assert round(environment.time_limit_s / reference.control_timestep()) == environment.episode_steps


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_its_reward_is_one_function_for_numpy_and_torch(environment, dtype):
    features = np.random.default_rng(0).uniform(-3, 3, (4, 50, len(environment.feature_names))).astype(dtype)
    speeds = np.array([[-2.5], [-0.5], [1], [2]], dtype=dtype)
    ours = envs.reward(environment.name, features, speeds)
    theirs = envs.reward(environment.name, torch.from_numpy(features), torch.from_numpy(speeds))
    assert ours.shape == (4, 50) and ours.dtype == dtype
    assert np.array_equal(ours, theirs.numpy())


def test_the_number_of_features_is_listed_for_every_registered_environment():
    assert {name: len(entry.feature_names) for name, entry in mujoco.ENVIRONMENTS.items()} == envs.FEATURES
