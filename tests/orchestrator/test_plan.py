import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hypogen import zoo
from hypogen.benchmarks import get_benchmark
from orchestrator.artifacts import GeneratorArtifact, PopulationExperts, ReferenceArtifact, RolloutsArtifact, ZooExperts
from orchestrator.artifacts.artifact import content_key, derive_seed
from orchestrator.config.loading import expand, load
from orchestrator.exceptions import ConfigError
from orchestrator.planning.plan import Plan, build
from tests.helpers.experiments import ROOT


def plan_of(path: Path, profile: str | None = None, *assignments: str) -> Plan:
    return build(expand(load(path, profile, assignments)))


def kinds(plan: Plan) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for artifact in plan.artifacts.values():
        found.setdefault(artifact.kind, set()).add(artifact.key)
    return found


def test_artifacts_come_after_what_they_are_made_of(tiny: Callable[..., Path]) -> None:
    plan = plan_of(tiny())
    seen: set[str] = set()
    for key, artifact in plan.artifacts.items():
        assert {parent.key for parent in artifact.inputs} <= seen
        seen.add(key)
    assert {kind: len(keys) for kind, keys in kinds(plan).items()} == {
        "experts": 1,
        "demonstrations": 2,
        "generator": 2,
        "rollouts": 2 + 2 * 1,
    }


def test_the_five_ablations_share_experts_and_demonstrations() -> None:
    for profile in (None, "laptop", "smoke"):
        paths = sorted((ROOT / "experiments").glob("ablation_*.yaml"))
        plans = [plan_of(path, profile, "benchmarks=[cheetah-speed]") for path in paths]
        assert len(plans) == 5
        for kind in ("experts", "demonstrations"):
            union = set.union(*(kinds(plan)[kind] for plan in plans))
            assert len(union) == max(len(kinds(plan)[kind]) for plan in plans)


def test_the_experiments_on_cheetah_speed_make_nothing_twice() -> None:
    folder = ROOT / "experiments"
    whole = kinds(plan_of(folder / "table1.yaml", "laptop", "benchmarks=[cheetah-speed]"))
    for name in ("probes", "figure4", "capacity"):
        part = kinds(plan_of(folder / f"{name}.yaml", "laptop"))
        assert part["experts"] <= whole["experts"], "joint alone trains some of its own"
        shared = len(part["generator"] & whole["generator"])
        assert shared == (36 if name == "capacity" else 0), "six methods at their own size, three splits, two seeds"
        assert name == "figure4" or part["demonstrations"] <= whole["demonstrations"]


@pytest.mark.parametrize(("profile", "least"), [(None, 10), ("laptop", 2.5)])
def test_capacity_widens_every_method_to_the_size_of_hypogen(profile: str | None, least: float) -> None:
    plan = plan_of(ROOT / "experiments" / "capacity.yaml", profile, "split.seeds=[0]", "grid={training.seed: [0]}")
    sizes: dict[str, list[int]] = {}
    for artifact in plan.artifacts.values():
        if isinstance(artifact, GeneratorArtifact):
            sizes.setdefault(artifact.method.name, []).append(artifact.method.parameters(artifact.benchmark))
    (hypogen,) = sizes.pop("hypogen")
    assert len(sizes) == 5
    for small, wide in map(sorted, sizes.values()):
        assert small < hypogen / least
        assert abs(wide / hypogen - 1) < 0.01


def test_one_more_value_needs_only_its_own_artifacts(tiny: Callable[..., Path]) -> None:
    before = plan_of(tiny(grid={"hypogen.blocks": [1, 2]}))
    after = plan_of(tiny(grid={"hypogen.blocks": [1, 2, 3]}))
    new = set(after.artifacts) - set(before.artifacts)
    assert set(before.artifacts) < set(after.artifacts)
    assert sorted(after.artifacts[key].kind for key in new) == ["generator", "rollouts"]
    assert len(set(after.runs) - set(before.runs)) == 1
    cells = [cell for run, cell in after.cells.items() if after.runs[run].method == "hypogen"]
    assert cells == [{"hypogen.blocks": 1}, {"hypogen.blocks": 2}, {"hypogen.blocks": 3}]
    assert [cell for run, cell in after.cells.items() if after.runs[run].method != "hypogen"] == [{}, {}]


