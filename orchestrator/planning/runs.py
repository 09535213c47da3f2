"""Runs: the rows of the table ``runs``, as far as they are known before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from hypogen.benchmarks import Benchmark
from hypogen.generators import GENERATORS, get_generator
from hypogen.splits import Split, in_distribution
from orchestrator.artifacts import PROBES, Artifact, GeneratorArtifact, RolloutsArtifact
from orchestrator.artifacts.artifact import Json, PolicyArtifact, Seeds, Specs, content_key, episode_seeds, specs_at
from orchestrator.artifacts.experts_artifact import ExpertsArtifact
from orchestrator.artifacts.probe_artifacts import PolicyProbe, ProbeArtifact
from orchestrator.config.experiment import Experiment
from orchestrator.config.sharing import shared
from orchestrator.planning.inputs import demonstrations_of, generator_of, groups, reference_of
from orchestrator.planning.run_settings import expert_settings, run_settings

VERSION = 1
"""Raised when the code changes the rows of a run whose artifacts stay the same."""


@dataclass(frozen=True)
class MeasuredSpec:
    """A spec that counts in a run: its row in the grid, its role, and whether it is in distribution."""

    row: int
    role: str
    inside: bool


@dataclass(frozen=True)
class Diagnostics:
    """Measurements of a generator beside its final policies' episodes. Rollouts are of all the run's specs.

    Attributes:
        snapshots: Epoch, and rollouts of the policies of that epoch; ascending, without the final one.
        probes: Probes, whose curves become the run's.
        probe_rollouts: Probes that make policies, and the rollouts of these.
    """

    snapshots: tuple[tuple[int, RolloutsArtifact], ...] = ()
    probes: tuple[ProbeArtifact, ...] = ()
    probe_rollouts: tuple[tuple[PolicyProbe, RolloutsArtifact], ...] = ()

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return (*(rollouts for _, rollouts in self.snapshots), *self.probes, *(r for _, r in self.probe_rollouts))


@dataclass(frozen=True, eq=False)
class Run:
    """A generator (or the experts) on one split, and the rollouts that measure it.

    Attributes:
        columns: The row of ``runs``, without the key and without what only the finished training tells.
        acting: The generator or experts whose policies are measured, and whose curve is the run's.
        specs: Specs that count, in the order of the rollouts.
    """

    benchmark: Benchmark
    method: str
    columns: Mapping[str, Json]
    acting: PolicyArtifact
    rollouts: tuple[RolloutsArtifact, ...]
    specs: tuple[MeasuredSpec, ...]
    diagnostics: Diagnostics
    split_seed: int | None = None
    epochs: int = 0
    selection: str = "final"

    @cached_property
    def key(self) -> str:
        """The run's name in all tables."""
        content: dict[str, Json] = {
            "row": self.columns,
            "rollouts": [artifact.key for artifact in self.rollouts],
            "specs": [[spec.row, spec.role, spec.inside] for spec in self.specs],
        }
        if self.diagnostics.artifacts:
            content["aside"] = [artifact.key for artifact in self.diagnostics.artifacts]
        return content_key("run", VERSION, content)

    @property
    def needs(self) -> tuple[Artifact, ...]:
        """All artifacts that the run's rows are made of, in the order in which they are planned."""
        return (self.acting, *self.diagnostics.artifacts, *self.rollouts)

    @property
    def label(self) -> str:
        """Short name for people, such as ``cheetah-speed hypogen split 0``."""
        split = "" if self.split_seed is None else f" split {self.split_seed}"
        return f"{self.benchmark.name} {self.method}{split}"


@shared("experts", "specs", "evaluation", "seed")
def expert_run(experiment: Experiment, benchmark: Benchmark, experts: ExpertsArtifact) -> Run:
    """The experts on all their specs. They have no split of their own; a table takes the specs that a split tests."""
    rows = tuple(experiment.specs.indices(benchmark))
    specs = tuple(MeasuredSpec(row, "test", True) for row in rows)
    columns = {
        **_common_columns(experiment, benchmark, experts, "expert"),
        "split_kind": "none",
        "train_specs": 0,
        "test_specs": len(rows),
        "few_shot": False,
    }
    rollouts = _final_rollouts(experiment, benchmark, experts, "expert", rows)
    return Run(benchmark, "expert", columns, experts, rollouts, specs, Diagnostics())


def split_run(experiment: Experiment, benchmark: Benchmark, experts: ExpertsArtifact, seed: int, method: str) -> Run:
    """A generator, or a reference method, on the specs of one split."""
    split, specs, rows = _specs_of(experiment, benchmark, seed)
    acting: PolicyArtifact
    columns = _split_columns(experiment, benchmark, experts, split, seed, method)
    diagnostics, epochs, selection = Diagnostics(), 0, "final"
    if method in GENERATORS:
        acting = generator_of(experiment, benchmark, experts, split, seed, method)
        diagnostics = _diagnostics(experiment, benchmark, experts, acting, split, rows)
        epochs, selection = experiment.training_of(method).epochs, experiment.evaluation.selection
        columns |= _training_columns(experiment, method)
    else:
        acting = reference_of(experiment, benchmark, experts, split, seed, method)
    return Run(
        benchmark,
        method,
        columns,
        acting,
        _final_rollouts(experiment, benchmark, acting, f"{method} split {seed}", rows),
        specs,
        diagnostics,
        split_seed=seed,
        epochs=epochs,
        selection=selection,
    )


