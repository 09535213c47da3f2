"""Damage in a storage: nothing damaged goes unnoticed, and the same command ends in the undisturbed tables."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import orchestrator.store
from orchestrator.artifacts import DemonstrationsArtifact, GeneratorArtifact, PopulationExperts
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.integrity import MANIFEST
from orchestrator.artifacts.making import make
from orchestrator.artifacts.study_artifact import Outcome, StudyArtifact
from orchestrator.config.loading import expand, load
from orchestrator.exceptions import Damaged
from orchestrator.execution.state import ExecutionState
from orchestrator.planning.plan import Plan, build
from results import ResultStore
from tests.helpers.experiments import sweep, tables


@pytest.fixture
def damaged(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(undisturbed, tmp_path / "runs")


@pytest.fixture
def plan(undisturbed: Path) -> Plan:
    return build(expand(load(undisturbed.parent / "tiny.yaml")))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """Turn one bit over, in the middle; in Parquet at the end of the first column's rows."""
    content = bytearray(file.read_bytes())
    place = len(content) // 2
    if file.suffix == ".parquet":
        column = pq.read_metadata(file).row_group(0).column(0)
        place = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
        place += column.total_compressed_size - 1
    content[place] ^= 4
    file.write_bytes(bytes(content))


def empty(file: Path) -> None:
    file.write_bytes(b"")


HARMS: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "flipped": flip,
    "missing": Path.unlink,
    "empty": empty,
}
FILES = ("demonstrations.safetensors", "policy.safetensors", "actor.safetensors", "episodes.safetensors", MANIFEST)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", FILES)
def test_every_harm_to_every_file_of_an_artifact_is_seen(damaged: Path, name: str, harm: str) -> None:
    file = sorted(damaged.glob(f"artifacts/*/*/{name}"))[0]
    kind, key = file.parts[-3:-1]
    HARMS[harm](file)
    store = Store(str(damaged))
    (found,) = store.problems([kind])
    assert isinstance(found, Damaged) and (found.kind, found.key) == (kind, key)
    kept = store.set_aside(kind, key)
    assert Path(kept).is_dir() and not store.exists(kind, key) and not list(store.problems([kind]))


def forget(storage: Path, key: str) -> None:
    """Drop a run's rows, so that it is measured anew."""
    for table in ("runs", "episodes", "curves"):
        (storage / "results" / table / f"{key}.parquet").unlink()


