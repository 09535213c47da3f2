"""From cells to a plan: which artifacts an experiment needs, each under a key that names its content.

    experts (a benchmark's population) ─► demonstrations (some specs) ─► generator ─► rollouts (some specs) ─► run
                                                                          └─► probe ─► rollouts ──────────────┘

A key is the hash of everything that decides the content: the kind, its code version, its settings, its seed and
the keys of its inputs. Threads, GPUs, the cluster and the experiment's name are not in it, so experiments share
whatever they have in common, and one more value in a grid makes only what that value needs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hypogen import experts, zoo
from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.experts import ALGORITHMS, PPOSettings, Settings, TD3Settings, scripted
from hypogen.generators import GENERATORS
from hypogen.probes import has_updates
from hypogen.splits import Split, in_distribution
from orchestrator.experiment import Cell
from orchestrator.schema import DemonstrationChoice, Experiment

VERSIONS = {
    "experts": 1,
    "demonstrations": 1,
    "generator": 1,
    "probe": 1,
    "rollouts": 1,
    "run": 1,
    "study": 1,
    "validation": 1,
}
"""Raise the number of a kind when its code changes what it makes: its artifacts, and all that follow, get new keys."""

SPECS_PER_TASK = {"mujoco": 4, "maniskill": 1}
"""Specs in one demonstrations or rollouts artifact, by simulator: seconds to minutes of work. Fixed, so results don't
depend on how many workers there are."""


SpecLabel = tuple[int, str, bool]
"""(index into the grid, role, in distribution)"""


@dataclass(frozen=True)
class Node:
    """An artifact: what it takes to make it (``payload``, plain JSON) and which artifacts must be there first."""

    kind: str
    key: str
    label: str
    payload: dict[str, Any]
    inputs: tuple[str, ...]
    work: float
    """Rough size, in the kind's own unit (see ``estimate``); only its ratio to other artifacts of the kind matters."""


@dataclass(frozen=True)
class Aside:
    """What is measured of a generator beside its final policies' episodes. Rollouts are of all the run's specs."""

    snapshots: tuple[tuple[int, str], ...] = ()
    """(epoch, rollouts of the policies of that epoch), ascending, without the final one."""
    probes: tuple[str, ...] = ()
    """Probes, whose curves become the run's."""
    random_start: str | None = None
    """Rollouts of the policies that start from noise."""

    @property
    def keys(self) -> tuple[str, ...]:
        random_start = () if self.random_start is None else (self.random_start,)
        return (*(key for _, key in self.snapshots), *self.probes, *random_start)


@dataclass(frozen=True)
class Run:
    """One row of the table ``runs``: a generator (or the experts) on one split, and the rollouts that measure it."""

    key: str
    row: dict[str, Any]
    policy: str
    """Key of the generator or experts whose curve belongs to the run."""
    rollouts: tuple[str, ...]
    specs: tuple[SpecLabel, ...]
    """Each spec that counts, in the order of the rollouts."""
    aside: Aside = Aside()

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of all artifacts that the run's rows are made of."""
        return (self.policy, *self.rollouts, *self.aside.keys)


