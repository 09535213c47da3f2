"""Artifact: something that is made once, kept under a key that names its content, and built from other artifacts.

One class per kind of artifact knows all about it: content and so key, inputs, label, place where it is made, cost, and
how it is made and loaded. A new kind is a file here and a line in the registry (``orchestrator.artifacts``); planning,
estimates, execution and display know only what this module declares.

A key is the hash of everything that decides the content: the kind, its version, its settings, its seed and the keys of
its inputs. Threads, GPUs, the cluster and the experiment's name are not in it, so experiments share whatever they have
in common, and one more value in a grid makes only what that value needs.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hypogen.benchmarks import Benchmark
from hypogen.demonstrations import Selectable
from hypogen.validation import goes_without_saying
from orchestrator.artifacts.artifact_store import Store

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""What can be written as JSON and read again."""
Content = dict[str, Json]
Summary = dict[str, Json]
Specs = tuple[tuple[float, ...], ...]
"""Raw specs [S, C] in the benchmark's units."""
Seeds = tuple[tuple[int, ...], ...]
"""Seeds [S, E], one per episode."""
Values = Mapping[str, float]
"""Numbers that a training reports while it runs, by name."""

CURVE = "curve.json"
"""File with an artifact's rows of the table ``curves``, without the run."""


class Place(enum.Enum):
    """Where an artifact is made."""

    TRIAL = "trial"
    """In a trial of Ray Tune, with resources of its own: trainings."""
    ACTOR = "actor"
    """In an actor of the rollout pool: seconds to minutes of work."""


@dataclass(frozen=True)
class Task:
    """Circumstances under which an artifact is made, none of which changes its content.

    Attributes:
        checkpoint: Folder that survives a kill; gone once the artifact is whole.
        threads: Threads of PyTorch and of the physics.
        device: ``"cpu"`` or ``"cuda"``.
        report: Called now and then with the progress of a training.
        stop: Whether to stop at the next safe point, leaving a checkpoint (``hypogen.errors.Stopped``).
    """

    checkpoint: Path
    threads: int
    device: str
    report: Callable[[Mapping[str, object]], None]
    stop: Callable[[], bool]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Artifact(ABC):
    """One artifact; equal artifacts have equal keys.

    Class attributes:
        kind: Folder in the store, and row of the display, that it belongs to.
        version: Raised when the code changes what the kind holds: it and all that follows get new keys.
        place: Where it is made.
        resources: For trials, the section of ``resources:`` in an experiment file that says what one takes.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    place: ClassVar[Place] = Place.ACTOR
    resources: ClassVar[str] = "rollout"

    benchmark: Benchmark

    @abstractmethod
    def content(self) -> Content:
        """Everything that decides the content, as plain JSON."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[Artifact, ...]:
        """Artifacts that must be there first."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Short name for people, such as ``cheetah-speed hypogen split 0``."""

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Seconds that it takes to make on one core of a two-core machine, roughly; see ``planning.estimate``."""

    @abstractmethod
    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        """Load the inputs from the store, make the files in ``folder``, and return numbers for the manifest.

        Killed at any moment, the next call continues from ``task.checkpoint``, where the kind has checkpoints.
        """

    def progress(self, values: Values) -> float | None:
        """Fraction of the work that is done, from the last report; None where reports do not say."""
        return None

    @property
    def gpu_seconds(self) -> float | None:
        """Seconds that it takes alone on an H200 (``docs/performance.md``), roughly; None where no GPU is asked for."""
        return self.seconds if self.place is Place.TRIAL else None

    @property
    def runners(self) -> int:
        """Further CPUs, anywhere, for actors that a trial starts beside itself."""
        return 0

    @cached_property
    def key(self) -> str:
        """Twenty hexadecimal digits that name the content."""
        return content_key(self.kind, self.version, self.content())

    def __repr__(self) -> str:
        return f"{self.kind}-{self.key}"

    def folder(self, store: Store) -> Path:
        """A local folder with its files."""
        return store.folder(self.kind, self.key)


class PolicyArtifact(Artifact):
    """An artifact that holds policies, and can therefore be rolled out."""

    @abstractmethod
    def policy(self, store: Store, specs: Specs, epoch: int | None = None) -> Selectable:
        """The policies of ``specs``, from the stored files; those after an ``epoch`` of the training, where kept."""

    def curve(self, store: Store) -> list[dict[str, float | str]]:
        """Rows of the table ``curves``, without the run."""
        return read_curve(self, store)


def read_curve(artifact: Artifact, store: Store) -> list[dict[str, float | str]]:
    """Rows that the artifact keeps for the table ``curves``, without the run."""
    rows: list[dict[str, float | str]] = json.loads((artifact.folder(store) / CURVE).read_text())
    return rows


def write_curve(folder: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    """Leave rows for ``read_curve``."""
    (folder / CURVE).write_text(json.dumps(rows))


def content_key(kind: str, version: int, content: Mapping[str, Json]) -> str:
    """Twenty hexadecimal digits that name a content."""
    return hashlib.sha256(_ENCODER.encode([kind, version, content]).encode()).hexdigest()[:20]


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def derive_seed(*parts: str | int) -> int:
    """A seed below 2^31 that depends on all the parts and on nothing else."""
    return int(hashlib.sha256(json.dumps(parts).encode()).hexdigest(), 16) % 2**31


def episode_seeds(purpose: str, seed: int, benchmark: Benchmark, rows: Sequence[int], episodes: int) -> Seeds:
    """Seeds of the specs at ``rows`` of the grid.

    They name the spec and the episode, not the method: all methods meet the same first states.
    """
    return tuple(_spec_seeds(purpose, seed, benchmark.name, int(row), episodes) for row in rows)


@cache
def _spec_seeds(purpose: str, seed: int, benchmark: str, row: int, episodes: int) -> tuple[int, ...]:
    return tuple(derive_seed(purpose, seed, benchmark, row, episode) for episode in range(episodes))


def specs_at(benchmark: Benchmark, rows: Sequence[int]) -> Specs:
    """The specs at ``rows`` of the grid."""
    return tuple(map(tuple, benchmark.grid[list(rows)].tolist()))


def rows_of(known: npt.ArrayLike, wanted: Specs) -> list[int]:
    """Positions of the specs ``wanted`` [S, C] among ``known`` [N, C]."""
    index = {tuple(spec): row for row, spec in enumerate(np.asarray(known, dtype=np.float64).tolist())}
    return [index[tuple(map(float, spec))] for spec in wanted]


def span(specs: Specs) -> str:
    """The first and last spec as text, such as ``-10…-8.5``."""
    ends = dict.fromkeys((specs[0], specs[-1]))
    return "…".join(",".join(f"{value:g}" for value in spec) for spec in ends)


def settings_content(settings: object) -> Content:
    """A settings dataclass without the fields that change how often it speaks or saves, not what it makes.

    Those that came later (`hypogen.validation.later`) go without saying at their defaults.
    """
    content: Content = dataclasses.asdict(settings)  # type: ignore[call-overload]
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        if field.name in PASSING_SETTINGS or goes_without_saying(settings, field):
            del content[field.name]
    return content


PASSING_SETTINGS = frozenset({"checkpoint_every_s", "log_every"})
"""Settings of a training that change nothing of what it makes."""
