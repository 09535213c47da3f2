"""Additions as a contributor makes them, in a copy of the project: one file, and one line in a registry.

The copy gets all four kinds of addition. One sweep on cheetah-speed then runs the new generator and the new kind of
artifact, another one the new environment with experts of the new algorithm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from results.result_store import ResultStore
from tests.contributing.tree import Tree
from tests.helpers.experiments import ROOT, TINY, Killed

ADDITIONS = Path(__file__).with_name("additions")
HOPPER = ROOT / "tests" / "hypogen" / "envs" / "hopper.py"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The copy with a generator, a kind of artifact, an environment and an expert algorithm more."""
    tree = Tree.copy(tmp_path_factory.mktemp("tree"))
    tree.add(ADDITIONS / "linear.py", "hypogen/generators")
    tree.register(
        "hypogen/generators/__init__.py",
        "GENERATORS: dict[str, GeneratorEntry] = {",
        '"linear": GeneratorEntry(LinearSettings, Linear, "Linear"),',
        imported="from hypogen.generators.linear import Linear, LinearSettings",
    )
    tree.add(ADDITIONS / "weight_norms.py", "orchestrator/artifacts")
    tree.register(
        "orchestrator/artifacts/__init__.py",
        "ARTIFACTS: tuple[type[Artifact], ...] = (",
        "WeightNorms,",
        imported="from orchestrator.artifacts.weight_norms import WeightNorms",
    )
    tree.add(HOPPER, "hypogen/envs/mujoco")
    tree.register("hypogen/envs/mujoco/__init__.py", "for name in (", '"hopper",')
    tree.add(ADDITIONS / "half_td3.py", "hypogen/experts")
    tree.register(
        "hypogen/experts/registry.py",
        "for algorithm in (",
        "HALF_TD3,",
        imported="from hypogen.experts.half_td3 import HALF_TD3",
    )
    return tree


class Swept(NamedTuple):
    """A sweep in the copy: its file, its storage, and the files of artifacts that a kill left, with their times."""

    path: Path
    storage: Path
    left: Mapping[Path, int]

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of a query over its results."""
        return [tuple(row) for row in ResultStore(self.storage / "results").frame(sql).values.tolist()]


def experiment(tree: Tree, name: str, **changes: object) -> Path:
    """A file with the tiny experiment, some keys replaced."""
    path = tree.root / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(TINY), "name": name, **changes}, sort_keys=False))
    return path


def made(storage: Path) -> dict[Path, int]:
    """Every file of a finished artifact, and when it was written."""
    files = (file for file in (storage / "artifacts").rglob("*") if file.is_file())
    return {file.relative_to(storage): file.stat().st_mtime_ns for file in files}


def dry_row(tree: Tree, swept: Path, storage: Path, kind: str) -> list[str]:
    """Words of a kind's row in the dry run: its name, there, missing, work, time here."""
    printed = tree.python("-m", "orchestrator.sweep", swept, "--storage", storage, "--dry-run")
    (row,) = [line.split() for line in printed.splitlines() if line.startswith(f"{kind} ")]
    return row


@pytest.fixture(scope="module")
def cheetah(tree: Tree) -> Swept:
    """The new generator beside another one, looked at by the new kind of artifact; killed in the middle once."""
    path = experiment(
        tree, "cheetah", methods=["expert", "cond_policy", "linear"], probes=["weight_norms"], policy={"hidden_dim": 8}
    )
    storage = tree.root / "runs" / "cheetah"
    disturbed = Killed(path, storage, "--address", "local", root=tree.root)
    in_the_middle = disturbed.until(lambda: list(storage.glob("artifacts/generator/*")), timeout_s=600)
    said = disturbed.kill()
    assert in_the_middle, said
    left = made(storage)
    printed = tree.python("-m", "orchestrator.sweep", path, "--storage", storage, "--address", "local")
    (storage / "stdout").write_text(printed)
    return Swept(path, storage, left)