def test_what_decides_the_content_is_in_the_key_and_nothing_else(tiny: Callable[..., Path]) -> None:
    base = plan_of(tiny())
    same = ["resources.generator.threads=2", "name=other", "table=table20", "training.checkpoint_every_s=5"]
    for assignment in same:
        assert set(plan_of(tiny(), None, assignment).artifacts) == set(base.artifacts), assignment
    for assignment in ("seed=1", "experts.updates=61"):
        assert set(plan_of(tiny(), None, assignment).artifacts).isdisjoint(base.artifacts), assignment
    trained = plan_of(tiny(), None, "training.epochs=3")
    assert kinds(trained)["demonstrations"] == kinds(base)["demonstrations"]
    assert kinds(trained)["generator"].isdisjoint(kinds(base)["generator"])
    assert set(plan_of(tiny(), None, "demonstrations.noise=0").artifacts) == set(base.artifacts)
    disturbed = plan_of(tiny(), None, "demonstrations.noise=0.3")
    assert kinds(disturbed)["experts"] == kinds(base)["experts"]
    assert kinds(disturbed)["demonstrations"].isdisjoint(kinds(base)["demonstrations"])
    longer = plan_of(tiny(), None, "evaluation.episodes=3")
    assert kinds(longer)["generator"] == kinds(base)["generator"]
    assert set(longer.runs).isdisjoint(base.runs)


def test_methods_meet_the_same_episodes_and_splits_do_not_change_them(tiny: Callable[..., Path]) -> None:
    plan = plan_of(tiny(split={"train_fraction": 0.5, "seeds": [0, 1, 2]}))
    seeds: dict[tuple[float, ...], set[tuple[int, ...]]] = {}
    for artifact in plan.artifacts.values():
        if isinstance(artifact, RolloutsArtifact):
            for spec, row in zip(artifact.specs, artifact.seeds, strict=True):
                seeds.setdefault(spec, set()).add(row)
    assert all(len(rows) == 1 for rows in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds), "every spec has seeds of its own"


def test_a_run_is_labelled_as_its_split_says(tiny: Callable[..., Path]) -> None:
    plan = plan_of(tiny(evaluation={"episodes": 1, "roles": ["train", "test"]}))
    benchmark = get_benchmark("cheetah-speed")
    run = next(run for run in plan.runs.values() if run.method == "hypogen")
    train = [spec.row for spec in run.specs if spec.role == "train"]
    assert isinstance(run.acting, GeneratorArtifact)
    assert tuple(map(tuple, benchmark.grid[train].tolist())) == run.acting.train
    mean, std = benchmark.grid[train].mean(), benchmark.grid[train].std()
    for spec in run.specs:
        assert spec.inside == bool(abs(benchmark.grid[spec.row, 0] - mean) <= std)
    assert run.columns["overrides"]["hypogen.blocks"] == 2 and "hypogen.step_size" not in run.columns["overrides"]
    expert = next(run for run in plan.runs.values() if run.method == "expert")
    assert len(expert.specs) == 5 and expert.columns["split_seed"] is None


def test_only_few_shot_methods_get_demonstrations_of_test_specs(tiny: Callable[..., Path]) -> None:
    """And only to adapt on: a training without them is the same artifact, whatever is measured."""
    methods = {"hypogen": {}, "uvfa": {}, "meta_policy": {}, "pearl": {}}
    narrow = {"methods": methods, "specs": {"every": 2}, "split": {"train_fraction": 0.2, "seeds": [0]}}
    plan = plan_of(tiny(**narrow))
    for run in plan.runs.values():
        generator, few_shot = run.acting, run.method in ("meta_policy", "pearl")
        assert isinstance(generator, GeneratorArtifact)
        learned = [shown.specs for shown in generator.demonstrations]
        seen = [spec for specs in learned for spec in specs]
        measured = tuple(tuple(get_benchmark("cheetah-speed").grid[spec.row].tolist()) for spec in run.specs)
        assert run.columns["few_shot"] == few_shot == (generator.adapt is not None)
        assert all(spec in seen for spec in generator.train)
        if few_shot:
            assert generator.adapt == tuple(sorted(generator.train + measured))
            assert all(spec in seen for spec in measured)
        else:
            assert all(any(spec in generator.train for spec in specs) for specs in learned)
    both = plan_of(tiny(**narrow, evaluation={"episodes": 2, "roles": ["train", "test"]}))
    assert kinds(both)["generator"] == kinds(plan)["generator"]
    fewer = plan_of(tiny(**narrow), None, "pearl.adaptation_episodes=1")
    assert len(kinds(fewer)["generator"] - kinds(plan)["generator"]) == 1


def test_a_training_seed_trains_again_and_shares_everything_else(tiny: Callable[..., Path]) -> None:
    def plan(*assignments: str) -> Plan:
        return plan_of(tiny(), None, "methods=[expert, nearest, joint, hypogen]", *assignments)

    first, again, both = plan(), plan("training.seed=1"), plan("grid={training.seed: [0, 1]}")
    assert plan("training.seed=0").artifacts.keys() == first.artifacts.keys(), "what was trained before has the first"
    assert kinds(first)["demonstrations"] == kinds(again)["demonstrations"] == kinds(both)["demonstrations"]
    assert not kinds(first)["generator"] & kinds(again)["generator"]
    assert len(kinds(both)["experts"]) == 3, "the experts, and joint's own twice"
    assert both.artifacts.keys() == first.artifacts.keys() | again.artifacts.keys()
    labels = sorted(f"{run.method} {cell}" for run, cell in zip(both.runs.values(), both.cells.values(), strict=True))
    seeds = [f"{method} {{'training.seed': {seed}}}" for method in ("hypogen", "joint") for seed in (0, 1)]
    assert labels == sorted(["expert {}", "nearest {}", *seeds])


