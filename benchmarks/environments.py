"""Control steps a second of the MuJoCo environments: ours, the floor, and dm_control, in one run.

    python benchmarks/environments.py [--benchmark cheetah-speed] [--worlds 40] [--steps 500]

The floor is MuJoCo alone: the same physics steps in its own C++ thread pool (``mujoco.rollout``), no observations, no
rewards, no policy. The peer is dm_control's ``Environment.step``, one world after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import mujoco
import numpy as np
import typer
from gymnasium.vector import VectorEnv
from mujoco import rollout as mujoco_rollout

from hypogen import envs
from hypogen.benchmarks import get_benchmark
from hypogen.envs.mujoco import dmc


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
    worlds: Annotated[int, typer.Option(min=1)] = 40,
    steps: Annotated[int, typer.Option(min=1)] = 500,
    threads: Annotated[list[int] | None, typer.Option()] = None,
) -> None:
    """Print steps a second, and each as a fraction of the floor with one thread."""
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
    base = rates[f"floor, {(threads or [1])[0]} threads"]
    for name, rate in rates.items():
        print(f"{benchmark} {name:24s} {rate:12,.0f} steps/s  {rate / base:5.2f} of the floor")


def play(env: VectorEnv, actions: np.ndarray) -> None:
    """Step all worlds through ``actions [T, W, A]``."""
    for action in actions:
        env.step(action)


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
