"""Milliseconds of a generator's training step: ours, plain torch, the authors' form and the memory's limit, in one run.

    python benchmarks/training.py [--threads 2] [--specs 8] [--profile paper] [--method hypogen] [--rounds 15]
    python benchmarks/training.py --device cuda [--batch-size 4096] [--trials 4] …

The forms take turns, step by step, so that whatever else the machine does meets each of them alike; medians are
compared. Before the first round ours compiles its kernels, unless they are in Numba's cache.

- plain torch: the same generator with torch's layers, gradients and fused Adam. A GPU takes the same steps, captured as
  one CUDA graph ("ours" there), and is timed over several steps at once.
- authors' form: weights generated per sample instead of per spec, as such code is usually written, and Adam as torch
  has it by default. It is timed after the turns.
- limit: a pass of torch's fused Adam over as many parameters in one piece, 28 bytes each. A step that also reads every
  weight twice and writes and reads every gradient moves 44.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import fields, replace
from statistics import median
from typing import Annotated, Any

import torch
import typer

from hypogen.benchmarks import get_benchmark
from hypogen.demonstrations import Demonstrations
from hypogen.generators import GENERATORS, Batch, build, parameter_count
from hypogen.training import TrainingSettings, _keep_freed_memory, _Run

BENCHMARK = "cheetah-speed"
SECONDS = 5.0
"""How long trials are timed together."""
PROFILES = {
    "paper": (TrainingSettings(), 128),
    "laptop": (
        TrainingSettings(batch_size=2048, learning_rate=1e-3, max_gradient_norm=1.0, spec_noise=0.1),
        16,
    ),
}
"""Training settings and HyPoGen's hidden_dim: the paper's, and those of table 1's profile for a laptop."""


def main(
    threads: Annotated[int, typer.Option(min=1)] = 2,
    specs: Annotated[int, typer.Option(min=1, help="training specs")] = 8,
    profile: Annotated[list[str] | None, typer.Option()] = None,
    method: Annotated[list[str] | None, typer.Option()] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 15,
    per_sample: Annotated[bool, typer.Option(help="whether to time the authors' form")] = True,
    device: Annotated[str, typer.Option()] = "cpu",
    batch_size: Annotated[int | None, typer.Option(help="in place of the profile's")] = None,
    trials: Annotated[int, typer.Option(min=1, help="so many at once instead, a process each, without the peers")] = 1,
) -> None:
    """Print the medians, and how many times as long as ours the others take."""
    torch.set_num_threads(threads)
    _keep_freed_memory()
    for chosen in profile or list(PROFILES):
        settings, hidden = PROFILES[chosen]
        if batch_size is not None:
            settings = replace(settings, batch_size=batch_size)
        for name in method or ["hypogen"]:
            print(f"{name}, {chosen}, batch {settings.batch_size}, {specs} specs, ", end="", flush=True)
            if trials > 1:
                print(f"{trials} trials: {rate_together(trials, name, settings, hidden, specs, device):.0f} steps/s")
                continue
            compare(name, settings, hidden, specs, rounds, per_sample, torch.device(device))


def compare(
    method: str,
    settings: TrainingSettings,
    hidden: int,
    specs: int,
    rounds: int,
    per_sample: bool,
    device: torch.device,
) -> None:
    """Print one method's lines."""
    ours, plain = (training(method, settings, hidden, specs, factored, device) for factored in (True, False))
    parameters, batch = parameter_count(ours.generator), first_batch(ours)
    steps = [lambda: ours._step(batch), lambda: plain._step(batch), adam_pass(parameters, device)]
    ms, plain_ms, limit_ms = durations_ms(steps, rounds, device)
    others = {"plain torch": plain_ms}
    if per_sample:
        theirs = authors_step(method, settings, hidden, batch, device)
        (others["authors' form"],) = durations_ms([theirs], min(rounds, 3), device)
    others |= {"limit, 44 B": limit_ms * 44 / 28, "limit, 28 B": limit_ms}
    where = f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name()
    print(f"{parameters / 1e6:.1f} M parameters, {where}")
    print(f"  {'ours':14s} {ms:8.1f} ms")
    for name, other_ms in others.items():
        print(f"  {name:14s} {other_ms:8.1f} ms  {other_ms / ms:5.2f} x ours", flush=True)


