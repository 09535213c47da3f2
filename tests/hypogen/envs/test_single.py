"""The registered single environments."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from hypogen.benchmarks import BENCHMARKS
from hypogen.envs import make_vector

MUJOCO = [name for name, benchmark in BENCHMARKS.items() if benchmark.simulator.name == "mujoco"]


@pytest.mark.parametrize("name", MUJOCO)
@pytest.mark.filterwarnings("ignore:.*render.*", "ignore:.*infinity.*")
def test_gymnasium_accepts_every_environment(name):
    check_env(gymnasium.make(f"hypogen/{name}-v0").unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", ["cheetah-speed-length", "walker-speed-length", "finger-speed-length"])
def test_a_single_environment_is_a_world_of_the_vector(name):
    spec = tuple(BENCHMARKS[name].grid[-2])
    single, worlds = gymnasium.make(f"hypogen/{name}-v0", spec=spec), make_vector(name, [spec])
    rng = np.random.default_rng(0)
    for seed, steps in ((8, 1000), (None, 3)):
        observation, infos = single.reset(seed=seed)
        observations, vector_infos = worlds.reset(seed=seed)
        assert np.array_equal(observation, observations[0])
        assert np.array_equal(infos["features"], vector_infos["features"][0])
        for step in range(steps):
            action = rng.uniform(-1, 1, single.action_space.shape)
            observation, reward, terminated, truncated, infos = single.step(action)
            observations, rewards, _, _, vector_infos = worlds.step(action[None])
            assert np.array_equal(observation, observations[0]) and reward == rewards[0]
            assert np.array_equal(infos["features"], vector_infos["features"][0])
            assert truncated is (step == 999) and terminated is False


def test_without_a_spec_the_defaults_hold():
    assert gymnasium.make("hypogen/cheetah-length-v0").unwrapped.spec_values == {"speed": 1.0, "length": 0.5}
    assert gymnasium.make("hypogen/cheetah-length-at-10-v0").unwrapped.spec_values == {"speed": 10.0, "length": 0.5}


def test_wrong_specs_and_actions():
    with pytest.raises(ValueError, match="speed of 0"):
        gymnasium.make("hypogen/cheetah-speed-v0", spec=(0.0,))
    env = gymnasium.make("hypogen/cheetah-speed-v0", spec=(1.0,)).unwrapped
    with pytest.raises(ValueError, match="call reset"):
        env.step(np.zeros(6))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="6 finite numbers"):
        env.step(np.zeros(5))
    with pytest.raises(ValueError, match="6 finite numbers"):
        env.step(np.full(6, np.nan))


def test_every_benchmark_is_registered():
    registered = {name for name in gymnasium.registry if name.startswith("hypogen/")}
    assert registered == {f"hypogen/{name}-v0" for name in BENCHMARKS}


def test_importing_the_package_imports_no_simulator_and_no_torch():
    code = (
        "import hypogen.envs, sys; print(sorted({'mujoco', 'dm_control', 'sapien', 'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_compiling_models_says_nothing():
    """dm_control warns about missing displays and, for every cheetah, about a deprecated attribute."""
    code = "from hypogen.envs import make_vector; make_vector('cheetah-length', [[0.4], [0.6]]).reset(seed=0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