@dataclass
class Plan:
    """Artifacts in an order in which they can be made, the runs they make up, and which cell asked for which run."""

    experiment: Experiment
    nodes: dict[str, Node] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    members: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Key of a run -> the values of the cell that asked for it; where several did, those that they agree on."""

    def add(self, kind: str, label: str, payload: dict[str, Any], inputs: Iterable[str], work: float) -> str:
        key = content_key(kind, payload)
        if key not in self.nodes:
            self.nodes[key] = Node(kind, key, label, payload, tuple(inputs), work)
        return key


def content_key(kind: str, payload: Mapping[str, Any]) -> str:
    """Twenty hexadecimal digits that name the content."""
    text = json.dumps([kind, VERSIONS[kind], payload], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def derive_seed(*parts: Any) -> int:
    """A seed below 2^31 that depends on all the parts and on nothing else."""
    return int(hashlib.sha256(json.dumps(parts).encode()).hexdigest(), 16) % 2**31


def build(cells: Sequence[Cell]) -> Plan:
    """The plan of all cells together; what they have in common is in it once."""
    plan = Plan(cells[0].experiment)
    for cell in cells:
        for name in cell.experiment.benchmarks:
            benchmark = get_benchmark(name)
            population = add_experts(plan, cell.experiment, benchmark)
            for seed in cell.experiment.split.seeds:
                for method in cell.experiment.methods:
                    if method == "expert":
                        key = _add_expert_run(plan, cell.experiment, benchmark, population)
                    else:
                        key = _add_generator_run(plan, cell.experiment, benchmark, population, seed, method)
                    before = plan.members.get(key, cell.values)
                    plan.members[key] = {name: v for name, v in before.items() if cell.values.get(name) == v}
    return plan


def add_experts(plan: Plan, experiment: Experiment, benchmark: Benchmark) -> str:
    """The population of experts for every spec that the experiment looks at; of the zoo's, all that it has."""
    if experiment.experts.source == "zoo":
        card = zoo.card(benchmark.name)
        label = f"{benchmark.name} experts (zoo)"
        return plan.add("experts", label, {"benchmark": benchmark.name, "zoo": card.digest}, (), 0.0)
    settings = _resolved(experiment.experts.settings)
    among = experiment.specs.indices(benchmark)
    label, specs = f"{benchmark.name} experts ({len(among)} specs)", benchmark.grid[list(among)].tolist()
    if isinstance(settings, PPOSettings):
        trained = _add_ppo_experts(plan, experiment, benchmark, settings, among)
        return plan.add("experts", label, {"benchmark": benchmark.name, "parts": trained}, trained, 0.0)
    if not isinstance(settings, TD3Settings):
        payload = {"benchmark": benchmark.name, "specs": specs, "script": scripted.VERSION}
        return plan.add("experts", f"{label}, scripted", payload, (), 0.0)
    payload = {
        "benchmark": benchmark.name,
        "specs": specs,
        "settings": dataclasses.asdict(settings),
        "seed": derive_seed("experts", experiment.seed, benchmark.name),
    }
    return plan.add("experts", label, payload, (), _expert_work(settings, len(among)))


def _add_ppo_experts(
    plan: Plan, experiment: Experiment, benchmark: Benchmark, settings: PPOSettings, among: Sequence[int]
) -> list[str]:
    """One training a spec, from the default outwards where each starts from a neighbour's weights."""
    default = benchmark.scale([[variable.default for variable in benchmark.variables]])
    places = {index: benchmark.scale(benchmark.grid[index]) for index in among}
    keys: dict[int, str] = {}
    for index in sorted(among, key=lambda index: float(np.abs(places[index] - default).max())):
        near = min(keys, key=lambda other: float(np.abs(places[other] - places[index]).max()), default=None)
        start = keys[near] if settings.start == "neighbour" and near is not None else None
        payload = {
            "benchmark": benchmark.name,
            "spec": benchmark.grid[index].tolist(),
            "settings": dataclasses.asdict(settings),
            "start": start,
            "seed": derive_seed("experts", experiment.seed, benchmark.name, int(index)),
        }
        label = f"{benchmark.name} PPO expert {_span(benchmark, [index])}"
        keys[index] = plan.add("experts", label, payload, [start] if start else [], float(settings.steps))
    return [keys[index] for index in among]


def expert_settings(experiment: Experiment, benchmark: Benchmark) -> tuple[str, dict[str, Any]]:
    """The recipe's name and every setting by which the experts were, or will be, trained."""
    if experiment.experts.source == "zoo":
        card = zoo.card(benchmark.name)
        return card.recipe, {"source": "zoo", "algorithm": "td3", **card.settings}
    chosen = experiment.experts
    settings = dataclasses.asdict(_resolved(chosen.settings))
    name = f"ppo {chosen.recipe}" if chosen.algorithm == "ppo" else chosen.recipe
    return name, {"source": "train", "algorithm": chosen.algorithm, **settings}


def _resolved(settings: Settings) -> Settings:
    """Settings as this machine will follow them."""
    return experts.resolve(settings) if isinstance(settings, TD3Settings) else settings


def _expert_work(settings: TD3Settings, specs: int) -> float:
    return float(settings.updates) * specs


