"""ManiSkill: control steps a second of ours, the stock environment and bare physics; the experts, measured.

    python benchmarks/maniskill.py speed [--benchmark liftcube-stiffness] [--episodes 10] [--processes 1]
    python benchmarks/maniskill.py scripted [--benchmark liftcube-cube-size ...] [--episodes 20] [--processes 1]
    python benchmarks/maniskill.py ppo --folder runs/ppo-liftcube [--benchmark ...] [--spec 1000] [--recipe laptop]

The floor is the physics alone: as many physics steps in ManiSkill2's own scene, no controller, no observation, no
reward. The peer is ManiSkill2's environment as it comes, but for what draws. Episodes are the scripted expert's, which
grasp and lift, played with the same actions everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from hypogen import envs
from hypogen.benchmarks import BENCHMARKS, Benchmark, get_benchmark
from hypogen.experts.scripted import ScriptedPolicy
from hypogen.rollouts import rollout

app = typer.Typer(add_completion=False)
MANISKILL = [name for name, entry in BENCHMARKS.items() if entry.simulator.name == "maniskill"]


@app.command()
def speed(
    benchmark: Annotated[str, typer.Option()] = "liftcube-stiffness",
    episodes: Annotated[int, typer.Option(min=1)] = 10,
    processes: Annotated[list[int] | None, typer.Option()] = None,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Print control steps a second, and each as a fraction of the floor. Everything takes turns, to share the noise."""
    from hypogen.envs.maniskill import single

    entry = get_benchmark(benchmark)
    spec = [variable.default for variable in entry.variables]
    stock = {"liftcube": single.StockLiftCube, "pickcube": single.StockPickCube}[entry.environment]()
    ours = single.ManiSkillEnv(benchmark, spec)
    actions = script(benchmark, spec, episodes)
    runs: dict[str, Callable[[], float]] = {
        "floor: physics alone": lambda: bare(stock, actions),
        "ManiSkill2's own, one world": lambda: play(lambda seed: stock.reset(seed, RECONFIGURE), stock.step, actions),
        "ours, one world": lambda: play(lambda seed: ours.reset(seed=seed), ours.step, actions),
    }
    vectors = {count: envs.make_vector(benchmark, [spec] * episodes, threads=count) for count in processes or [1, 2]}
    for count, vector in vectors.items():
        runs[f"ours, {episodes} worlds, {count} processes"] = lambda vector=vector: together(vector, actions)
    seconds = {name: min(run() for _ in range(repeats)) for name, run in runs.items()}
    for vector in vectors.values():
        vector.close()
    steps = sum(map(len, actions))
    floor = seconds["floor: physics alone"]
    for name, duration in seconds.items():
        print(f"{benchmark} {name:32s} {steps / duration:8.0f} steps/s  {floor / duration:5.2f} of the floor")


RECONFIGURE = {"reconfigure": True}


def script(benchmark: str, spec: list[float], episodes: int) -> list[np.ndarray]:
    """The scripted expert's actions [T, 7] in episodes with seeds 0, 1, ..."""
    policy, seeds = ScriptedPolicy(benchmark, [spec]), np.arange(episodes)[None]
    measured, steps = rollout(benchmark, [spec], policy, seeds, record=True)
    return [steps.actions[0, row, :length].numpy() for row, length in enumerate(measured.lengths[0])]


def play(reset: Callable[[int], object], step: Callable[[np.ndarray], object], actions: list[np.ndarray]) -> float:
    """Seconds to play the episodes one after the other, resets left out."""
    seconds = 0.0
    for seed, episode in enumerate(actions):
        reset(seed)
        start = time.perf_counter()
        for action in episode:
            step(action)
        seconds += time.perf_counter() - start
    return seconds


