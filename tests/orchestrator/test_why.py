"""``--why``: each missing artifact's reason is the setting, the version of the code or the loss that explains it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import orchestrator.sweep
from orchestrator.artifacts import GeneratorArtifact
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.content_index import ContentIndex, leaves, record
from orchestrator.artifacts.integrity import MANIFEST
from orchestrator.config.loading import expand, load
from orchestrator.console.why import print_reasons
from orchestrator.execution.state import ExecutionState
from orchestrator.planning.plan import Plan, build
from tests.helpers.stubs import fill


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "runs"))


def planned(path: Path, *assignments: str) -> Plan:
    return build(expand(load(path, None, assignments)))


def told(plan: Plan, store: Store) -> list[str]:
    """The lines of ``--why``, without the first."""
    console = Console(file=io.StringIO(), soft_wrap=True)
    print_reasons(console, ExecutionState(plan, store))
    assert isinstance(console.file, io.StringIO)
    return [line.strip() for line in console.file.getvalue().splitlines()[1:]]


CASES = {
    "training.epochs=3": "2 generators: training.epochs is 3, the nearest in the store has 2 (2 rollouts follow)",
    "hypogen.blocks=5": "cheetah-speed hypogen split 0: hypogen.blocks is 5, the nearest in the store has 2 "
    "(1 rollouts follow)",
    "experts.updates=90": "cheetah-speed experts (5 specs): experts.updates is 90, the nearest in the store has 60 "
    "(4 rollouts, 2 demonstrations, 2 generators follow)",
    "demonstrations.noise=0.1": "2 demonstrations: demonstrations.noise is 0.1, the nearest in the store has none "
    "(2 generators, 2 rollouts follow)",
    "evaluation.episodes=3": "4 rollouts: evaluation.episodes is 3, the nearest in the store has 2",
    "split.seeds=[1]": "2 generators: split is not that of the nearest in the store; "
    "seed is not that of the nearest in the store (2 rollouts follow)",
    "benchmarks=[cheetah-exact-speed]": "cheetah-exact-speed experts (5 specs): benchmark is cheetah-exact-speed@2, "
    "the nearest in the store has cheetah-speed (4 rollouts, 2 demonstrations, 2 generators follow)",
    "grid={training.learning_rate: [1e-4, 2e-4, 3e-4, 4e-4, 5e-4]}": "10 generators: training.learning_rate is 0.0001, "
    "0.0002, 0.0003 and 2 others, the nearest in the store has 0.001 (10 rollouts follow)",
}


@pytest.mark.parametrize("assignment", CASES)
def test_the_setting_that_was_changed_is_named(tiny: Callable[..., Path], store: Store, assignment: str) -> None:
    fill(store, planned(tiny()).artifacts.values())
    lines = told(planned(tiny(), assignment), store)
    assert [line for line in lines if not line.endswith("their rows are not")] == [CASES[assignment]]


def test_a_generator_of_other_inputs_has_what_tells_these_apart(tiny: Callable[..., Path], store: Store) -> None:
    """The changed recipe's experts and demonstrations are there; the nearest generators were made from others."""
    fill(store, planned(tiny()).artifacts.values())
    changed = planned(tiny(), "experts.updates=90")
    fill(store, [artifact for artifact in changed.artifacts.values() if artifact.kind in ("experts", "demonstrations")])
    lines = told(changed, store)
    assert "2 generators: experts.updates is 90, the nearest in the store has 60 (2 rollouts follow)" in lines


def test_other_code_is_named(tiny: Callable[..., Path], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, planned(tiny()).artifacts.values())
    monkeypatch.setattr(GeneratorArtifact, "version", GeneratorArtifact.version + 1)
    lines = told(planned(tiny()), store)
    before = GeneratorArtifact.version - 1
    code = f"the code's version for generator is {before + 1}, the nearest in the store has {before}"
    assert f"2 generators: {code} (2 rollouts follow)" in lines


def test_what_was_there_and_is_lost(tiny: Callable[..., Path], store: Store) -> None:
    plan = planned(tiny())
    empty = told(plan, store)
    assert len(empty) == 1 and empty[0].startswith("cheetah-speed experts (5 specs): the store has none yet (")
    fill(store, plan.artifacts.values())
    record(store, plan.artifacts.values())
    assert told(plan, store) == ["3 runs: all artifacts are there, their rows are not"]
    hypogen, cond_policy = (run.acting for run in plan.runs.values() if isinstance(run.acting, GeneratorArtifact))
    shutil.rmtree(hypogen.folder(store))
    assert "cheetah-speed hypogen split 0: made once, but the files are gone" in told(plan, store)
    store.set_aside("generator", cond_policy.key)
    set_aside = f"cheetah-speed cond_policy split 0: damaged, and set aside in {store.root}/damaged/generator"
    assert set_aside in told(plan, store)
    fill(store, [hypogen])
    (hypogen.folder(store) / MANIFEST).unlink()
    assert f"cheetah-speed hypogen split 0: damaged: {MANIFEST} is gone" in told(plan, store)


def test_an_index_that_is_gone_or_damaged_is_made_again_from_the_manifests(
    tiny: Callable[..., Path], store: Store
) -> None:
    plan = planned(tiny())
    fill(store, plan.artifacts.values())
    generators = [artifact for artifact in plan.artifacts.values() if artifact.kind == "generator"]
    record(store, generators[:1])
    file = Path(store.root) / "index" / "generator.parquet"
    for harm in (lambda: None, file.unlink, lambda: file.write_bytes(b"half")):
        harm()
        index = ContentIndex(store, "generator")
        assert [index.nearest(leaves(artifact.content())) for artifact in generators] == [
            artifact.key for artifact in generators
        ]
        assert all(artifact.key in ContentIndex(store, "generator") for artifact in generators)


def test_the_command_makes_nothing(tiny: Callable[..., Path], tmp_path: Path) -> None:
    words = [str(tiny()), "--storage", str(tmp_path / "new"), "--why", "--address", "local"]
    done = CliRunner().invoke(orchestrator.sweep.app, words)
    assert done.exit_code == 0 and "tiny: 9 of 9 artifacts are missing" in done.output, done.output
    assert not (tmp_path / "new").exists()