def add_demonstrations(
    plan: Plan, experiment: Experiment, benchmark: Benchmark, population: str, needed: Iterable[int]
) -> list[str]:
    """The demonstrations that cover the ``needed`` specs (indices into the grid)."""
    wanted = set(needed)
    keys = []
    for group in _groups(benchmark, experiment.specs.indices(benchmark)):
        if wanted.isdisjoint(group):
            continue
        episodes = experiment.demonstrations.count(benchmark)
        payload = {
            "benchmark": benchmark.name,
            "experts": population,
            "specs": benchmark.grid[list(group)].tolist(),
            "seeds": episode_seeds("demonstrations", experiment.seed, benchmark, group, episodes),
        }
        if benchmark.simulator.name == "maniskill":
            payload["discount"] = experiment.demonstrations.discount
        if experiment.demonstrations.noise:
            payload["noise"] = experiment.demonstrations.noise
        label = f"{benchmark.name} demonstrations {_span(benchmark, group)}"
        keys.append(plan.add("demonstrations", label, payload, [population], _steps(benchmark, group, episodes)))
    return keys


def add_generator(
    plan: Plan,
    experiment: Experiment,
    benchmark: Benchmark,
    population: str,
    split: Split,
    seed: int,
    method: str,
) -> str:
    """A generator of the given method, trained on the demonstrations of the split's training specs.

    A few-shot method also gets, under ``adapt``, the specs that it adapts to once it is trained: all of the split's.
    """
    train, few_shot = split.train, GENERATORS[method].few_shot
    adapt = sorted({*split.train, *split.test}) if few_shot else []
    demonstrations = add_demonstrations(plan, experiment, benchmark, population, {*train, *adapt})
    payload = {
        **generator_settings(experiment, benchmark, method),
        "benchmark": benchmark.name,
        "demonstrations": demonstrations,
        "train": benchmark.grid[list(train)].tolist(),
        "seed": derive_seed("generator", experiment.seed, benchmark.name, seed),
    }
    if few_shot:
        payload["adapt"] = benchmark.grid[adapt].tolist()
    if snapshots := experiment.evaluation.epochs(experiment.training.epochs):
        payload["snapshots"] = snapshots
    samples = experiment.demonstrations.count(benchmark) * _episode_steps(benchmark)
    work = float(experiment.training.epochs) * len(train) * samples
    label = f"{benchmark.name} {method} split {seed}"
    return plan.add("generator", label, payload, demonstrations, work)


def generator_settings(experiment: Experiment, benchmark: Benchmark, method: str) -> dict[str, Any]:
    return {
        "method": method,
        "settings": dataclasses.asdict(experiment.methods[method]),
        "policy": dataclasses.asdict(experiment.shape(benchmark)),
        "training": content_settings(experiment.training),
    }


def content_settings(settings: Any) -> dict[str, Any]:
    """A settings dataclass without the fields that change how often it speaks or saves, not what it makes."""
    return {
        key: value
        for key, value in dataclasses.asdict(settings).items()
        if key not in ("checkpoint_every_s", "log_every")
    }


def _add_expert_run(plan: Plan, experiment: Experiment, benchmark: Benchmark, population: str) -> str:
    """The experts on all their specs. They have no split of their own; a table takes the specs that a split tests."""
    among = experiment.specs.indices(benchmark)
    row = {
        **_common_row(experiment, benchmark, population, "expert"),
        "split_kind": "none",
        "train_specs": 0,
        "test_specs": len(among),
        "few_shot": False,
    }
    return _add_run(plan, experiment, benchmark, row, population, tuple((index, "test", True) for index in among))


def _add_generator_run(
    plan: Plan, experiment: Experiment, benchmark: Benchmark, population: str, seed: int, method: str
) -> str:
    """A generator on the specs of one split."""
    split = experiment.split.resolve(benchmark, experiment.specs.indices(benchmark), seed)
    kind = experiment.split.kind_for(benchmark)
    row = {
        **_common_row(experiment, benchmark, population, method),
        "selection": experiment.evaluation.selection,
        "split_kind": kind,
        "split_seed": seed,
        "train_fraction": None if kind == "explicit" else experiment.split.train_fraction or benchmark.train_fraction,
        "train_specs": len(split.train),
        "test_specs": len(split.test),
        "epochs": experiment.training.epochs,
        "batch_size": experiment.training.batch_size,
        "learning_rate": experiment.training.learning_rate,
        "few_shot": GENERATORS[method].few_shot,
    }
    roles = {"train": split.train, "test": split.test}
    role_of = {index: role for role in experiment.evaluation.roles for index in roles[role]}
    inside = in_distribution(benchmark.grid[list(split.train)], benchmark.grid)
    measured = tuple((index, role_of[index], bool(inside[index])) for index in sorted(role_of))
    generator = add_generator(plan, experiment, benchmark, population, split, seed, method)
    aside = _add_aside(plan, experiment, benchmark, population, generator, split, sorted(role_of))
    return _add_run(plan, experiment, benchmark, row, generator, measured, aside)


