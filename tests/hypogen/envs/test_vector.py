"""The vector of worlds: its contract, exact continuation, and what it refuses."""

import pickle

import gymnasium
import mujoco
import numpy as np
import pytest

import hypogen.envs
from hypogen.benchmarks import BENCHMARKS
from hypogen.envs import make_vector
from hypogen.envs.mujoco import ENVIRONMENTS
from hypogen.envs.mujoco.models import get_model
from hypogen.envs.mujoco.vector import MujocoVectorEnv

MUJOCO = [name for name, benchmark in BENCHMARKS.items() if benchmark.simulator.name == "mujoco"]
ONE_A_ROBOT = ["cheetah-speed-length", "walker-speed-length", "finger-speed-length"]


def _play(worlds, rng, steps):
    """Observations, rewards and features of some random steps, as one array [T, W, D + 1 + F]."""
    rows = []
    for _ in range(steps):
        observations, rewards, _, _, infos = worlds.step(rng.uniform(-1, 1, worlds.action_space.shape))
        rows.append(np.concatenate([observations, rewards[:, None], infos["features"]], axis=1))
    return np.array(rows)


@pytest.mark.parametrize("name", MUJOCO)
def test_the_registry_states_the_simulators_sizes(name):
    benchmark = BENCHMARKS[name]
    worlds = make_vector(name, benchmark.grid[:2])
    model = get_model(ENVIRONMENTS[benchmark.environment], worlds.model_values[0])
    assert benchmark.action_dim == model.nu == worlds.single_action_space.shape[0]
    observations, infos = worlds.reset(seed=0)
    assert observations.shape == (2, benchmark.observation_dim) and observations in worlds.observation_space
    assert observations.dtype == infos["features"].dtype == np.float64
    assert infos["features"].shape == (2, hypogen.envs.FEATURES[benchmark.environment])
    assert worlds.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.DISABLED


@pytest.mark.parametrize("name", ONE_A_ROBOT)
def test_rewards_are_a_function_of_the_features(name):
    benchmark = BENCHMARKS[name]
    worlds = make_vector(name, benchmark.grid[::20])
    worlds.reset(seed=2)
    for actions in np.random.default_rng(2).uniform(-1, 1, (50, *worlds.action_space.shape)):
        _, rewards, _, _, infos = worlds.step(actions)
        again = hypogen.envs.reward(benchmark.environment, infos["features"], worlds.specs[:, 0])
        assert np.array_equal(rewards, again)


@pytest.mark.parametrize("name", ONE_A_ROBOT)
def test_a_new_vector_continues_from_a_state_to_the_same_bits(name, tmp_path):
    specs = BENCHMARKS[name].grid[::30]
    worlds = make_vector(name, specs)
    worlds.reset(seed=5)
    _play(worlds, np.random.default_rng(0), 980)
    np.savez(tmp_path / "state.npz", **worlds.get_state())

    def rest(worlds):
        """The end of this episode and the start of the next: the random streams have to continue too."""
        rng = np.random.default_rng(1)
        end = _play(worlds, rng, 20)
        start, _ = worlds.reset()
        return end, start, _play(worlds, rng, 5)

    expected = rest(worlds)
    with np.load(tmp_path / "state.npz") as state:
        fresh = make_vector(name, specs, threads=2)
        fresh.set_state(dict(state))
    for got, want in zip(rest(fresh), expected, strict=True):
        assert np.array_equal(got, want)


def test_a_state_between_episodes_remembers_that_none_is_running():
    worlds = make_vector("cheetah-speed", [[1.0]])
    worlds.reset(seed=0)
    running = worlds.get_state()
    fresh = make_vector("cheetah-speed", [[1.0]])
    worlds.set_state(fresh.get_state())
    with pytest.raises(ValueError, match="call reset"):
        worlds.step(np.zeros((1, 6)))
    fresh.set_state(running)
    fresh.step(np.zeros((1, 6)))


def test_a_state_belongs_to_its_specs():
    state = make_vector("cheetah-speed", [[1.0]]).get_state()
    with pytest.raises(ValueError, match=r"specs \[\[1.0\]\], not \[\[2.0\]\]"):
        make_vector("cheetah-speed", [[2.0]]).set_state(state)


@pytest.mark.parametrize("name", ONE_A_ROBOT)
def test_the_number_of_threads_changes_nothing(name):
    specs = BENCHMARKS[name].grid[::17]
    one, three = (make_vector(name, specs, threads=threads) for threads in (1, 3))
    assert np.array_equal(one.reset(seed=9)[0], three.reset(seed=9)[0])
    assert np.array_equal(
        _play(one, np.random.default_rng(3), 40),
        _play(three, np.random.default_rng(3), 40),
    )
    three.close()


def test_a_world_does_not_depend_on_the_others():
    together = make_vector("finger-speed-length", [[1, 0.1], [15, 0.4], [7, 0.1]])
    alone = make_vector("finger-speed-length", [[7, 0.1]])
    assert np.array_equal(together.reset(seed=[1, 2, 3])[0][2:], alone.reset(seed=[3])[0])
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 3, 2))
    for action in actions:
        assert np.array_equal(together.step(action)[0][2:], alone.step(action[2:])[0])


def test_one_seed_counts_up_over_the_worlds():
    worlds = make_vector("cheetah-speed", [[1.0], [2.0]])
    assert np.array_equal(worlds.reset(seed=7)[0], worlds.reset(seed=[7, 8])[0])
    assert not np.array_equal(worlds.reset(seed=7)[0], worlds.reset()[0])


