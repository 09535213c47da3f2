"""Variables that no simulator consumes are refused, before a simulator is imported and before a world is built."""

import dataclasses
import subprocess
import sys

import gymnasium
import pytest

from hypogen import envs
from hypogen.benchmarks import BENCHMARKS, Variable
from hypogen.envs.maniskill.processes import ManiSkillVectorEnv
from hypogen.envs.maniskill.single import ManiSkillEnv
from hypogen.envs.mujoco.dmc import DmcEnv, load
from hypogen.envs.mujoco.vector import MujocoVectorEnv

GRAVITY = Variable("gravity", "m/s²", 9.81, (5.0, 9.81, 15.0))


def with_gravity(name):
    """A benchmark of the same environment in which gravity varies, a variable that nothing there consumes."""
    entry = BENCHMARKS[name]
    fixed = {**entry.fixed, **{variable.name: variable.default for variable in entry.variables}}
    return dataclasses.replace(
        entry, name=f"{entry.environment}-gravity", context="gravity", variables=(GRAVITY,), fixed=fixed
    )


@pytest.fixture(params=["cheetah-speed", "walker-length", "finger-speed-length", "liftcube-damping"])
def benchmark(request, monkeypatch):
    """Such a benchmark, registered."""
    entry = with_gravity(request.param)
    monkeypatch.setitem(BENCHMARKS, entry.name, entry)
    return entry


@pytest.mark.parametrize("entry", BENCHMARKS.values(), ids=BENCHMARKS)
def test_every_registered_benchmark_is_accepted(entry):
    envs.check(entry)


def test_a_variable_that_nothing_consumes_is_named_with_the_known_ones(benchmark):
    known = "cube_size, stiffness, damping, arm_length" if benchmark.simulator.terminates else "speed, length"
    message = f"{benchmark.name}: nothing in the simulator consumes the variable 'gravity'; .* consumes {known}"
    with pytest.raises(ValueError, match=message):
        envs.check(benchmark)
    with pytest.raises(ValueError, match=message):
        envs.make_vector(benchmark.name, [[5.0], [15.0]])


@pytest.mark.parametrize("make", [DmcEnv, load, MujocoVectorEnv, ManiSkillEnv, ManiSkillVectorEnv])
def test_every_way_to_a_world_refuses_it(make, monkeypatch):
    entry = with_gravity("liftcube-damping" if "ManiSkill" in make.__name__ else "cheetah-speed")
    monkeypatch.setitem(BENCHMARKS, entry.name, entry)
    specs = [[5.0]] if make in (MujocoVectorEnv, ManiSkillVectorEnv) else [5.0]
    with pytest.raises(ValueError, match="'gravity'"):
        make(entry.name, specs)


def test_a_registered_single_environment_refuses_it(monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "cheetah-speed", dataclasses.replace(BENCHMARKS["cheetah-speed"], fixed={"x": 1.0}))
    with pytest.raises(ValueError, match="cheetah-speed: nothing in the simulator consumes the variable 'x'"):
        gymnasium.make("hypogen/cheetah-speed-v0")


def test_a_variable_without_a_value_is_named():
    with pytest.raises(ValueError, match=r"cheetah-speed: no value for the variable 'length'; .* speed, length"):
        envs.check(dataclasses.replace(BENCHMARKS["cheetah-speed"], fixed={}))


def test_an_unknown_environment_suggests_the_closest():
    with pytest.raises(ValueError, match=r"cheetah-speed: unknown environment 'cheeta': did you mean 'cheetah'"):
        envs.check(dataclasses.replace(BENCHMARKS["cheetah-speed"], environment="cheeta"))


def test_checking_imports_no_simulator():
    code = (
        "import sys; from hypogen import envs; from hypogen.benchmarks import BENCHMARKS\n"
        "for benchmark in BENCHMARKS.values(): envs.check(benchmark)\n"
        "print(sorted({'mujoco', 'dm_control', 'sapien', 'mani_skill2', 'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