@shared("split", "specs", "evaluation")
def _specs_of(
    experiment: Experiment, benchmark: Benchmark, seed: int
) -> tuple[Split, tuple[MeasuredSpec, ...], tuple[int, ...]]:
    """The split with that seed, the specs of it that are measured, in the order of the grid, and their rows there."""
    split = experiment.split_of(benchmark, seed)
    roles = {"train": split.train, "test": split.test}
    role_of = {row: role for role in experiment.evaluation.roles for row in roles[role]}
    inside = in_distribution(benchmark.grid[list(split.train)], benchmark.grid)
    rows = tuple(sorted(role_of))
    return split, tuple(MeasuredSpec(row, role_of[row], bool(inside[row])) for row in rows), rows


@shared()
def _common_columns(
    experiment: Experiment, benchmark: Benchmark, experts: ExpertsArtifact, method: str
) -> dict[str, Json]:
    """Columns of ``runs`` that experts and generators share."""
    settings, defaults = run_settings(experiment, benchmark, method)
    return {
        "benchmark": benchmark.name,
        "environment": benchmark.environment,
        "context": benchmark.context,
        "method": method,
        "expert_recipe": expert_settings(experiment, benchmark)[0],
        "expert": experts.key,
        "settings": settings,
        "overrides": {key: value for key, value in settings.items() if defaults.get(key, ...) != value},
        "selection": "final",
        "seed": experiment.seed,
        **dict.fromkeys(("split_seed", "train_fraction", "epochs", "batch_size", "learning_rate")),
    }


def _split_columns(
    experiment: Experiment, benchmark: Benchmark, experts: ExpertsArtifact, split: Split, seed: int, method: str
) -> dict[str, Json]:
    """Columns of every run that has a split."""
    kind = experiment.split.kind_for(benchmark)
    return {
        **_common_columns(experiment, benchmark, experts, method),
        "split_kind": kind,
        "split_seed": seed,
        "train_fraction": None if kind == "explicit" else experiment.split.train_fraction or benchmark.train_fraction,
        "train_specs": len(split.train),
        "test_specs": len(split.test),
        "few_shot": False,
    }


def _training_columns(experiment: Experiment, method: str) -> dict[str, Json]:
    """Columns of a run that is trained on demonstrations."""
    training = experiment.training_of(method)
    return {
        "selection": experiment.evaluation.selection,
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "few_shot": get_generator(method).few_shot,
    }


def _final_rollouts(
    experiment: Experiment, benchmark: Benchmark, acting: PolicyArtifact, name: str, rows: tuple[int, ...]
) -> tuple[RolloutsArtifact, ...]:
    return tuple(
        RolloutsArtifact(benchmark=benchmark, acting=acting, specs=specs, seeds=seeds, epoch=None, name=name)
        for specs, seeds in _tasks(experiment, benchmark, rows)
    )


@shared("evaluation", "seed")
def _tasks(experiment: Experiment, benchmark: Benchmark, rows: tuple[int, ...]) -> tuple[tuple[Specs, Seeds], ...]:
    """Specs at these rows of the grid in groups, and the seeds of their episodes."""
    return tuple(_episodes(experiment, benchmark, group) for group in groups(benchmark, rows))


@shared("evaluation", "seed")
def _episodes(experiment: Experiment, benchmark: Benchmark, rows: tuple[int, ...]) -> tuple[Specs, Seeds]:
    """Specs at these rows of the grid, and the seeds of their episodes."""
    count = experiment.evaluation.episodes or benchmark.episodes
    return specs_at(benchmark, rows), episode_seeds("evaluation", experiment.seed, benchmark, rows, count)


def _rollouts(
    experiment: Experiment,
    benchmark: Benchmark,
    acting: PolicyArtifact,
    name: str,
    rows: tuple[int, ...],
    epoch: int | None = None,
) -> RolloutsArtifact:
    specs, seeds = _episodes(experiment, benchmark, rows)
    return RolloutsArtifact(benchmark=benchmark, acting=acting, specs=specs, seeds=seeds, epoch=epoch, name=name)


def _diagnostics(
    experiment: Experiment,
    benchmark: Benchmark,
    experts: ExpertsArtifact,
    generator: GeneratorArtifact,
    split: Split,
    rows: tuple[int, ...],
) -> Diagnostics:
    """Probes of a generator and rollouts of its earlier policies, as far as the experiment asks for them."""
    name = f"{generator.method.name} split {generator.split_seed}"
    snapshots = tuple(
        (epoch, _rollouts(experiment, benchmark, generator, f"{name} epoch {epoch}", rows, epoch))
        for epoch in generator.epochs
    )
    entry = get_generator(generator.method.name)
    probes = []
    for kind in (PROBES[probe] for probe in experiment.probes if PROBES[probe].applies(entry)):
        shown = {*split.train, *split.test} if kind.needs_demonstrations else set[int]()
        probes.append(
            kind(
                benchmark=benchmark,
                generator=generator,
                train=specs_at(benchmark, split.train),
                test=specs_at(benchmark, split.test),
                demonstrations=demonstrations_of(experiment, benchmark, experts, shown),
            )
        )
    acting = (probe for probe in probes if isinstance(probe, PolicyProbe))
    rolled_out = tuple(
        (probe, _rollouts(experiment, benchmark, probe, f"{name} {probe.name}", rows)) for probe in acting
    )
    return Diagnostics(snapshots, tuple(probes), rolled_out)
