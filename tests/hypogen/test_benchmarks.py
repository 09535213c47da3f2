"""Contract tests over every registered benchmark."""

import dataclasses
import pickle

import numpy as np
import pytest

from hypogen.benchmarks import BENCHMARKS, get_benchmark
from hypogen.envs import ENVIRONMENTS

# Specs, first and last grid point: the paper's tables 6 to 9.
PAPER = {
    "cheetah-speed": (40, (-10,), (10,)),
    "cheetah-length": (41, (0.3,), (0.7,)),
    "cheetah-speed-length": (90, (1, 0.3), (10, 0.7)),
    "walker-speed": (40, (-5,), (5,)),
    "walker-length": (41, (0.1,), (0.5,)),
    "walker-speed-length": (81, (1, 0.1), (5, 0.5)),
    "finger-speed": (30, (-15,), (15,)),
    "finger-length": (31, (0.1,), (0.4,)),
    "finger-speed-length": (105, (1, 0.1), (15, 0.4)),
    "liftcube-cube-size": (21, (0.01,), (0.03,)),
    "liftcube-stiffness": (21, (500,), (1500,)),
    "liftcube-damping": (21, (50,), (150,)),
    "liftcube-arm-length": (16, (0.5,), (2.0,)),
    "pickcube-cube-size": (21, (0.01,), (0.03,)),
    "pickcube-stiffness": (21, (500,), (1500,)),
    "pickcube-damping": (21, (50,), (150,)),
    "pickcube-arm-length": (16, (0.5,), (2.0,)),
}
of_the_paper = pytest.mark.parametrize("benchmark", [BENCHMARKS[name] for name in PAPER], ids=PAPER)
every_benchmark = pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda benchmark: benchmark.name)


def test_the_registry_holds_the_papers_benchmarks():
    """In the paper's order. Its environments have further ones, and so may environments added since."""
    assert [name for name, entry in BENCHMARKS.items() if entry.published] == list(PAPER)


@pytest.mark.parametrize(
    ("name", "speed"),
    [
        ("cheetah-length", 1),
        ("cheetah-length-at-10", 10),
        ("walker-length", 1),
        ("finger-length", 1),
        ("finger-length-at-15", 15),
    ],
)
def test_lengths_have_one_visible_target_each(name, speed):
    """Those of the paper's name the target that its numbers were measured at; the others the stated one."""
    benchmark = get_benchmark(name)
    assert benchmark.fixed == {"speed": speed} and benchmark.tolerance is None
    stated = ("-at-" in name) or name == "walker-length"
    assert benchmark.published == ("-at-" not in name)
    assert benchmark.revision == (1 if stated else 2)
    if name != "walker-length":
        assert f"target {speed} " in benchmark.note
        assert np.array_equal(benchmark.grid, get_benchmark(name.split("-at-")[0]).grid)


@every_benchmark
def test_identity_is_the_name_until_the_meaning_changes(benchmark):
    assert dataclasses.replace(benchmark, revision=1).identity == benchmark.name
    second = dataclasses.replace(benchmark, revision=2).identity
    assert second != benchmark.name and second not in BENCHMARKS
    assert len({entry.identity for entry in BENCHMARKS.values()}) == len(BENCHMARKS)


@pytest.mark.parametrize("name", ["cheetah-exact-speed", "walker-exact-speed", "finger-exact-speed"])
def test_exact_speeds_are_ours_and_say_so(name):
    benchmark = get_benchmark(name)
    assert not benchmark.published and benchmark.tolerance is not None and benchmark.note.startswith("ours")
    assert np.array_equal(benchmark.grid, -benchmark.grid[::-1])


@of_the_paper
def test_grid_is_the_papers(benchmark):
    count, first, last = PAPER[benchmark.name]
    grid = benchmark.grid
    assert grid.shape == (count, len(benchmark.variables)) and grid.dtype == np.float64
    assert tuple(grid[0]) == first and tuple(grid[-1]) == last
    assert sorted(set(map(tuple, grid))) == list(map(tuple, grid))  # sorted, no spec twice


@every_benchmark
def test_grid_values_are_exact_decimals_in_even_steps(benchmark):
    for variable in benchmark.variables:
        assert list(variable.grid) == [float(f"{value:.4g}") for value in variable.grid]
        steps = np.diff([value for value in variable.grid if value > 0])
        np.testing.assert_allclose(steps, steps[0], atol=1e-9)
        if variable.name == "speed":
            assert 0 not in variable.grid


@every_benchmark
def test_grid_cannot_be_written_to(benchmark):
    with pytest.raises(ValueError, match="read-only"):
        benchmark.grid[0, 0] = 7


@every_benchmark
def test_index_of_every_grid_point_is_its_row(benchmark):
    assert [benchmark.index(spec) for spec in benchmark.grid] == list(range(len(benchmark.grid)))
    assert [benchmark.index(spec + 1e-12) for spec in benchmark.grid] == list(range(len(benchmark.grid)))