@pytest.fixture(scope="module")
def hopper(tree: Tree) -> Swept:
    """The new environment, with experts of the new algorithm."""
    experts = {**yaml.safe_load(TINY)["experts"], "algorithm": "half_td3"}
    path = experiment(
        tree, "hopper", benchmarks=["hopper-speed"], specs={}, experts=experts, methods=["expert", "cond_policy"]
    )
    storage = tree.root / "runs" / "hopper"
    printed = tree.python("-m", "orchestrator.sweep", path, "--storage", storage, "--address", "local")
    (storage / "stdout").write_text(printed)
    return Swept(path, storage, {})


def test_the_copy_is_what_runs(tree: Tree) -> None:
    code = "import hypogen, orchestrator, results; print(*(m.__file__ for m in (hypogen, orchestrator, results)))"
    assert all(Path(file).is_relative_to(tree.root) for file in tree.python("-c", code).split())


def contract(tree: Tree, file: str, name: str) -> None:
    """Run the tests of a file in the copy that have a new name in theirs; there are some, and all pass."""
    printed = tree.python("-m", "pytest", file, "-k", name, "-p", "no:cacheprovider")
    assert " passed" in printed and "skipped" not in printed, printed


def test_a_new_generator_passes_the_contract_tests(tree: Tree) -> None:
    contract(tree, "tests/hypogen/generators/test_contract.py", "linear and (cheetah-speed or hopper)")
    contract(tree, "tests/hypogen/generators/test_generators.py", "linear")


def test_a_new_environment_passes_the_contract_tests(tree: Tree) -> None:
    contract(tree, "tests/hypogen/envs/test_mujoco_contract.py", "hopper")


def test_a_new_generator_is_in_the_dry_run(cheetah: Swept, tree: Tree) -> None:
    printed = tree.python("-m", "orchestrator.sweep", cheetah.path, "--storage", tree.root / "none", "--dry-run")
    assert "cheetah-speed linear: 0.0 M parameters" in printed
    assert "linear with its default settings and the ManiSkill policy: 1.3 M" in printed


def test_a_new_generator_runs_in_a_sweep(cheetah: Swept) -> None:
    counted = cheetah.rows("SELECT method, count(*) FROM runs JOIN episodes USING (run) GROUP BY method ORDER BY 1")
    assert counted == [("cond_policy", 4), ("expert", 10), ("linear", 4)]
    curve = "SELECT metric, count(*) > 1 FROM curves JOIN runs USING (run) WHERE method = 'linear' GROUP BY 1"
    assert {("loss", True), ("action", True)} <= set(cheetah.rows(curve))


def test_a_new_generator_is_in_tables_figures_and_comparisons(cheetah: Swept, tree: Tree) -> None:
    table = tree.python("-m", "results", "table", "main", "--storage", cheetah.storage)
    assert [line.split()[1] for line in table.splitlines() if line.startswith("cheetah-speed ")] == [
        "expert",
        "cond_policy",
        "linear",
    ]
    compared = tree.python("-m", "results", "compare", "linear", "cond_policy", "--storage", cheetah.storage)
    assert any(line.startswith("cheetah-speed ") for line in compared.splitlines()), compared
    legend = f"""
from results.figures import draw
from results.result_store import ResultStore
(axes,) = [axes for axes in draw("figure5", ResultStore({str(cheetah.storage / "results")!r})).axes if axes.lines]
print([text.get_text() for text in axes.get_legend().get_texts()], len({{line.get_color() for line in axes.lines}}))
"""
    shown = tree.python("-c", legend)
    assert "'Expert " in shown and "'Cond Policy " in shown and "'Linear " in shown and shown.split()[-1] == "3", shown


def test_a_new_kind_of_artifact_is_planned_and_estimated(cheetah: Swept, tree: Tree) -> None:
    there, missing, work, unit = dry_row(tree, cheetah.path, tree.root / "none", "weight_norms")[1:5]
    assert (there, missing) == ("0", "2") and work.isdigit() and unit == "s"
    assert dry_row(tree, cheetah.path, cheetah.storage, "weight_norms")[1:] == ["2", "0", "-", "-"]


