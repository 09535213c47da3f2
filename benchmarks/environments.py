"""Control steps a second of the MuJoCo environments: ours, the floor, dm_control and EnvPool, in one run.

    python benchmarks/environments.py [--benchmark cheetah-speed] [--worlds 320] [--steps 300]

The floor is MuJoCo alone: the same physics steps in its own C++ thread pool (``mujoco.rollout``), no observations, no
rewards, no policy. The peers are dm_control's ``Environment.step``, one world after the other, and EnvPool, without a
policy, if the Python of a virtual environment that has it is named (``--envpool-python``). Ours is measured in the same
way, and in whole rollouts with policies of the paper's size: worlds made, episodes started, 1000 steps.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as everywhere in sweeps: waiting keeps no core busy

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import mujoco
import numpy as np
import torch
import typer
from gymnasium.vector import VectorEnv
from mujoco import rollout as mujoco_rollout

from hypogen import envs
from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.envs.mujoco import dmc, get_environment
from hypogen.policy import Policy, PolicyShape
from hypogen.rollouts import rollout

EPISODES = 8
"""Episodes of each policy."""


def best_rate(run: Callable[[], object], steps: int, prepare: Callable[[], object] = list, repeats: int = 3) -> float:
    """Steps a second in the quickest of a few runs, each after ``prepare``: the others were disturbed."""
    seconds = []
    for _ in range(repeats):
        prepare()
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return steps / min(seconds)


def main(
    benchmark: Annotated[str, typer.Option()] = "cheetah-speed",
    worlds: Annotated[int, typer.Option(min=8, help="a multiple of 8")] = 320,
    steps: Annotated[int, typer.Option(min=1)] = 300,
    threads: Annotated[list[int] | None, typer.Option()] = None,
    envpool_python: Annotated[
        Path | None, typer.Option(help="Python of a virtual environment that has EnvPool", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Print steps a second, and each as a fraction of the floor with the fewest threads."""
    if worlds % EPISODES:
        raise typer.BadParameter(f"{worlds} is no multiple of {EPISODES}", param_hint="--worlds")
    entry = get_benchmark(benchmark)
    specs = np.resize(entry.grid, (worlds, entry.grid.shape[1]))
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, worlds, entry.action_dim))
    single = dmc.load(benchmark, tuple(specs[0]), np.random.RandomState(0))
    rates = {"dm_control, one world": best_rate(partial(play, single, actions[:, 0]), steps, single.reset)}
    for count in threads or [1, 2]:
        rates[f"floor, {count} threads"] = floor(single, actions, count)
    for count in threads or [1, 2]:
        env = envs.make_vector(benchmark, specs, threads=count)

        rates[f"ours, {count} threads"] = best_rate(
            partial(play, env, actions), steps * worlds, partial(env.reset, seed=0)
        )
        env.close()
        del env  # and with it the worlds' memory
        torch.set_num_threads(count)
        policies, seeds = some_policies(entry, worlds // EPISODES), np.arange(worlds).reshape(-1, EPISODES)
        play_policies = partial(rollout, benchmark, specs[: len(seeds)], policies, seeds, count)
        rates[f"ours, policies, {count} threads"] = best_rate(play_policies, seeds.size * entry.episode_steps)
        if envpool_python is not None:
            rates[f"EnvPool, {count} threads"] = envpool_rate(envpool_python, entry, worlds, steps, count)
    base = rates[f"floor, {min(threads or [1])} threads"]
    for name, rate in rates.items():
        print(f"{benchmark} {name:26s} {rate:12,.0f} steps/s  {rate / base:5.2f} of the floor")


def play(env: VectorEnv, actions: np.ndarray) -> None:
    """Step all worlds through ``actions [T, W, A]``."""
    for action in actions:
        env.step(action)


def some_policies(entry: Benchmark, specs: int) -> Policy:
    """Policies of the paper's size with random weights."""
    sizes = PolicyShape().sizes(entry.observation_dim, entry.action_dim)
    weights = tuple(torch.randn(specs, outputs, inputs) / inputs**0.5 for inputs, outputs in sizes)
    return Policy(weights, tuple(torch.zeros(specs, outputs) for _, outputs in sizes))


def envpool_rate(python: Path, entry: Benchmark, worlds: int, steps: int, threads: int) -> float:
    """EnvPool's rate on dm_control's own task of this robot, in a process of its own."""
    task = f"{entry.environment.title()}{get_environment(entry).suite_task.title()}-v1"
    command = [python, Path(__file__).with_name("envpool_rate.py"), task, str(worlds), str(steps), str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def floor(single, actions: np.ndarray, threads: int) -> float:
    """MuJoCo's own rollouts of the same worlds and actions."""
    single.reset()
    physics, repeats = single.physics, round(single.control_timestep() / single.physics.timestep())
    steps, worlds = actions.shape[:2]
    model = physics.model.ptr
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    state = np.empty(size)
    mujoco.mj_getState(model, physics.data.ptr, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    control = np.repeat(actions.transpose(1, 0, 2), repeats, axis=1)
    data = [mujoco.MjData(model) for _ in range(threads)]
    with mujoco_rollout.Rollout(nthread=threads if threads > 1 else 0) as pool:
        return best_rate(lambda: pool.rollout(model, data, np.tile(state, (worlds, 1)), control), steps * worlds)


if __name__ == "__main__":
    typer.run(main)