@every_benchmark
def test_scale_spans_minus_one_to_one_and_keeps_order(benchmark):
    scaled = benchmark.scale(benchmark.grid)
    assert (scaled.min(axis=0) == -1).all() and (scaled.max(axis=0) == 1).all()
    for column in range(len(benchmark.variables)):
        order = np.argsort(benchmark.grid[:, column], kind="stable")
        assert (np.diff(scaled[order, column]) >= 0).all()


@every_benchmark
def test_values_hold_every_variable_of_the_environment(benchmark):
    values = benchmark.values(benchmark.grid[3])
    assert values.keys() == set(ENVIRONMENTS[benchmark.environment].variables)
    assert [values[variable.name] for variable in benchmark.variables] == list(benchmark.grid[3])
    assert all(values[name] == value for name, value in benchmark.fixed.items())


@every_benchmark
def test_defaults_lie_on_the_grid(benchmark):
    for variable in benchmark.variables:
        assert variable.grid[0] <= variable.default <= variable.grid[-1]
        # finger's length of 0.16 m falls between the coarser steps of its speed-length grid
        assert variable.default in variable.grid or benchmark.name == "finger-speed-length"


@every_benchmark
def test_fixed_values_are_the_defaults_of_the_sister_benchmarks(benchmark):
    sisters = [other for other in BENCHMARKS.values() if other.environment == benchmark.environment]
    defaults = {variable.name: variable.default for other in sisters for variable in other.variables if other.published}
    terms = ENVIRONMENTS[benchmark.environment].terms
    defaults |= terms[benchmark.context].defaults if benchmark.context in terms else {}
    assert {name: defaults[name] for name in benchmark.fixed} == benchmark.fixed


@of_the_paper
def test_the_papers_environments_vary_the_papers_variables(benchmark):
    mujoco = benchmark.simulator.name == "mujoco"
    variables = {"speed", "length"} if mujoco else {"cube_size", "stiffness", "damping", "arm_length"}
    assert benchmark.values(benchmark.grid[0]).keys() == variables


@of_the_paper
def test_protocol_is_the_papers(benchmark):
    protocol = (benchmark.train_fraction, benchmark.split, benchmark.episodes, benchmark.policy_layers)
    mujoco = benchmark.simulator.name == "mujoco"
    assert protocol == ((0.2, "random", 10, 2) if mujoco else (0.3, "evenly_spaced", 100, 3))
    assert benchmark.episode_steps == (1000 if mujoco else 200)
    assert benchmark.name == f"{benchmark.environment}-{benchmark.context}"


@every_benchmark
def test_benchmarks_travel_between_processes_and_hash(benchmark):
    assert pickle.loads(pickle.dumps(benchmark)) == benchmark
    assert hash(benchmark) == hash(get_benchmark(benchmark.name))


def test_unknown_benchmark_suggests_the_closest():
    with pytest.raises(ValueError, match=r"did you mean 'cheetah-speed'.*pickcube-arm-length"):
        get_benchmark("cheeta-speed")


def test_a_spec_off_the_grid_names_its_neighbours_and_unit():
    with pytest.raises(ValueError, match=r"cheetah-speed has no spec.*3 and 3.5 m/s"):
        get_benchmark("cheetah-speed").index(3.3)
    with pytest.raises(ValueError, match=r"speed 2 m/s is on the grid.*length 0.31 are 0.3 and 0.35 m"):
        get_benchmark("cheetah-speed-length").index([2, 0.31])
    with pytest.raises(ValueError, match="nan is not a number of m/s"):
        get_benchmark("cheetah-speed").index(float("nan"))


@pytest.mark.parametrize("spec", [[], [1, 2], [[1.0]]])
def test_wrong_number_of_coordinates(spec):
    with pytest.raises(ValueError, match=r"1 coordinate\(s\): speed \(m/s\)"):
        get_benchmark("cheetah-speed").index(spec)
    with pytest.raises(ValueError, match=r"1 coordinate\(s\): speed \(m/s\)"):
        get_benchmark("cheetah-speed").values(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([0, 0.5], "speed of 0 m/s has no direction"),
        ([np.nan, 0.5], "speed must be a finite"),
        ([1, np.inf], "length must be a finite"),
        ([1, 0], "length must be positive"),
        ([1, -0.5], "length must be positive"),
    ],
)
def test_values_that_mean_nothing(spec, message):
    with pytest.raises(ValueError, match=f"cheetah-speed-length: .*{message}"):
        get_benchmark("cheetah-speed-length").values(spec)


def test_scale_wants_one_column_a_variable():
    with pytest.raises(ValueError, match=r"\[\.\.\., 2\], got \(3, 1\)"):
        get_benchmark("cheetah-speed-length").scale(np.ones((3, 1)))
