"""``python -m hypogen.zoo``: list the experts of the zoo, check them, or train them again."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
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
from hypogen.experts.exchange import exchange
from hypogen.provenance import surroundings
from hypogen.rollouts import rollout
from hypogen.simulators import MUJOCO

EPISODES = 10
ROUNDING_LOSS = 0.005
"""Fraction of the mean return that half precision may cost; where it costs more, the weights are stored as they are."""
PAPER = {
    "cheetah-speed": 869.59,
    "cheetah-length": 963.07,
    "cheetah-speed-length": 927.12,
    "walker-speed": 722.68,
    "walker-length": 897.11,
    "walker-speed-length": 814.43,
    "finger-speed": 975.71,
    "finger-length": 959.42,
    "finger-speed-length": 913.40,
}
"""Mean return of the paper's own experts (table 1)."""
TOLERANCE = 0.02
"""Fraction of a card's mean return by which fresh episodes may miss it."""
CHECKPOINT_EVERY_S = 60.0
app = typer.Typer(
    help="List the experts of the zoo, check them, or train them again.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_() -> None:
    """Print, in Markdown, what there is, every spec's return and deviation, and how the experts were made."""
    cards = [zoo.card(name) for name in zoo.names()]
    typer.echo(summary(cards))
    for card in cards:
        typer.echo(page(card))


@app.command("train")
def train_(
    benchmark: str,
    threads: Annotated[int, typer.Option(min=1, help="threads of PyTorch and of the physics")] = 2,
    device: str = "cpu",
    checkpoints: Annotated[Path, typer.Option(help="folder of unfinished trainings")] = Path("runs/zoo"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    recipe: Annotated[str | None, typer.Option(help="in place of the benchmark's own")] = None,
    root: Annotated[Path, typer.Option(help="the zoo to put them in")] = zoo.ROOT,
) -> None:
    """Train the experts of every spec of BENCHMARK by its recipe, and put them into the zoo."""
    entry = _trainable(benchmark)
    recipe = recipe or zoo.recipe_of(benchmark)
    if recipe not in RECIPES:
        _refuse(f"unknown recipe {recipe!r}: {did_you_mean(recipe, RECIPES)}")
    settings = resolve(RECIPES[recipe], _device(device))
    torch.set_num_threads(threads)
    own = recipe == zoo.recipe_of(benchmark)
    folder = checkpoints / f"{benchmark}-{seed}" if own else checkpoints / f"{benchmark}.{recipe}-{seed}"
    surroundings()  # looks at the commit now: the card is to name the one that trains
    clock = _Clock(folder / "seconds.json")

    def progress(row: Mapping[str, Any]) -> None:
        clock.note()
        mean = row["mean_return"]
        done = f"update {row['update']:,} of {row['updates']:,}, {clock.seconds:,.0f} s"
        typer.echo(f"\r{benchmark}: {done}, mean return {'-' if mean is None else f'{mean:.0f}'}", nl=False)

    experts = train(benchmark, entry.grid, settings, seed, folder, progress, threads, device, CHECKPOINT_EVERY_S)
    clock.note()
    card = zoo.Card(
        benchmark=benchmark,
        recipe=recipe,
        settings=dataclasses.asdict(settings),
        seed=seed,
        seconds=clock.seconds,
        cpu_seconds=clock.cpu_seconds,
        machine=f"{surroundings()['cpu']}, {threads} threads",
        git_commit=surroundings()["git_commit"],
        revision=entry.revision,
        **measure(benchmark, experts, seed),
        digest="",
    )
    zoo.add(experts, card, root)
    typer.echo(f"\n{page(card)}")


@app.command("exchange")
def exchange_(name: str, threads: Annotated[int, typer.Option(min=1, help="threads of the physics")] = 2) -> None:
    """Give every spec the best of all experts called NAME; the zoo keeps what is there unless that is better."""
    torch.set_num_threads(1)
    try:
        card, before = zoo.card(name), zoo.load(name)
    except ValueError as error:
        _refuse(str(error))
    start, cpu_start = time.monotonic(), time.process_time()
    experts, chosen = exchange(card.benchmark, before, card.seed, threads)
    measured = measure(card.benchmark, experts, card.seed)
    moved = int((chosen != np.arange(len(chosen))).sum())
    change = f"{moved} of {len(chosen)} specs, {np.mean(card.returns):.2f} -> {np.mean(measured['returns']):.2f}"
    if np.mean(measured["returns"]) <= np.mean(card.returns):
        typer.echo(f"{name}: nothing is gained, and nothing changed ({change})")
        return
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
    card = dataclasses.replace(
        card,
        **measured,
        exchanged=moved,
        seconds=card.seconds + seconds,
        cpu_seconds=None if card.cpu_seconds is None else card.cpu_seconds + cpu_seconds,
    )
    zoo.add(experts, card)
    typer.echo(f"{name}: {change}")


@app.command("check")
def check_(
    names: Annotated[list[str] | None, typer.Argument(help="default: all")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="of every spec")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="of the episodes, which are none of those on the cards")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="threads of the physics")] = 2,
) -> None:
    """Roll the zoo out anew, and set its mean returns beside those on the cards; status 1 where one is 2 % off."""
    torch.set_num_threads(1)
    off = False
    for name in names or zoo.names():
        try:
            card, experts = zoo.card(name), zoo.load(name)
        except ValueError as error:
            _refuse(str(error))
        seeds = _seeds([seed, *b"zoo check"], len(experts.specs), episodes)
        mean = float(rollout(card.benchmark, experts.specs, experts.actor, seeds, threads=threads).returns.mean())
        stated = float(np.mean(card.returns))
        off |= abs(mean - stated) > TOLERANCE * stated
        typer.echo(f"{name}: {mean:.2f}, card {stated:.2f}, {mean / stated - 1:+.2%}")
    raise typer.Exit(1 if off else 0)


