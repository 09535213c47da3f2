"""``store gc``: what a listed experiment needs stays, what was superseded goes, and nothing is guessed."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import orchestrator.store
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.integrity import MANIFEST
from orchestrator.artifacts.study_artifact import Outcome, StudyArtifact
from orchestrator.config.loading import expand, load
from orchestrator.execution.measured import write_experiment
from orchestrator.planning.plan import Plan, build
from results import ResultStore
from tests.helpers.stubs import fill


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "runs"))


def planned(path: Path, *assignments: str) -> Plan:
    return build(expand(load(path, None, assignments)))


def measure(store: Store, plan: Plan) -> None:
    """List an experiment, whose runs are all finished."""
    write_experiment(store, plan)
    for run in plan.runs.values():
        as_text = {name: json.dumps(run.columns[name]) for name in ("settings", "overrides")}
        numbers = {"steps": 1, "parameters": 1, "artifact": run.acting.key}
        ResultStore(store.results).write("runs", run.key, [{"run": run.key, **run.columns, **as_text, **numbers}])


def age(store: Store) -> None:
    """Let two days pass."""
    moment = time.time() - 2 * 86400
    for file in Path(store.root).rglob("artifacts/*/*/*"):
        os.utime(file, (moment, moment))


def gc(store: Store, *words: object) -> Result:
    return CliRunner().invoke(orchestrator.store.app, ["gc", "--storage", store.root, *map(str, words)])


def there(store: Store) -> set[str]:
    return {path.parent.name for path in Path(store.root).glob(f"artifacts/*/*/{MANIFEST}")}


def test_what_was_superseded_goes_and_what_is_listed_stays(tiny: Callable[..., Path], store: Store) -> None:
    """Two generators and their rollouts were made with other settings under the same name; all else is shared."""
    probed = tiny(probes=["random_start"])
    plan, before = planned(probed), planned(probed, "training.epochs=3")
    before.experiment = plan.experiment
    superseded = before.artifacts.keys() - plan.artifacts.keys()
    fill(store, [*plan.artifacts.values(), *before.artifacts.values()])
    measure(store, before)
    measure(store, plan)
    assert "no listed experiment needs 0 artifacts" in gc(store).output, "they are younger than a day"
    age(store)
    shown = gc(store)
    assert shown.exit_code == 0 and f"needs {len(superseded)} artifacts" in shown.output
    assert there(store) == plan.artifacts.keys() | before.artifacts.keys(), "it only shows"
    done = gc(store, "--delete")
    assert done.exit_code == 0, done.output
    assert there(store) == plan.artifacts.keys() and len(superseded) == 6
    assert all(path.parent.name in there(store) for path in Path(store.root).glob("artifacts/*/*/*"))


def test_the_outcome_of_a_search_stays_with_what_it_learned_from(tiny: Callable[..., Path], store: Store) -> None:
    """No run names it, and to search again costs more than all else."""
    shown = next(a for a in planned(tiny()).artifacts.values() if a.kind == "demonstrations")
    fill(store, [*shown.inputs, shown])
    study = StudyArtifact({"file": "tiny"}, (shown.key,))
    study.make(store, lambda workspace: [Outcome({"training.epochs": 2}, 1.0, 2, True)])
    age(store)
    assert gc(store, "--delete").exit_code == 0
    assert there(store) == {study.key, shown.key, *(artifact.key for artifact in shown.inputs)}


def test_what_a_young_artifact_was_made_from_stays(tiny: Callable[..., Path], store: Store) -> None:
    plan = planned(tiny())
    fill(store, plan.artifacts.values())
    age(store)
    (young,) = (run.acting for run in plan.runs.values() if run.method == "hypogen")
    os.utime(young.folder(store) / MANIFEST)
    assert gc(store, "--delete").exit_code == 0
    assert there(store) == {
        young.key,
        *(key for key, a in plan.artifacts.items() if a.kind in ("experts", "demonstrations")),
    }


def test_a_run_without_rows_holds_everything_until_its_file_is_given(tiny: Callable[..., Path], store: Store) -> None:
    path = tiny()
    plan, other = planned(path), planned(path, "training.epochs=3")
    fill(store, [*plan.artifacts.values(), *other.artifacts.values()])
    age(store)
    write_experiment(store, plan)
    refused = gc(store, "--delete")
    assert refused.exit_code == 2 and "tiny (3). Finish them, or give their files with --keep" in refused.output
    assert there(store) == plan.artifacts.keys() | other.artifacts.keys()
    assert gc(store, "--delete", "--keep", path).exit_code == 0
    assert there(store) == plan.artifacts.keys()


def test_nothing_goes_while_something_is_being_made_or_cannot_be_read(tiny: Callable[..., Path], store: Store) -> None:
    plan = planned(tiny())
    fill(store, plan.artifacts.values())
    age(store)
    key, artifact = next(iter(plan.artifacts.items()))
    with (Path(store.root) / "locks" / f"{artifact.kind}-{key}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        busy = gc(store, "--delete")
    assert busy.exit_code == 2 and f"a sweep is making {artifact.kind}-{key}" in busy.output
    manifest = artifact.folder(store) / MANIFEST
    text = manifest.read_text()
    manifest.write_text("half")
    unreadable = gc(store, "--delete")
    assert unreadable.exit_code == 2 and "First run `hypogen store check --repair`" in unreadable.output
    assert there(store) == plan.artifacts.keys()
    manifest.write_text(text)
    age(store)
    assert gc(store, "--delete").exit_code == 0 and not there(store)
