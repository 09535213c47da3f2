"""Hundreds of histories of faults break no rule, and the simulation finds bugs that are planted in the code."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.artifacts import artifact_store, integrity
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.integrity import MANIFEST
from orchestrator.execution.state import ExecutionState
from tests.simulation import history
from tests.simulation.history import FAULTS, Broken, play, undisturbed

HISTORIES = 250
TRIED = 100
"""Histories within which a planted bug must show."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    undisturbed()  # before a bug is planted
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_histories_break_no_rule() -> None:
    """More: ``python -m tests.simulation.history``. One that breaks a rule is replayed by its ``--seed …``."""
    happened = set()
    for seed in range(HISTORIES):
        log = "\n".join(play(seed).world.log)
        happened |= {kind for kind in FAULTS if f"{kind}, where" in log}
    assert happened == set(FAULTS)


def test_a_seed_tells_the_same_history_again() -> None:
    first, again = (play(7).world.log for _ in range(2))
    assert [line.replace("history-", "").split("/")[0] for line in first] == [
        line.replace("history-", "").split("/")[0] for line in again
    ]


def nothing_is_synced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(integrity, "sync", lambda path: None)
    patch.setattr(artifact_store, "sync", lambda path: None)


def the_manifest_comes_first(patch: pytest.MonkeyPatch) -> None:
    def publish(store: Store, staging: Path, kind: str, key: str) -> None:
        target = Path(store.root, "artifacts", kind, key)
        target.mkdir(parents=True)
        for file in sorted(staging.iterdir(), key=lambda file: file.name != MANIFEST):
            shutil.copyfile(file, target / file.name)

    patch.setattr(Store, "_publish", publish)


def a_retry_is_never_released(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutionState, "release", lambda state, key: None)


def nobody_locks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(artifact_store, "locked", lambda path: contextlib.nullcontext())
    patch.setattr(history, "FAULTS", {"start a second sweep": 3, "stop": 1})  # others seldom bring two together


def a_checkpoint_is_one_of_another_training(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(history.Checkpoint, "load", lambda files: {"step": 1, "chain": "of another"})


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (nothing_is_synced, "is finished, but"),
        (the_manifest_comes_first, "is finished, but"),
        (a_retry_is_never_released, "no end after|nothing goes on|not done after"),
        (nobody_locks, r"was made \d times"),
        (a_checkpoint_is_one_of_another_training, "other tables"),
    ],
)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, plant, says: str) -> None:
    plant(monkeypatch)
    with pytest.raises(Broken, match=f"(?s)seed .*({says})"):
        for seed in range(TRIED):
            play(seed)
