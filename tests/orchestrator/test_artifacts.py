"""Artifacts: how they are made and loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hypogen import zoo
from hypogen.checkpoints import Checkpoint
from hypogen.demonstrations import Demonstrations
from orchestrator.artifacts import DemonstrationsArtifact, GeneratorArtifact
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.making import make_all
from orchestrator.config.loading import expand, load
from orchestrator.planning.plan import build


def test_noise_disturbs_what_experts_do_and_not_what_they_show(tiny: Callable[..., Path], tmp_path: Path) -> None:
    store = Store(str(tmp_path / "runs"))

    def shown(noise: float) -> Demonstrations:
        changes = {"specs": {"values": [[2.0], [5.0]]}, "experts": {"source": "zoo"}, "methods": ["cond_policy"]}
        plan = build(expand(load(tiny(demonstrations={"episodes": 1, "noise": noise}, **changes))))
        (shown,) = (artifact for artifact in plan.artifacts.values() if isinstance(artifact, DemonstrationsArtifact))
        make_all(store, [shown])
        return shown.load(store)

    calm, disturbed = shown(0.0), shown(0.3)
    assert torch.equal(calm.observations[:, :, 0], disturbed.observations[:, :, 0])
    assert not torch.equal(calm.observations[:, :, 1], disturbed.observations[:, :, 1])
    experts = zoo.load("cheetah-speed")
    rows = [experts.specs[:, 0].tolist().index(speed) for speed in (2.0, 5.0)]
    for demonstrations in (calm, disturbed):
        expected = experts.select(rows).actor(demonstrations.observations.flatten(1, 2))
        torch.testing.assert_close(demonstrations.actions.flatten(1, 2), expected)


def test_a_training_that_is_stored_at_once_writes_no_last_checkpoint(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[int] = []
    monkeypatch.setattr(Checkpoint, "save", lambda self, state: states.append(state["epoch"]))
    changes = {"specs": {"values": [[2.0], [5.0]]}, "experts": {"source": "zoo"}, "methods": ["cond_policy"]}
    training = {"epochs": 3, "batch_size": 500, "checkpoint_every_s": 0.0}
    plan, store = build(expand(load(tiny(training=training, **changes)))), Store(str(tmp_path / "runs"))
    trained = [artifact for artifact in plan.artifacts.values() if isinstance(artifact, GeneratorArtifact)]
    make_all(store, trained)
    assert states[-1] == 2
    assert [store.exists(artifact.kind, artifact.key) for artifact in trained] == [True]
