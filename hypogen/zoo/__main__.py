"""``python -m hypogen.zoo``: list the experts of the zoo, or train them again."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that wait must not keep a core busy

import numpy as np
import numpy.typing as npt
import torch

from hypogen import zoo
from hypogen.benchmarks import BENCHMARKS, Benchmark, get_benchmark
from hypogen.errors import did_you_mean
from hypogen.experts import RECIPES, Experts, resolve, train
from hypogen.provenance import surroundings
from hypogen.rollouts import rollout

RECIPE, EPISODES = "fast", 10
CHECKPOINT_EVERY_S = 60.0
app = typer.Typer(add_completion=False, help=__doc__)


@app.command("list")
def list_() -> None:
    """Print, in Markdown, every spec's return and deviation, and how the experts were made."""
    for name in zoo.benchmarks():
        typer.echo(_page(zoo.card(name)))


@app.command("train")
def train_(
    benchmark: str,
    threads: Annotated[int, typer.Option(min=1, help="threads of PyTorch and of the physics")] = 2,
    device: str = "cpu",
    checkpoints: Annotated[Path, typer.Option(help="folder of unfinished trainings")] = Path("runs/zoo"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    root: Annotated[Path, typer.Option(help="the zoo to put them in")] = zoo.ROOT,
) -> None:
    """Train the experts of every spec of BENCHMARK by the recipe `fast`, and put them into the zoo."""
    entry, settings = _trainable(benchmark), resolve(RECIPES[RECIPE], _device(device))
    torch.set_num_threads(threads)
    folder = checkpoints / f"{benchmark}-{seed}"
    surroundings()  # looks at the commit now: the card is to name the one that trains
    clock = _Clock(folder / "seconds.json")

    def progress(row: Mapping[str, Any]) -> None:
        clock.note()
        mean = row["mean_return"]
        done = f"update {row['update']:,} of {row['updates']:,}, {clock.seconds:,.0f} s"
        typer.echo(f"\r{benchmark}: {done}, mean return {'-' if mean is None else f'{mean:.0f}'}", nl=False)

    experts = train(benchmark, entry.grid, settings, seed, folder, progress, threads, device, CHECKPOINT_EVERY_S)
    clock.note()
    numbers = np.random.SeedSequence([seed, *b"zoo"]).generate_state(len(entry.grid) * EPISODES)
    seeds = numbers.astype(np.int64).reshape(len(entry.grid), EPISODES)
    card = _card(benchmark, experts, dataclasses.asdict(settings), seed, seeds, clock.seconds, threads)
    zoo.add(experts, card, root)
    typer.echo(f"\n{_page(card)}")


def _trainable(name: str) -> Benchmark:
    """The benchmark of that name, if the recipe can train its experts."""
    try:
        benchmark = get_benchmark(name)
    except ValueError as error:
        _refuse(str(error))
    if benchmark.simulator != "mujoco":
        known = [entry.name for entry in BENCHMARKS.values() if entry.simulator == "mujoco"]
        _refuse(f"the recipe {RECIPE!r} trains experts in MuJoCo, and {name} is not there. Known: {', '.join(known)}.")
    return benchmark


def _device(name: str) -> str:
    """The same name, if PyTorch knows it."""
    try:
        torch.device(name)
    except RuntimeError:
        _refuse(f"unknown device {name!r}: {did_you_mean(name, ('cpu', 'cuda'))}")
    return name


def _refuse(message: str) -> NoReturn:
    """End the command as a misspelt option does, with one line."""
    typer.echo(message, err=True)
    raise typer.Exit(2)


def _card(
    benchmark: str,
    experts: Experts,
    settings: dict[str, Any],
    seed: int,
    seeds: npt.NDArray[Any],
    seconds: float,
    threads: int,
) -> zoo.Card:
    """The card, without its digest: the experts measured in episodes of their own."""
    returns = rollout(benchmark, experts.specs, experts.actor, seeds).returns
    return zoo.Card(
        benchmark=benchmark,
        recipe=RECIPE,
        settings=settings,
        seed=seed,
        seconds=seconds,
        machine=f"{surroundings()['cpu']}, {threads} threads",
        git_commit=surroundings()["git_commit"],
        returns=tuple(returns.mean(axis=1).tolist()),
        deviations=tuple(returns.std(axis=1).tolist()),
        episodes=returns.shape[1],
        seeds=tuple(tuple(row) for row in seeds.tolist()),
        digest="",
    )


class _Clock:
    """Seconds of a training over all its parts, kept in a file beside its checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = json.loads(path.read_text()) if path.exists() else 0.0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def note(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.seconds))


def _page(card: zoo.Card) -> str:
    entry = get_benchmark(card.benchmark)
    names = " × ".join(f"{variable.name} {variable.unit}" for variable in entry.variables)
    lines = [
        f"## {card.benchmark}",
        "",
        f"Mean return {np.mean(card.returns):.2f} over {len(card.returns)} specs (lowest {min(card.returns):.2f}), "
        f"{card.episodes} fresh episodes each. Recipe `{card.recipe}`, {card.settings['updates']:,} updates, seed "
        f"{card.seed}, {card.seconds / 60:.0f} minutes on {card.machine}; commit {str(card.git_commit)[:9]}.",
        "",
        f"| {names} | return | deviation |",
        "| ---: | ---: | ---: |",
    ]
    for spec, value, deviation in zip(entry.grid.tolist(), card.returns, card.deviations, strict=True):
        lines.append(f"| {' × '.join(f'{x:g}' for x in spec)} | {value:.2f} | {deviation:.2f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    app()