def _trainable(name: str) -> Benchmark:
    """The benchmark of that name, if the recipe can train its experts."""
    try:
        benchmark = get_benchmark(name)
    except ValueError as error:
        _refuse(str(error))
    if benchmark.simulator != MUJOCO:
        known = [entry.name for entry in BENCHMARKS.values() if entry.simulator == MUJOCO]
        _refuse(f"the recipes train experts in MuJoCo, and {name} is not there. Known: {', '.join(known)}.")
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


def measure(benchmark: str, experts: Experts, seed: int) -> dict[str, Any]:
    """What a card says of the experts' returns: fresh episodes, with the weights as trained and as stored."""
    seeds = _seeds([seed, *b"zoo"], len(experts.specs), EPISODES)
    rounded = zoo.as_type(zoo.as_type(experts, torch.float16), torch.float32)
    exact, half = (rollout(benchmark, experts.specs, kind.actor, seeds).returns for kind in (experts, rounded))
    suffers = half.mean() < (1 - ROUNDING_LOSS) * exact.mean()
    returns = exact if suffers else half
    return {
        "returns": tuple(returns.mean(axis=1).tolist()),
        "deviations": tuple(returns.std(axis=1).tolist()),
        "episodes": returns.shape[1],
        "seeds": tuple(tuple(row) for row in seeds.tolist()),
        "stored": "float32" if suffers else "float16",
        "unrounded": () if suffers else tuple(exact.mean(axis=1).tolist()),
    }


def _seeds(entropy: list[int], specs: int, episodes: int) -> npt.NDArray[np.int64]:
    """Seeds [S, E] of episodes that no training has seen."""
    numbers = np.random.SeedSequence(entropy).generate_state(specs * episodes)
    return numbers.astype(np.int64).reshape(specs, episodes)


class _Clock:
    """Seconds of a training over all its parts, by the clock and of the processor, kept beside its checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = json.loads(path.read_text()) if path.exists() else [0.0, 0.0]
        self._start = time.monotonic(), time.process_time()

    @property
    def seconds(self) -> float:
        return float(self._before[0] + time.monotonic() - self._start[0])

    @property
    def cpu_seconds(self) -> float:
        return float(self._before[1] + time.process_time() - self._start[1])

    def note(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps([self.seconds, self.cpu_seconds]))


def summary(cards: Sequence[zoo.Card]) -> str:
    """One row per benchmark in Markdown: what its experts reach, beside the paper's."""
    lines = [
        "| benchmark | specs | mean return | lowest | paper's experts | of the paper's | recipe | updates | minutes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for card in cards:
        mean, paper = np.mean(card.returns), PAPER.get(card.benchmark)
        lines.append(
            f"| {card.name} | {len(card.returns)} | {mean:.2f} | {min(card.returns):.2f} | "
            f"{f'{paper:.2f} | {mean / paper:.1%}' if paper else '- | -'} | {card.recipe} | "
            f"{card.settings['updates']:,} | {card.seconds / 60:.0f} |"
        )
    return "\n".join([*lines, ""])


def page(card: zoo.Card) -> str:
    """Everything that a reader wants of a card, in Markdown."""
    entry = get_benchmark(card.benchmark)
    names = " × ".join(f"{variable.name} {variable.unit}" for variable in entry.variables)
    lines = [
        f"## {card.name}",
        "",
        *([f"{entry.note[0].upper()}{entry.note[1:]}.", ""] if entry.note else []),
        f"Mean return {np.mean(card.returns):.2f} over {len(card.returns)} specs (lowest {min(card.returns):.2f}), "
        f"{card.episodes} fresh episodes each. Recipe `{card.recipe}`, {card.settings['updates']:,} updates, seed "
        f"{card.seed}, {card.seconds / 60:.0f} minutes{_cpu(card)} on {card.machine}; commit "
        f"{str(card.git_commit)[:9]}.{_exchanged(card)}{_stored(card)}",
        "",
        f"| {names} | return | deviation |",
        "| ---: | ---: | ---: |",
    ]
    for spec, value, deviation in zip(entry.grid.tolist(), card.returns, card.deviations, strict=True):
        lines.append(f"| {' × '.join(f'{x:g}' for x in spec)} | {value:.2f} | {deviation:.2f} |")
    return "\n".join([*lines, ""])


def _cpu(card: zoo.Card) -> str:
    return "" if card.cpu_seconds is None else f" ({card.cpu_seconds / 60:.0f} of the processor)"


def _exchanged(card: zoo.Card) -> str:
    return f" Then exchanged: {card.exchanged} specs are served by another spec's expert." if card.exchanged else ""


def _stored(card: zoo.Card) -> str:
    if not card.unrounded:
        return ""
    mean = np.mean(card.unrounded)
    return f" Stored in half precision: before rounding the same episodes return {mean:.2f}."


if __name__ == "__main__":
    app(prog_name="python -m hypogen.zoo")
