"""Trained experts that come with the project: one folder per benchmark, with the card that says how they came to be.

hypogen zoo list                    # what there is, and how good it is
hypogen zoo train cheetah-speed     # make it again from nothing; the same command goes on after a kill
hypogen zoo check                   # roll it out on fresh episodes
hypogen zoo exchange walker-length  # give each spec the best of all its experts
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from hypogen.benchmarks import get_benchmark
from hypogen.errors import did_you_mean
from hypogen.experts import Critic, Experts
from hypogen.policy import Policy

ROOT = Path(__file__).parent
RECIPE_OF = {
    "cheetah-speed": "fast",
    "cheetah-length": "joint",
    "cheetah-speed-length": "joint",
    "cheetah-exact-speed": "pair",
    "walker-speed": "fast",
    "walker-length": "long",
    "walker-speed-length": "long",
    "walker-exact-speed": "long_few",
    "finger-speed": "fast",
    "finger-length": "long",
    "finger-speed-length": "long",
    "finger-exact-speed": "few",
}
"""Recipe of a benchmark's experts by the benchmark's name; ``brief`` for all others."""
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
        revision: The benchmark's, when they were trained: experts of another meaning of its name are refused.
        stored: Type of the stored weights of actors and critics; they are loaded as float32.
        unrounded: Mean returns ``[S]`` of the same episodes with the weights before they were rounded to ``stored``;
            empty where they were not.
        cpu_seconds: Processor time of the training, all its parts and threads added up; None where it was not noted.
        exchanged: Specs that another spec's expert serves (``hypogen.experts.exchange``).
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
    revision: int = 1
    stored: Literal["float32", "float16"] = "float32"
    unrounded: tuple[float, ...] = ()
    cpu_seconds: float | None = None
    exchanged: int = 0

    @property
    def name(self) -> str:
        """Name of its folder: the benchmark's for experts by its own recipe, else with the recipe behind a dot."""
        return name_of(self.benchmark, self.recipe)


def recipe_of(benchmark: str) -> str:
    """Recipe by which a benchmark's experts are trained unless another one is asked for."""
    return RECIPE_OF.get(benchmark, "brief")


def name_of(benchmark: str, recipe: str = "") -> str:
    """Name of a benchmark's experts by a recipe, or by its own; they need not be there."""
    return benchmark if recipe in ("", recipe_of(benchmark)) else f"{benchmark}.{recipe}"


def names() -> tuple[str, ...]:
    """Names of all experts in the zoo, such as ``cheetah-speed`` and ``cheetah-speed.independent``."""
    return tuple(sorted(path.parent.name for path in ROOT.glob(f"*/{_CARD}")))


def benchmarks(recipe: str = "") -> tuple[str, ...]:
    """Names of the benchmarks that the zoo has experts for, trained by a recipe, or by each benchmark's own."""
    known = names()
    there = {name.partition(".")[0] for name in known}
    return tuple(sorted(benchmark for benchmark in there if name_of(benchmark, recipe) in known))


def recipes() -> tuple[str, ...]:
    """Names of the recipes that experts of the zoo were trained by."""
    return tuple(sorted({card(name).recipe for name in names()}))


def card(name: str) -> Card:
    """The card of the experts called ``name``. ValueError when the zoo has none."""
    return Card(**json.loads((_folder(name) / _CARD).read_text()))


def load(name: str) -> Experts:
    """The experts called ``name`` of a benchmark's whole grid, in float32.

    Raises ValueError when the zoo has none, their files were changed, or the benchmark has come to mean something else.
    """
    folder, entry = _folder(name), card(name)
    benchmark, revision = entry.benchmark, get_benchmark(entry.benchmark).revision
    if digest(folder) != entry.digest:
        raise ValueError(f"the files in {folder} are not those that its {_CARD} describes: restore them with git")
    if entry.revision != revision:
        raise ValueError(
            f"the zoo's experts are of revision {entry.revision} of {benchmark}, which is now at revision {revision}: "
            f"train them again with hypogen zoo train {benchmark}"
        )
    return as_type(Experts.load(folder), torch.float32)


def add(experts: Experts, entry: Card, root: Path = ROOT) -> None:
    """Put experts and their card into the zoo, in place of what was there; weights are rounded to ``entry.stored``."""
    folder = root / entry.name
    as_type(experts, getattr(torch, entry.stored)).save(folder)
    entry = dataclasses.replace(entry, digest=digest(folder))
    (folder / _CARD).write_text(json.dumps(dataclasses.asdict(entry), indent=1) + "\n")


def as_type(experts: Experts, dtype: torch.dtype) -> Experts:
    """The experts with the weights of actors and critics as ``dtype``, rounded if it is coarser."""
    actor, critic = experts.actor, experts.critic
    return dataclasses.replace(
        experts,
        actor=Policy(tuple(w.to(dtype) for w in actor.weights), tuple(b.to(dtype) for b in actor.biases)),
        critic=Critic(tuple(w.to(dtype) for w in critic.weights), tuple(b.to(dtype) for b in critic.biases)),
    )


def digest(folder: Path) -> str:
    """Twenty hexadecimal digits that name the content of an experts' folder."""
    together = hashlib.sha256()
    for name in _CONTENT:
        together.update((folder / name).read_bytes())
    return together.hexdigest()[:20]


def _folder(name: str) -> Path:
    known = names()
    if name not in known:
        raise ValueError(f"the zoo has no experts for {name!r}: {did_you_mean(name, known)}")
    return ROOT / name
