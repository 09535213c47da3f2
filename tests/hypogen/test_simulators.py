"""Simulators as data: the numbers that plans and estimates are made of, and their names in messages."""

import importlib

import pytest

from hypogen.benchmarks import BENCHMARKS
from hypogen.simulators import SIMULATORS


def test_the_simulators_are_told_apart_by_what_they_declare():
    fields = ("specs_per_task", "usual_steps", "step_s", "generated_factor", "score", "only_successes")
    declared = {name: [getattr(entry, field) for field in fields] for name, entry in SIMULATORS.items()}
    assert declared == {
        "mujoco": [4, None, 2.0e-5, 1.0, "return", False],
        "maniskill": [1, 30, 4.0e-3, 2.5, "success", True],
    }
    assert [(entry.episodes_at_once, entry.terminates) for entry in SIMULATORS.values()] == [(None, False), (20, True)]
    assert all(entry.higher_is_better for entry in SIMULATORS.values())


@pytest.mark.parametrize("simulator", SIMULATORS.values(), ids=str)
def test_a_simulator_names_its_environments_and_itself(simulator):
    assert str(simulator) == f"{simulator}" == simulator.name
    for place in (simulator.single_env, simulator.vector_env):
        module, name = place.split(":")
        assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_every_benchmark_runs_in_a_registered_simulator(benchmark):
    assert SIMULATORS[benchmark.simulator.name] is benchmark.simulator
    assert benchmark.usual_steps == (30 if benchmark.simulator.terminates else benchmark.episode_steps)