def test_a_methods_own_training_settings_are_its_alone(tiny: Callable[..., Path]) -> None:
    def generators(*assignments: str) -> dict[str, str]:
        runs = plan_of(tiny(), None, *assignments).runs.values()
        return {run.method: run.acting.key for run in runs if run.method != "expert"}

    usual, all_longer = generators(), generators("training.epochs=7")
    own = generators("hypogen.training.epochs=7")
    assert own == {"hypogen": all_longer["hypogen"], "cond_policy": usual["cond_policy"]}
    assert own["hypogen"] != usual["hypogen"]
    assert generators("hypogen.training.log_every=2") == usual
    (run,) = (
        run for run in plan_of(tiny(), None, "hypogen.training.epochs=7").runs.values() if run.method == "hypogen"
    )
    assert (run.epochs, run.columns["epochs"]) == (7, 7)


def test_explicit_splits(tiny: Callable[..., Path]) -> None:
    split = {"train": [[1.0], [10.0]], "test": [[float(v)] for v in range(2, 10)], "seeds": [0]}
    plan = plan_of(tiny(specs={}, split=split))
    row = next(run for run in plan.runs.values() if run.method == "hypogen").columns
    assert (row["train_specs"], row["test_specs"], row["split_kind"]) == (2, 8, "explicit")
    assert row["settings"]["split.train"] == [[1.0], [10.0]]
    assert "specs.every" not in row["settings"]


def test_seeds_and_keys_are_what_they_always_were() -> None:
    """A change here orphans every artifact in every store: raise the version of a kind on purpose instead."""
    assert derive_seed("evaluation", 0, "cheetah-speed", 3, 1) == 1304206292
    assert content_key("rollouts", 1, {"a": [1.5, "x"]}) == "d80db55279eaea97e45e"
    assert np.iinfo(np.int32).max >= derive_seed("anything")


def test_joint_is_trained_on_the_training_specs_alone(tiny: Callable[..., Path]) -> None:
    plan = plan_of(tiny(methods={"expert": {}, "nearest": {}, "joint": {"updates": 50}}))
    acting = {run.method: run.acting for run in plan.runs.values()}
    own, shared = (acting[name].experts for name in ("joint", "nearest") if isinstance(acting[name], ReferenceArtifact))
    assert isinstance(own, PopulationExperts) and shared is acting["expert"]
    assert own.specs == acting["joint"].train and own.settings.joint_fraction == 1.0 and own.settings.updates == 50
    with pytest.raises(ConfigError, match=r"tiny\.yaml:\d+: methods\.joint: it trains td3, which makes no experts"):
        plan_of(tiny(benchmarks=["liftcube-damping"], experts={"algorithm": "scripted"}, methods=["joint"]))


def test_of_the_zoo_the_experts_by_the_recipe_that_is_asked_for(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, experts = zoo.card("finger-exact-speed"), zoo.load("finger-exact-speed")
    zoo.add(experts, entry, tmp_path / "zoo")
    other = dataclasses.replace(experts, curve=experts.curve[:-1])
    zoo.add(other, dataclasses.replace(entry, recipe="independent"), tmp_path / "zoo")
    monkeypatch.setattr(zoo, "ROOT", tmp_path / "zoo")
    assert zoo.names() == ("finger-exact-speed", "finger-exact-speed.independent")
    assert zoo.benchmarks() == zoo.benchmarks("independent") == zoo.benchmarks("few") == ("finger-exact-speed",)
    assert zoo.benchmarks("fast") == () and zoo.recipes() == ("few", "independent")
    changes = {"benchmarks": ["finger-exact-speed"], "methods": ["nearest"], "specs": {}, "split": {"seeds": [0]}}
    digests = []
    for choice in ({}, {"recipe": "few"}, {"recipe": "independent"}):
        plan = plan_of(tiny(**changes, experts={"source": "zoo", **choice}))
        digests += [artifact.digest for artifact in plan.artifacts.values() if isinstance(artifact, ZooExperts)]
        [run] = plan.runs.values()
        assert run.columns["expert_recipe"] == choice.get("recipe", "few")
    assert digests == [entry.digest, entry.digest, zoo.card("finger-exact-speed.independent").digest]