def test_a_new_kind_of_artifact_is_made_and_shown(cheetah: Swept) -> None:
    assert "2 weight_norms" in (cheetah.storage / "stdout").read_text()
    manifests = [
        json.loads(file.read_text()) for file in cheetah.storage.glob("artifacts/weight_norms/*/artifact.json")
    ]
    assert sorted(manifest["label"] for manifest in manifests) == [
        f"cheetah-speed {method} split 0 weight norms" for method in ("cond_policy", "linear")
    ]
    done = "SELECT kind, count(*) FROM provenance WHERE status = 'done' AND kind = 'weight_norms' GROUP BY 1"
    assert cheetah.rows(done) == [("weight_norms", 2)]
    curves = (
        "SELECT method, metric, epoch, value > 0 FROM curves JOIN runs USING (run) WHERE metric LIKE 'norm@%' "
        "ORDER BY ALL"
    )
    assert cheetah.rows(curves) == [
        (method, metric, 2, True) for method in ("cond_policy", "linear") for metric in ("norm@fc1", "norm@fc2")
    ]


def test_a_new_kind_of_artifact_is_resumed_and_not_made_again(cheetah: Swept, tree: Tree) -> None:
    now = made(cheetah.storage)
    assert not any("weight_norms" in file.parts for file in cheetah.left), "the kill came before any was made"
    assert cheetah.left.items() <= now.items(), "what the kill left was taken as it was"
    printed = tree.python("-m", "orchestrator.sweep", cheetah.path, "--storage", cheetah.storage)
    assert "made nothing" in printed and "Ray:" not in printed
    assert made(cheetah.storage) == now


def test_a_new_environment_runs_to_its_table(hopper: Swept) -> None:
    printed = (hopper.storage / "stdout").read_text()
    rows = [line.split()[:2] for line in printed.splitlines() if line.startswith("hopper-speed ")]
    assert rows == [["hopper-speed", "expert"], ["hopper-speed", "cond_policy"]], printed
    described = hopper.rows("SELECT environment, context, score FROM benchmarks WHERE environment = 'hopper'")
    assert described == [("hopper", "speed", "return")]


def test_a_new_algorithm_trains_the_experts_of_a_sweep(hopper: Swept) -> None:
    named = "SELECT DISTINCT expert_recipe, json_extract_string(settings, '$.\"experts.algorithm\"') FROM runs"
    assert hopper.rows(named) == [("half_td3 fast", "half_td3")]
    experts = "SELECT json_extract(settings, '$.\"experts.updates\"')::INT, steps FROM runs WHERE method = 'expert'"
    assert hopper.rows(experts) == [(60, 30)], "its experts stopped after half of the updates"


def test_a_new_algorithm_is_never_taken_for_another(hopper: Swept, tree: Tree) -> None:
    """Nothing of a plan has the key of what TD3 makes with the same settings."""
    code = f"""
import json
from pathlib import Path
from orchestrator.config.loading import expand, load
from orchestrator.planning.plan import build

def plan(algorithm):
    return build(expand(load(Path({str(hopper.path)!r}), None, [f"experts.algorithm={{algorithm}}"])))

plans = [plan("td3"), plan("half_td3")]
kinds = [sorted(artifact.kind for artifact in plan.artifacts.values()) for plan in plans]
common = [sorted(set.intersection(*(set(getattr(plan, part)) for plan in plans))) for part in ("artifacts", "runs")]
algorithms = [getattr(artifact, "algorithm", None) for artifact in plans[1].artifacts.values()]
print(json.dumps([kinds, common, sorted(filter(None, algorithms))]))
"""
    kinds, common, algorithms = json.loads(tree.python("-c", code).splitlines()[-1])
    assert kinds[0] == kinds[1] and {"experts", "demonstrations", "generator", "rollouts"} == set(kinds[0])
    assert (common, algorithms) == ([[], []], ["half_td3"])
