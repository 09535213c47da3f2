"""The worlds against dm_control itself: observations, rewards and resets must be equal to the last bit."""

import numpy as np
import pytest
from dm_control import suite
from dm_control.utils import rewards

from hypogen.benchmarks import BENCHMARKS
from hypogen.envs import make_vector
from hypogen.envs.mujoco import dmc

MUJOCO = [name for name, benchmark in BENCHMARKS.items() if benchmark.simulator.name == "mujoco"]
SUITE_TASKS = {"cheetah": "run", "walker": "walk", "finger": "spin"}


def _flat(timestep):
    return np.concatenate([np.ravel(part) for part in timestep.observation.values()])


def _some_specs(benchmark):
    """The ends of the grid and two points between: 4 specs of different speeds, lengths and, often, directions."""
    return benchmark.grid[np.linspace(0, len(benchmark.grid) - 1, 4).astype(int)]


@pytest.mark.parametrize("name", MUJOCO)
def test_whole_episodes_equal_dm_control(name):
    specs, seeds = _some_specs(BENCHMARKS[name]), [3, 1, 4, 15]
    worlds = make_vector(name, specs, threads=2)
    references = [
        dmc.load(name, spec, random=np.random.RandomState(seed)) for spec, seed in zip(specs, seeds, strict=True)
    ]
    rng = np.random.default_rng(0)
    # 1000 steps, then the start of a second episode from the random streams as the first one left them.
    for seed, steps in ((seeds, 1000), (None, 20)):
        observations, _ = worlds.reset(seed=seed)
        assert np.array_equal(observations, [_flat(reference.reset()) for reference in references])
        for step in range(steps):
            actions = rng.uniform(-1.5, 1.5, worlds.action_space.shape)  # some beyond what MuJoCo clips to
            observations, earned, terminated, truncated, _ = worlds.step(actions)
            timesteps = [reference.step(action) for reference, action in zip(references, actions, strict=True)]
            assert np.array_equal(observations, [_flat(timestep) for timestep in timesteps]), f"step {step}"
            assert np.array_equal(earned, [timestep.reward for timestep in timesteps]), f"step {step}"
            assert truncated.tolist() == [timestep.last() for timestep in timesteps] == [step == 999] * 4
            assert not terminated.any()


@pytest.mark.parametrize("environment", SUITE_TASKS)
@pytest.mark.parametrize("context", ["speed", "exact-speed"])
def test_the_default_length_is_dm_controls_own_task(environment, context):
    """Same physics and observations as ``suite.load``; the reward computed here from the stock physics."""
    benchmark = BENCHMARKS[f"{environment}-{context}"]
    spec = [variable.default for variable in benchmark.variables]
    ours = dmc.load(benchmark.name, spec, random=5)
    stock = suite.load(environment, SUITE_TASKS[environment], task_kwargs={"random": 5})
    assert np.array_equal(_flat(ours.reset()), _flat(stock.reset()))
    rng = np.random.default_rng(1)
    for _ in range(300):
        action = rng.uniform(-1, 1, stock.action_spec().shape)
        timestep, reference = ours.step(action), stock.step(action)
        assert np.array_equal(_flat(timestep), _flat(reference))
        assert np.array_equal(ours.physics.get_state(), stock.physics.get_state())
        assert timestep.reward == _stock_reward(environment, stock.physics, spec[0], benchmark.tolerance)


def _stock_reward(environment, physics, speed, tolerance):
    """dm_control's tolerance of the stock physics: the paper's, or that of a speed to be kept."""
    bounds, margin = (speed, float("inf")), speed
    if tolerance is not None:
        slack, margin = tolerance.slack_at(speed), tolerance.margin_at(speed)
        bounds = (speed - slack, speed + slack)
    velocity = {"cheetah": "speed", "walker": "horizontal_velocity", "finger": "hinge_velocity"}[environment]
    moving = rewards.tolerance(
        getattr(physics, velocity)(),
        bounds=bounds,
        margin=margin,
        sigmoid="linear",
        value_at_margin=0.1,
    )
    if environment != "walker":
        return moving
    standing = rewards.tolerance(physics.torso_height(), bounds=(1.2, float("inf")), margin=0.6)
    stand = (3 * standing + (1 + physics.torso_upright()) / 2) / 4
    return stand * (5 * moving + 1) / 6


def test_lengths_move_what_the_paper_says():
    cheetah = _physics("cheetah-length", 0.62)
    assert cheetah.named.model.geom_size["torso", 1] == 0.62
    assert cheetah.named.model.geom_pos["head"].tolist() == [0.72, 0, 0.1]
    assert cheetah.named.model.body_pos["bthigh"].tolist() == [-0.62, 0, 0]
    assert cheetah.named.model.body_pos["fthigh"].tolist() == [0.62, 0, 0]
    walker = _physics("walker-length", 0.44)
    assert walker.named.model.geom_size["torso"][:2].tolist() == [0.07, 0.44]
    assert walker.named.model.body_pos["right_thigh", "z"] == -0.3
    finger = _physics("finger-length", 0.3)
    np.testing.assert_allclose(finger.named.model.geom_size["distal"][:2], [0.028, 0.15])
    np.testing.assert_allclose(finger.named.model.geom_size["fingertip"][:2], [0.03, 0.031 / 2])
    np.testing.assert_allclose(finger.named.model.geom_pos["fingertip", "z"], -(0.27 + 0.301) / 2)
    assert finger.named.model.body_pos["spinner"].tolist() == [0.34, 0, 0.4]
    assert finger.named.model.geom_size["cap1"][:2].tolist() == [0.04, 0.23]
    assert finger.named.model.geom_size["cap2"][:2].tolist() == [0.04, 0.23]


def _physics(name, length):
    return dmc.load(name, length).physics


@pytest.mark.parametrize(
    ("environment", "resized", "moved"),
    [
        ("cheetah", {"torso"}, {"head", "bthigh", "fthigh"}),
        ("walker", {"torso"}, set()),
        ("finger", {"distal", "cap1", "cap2"}, {"distal", "fingertip", "spinner"}),
    ],
)
def test_lengths_move_nothing_else(environment, resized, moved):
    default, other = (_physics(f"{environment}-length", length) for length in (_default_length(environment), 0.35))
    changed = {
        field: {model.id2name(row, field.split("_")[0]) for row in np.flatnonzero(differs.any(axis=1))}
        for model in [default.model]
        for field in ("geom_size", "geom_pos", "geom_quat", "body_pos", "body_quat", "site_pos", "site_size", "jnt_pos")
        if (differs := np.abs(getattr(default.model, field) - getattr(other.model, field)) > 1e-12).any()
    }
    assert changed.pop("geom_size") == resized
    assert set().union(*changed.values()) == moved


def _default_length(environment):
    return BENCHMARKS[f"{environment}-length"].variables[0].default


@pytest.mark.parametrize("environment", SUITE_TASKS)
def test_episodes_start_at_every_length_of_the_grid(environment):
    grid = BENCHMARKS[f"{environment}-length"].grid
    observations, _ = make_vector(f"{environment}-length", grid).reset(seed=0)
    assert np.isfinite(observations).all() and len(np.unique(observations, axis=0)) == len(grid)