def _add_aside(
    plan: Plan,
    experiment: Experiment,
    benchmark: Benchmark,
    population: str,
    generator: str,
    split: Split,
    measured: Sequence[int],
) -> Aside:
    """The probes of a generator and the rollouts of its earlier policies, as far as the experiment asks for them."""
    payload = plan.nodes[generator].payload

    def rolled_out(policy: str, label: str, **which: int) -> str:
        return _add_rollouts(plan, experiment, benchmark, policy, label, measured, **which)

    snapshots = tuple(
        (epoch, rolled_out(generator, f"{payload['method']} epoch {epoch}", snapshot=epoch))
        for epoch in payload.get("snapshots", ())
    )
    if not has_updates(payload["method"]):
        return Aside(snapshots)
    probes = {
        name: _add_probe(plan, experiment, benchmark, population, generator, split, name) for name in experiment.probes
    }
    start = probes.get("random_start")
    return Aside(
        snapshots, tuple(probes.values()), start and rolled_out(start, f"{payload['method']} from random starts")
    )


def _add_probe(
    plan: Plan,
    experiment: Experiment,
    benchmark: Benchmark,
    population: str,
    generator: str,
    split: Split,
    name: str,
) -> str:
    """A probe of a generator: of what it does with noise on the test specs, or with the experts' demonstrations."""
    payload: dict[str, Any] = {"probe": name, "benchmark": benchmark.name, "generator": generator}
    inputs, specs = [generator], {"test": split.test}
    if name == "random_start":
        payload["seed"] = derive_seed("random_start", plan.nodes[generator].payload["seed"])
    else:
        specs = {"train": split.train, "test": split.test}
        payload["demonstrations"] = add_demonstrations(
            plan, experiment, benchmark, population, {*split.train, *split.test}
        )
        inputs += payload["demonstrations"]
    payload["specs"] = {role: benchmark.grid[list(rows)].tolist() for role, rows in specs.items()}
    label = f"{benchmark.name} {plan.nodes[generator].payload['method']} {name.replace('_', ' ')}"
    return plan.add("probe", label, payload, inputs, _steps(benchmark, [*split.train, *split.test], 1))


def _add_run(
    plan: Plan,
    experiment: Experiment,
    benchmark: Benchmark,
    row: dict[str, Any],
    policy: str,
    measured: Sequence[SpecLabel],
    aside: Aside = Aside(),
) -> str:
    groups = _groups(benchmark, [index for index, _, _ in measured])
    rollouts = tuple(_add_rollouts(plan, experiment, benchmark, policy, row["method"], group) for group in groups)
    content = {"row": row, "rollouts": list(rollouts), "specs": [list(label) for label in measured]}
    key = content_key("run", {**content, "aside": list(aside.keys)} if aside.keys else content)
    plan.runs[key] = Run(key, {"run": key, **row}, policy, rollouts, tuple(measured), aside)
    return key


def _add_rollouts(
    plan: Plan,
    experiment: Experiment,
    benchmark: Benchmark,
    policy: str,
    method: str,
    group: Sequence[int],
    **which: int,
) -> str:
    """``which``: ``snapshot=epoch`` for the policies of an epoch before the last."""
    episodes = experiment.evaluation.episodes or benchmark.episodes
    payload = {
        "benchmark": benchmark.name,
        "policy": policy,
        "policy_kind": plan.nodes[policy].kind,
        "specs": benchmark.grid[list(group)].tolist(),
        "seeds": episode_seeds("evaluation", experiment.seed, benchmark, group, episodes),
        **which,
    }
    label = f"{benchmark.name} {method} rollouts {_span(benchmark, group)}"
    return plan.add("rollouts", label, payload, [policy], _steps(benchmark, group, episodes))


def _common_row(experiment: Experiment, benchmark: Benchmark, population: str, method: str) -> dict[str, Any]:
    """The columns of ``runs`` that experts and generators share, as far as they are known before anything runs."""
    settings, defaults = flat_settings(experiment, benchmark, method)
    return {
        "benchmark": benchmark.name,
        "environment": benchmark.environment,
        "context": benchmark.context,
        "method": method,
        "expert_recipe": expert_settings(experiment, benchmark)[0],
        "expert": population,
        "settings": settings,
        "overrides": {key: value for key, value in settings.items() if defaults.get(key, ...) != value},
        "selection": "final",
        "seed": experiment.seed,
        **dict.fromkeys(("split_seed", "train_fraction", "epochs", "batch_size", "learning_rate")),
    }