def bare(stock, actions: list[np.ndarray]) -> float:
    """Seconds for the physics steps of those episodes: the scenes play them, and only the stepping is timed."""
    seconds = 0.0
    for seed, episode in enumerate(actions):
        stock.reset(seed, RECONFIGURE)
        for action in episode:
            stock.agent.set_action(action)
            for _ in range(stock._sim_steps_per_control):
                stock.agent.before_simulation_step()
                start = time.perf_counter()
                stock._scene.step()
                seconds += time.perf_counter() - start
    return seconds


def together(vector, actions: list[np.ndarray]) -> float:
    """Seconds to play the episodes side by side; those that are over stand still."""
    vector.reset(seed=0)
    longest = max(map(len, actions))
    padded = np.stack([np.pad(episode, ((0, longest - len(episode)), (0, 0))) for episode in actions], axis=1)
    start = time.perf_counter()
    for step in padded:
        vector.step(step)
    return time.perf_counter() - start


@app.command()
def scripted(
    benchmark: Annotated[list[str] | None, typer.Option()] = None,
    episodes: Annotated[int, typer.Option(min=1)] = 20,
    seed: Annotated[int, typer.Option(min=0)] = 1_000_000,
    processes: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Print the scripted expert's success rate and steps at every spec; exit 1 where it solves too few."""
    torch.set_num_threads(1)
    poor = 0
    print("benchmark             spec    success  steps of successes  required")
    for name in benchmark or MANISKILL:
        entry = get_benchmark(name)
        for row, spec in enumerate(entry.grid):
            seeds = seed + row * episodes + np.arange(episodes)[None]
            done = rollout(name, spec[None], ScriptedPolicy(name, spec[None]), seeds, threads=processes)
            rate, needed = done.success.mean(), required(entry, spec)
            steps = done.lengths[done.success].mean() if rate else float("nan")
            poor += int(rate < needed)
            mark = "" if rate >= needed else "  <-- too few"
            print(f"{name:20s} {spec[0]:7.4g}  {rate:7.2f}  {steps:18.1f}  {needed:8.2f}{mark}", flush=True)
    print(f"{poor} specs below what is required")
    raise SystemExit(poor > 0)


def required(benchmark: Benchmark, spec: np.ndarray) -> float:
    """The success rate that a scripted expert should reach: less where the arm hardly reaches the goals."""
    return 0.75 if benchmark.context == "arm-length" and spec[0] < 0.65 else 0.95


@app.command()
def ppo(
    folder: Annotated[Path, typer.Option(help="where it keeps checkpoints; the same command continues from there")],
    benchmark: Annotated[str, typer.Option()] = "liftcube-stiffness",
    spec: Annotated[float | None, typer.Option(help="default: the benchmark's default")] = None,
    recipe: Annotated[str, typer.Option()] = "laptop",
    clone_episodes: Annotated[int | None, typer.Option(min=1, help="default: the recipe's")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    processes: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Train one PPO expert, print its curve, and measure it in 100 fresh episodes."""
    from hypogen.experts import PPO_RECIPES
    from hypogen.experts import ppo as algorithm

    torch.set_num_threads(1)
    point = [get_benchmark(benchmark).variables[0].default if spec is None else spec]
    settings = PPO_RECIPES[recipe]
    if clone_episodes is not None:
        settings = replace(settings, clone_episodes=clone_episodes)
    began, seen = time.time(), {}

    def show(values: dict[str, float]) -> None:
        if values["success"] != seen.get("success"):
            print(
                f"{values['update']:>9,} steps  success {values['success']:.2f}  {time.time() - began:8.0f} s",
                flush=True,
            )
        seen.update(values)

    expert = algorithm.train(benchmark, point, settings, seed, checkpoint=folder, on_progress=show, threads=processes)
    expert.save(folder / "expert")
    episodes = rollout(benchmark, [point], expert.actor, 2_000_000 + np.arange(100)[None], threads=processes)
    print(f"{benchmark} {point}: {expert.curve[-1]['update']:,} steps, {time.time() - began:.0f} s in this process")
    print(f"success {episodes.success.mean():.2f} over 100 fresh episodes, {episodes.lengths.mean():.1f} steps")


if __name__ == "__main__":
    app()