def test_what_a_step_returns_is_not_overwritten_by_the_next():
    worlds = make_vector("walker-speed", [[1.0]])
    observations, infos = worlds.reset(seed=0)
    before = observations.copy(), infos["features"].copy()
    worlds.step(np.ones((1, 6)))
    assert np.array_equal(observations, before[0]) and np.array_equal(infos["features"], before[1])


def test_worlds_of_one_length_share_a_model_and_little_memory():
    worlds = make_vector("cheetah-speed", BENCHMARKS["cheetah-speed"].grid)
    models = [get_model(ENVIRONMENTS["cheetah"], values) for values in worlds.model_values]
    assert len({id(model) for model in models}) == 1
    assert models[0].nbuffer < 1e6  # without the sky's texture: 12 MB with it


def test_an_episode_ends_after_1000_steps_and_has_to_be_reset():
    worlds = make_vector("cheetah-speed", [[1.0], [2.0]])
    worlds.reset(seed=0)
    for step in range(1000):
        _, _, terminated, truncated, _ = worlds.step(np.zeros((2, 6)))
        assert truncated.all() == truncated.any() == (step == 999) and not terminated.any()
    with pytest.raises(ValueError, match="call reset"):
        worlds.step(np.zeros((2, 6)))


@pytest.mark.parametrize("name", ONE_A_ROBOT)
def test_a_world_that_blows_up_is_named(name):
    specs = BENCHMARKS[name].grid[[0, -1]]
    worlds = make_vector(name, specs, threads=2)
    worlds.reset(seed=0)
    worlds.step(np.zeros(worlds.action_space.shape))
    worlds._batch.qvel[1] = np.nan
    with pytest.raises(FloatingPointError, match=rf"{name}: .*\[{specs[1, 0]:g}\. +{specs[1, 1]:g}"):
        worlds.step(np.zeros(worlds.action_space.shape))
    with pytest.raises(ValueError, match="call reset"):
        worlds.step(np.zeros(worlds.action_space.shape))
    worlds.reset()
    worlds.step(np.zeros(worlds.action_space.shape))


def test_an_error_of_mujoco_names_the_spec_and_can_be_sent():
    specs = BENCHMARKS["cheetah-length"].grid[[0, -1]]
    worlds = make_vector("cheetah-length", specs, threads=2)
    worlds.reset(seed=0)
    options = get_model(ENVIRONMENTS["cheetah"], worlds.model_values[1]).opt
    solver, options.solver = options.solver, 99
    try:
        with pytest.raises(FloatingPointError, match=rf"spec \[{specs[1, 0]:g}\] failed: .*unknown solver") as failed:
            worlds.step(np.zeros(worlds.action_space.shape))
    finally:
        options.solver = solver
    assert str(pickle.loads(pickle.dumps(failed.value))) == str(failed.value), "as Ray does"


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([[0.0, 0.5]], "speed of 0 m/s"),
        ([[np.nan, 0.5]], "finite"),
        ([[1.0, -0.5]], "length must be positive"),
        ([[1.0]], r"\(speed, length\)"),
        ([1.0, 0.5], r"\(speed, length\)"),
        (np.zeros((0, 2)), "shape"),
    ],
)
def test_specs_that_mean_nothing(specs, message):
    with pytest.raises(ValueError, match=message):
        make_vector("cheetah-speed-length", specs)


def test_a_finger_too_short_for_its_spinner():
    with pytest.raises(ValueError, match=r"must exceed 0\.07 m"):
        make_vector("finger-length", [[0.05]])


def test_wrong_benchmarks_and_threads():
    with pytest.raises(ValueError, match="did you mean 'walker-speed'"):
        make_vector("walker_speed", [[1.0]])
    with pytest.raises(ValueError, match="does not run in MuJoCo"):
        MujocoVectorEnv("liftcube-damping", [[100.0]])
    with pytest.raises(ValueError, match="threads must be at least 1"):
        make_vector("walker-speed", [[1.0]], threads=0)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((1, 6)), r"shape \(2, 6\), got \(1, 6\)"),  # would broadcast
        (np.zeros(6), r"shape \(2, 6\)"),
        (np.array([[0.0] * 6, [np.nan] * 6]), "world 1 are not finite"),
    ],
)
def test_wrong_actions(actions, message):
    worlds = make_vector("cheetah-speed", [[1.0], [2.0]])
    worlds.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        worlds.step(actions)


def test_step_before_reset():
    with pytest.raises(ValueError, match="call reset"):
        make_vector("cheetah-speed", [[1.0]]).step(np.zeros((1, 6)))


@pytest.mark.parametrize("seed", [[1], [1, 2, 3], 1.5, [1.0, 2.0], -1])
def test_wrong_seeds(seed):
    with pytest.raises(ValueError, match=r"[sS]eed"):
        make_vector("cheetah-speed", [[1.0], [2.0]]).reset(seed=seed)


def test_reset_takes_no_options():
    with pytest.raises(ValueError, match="no options"):
        make_vector("cheetah-speed", [[1.0]]).reset(options={"reset_mask": [True]})


def test_the_state_holds_all_that_mujoco_integrates():
    worlds = make_vector("cheetah-speed", [[1.0]])
    size = mujoco.mj_stateSize(get_model(ENVIRONMENTS["cheetah"], (0.5,)), mujoco.mjtState.mjSTATE_INTEGRATION)
    assert worlds.get_state()["physics"].shape == (1, size)