def flat_settings(experiment: Experiment, benchmark: Benchmark, method: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(all settings of a run, their defaults), flat under dotted keys such as ``hypogen.blocks``."""
    algorithm = experiment.experts.algorithm
    recipe_defaults = dataclasses.asdict(_resolved(next(iter(ALGORITHMS[algorithm].values()))))
    sections: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "experts": (
            expert_settings(experiment, benchmark)[1],
            {"source": "train", "algorithm": algorithm, **recipe_defaults},
        ),
        "evaluation": (
            {"episodes": experiment.evaluation.episodes or benchmark.episodes},
            {"episodes": benchmark.episodes},
        ),
    }
    if method != "expert":
        chosen, shape, training = experiment.methods[method], experiment.shape(benchmark), experiment.training
        usual_shape = dataclasses.replace(type(shape)(), layers=benchmark.policy_layers)
        sections[method] = (dataclasses.asdict(chosen), dataclasses.asdict(type(chosen)()))
        sections["policy"] = (dataclasses.asdict(shape), dataclasses.asdict(usual_shape))
        sections["training"] = (content_settings(training), content_settings(type(training)()))
        sections["demonstrations"] = _demonstrations(experiment.demonstrations, benchmark)
        # Which specs, where that is not all of them or drawn by a seed: else rows of other specs could be averaged.
        sections["specs"] = (experiment.specs.model_dump(exclude_defaults=True), {})
        listed = {"train": experiment.split.train, "test": experiment.split.test} if experiment.split.train else {}
        sections["split"] = (
            {
                "train_fraction": experiment.split.train_fraction or benchmark.train_fraction,
                "test_fraction": experiment.split.test_fraction,
                **listed,
            },
            {"train_fraction": benchmark.train_fraction, "test_fraction": None},
        )
        # Only where asked for: a run that is measured more is another run, and tables keep the two apart.
        asked = {
            "during_training_every": experiment.evaluation.during_training_every,
            "probes": ", ".join(sorted(experiment.probes)) if has_updates(method) else "",
        }
        sections["evaluation"][0].update({name: value for name, value in asked.items() if value})
    settings = {f"{name}.{key}": value for name, (values, _) in sections.items() for key, value in values.items()}
    defaults = {f"{name}.{key}": value for name, (_, values) in sections.items() for key, value in values.items()}
    return settings, defaults


def _demonstrations(chosen: DemonstrationChoice, benchmark: Benchmark) -> tuple[dict[str, Any], dict[str, Any]]:
    default = DemonstrationChoice()
    return (
        {**chosen.model_dump(), "episodes": chosen.count(benchmark)},
        {**default.model_dump(), "episodes": default.count(benchmark)},
    )


def episode_seeds(
    purpose: str, seed: int, benchmark: Benchmark, specs: Sequence[int], episodes: int
) -> list[list[int]]:
    """Seeds ``[S, E]``. They name the spec and the episode, not the method: methods meet the same first states."""
    return [
        [derive_seed(purpose, seed, benchmark.name, int(spec), episode) for episode in range(episodes)]
        for spec in specs
    ]


def _groups(benchmark: Benchmark, indices: Sequence[int]) -> list[tuple[int, ...]]:
    size = SPECS_PER_TASK[benchmark.simulator.name]
    return [tuple(indices[start : start + size]) for start in range(0, len(indices), size)]


def _steps(benchmark: Benchmark, specs: Sequence[int], episodes: int) -> float:
    return float(len(specs) * episodes * _episode_steps(benchmark))


def _episode_steps(benchmark: Benchmark) -> int:
    """Steps of an episode as they are estimated: ManiSkill's end at success."""
    return benchmark.episode_steps if benchmark.simulator.name == "mujoco" else 30


def _span(benchmark: Benchmark, specs: Sequence[int]) -> str:
    ends = dict.fromkeys((specs[0], specs[-1]))
    return "…".join(",".join(f"{value:g}" for value in np.atleast_1d(benchmark.grid[index])) for index in ends)
