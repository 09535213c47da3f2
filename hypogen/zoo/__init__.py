"""Trained experts that come with the project: one folder per benchmark, with the card that says how they came to be.

python -m hypogen.zoo list                    # what there is, and how good it is
python -m hypogen.zoo train cheetah-speed     # make it again from nothing; the same command goes on after a kill
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypogen.errors import did_you_mean
from hypogen.experts import Experts

ROOT = Path(__file__).parent
_CARD = "card.json"
_CONTENT = ("actor.safetensors", "critic.safetensors", "experts.json")


@dataclass(frozen=True)
class Card:
    """Origin of a benchmark's experts, and their quality.

    Attributes:
        benchmark: Name of the benchmark; the experts cover its whole grid.
        recipe: Name of the recipe.
        settings: Every setting of it, as it was resolved on the machine that trained.
        seed: Seed of the training.
        seconds: Wall-clock of the training, all its parts added up.
        machine: Processor and threads of the training.
        git_commit: Commit of the code.
        returns: Mean return ``[S]`` of fresh episodes, none of which the training saw.
        deviations: Their standard deviation over the episodes ``[S]``.
        episodes: Episodes per spec.
        seeds: Seeds of these episodes ``[S, E]``.
        digest: Digest of the experts' files, by which a plan knows them.
        algorithm: Name of the algorithm that trained them.
    """

    benchmark: str
    recipe: str
    settings: dict[str, Any]
    seed: int
    seconds: float
    machine: str
    git_commit: str | None
    returns: tuple[float, ...]
    deviations: tuple[float, ...]
    episodes: int
    seeds: tuple[tuple[int, ...], ...]
    digest: str
    algorithm: str = "td3"


def benchmarks() -> tuple[str, ...]:
    """Names of the benchmarks that the zoo has experts for."""
    return tuple(sorted(path.parent.name for path in ROOT.glob(f"*/{_CARD}")))


def card(benchmark: str) -> Card:
    """The card of a benchmark's experts. ValueError when the zoo has none."""
    return Card(**json.loads((_folder(benchmark) / _CARD).read_text()))


def load(benchmark: str) -> Experts:
    """The experts of a benchmark's whole grid. ValueError when the zoo has none, or their files were changed."""
    folder = _folder(benchmark)
    if digest(folder) != card(benchmark).digest:
        raise ValueError(f"the files in {folder} are not those that its {_CARD} describes: restore them with git")
    return Experts.load(folder)


def add(experts: Experts, entry: Card, root: Path = ROOT) -> None:
    """Put experts and their card into the zoo, in place of what was there."""
    folder = root / entry.benchmark
    experts.save(folder)
    entry = dataclasses.replace(entry, digest=digest(folder))
    (folder / _CARD).write_text(json.dumps(dataclasses.asdict(entry), indent=1) + "\n")


def digest(folder: Path) -> str:
    """Twenty hexadecimal digits that name the content of an experts' folder."""
    together = hashlib.sha256()
    for name in _CONTENT:
        together.update((folder / name).read_bytes())
    return together.hexdigest()[:20]


def _folder(benchmark: str) -> Path:
    known = benchmarks()
    if benchmark not in known:
        raise ValueError(f"the zoo has no experts for {benchmark!r}: {did_you_mean(benchmark, known)}")
    return ROOT / benchmark