def rate_together(trials: int, method: str, settings: TrainingSettings, hidden: int, specs: int, device: str) -> float:
    """Steps a second of all trials together, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    start, rates = context.Barrier(trials), context.Queue()
    given = method, settings, hidden, specs, device, torch.get_num_threads(), start, rates
    processes = [context.Process(target=_one_of_many, args=given) for _ in range(trials)]
    for process in processes:
        process.start()
    total = sum(rates.get(timeout=300) for _ in processes)
    for process in processes:
        process.join()
    return total


def _one_of_many(
    method: str,
    settings: TrainingSettings,
    hidden: int,
    specs: int,
    device: str,
    threads: int,
    start: Any,
    rates: Any,
) -> None:
    """Put into `rates` how many steps a second one trial takes while the others run."""
    torch.set_num_threads(threads)
    run = training(method, settings, hidden, specs, True, torch.device(device))
    batch, count = first_batch(run), 0
    float(run._step(batch)["loss"])
    start.wait()
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        for _ in range(20):
            run._step(batch)
        float(run._step(batch)["loss"])  # waits for the device
        count += 21
    rates.put(count / (time.perf_counter() - began))


def durations_ms(steps: list[Callable[[], object]], rounds: int, device: torch.device) -> list[float]:
    """Median duration of each step, after two rounds that do not count."""
    taken: list[list[float]] = [[] for _ in steps]
    at_once = 1 if device.type == "cpu" else 20
    for _ in range(rounds + 2):
        for step, durations in zip(steps, taken, strict=True):
            start = time.perf_counter()
            for _ in range(at_once):
                step()
            if device.type != "cpu":
                torch.cuda.synchronize()
            durations.append(1e3 * (time.perf_counter() - start) / at_once)
    return [median(durations[2:]) for durations in taken]


def training(
    method: str, settings: TrainingSettings, hidden: int, specs: int, ours: bool, device: torch.device
) -> _Run:
    """A training on random demonstrations, before its first step: ours, or plain torch's."""
    options = {"hidden_dim": hidden} if method == "hypogen" else {}
    generator = build(method, get_benchmark(BENCHMARK), settings=GENERATORS[method].settings(**options)).to(device)
    run = _Run(generator, demonstrations(specs, settings.batch_size), settings, 0, device, factored=ours)
    if not ours:
        run._take = run._learn
    return run


def demonstrations(specs: int, samples: int) -> Demonstrations:
    """Random transitions of specs from all over the grid, so many in all."""
    benchmark, numbers = get_benchmark(BENCHMARK), torch.Generator().manual_seed(0)
    raw = torch.from_numpy(benchmark.grid[:: len(benchmark.grid) // specs][:specs].copy())
    shape = (specs, 1, samples // specs)
    observations, following = torch.randn(2, *shape, benchmark.observation_dim, generator=numbers)
    actions = torch.rand(*shape, benchmark.action_dim, generator=numbers) * 2 - 1
    rewards, values = torch.rand(2, *shape, generator=numbers)
    return Demonstrations(raw, observations, actions, rewards, following, values * 100)


def first_batch(run: _Run) -> Batch:
    """All samples, as one step takes them."""
    return next(run._batches(run._order(), 1))


def authors_step(
    method: str, settings: TrainingSettings, hidden: int, batch: Batch, device: torch.device
) -> Callable[[], object]:
    """A step whose every sample has weights of its own."""
    run = training(method, settings, hidden, len(batch.specs), False, device)
    samples = batch.rewards.shape[1]
    parts = {f.name: getattr(batch, f.name).flatten(0, 1)[:, None] for f in fields(batch) if f.name != "specs"}
    alone = replace(batch, specs=batch.specs.repeat_interleave(samples, dim=0), **parts)
    optimizer = torch.optim.Adam(run.generator.parameters(), lr=settings.learning_rate)

    def step() -> None:
        losses, weights = run.generator.losses(alone), settings.weights()
        optimizer.zero_grad()
        torch.stack([weights.get(name, 1.0) * value for name, value in losses.items()]).sum().backward()
        optimizer.step()

    return step


def adam_pass(parameters: int, device: torch.device) -> Callable[[], object]:
    """torch's fused Adam on so many parameters in one piece."""
    flat = torch.nn.Parameter(torch.zeros(parameters, device=device))
    flat.grad = torch.zeros_like(flat)
    return torch.optim.Adam([flat], fused=True).step


if __name__ == "__main__":
    typer.run(main)