def test_a_sweep_that_meets_damage_makes_it_again_and_says_so(undisturbed: Path, damaged: Path, plan: Plan) -> None:
    """At once: a flipped rollout, a truncated generator, a manifest gone, another empty, and tables without a file."""
    runs = {run.method: run for run in plan.runs.values()}
    for run in runs.values():
        forget(damaged, run.key) if run.method == "hypogen" else None
    (damaged / "results" / "episodes" / f"{runs['cond_policy'].key}.parquet").unlink()
    (damaged / "results" / "curves" / f"{runs['expert'].key}.parquet").unlink()
    store = Store(str(damaged))
    generator = runs["hypogen"].acting
    assert isinstance(generator, GeneratorArtifact)
    flip(runs["hypogen"].rollouts[0].folder(store) / "episodes.safetensors")
    truncate(generator.folder(store) / "policy.safetensors")
    (runs["cond_policy"].rollouts[0].folder(store) / MANIFEST).unlink()
    empty(runs["expert"].rollouts[0].folder(store) / MANIFEST)
    done = sweep(undisturbed.parent / "tiny.yaml", "--storage", damaged, "--address", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables(damaged) == tables(undisturbed)
    assert "damaged cheetah-speed hypogen split 0 rollouts" in done.stdout and "does not have its digest" in done.stdout
    assert len(list((damaged / "damaged").glob("*/*"))) >= 3, "what was damaged is kept"


def test_damage_below_a_missing_generator_is_mended_from_the_experts_up(
    undisturbed: Path, damaged: Path, plan: Plan
) -> None:
    store = Store(str(damaged))
    for run in plan.runs.values():
        if run.method == "hypogen":
            forget(damaged, run.key)
            shutil.rmtree(run.acting.folder(store))
            shutil.rmtree(run.rollouts[0].folder(store))
    for artifact in plan.artifacts.values():
        if isinstance(artifact, DemonstrationsArtifact):
            flip(artifact.folder(store) / "demonstrations.safetensors")
        if isinstance(artifact, PopulationExperts):
            truncate(artifact.folder(store) / "actor.safetensors")
    done = sweep(undisturbed.parent / "tiny.yaml", "--storage", damaged, "--address", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables(damaged) == tables(undisturbed)


@pytest.mark.parametrize("harm", ["truncated", "flipped", "empty"])
def test_damaged_results_are_found_and_set_aside(damaged: Path, harm: str) -> None:
    for table in ("runs", "episodes", "experiments", "curves"):
        HARMS[harm](max((damaged / "results" / table).glob("*.parquet"), key=lambda file: file.stat().st_size))
    assert len(list(ResultStore(damaged / "results").problems())) == 4
    runner = CliRunner()
    found = runner.invoke(orchestrator.store.app, ["check", "--storage", str(damaged)])
    assert found.exit_code == 1 and found.output.count("is damaged") == 4, found.output
    repaired = runner.invoke(orchestrator.store.app, ["check", "--repair", "--storage", str(damaged)])
    assert repaired.exit_code == 0 and "4 damaged; the next sweep makes it again" in repaired.output
    again = runner.invoke(orchestrator.store.app, ["check", "--storage", str(damaged)])
    assert again.exit_code == 0 and "nothing damaged" in again.output
    assert len(list((damaged / "damaged" / "results").glob("*/*.parquet"))) == 4


def test_a_repaired_storage_ends_in_the_same_tables(undisturbed: Path, damaged: Path) -> None:
    for table in ("runs", "episodes", "experiments", "curves"):
        for file in (damaged / "results" / table).glob("*.parquet"):
            truncate(file)
    assert CliRunner().invoke(orchestrator.store.app, ["check", "--repair", "--storage", str(damaged)]).exit_code == 0
    done = sweep(undisturbed.parent / "tiny.yaml", "--storage", damaged, "--address", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables(damaged) == tables(undisturbed)


class Planted:
    """What would run a command if anybody unpickled it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_is_planted_anywhere_in_a_storage_is_never_executed(
    undisturbed: Path, damaged: Path, plan: Plan, tmp_path: Path
) -> None:
    """In the place of every file that is there, of every checkpoint that there could be, and under Tune's names."""
    planted = pickle.dumps(Planted(tmp_path / "executed"))
    names = ("state.safetensors", "replay.f32", "seconds", "state.pkl", "algorithm_state.pkl")
    checkpoints = [
        damaged / "work" / found.kind / found.key / name for found in plan.artifacts.values() for name in names
    ]
    tune = [damaged / "tune" / "tiny@host@1" / name for name in ("error.pkl", "tuner.pkl", "searcher-state.pkl")]
    for file in [*(file for file in damaged.rglob("*") if file.is_file()), *checkpoints, *tune]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(planted)
    repaired = CliRunner().invoke(orchestrator.store.app, ["check", "--repair", "--storage", str(damaged)])
    assert repaired.exit_code == 0, repaired.output
    done = sweep(undisturbed.parent / "tiny.yaml", "--storage", damaged, "--address", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables(damaged) == tables(undisturbed)
    assert not (tmp_path / "executed").exists()
    pickle.loads(planted)  # it would have been
    assert (tmp_path / "executed").exists()


def test_many_tasks_that_meet_one_damage_make_it_again(undisturbed: Path, damaged: Path, plan: Plan) -> None:
    """Eight actors at once find the experts damaged that all of their rollouts need."""
    store = Store(str(damaged))
    for run in plan.runs.values():
        forget(damaged, run.key)
        for rollouts in run.rollouts:
            shutil.rmtree(rollouts.folder(store))
    for artifact in plan.artifacts.values():
        if isinstance(artifact, DemonstrationsArtifact):
            shutil.rmtree(artifact.folder(store))
        if isinstance(artifact, PopulationExperts):
            flip(artifact.folder(store) / "actor.safetensors")
    words = ["--set", "resources.rollout.workers=8", "--address", "local"]
    done = sweep(undisturbed.parent / "tiny.yaml", "--storage", damaged, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables(damaged) == tables(undisturbed)


def test_nothing_waits_for_what_is_damaged_below_a_failure(undisturbed: Path, damaged: Path, plan: Plan) -> None:
    experts, *_ = (artifact for artifact in plan.artifacts.values() if isinstance(artifact, PopulationExperts))
    shown, *_ = (artifact for artifact in plan.artifacts.values() if isinstance(artifact, DemonstrationsArtifact))
    store = Store(str(damaged))
    for run in plan.runs.values():
        forget(damaged, run.key)
    shutil.rmtree(experts.folder(store))
    state = ExecutionState(plan, store, wanted=[experts])
    state.fail(experts.key, "for good")
    state.lose(shown.key)
    assert shown.key in state.failures and state.finished()


def test_a_damaged_study_and_a_damaged_checkpoint_begin_again(tmp_path: Path, plan: Plan) -> None:
    store, settings = Store(str(tmp_path)), {"training.learning_rate": 1e-4}
    study = StudyArtifact({"search": "some"}, ())
    assert study.make(store, lambda workspace: [Outcome(dict(settings), 1.0, 2, True)]) == settings
    manifest = study_folder(store, study) / MANIFEST
    manifest.write_text(manifest.read_text().replace("0.0001", "0.1000"))
    assert study.stored(store) is None and not store.exists("study", study.key)
    (experts,) = (artifact for artifact in plan.artifacts.values() if isinstance(artifact, PopulationExperts))
    left = store.workspaces("experts") / experts.key / "state.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a state")
    assert make(store, experts)
    assert list((tmp_path / "damaged" / "work").glob("*/state.safetensors"))


def study_folder(store: Store, study: StudyArtifact) -> Path:
    return store.folder("study", study.key)
