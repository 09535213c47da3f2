"""Updates a second of the experts' training: ours, stable-baselines3's TD3, and the floor, in one run.

    python benchmarks/experts.py [--threads 2] [--experts 1 --experts 8 --experts 40] [--seconds 10]

A training step here is what both do for real: a control step of every world, and one update of every expert at the
paper's sizes (batch 256, networks of 2 x 256). The peer is stable-baselines3's TD3 on dm_control's own environment, one
agent. Nothing else should run: PyTorch's threads wait busily here, which is best for both while they have the cores to
themselves. The floor is the rate of matrix products that this machine reaches on the shapes of the update.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Annotated

import gymnasium
import numpy as np
import stable_baselines3
import torch
import typer

import hypogen.envs  # noqa: F401 - registers the environments
from hypogen.benchmarks import get_benchmark
from hypogen.experts import TD3Settings, resolve
from hypogen.experts.population import _PopulationTraining

BENCHMARK = "cheetah-speed"
SETTINGS = TD3Settings(seed_steps=1000, exploration_steps=0, replay_capacity=20_000)


def main(
    threads: Annotated[int, typer.Option(min=1)] = 2,
    experts: Annotated[list[int] | None, typer.Option(min=1)] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="of each measurement")] = 10.0,
    device: Annotated[str, typer.Option()] = "cpu",
) -> None:
    """Print expert-updates a second, their ratio to the peer's, and the fraction of the floor."""
    torch.set_num_threads(threads)
    precisions = list(dict.fromkeys(["float32", resolve(TD3Settings(precision="auto"), device).precision]))
    peer = peer_rate(seconds, device)
    print(f"stable-baselines3, 1 agent: {peer:8.0f} updates/s ({threads} threads, {device})")
    for count in experts or [1, 8, 40]:
        for precision in precisions:
            rate = count * our_rate(count, precision, threads, seconds, device)
            reached, floor = rate * update_flops() / 1e9, product_rate(count, precision, seconds / 4, device)
            print(
                f"ours, {count:3d} experts, {precision:8s}: {rate:8.0f} expert-updates/s  {rate / peer:5.2f} of peer"
                f"  {reached:6.0f} of {floor:6.0f} GFLOP/s, {reached / floor:4.2f} of the floor"
            )
    if len(precisions) == 1:
        print("This processor has no bfloat16 products; `precision: auto` is float32 here.")


def rate_of(step: Callable[[], object], seconds: float, device: str) -> float:
    """Calls a second in the quickest of three runs after a warm-up: the others were disturbed."""
    for _ in range(10):
        step()
    best = 0.0
    for _ in range(3):
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds / 3:
            step()
            count += 1
        if device != "cpu":
            torch.cuda.synchronize()
        best = max(best, count / (time.perf_counter() - start))
    return best


def our_rate(experts: int, precision: str, threads: int, seconds: float, device: str) -> float:
    """Updates a second of each of so many experts, the worlds stepping along."""
    benchmark = get_benchmark(BENCHMARK)
    specs = np.resize(benchmark.grid, (experts, 1))
    settings = dataclasses.replace(SETTINGS, precision=precision)
    training = _PopulationTraining(benchmark, specs, settings, 0, threads, device)
    try:
        for _ in range(settings.seed_steps):
            training._finish_step(None, training._begin_step())
        return rate_of(lambda: training._advance(None), seconds, device)
    finally:
        training.close()


def peer_rate(seconds: float, device: str) -> float:
    """Training steps a second of stable-baselines3's TD3 with the same networks, batch and schedule."""
    env = gymnasium.make(f"hypogen/{BENCHMARK}-v0", spec=(5.0,))
    agent = stable_baselines3.TD3(
        "MlpPolicy",
        env,
        learning_rate=SETTINGS.learning_rate,
        buffer_size=SETTINGS.replay_capacity,
        learning_starts=SETTINGS.seed_steps,
        batch_size=SETTINGS.batch_size,
        tau=SETTINGS.tau,
        gamma=SETTINGS.discount,
        train_freq=1,
        gradient_steps=1,
        policy_delay=SETTINGS.actor_every,
        policy_kwargs={"net_arch": [SETTINGS.hidden_dim, SETTINGS.hidden_dim]},
        device=device,
        seed=0,
    )
    agent.learn(SETTINGS.seed_steps + 1)
    best = 0.0
    for _ in range(3):
        before, start = agent.num_timesteps, time.perf_counter()
        agent.learn(
            10**9,
            callback=lambda *_, start=start: time.perf_counter() - start < seconds / 3,
            reset_num_timesteps=False,
        )
        best = max(best, (agent.num_timesteps - before) / (time.perf_counter() - start))
    env.close()
    return best


def update_flops() -> float:
    """Multiplications and additions of one expert's update, in products of matrices alone.

    Forward passes of target actor and twin target critics, forward and backward passes of the twin critics; and, every
    ``actor_every`` updates, forward and backward passes of the actor, and a forward pass and the slope by its inputs
    of one critic. A backward pass costs two forward ones, less the first layer's slope by its inputs.
    """
    benchmark, hidden = get_benchmark(BENCHMARK), SETTINGS.hidden_dim
    inputs, actions = benchmark.observation_dim, benchmark.action_dim

    def sizes(first: int, last: int) -> tuple[int, int]:
        """(numbers in the weights, numbers in the first layer's)."""
        return first * hidden + hidden * hidden + hidden * last, first * hidden

    (actor, actor_first), (critic, critic_first) = sizes(inputs, actions), sizes(inputs + actions, 1)
    critics = actor + 2 * critic + 2 * (3 * critic - critic_first)
    actors = (3 * actor - actor_first) + 2 * critic
    return 2.0 * SETTINGS.batch_size * (critics + actors / SETTINGS.actor_every)


def product_rate(experts: int, precision: str, seconds: float, device: str) -> float:
    """GFLOP/s of the update's largest product, ``[2 S, B, 256] x [2 S, 256, 256]``, again and again."""
    hidden, dtype = SETTINGS.hidden_dim, getattr(torch, precision)
    rows = torch.randn(2 * experts, SETTINGS.batch_size, hidden, dtype=dtype, device=device)
    weights = torch.randn(2 * experts, hidden, hidden, dtype=dtype, device=device)
    out = torch.empty_like(rows)
    return rate_of(lambda: torch.bmm(rows, weights, out=out), seconds, device) * 2 * rows.numel() * hidden / 1e9


if __name__ == "__main__":
    typer.run(main)
