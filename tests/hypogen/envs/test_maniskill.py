"""The ManiSkill worlds: the stock environment's bits, the specs in the physics, and the vector's contract."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from hypogen.benchmarks import BENCHMARKS
from hypogen.envs import make_vector
from hypogen.envs.maniskill.processes import ManiSkillVectorEnv
from hypogen.envs.maniskill.single import ManiSkillEnv, StockLiftCube, StockPickCube
from hypogen.experts.scripted import ScriptedPolicy

MANISKILL = [name for name, benchmark in BENCHMARKS.items() if benchmark.simulator.name == "maniskill"]
RECONFIGURE = {"reconfigure": True}


def extremes(name: str) -> list[float]:
    """The smallest, the default and the largest spec of a benchmark."""
    (variable,) = BENCHMARKS[name].variables
    return [variable.grid[0], variable.default, variable.grid[-1]]


def joint(env: ManiSkillEnv, number: int):
    return next(j for j in env.world.agent.robot.get_active_joints() if j.name == f"panda_joint{number}")


def position(env: ManiSkillEnv, link: str) -> np.ndarray:
    return next(found for found in env.world.agent.robot.get_links() if found.name == link).pose.p


@pytest.mark.parametrize(
    ("name", "stock"), [("liftcube-damping", StockLiftCube), ("pickcube-stiffness", StockPickCube)]
)
def test_the_default_spec_is_the_stock_environment_bit_for_bit(name, stock):
    """Over a grasp and over random actions, in states, observations, rewards and success."""
    ours, theirs = ManiSkillEnv(name), stock()
    script, rng = ScriptedPolicy(name, [extremes(name)[1:2]]), np.random.default_rng(0)
    for seed, scripted in ((3, True), (4, False)):
        observation, _ = ours.reset(seed=seed)
        expected, _ = theirs.reset(seed=seed, options=RECONFIGURE)
        for _ in range(40):
            assert np.array_equal(ours.world.get_state(), theirs.get_state())
            assert np.array_equal(observation, expected.astype(np.float32))
            action = rng.uniform(-1, 1, 7).astype(np.float32)
            if scripted:
                action = script(torch.from_numpy(observation)[None, None])[0, 0].numpy()
            observation, reward, success, _, _ = ours.step(action)
            expected, expected_reward, expected_success, _, _ = theirs.step(action)
            assert (reward, success) == (expected_reward, expected_success)
            if success:
                break
        assert success is scripted


@pytest.mark.parametrize("name", [name for name in MANISKILL if name.endswith("cube-size")])
def test_cube_sizes_stand_in_the_physics(name):
    for size, mass in zip(extremes(name), (0.008, 0.064, 0.216), strict=True):
        env = gymnasium.make(f"hypogen/{name}-v0", spec=(size,)).unwrapped
        env.reset(seed=0)
        (shape,) = env.world.obj.get_collision_shapes()
        assert shape.geometry.half_lengths == pytest.approx([size] * 3)
        assert env.world.obj.mass == pytest.approx(mass)
        assert env.world.obj.pose.p[2] == pytest.approx(size)


@pytest.mark.parametrize("name", [name for name in MANISKILL if name.split("-")[1] in ("stiffness", "damping")])
def test_gains_stand_in_the_physics_of_the_arm_alone(name):
    context = name.split("-")[1]
    for gain in extremes(name):
        env = gymnasium.make(f"hypogen/{name}-v0", spec=(gain,)).unwrapped
        env.reset(seed=0)
        expected = {"stiffness": 1000.0, "damping": 100.0, context: gain}
        for number in range(1, 8):
            assert (joint(env, number).stiffness, joint(env, number).damping) == tuple(expected.values())
        fingers = env.world.agent.robot.get_active_joints()[7:]
        assert [(finger.stiffness, finger.damping) for finger in fingers] == [(1000.0, 100.0)] * 2


@pytest.mark.parametrize("name", [name for name in MANISKILL if name.endswith("arm-length")])
def test_arm_lengths_stand_in_the_physics(name):
    for ratio in extremes(name):
        env = gymnasium.make(f"hypogen/{name}-v0", spec=(ratio,)).unwrapped
        env.reset(seed=0)
        bones = {("panda_link2", "panda_link3"): 0.316, ("panda_link4", "panda_link5"): np.hypot(0.0825, 0.384)}
        for (first, second), length in bones.items():
            assert np.linalg.norm(position(env, first) - position(env, second)) == pytest.approx(
                length * ratio, abs=1e-5
            )
        hand = np.linalg.norm(position(env, "panda_hand") - position(env, "panda_hand_tcp"))
        assert hand == pytest.approx(0.1034, abs=1e-5)
        links = {link.name: link for link in env.world.agent.robot.get_links()}
        assert links["panda_link3"].mass == pytest.approx(3.228604)
        assert links["panda_link3"].get_collision_shapes()[0].geometry.scale == pytest.approx([ratio] * 3)
        assert env.world.agent.robot.pose.p[0] == pytest.approx(-0.615 * ratio)
        assert env.world.tcp.pose.p == pytest.approx([0, 0, 0.17], abs=0.08)  # but for the noise on the start pose
        before = env.world.agent.robot.get_qpos()
        for _ in range(5):
            observation, *_ = env.step(np.zeros(7))
        assert observation[:7] == pytest.approx(before[:7], abs=1e-2)  # no part pushes another away


@pytest.mark.parametrize("name", MANISKILL)
@pytest.mark.filterwarnings("ignore:.*render.*", "ignore:.*infinity.*")
def test_gymnasium_accepts_every_environment(name):
    check_env(gymnasium.make(f"hypogen/{name}-v0").unwrapped, skip_render_check=True)


def trace(worlds, seeds, steps):
    """Observations, rewards and ends of some random steps [T, W, D + 3]."""
    worlds.reset(seed=seeds)
    rows = []
    for step in range(steps):
        actions = np.stack([np.random.default_rng([seed, step]).uniform(-1, 1, 7) for seed in seeds])
        observations, rewards, terminated, truncated, _ = worlds.step(actions)
        rows.append(np.column_stack([observations, rewards, terminated, truncated]))
    return np.array(rows)


def test_a_world_depends_on_its_own_spec_seed_and_actions_alone():
    """Not on its neighbours, its place among them, the episodes before, or the process that it runs in."""
    name, specs, seeds = "pickcube-cube-size", np.array([[0.01], [0.02], [0.03]]), [5, 6, 7]
    together = make_vector(name, specs)
    expected = trace(together, seeds, 15)
    assert np.array_equal(trace(together, seeds, 15), expected)
    elsewhere = make_vector(name, specs[[2, 0, 1]], threads=2)
    assert np.array_equal(trace(elsewhere, [7, 5, 6], 15), expected[:, [2, 0, 1]])
    elsewhere.close()
    alone = gymnasium.make(f"hypogen/{name}-v0", spec=(0.03,))
    alone.reset(seed=7)
    for step in range(15):
        observation, *_ = alone.step(np.random.default_rng([7, step]).uniform(-1, 1, 7).astype(np.float32))
        assert np.array_equal(observation, expected[step, 2, :-3].astype(np.float32))


def test_without_a_seed_the_random_streams_continue():
    worlds = make_vector("liftcube-damping", [[100.0]])
    first = [worlds.reset(seed=1)[0], worlds.reset()[0], worlds.reset()[0]]
    assert not np.array_equal(first[1], first[2])
    again = [worlds.reset(seed=1)[0], worlds.reset()[0], worlds.reset()[0]]
    assert np.array_equal(first, again)


def test_worlds_end_one_by_one_and_then_stand_still():
    name = "liftcube-stiffness"
    worlds, script = make_vector(name, [[1000.0], [1000.0]]), ScriptedPolicy(name, [[1000.0], [1000.0]])
    observations, infos = worlds.reset(seed=0)
    assert observations in worlds.observation_space and not infos["success"].any()
    actions_after_success = 0
    for step in range(200):
        actions = script(torch.from_numpy(observations)[:, None])[:, 0].numpy()
        actions[1] = 0.0  # this one never does anything
        before = observations
        observations, rewards, terminated, truncated, infos = worlds.step(actions)
        assert np.array_equal(infos["success"], terminated)
        assert not terminated[1] and truncated[1] == (step == 199) and not truncated[0]
        if terminated[0]:
            actions_after_success += 1
        if actions_after_success > 1:
            assert np.array_equal(observations[0], before[0]) and rewards[0] == 0
    assert 150 < actions_after_success < 190
    with pytest.raises(ValueError, match="call reset"):
        worlds.step(actions)


def test_wrong_specs_actions_and_benchmarks():
    with pytest.raises(ValueError, match="must be positive"):
        make_vector("liftcube-damping", [[100.0], [-1.0]])
    with pytest.raises(ValueError, match=r"worlds, \(stiffness\)"):
        make_vector("liftcube-stiffness", [100.0])
    with pytest.raises(ValueError, match="processes must be at least 1"):
        make_vector("liftcube-stiffness", [[700.0]], threads=0)
    with pytest.raises(ValueError, match="does not run in ManiSkill"):
        ManiSkillVectorEnv("cheetah-speed", [[1.0]])
    worlds = make_vector("liftcube-stiffness", [[700.0]])
    with pytest.raises(ValueError, match="call reset"):
        worlds.step(np.zeros((1, 7)))
    with pytest.raises(ValueError, match="no options"):
        worlds.reset(options={"reconfigure": True})
    worlds.reset(seed=0)
    with pytest.raises(ValueError, match="shape"):
        worlds.step(np.zeros(7))
    with pytest.raises(ValueError, match="7 finite numbers"):
        worlds.step(np.full((1, 7), np.nan))


def test_an_error_in_a_process_is_an_error_here():
    worlds = make_vector("liftcube-stiffness", [[700.0], [800.0]], threads=2)
    worlds.reset(seed=0)
    with pytest.raises(ValueError, match="7 finite numbers"):
        worlds.step(np.full((2, 7), np.nan))
    worlds.reset(seed=0)
    worlds.step(np.zeros((2, 7)))
    worlds.close()
