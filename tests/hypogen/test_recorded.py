"""Recorded steps against steps that are taken anew."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hypogen.factored import Linear
from hypogen.generators import GENERATORS, Batch
from hypogen.recorded import RecordedStep
from hypogen.training import TrainingSettings, _Run
from tests.helpers.experiments import ROOT
from tests.helpers.imitation import tiny_demonstrations, tiny_generator

SETTINGS = TrainingSettings(
    epochs=4, batch_size=50, learning_rate=1e-3, warmup_steps=2, spec_noise=0.1, max_gradient_norm=0.5
)
"""Batches of two shapes, and random numbers in every step."""


def training(method: str, settings: TrainingSettings = SETTINGS) -> _Run:
    return _Run(tiny_generator(method), tiny_demonstrations(), settings, 1, torch.device("cpu"))


def bits(run: _Run) -> list[Tensor]:
    for epoch in range(run.settings.epochs):
        run.advance(check_parameters=epoch + 1 == run.settings.epochs, between=lambda: None)
    return [parameter.detach() for parameter in run.generator.parameters()]


def assert_same(ours: _Run, anew: _Run) -> None:
    anew._take = anew._learn
    assert all(map(torch.equal, bits(ours), bits(anew))) and ours.rows == anew.rows


def recordings(run: _Run) -> list[bool]:
    """Of each shape of batch, whether its steps are repeated."""
    assert isinstance(run._take, RecordedStep)
    return [recording is not None and recording.steps > 1 for recording in run._take._recordings.values()]


@pytest.mark.parametrize("specs_per_batch", [None, 2])
@pytest.mark.parametrize("method", GENERATORS)
def test_repeated_steps_have_the_bits_of_steps_taken_anew(method: str, specs_per_batch: int | None) -> None:
    settings = replace(SETTINGS, specs_per_batch=specs_per_batch)
    ours = training(method, settings)
    assert_same(ours, training(method, settings))
    assert recordings(ours) and all(recordings(ours))
    assert len(recordings(ours)) == (2 if specs_per_batch is None else 1)


def numpys(losses: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    return {**losses, "numpy": losses["action"] * float(np.square(batch.observations.numpy()).mean())}


def randoms(losses: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    return {**losses, "random": losses["action"] * np.random.rand()}


def looks(losses: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    return {**losses, "look": losses["action"] * (2.0 if batch.rewards.mean() > 0.5 else 3.0)}


def looks_late(losses: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """In the backward pass, after random numbers."""
    action = losses["action"] * torch.rand(())
    action.register_hook(lambda slope: slope if slope.item() > 0.0 else -slope)
    return {**losses, "late": action}


def lists(losses: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """A look that is no operation, and comes out otherwise only now and then."""
    return {**losses, "list": losses["action"] * (2.0 if batch.observations.max().tolist() > 2.5 else 3.0)}


def counts(losses: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """As many errors as there are small observations, which differs only now and then."""
    kept = batch.observations[..., 0].flatten() < 2.0
    errors = (losses["action"] * batch.rewards).flatten()
    return {**losses, "count": errors[kept.nonzero().squeeze(1)].mean()}


def masks(losses: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    kept = batch.observations[..., 0].flatten() < 2.0
    return {**losses, "mask": (losses["action"] * batch.rewards).flatten()[kept].mean()}


def remembers() -> Callable[[dict[str, Tensor], Batch], dict[str, Tensor]]:
    """Memory that outlives the step."""
    mean = torch.zeros(())

    def change(losses: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        mean.mul_(0.9).add_(batch.observations.mean(), alpha=0.1)
        return {**losses, "mean": losses["action"] * mean}

    return change


def normalises() -> Callable[[dict[str, Tensor], Batch], dict[str, Tensor]]:
    mean, square = torch.zeros(1), torch.ones(1)

    def change(losses: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        values = functional.batch_norm(batch.values.view(-1, 1), mean, square, training=True)
        return {**losses, "norm": losses["action"] * (values.square().mean() + mean.sum())}

    return change


@pytest.mark.parametrize("change", [numpys, randoms, looks, looks_late, lists, counts, masks, remembers, normalises])
def test_losses_that_cannot_be_repeated_are_taken_anew(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = training("hyperzero"), training("hyperzero")
    for run in runs:
        losses, changed = run.generator.losses, change() if change in (remembers, normalises) else change
        monkeypatch.setattr(
            run.generator, "losses", lambda batch, losses=losses, changed=changed: changed(losses(batch), batch)
        )
    np.random.seed(0)
    ours, anew = runs
    anew._take = anew._learn
    first = bits(ours)
    if change is not randoms:  # which the check has taken more of
        assert all(map(torch.equal, first, bits(anew))) and ours.rows == anew.rows
    assert not any(recordings(ours))


def test_what_python_counts_is_found_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    run, calls = training("hyperzero", replace(SETTINGS, epochs=40)), itertools.count()
    losses = run.generator.losses
    monkeypatch.setattr(
        run.generator,
        "losses",
        lambda batch: {**losses(batch), "late": losses(batch)["action"] * (0.0 if next(calls) < 6 else 1.0)},
    )
    with pytest.raises(RuntimeError, match="not on what Python keeps from step to step"):
        bits(run)


def test_what_kernels_read_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that no operation of torch made, and that only a kernel reads."""
    runs = training("hyperzero"), training("hyperzero")
    for run in runs:
        losses, layer = run.generator.losses, Linear(300, 3)
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)

        def changed(batch: Batch, losses: Any = losses, layer: Any = layer) -> dict[str, Tensor]:
            found = losses(batch)
            with torch.no_grad():
                factor = layer(torch.from_numpy(np.full((4, 300), 2.0, np.float32))).mean()
            return {**found, "factor": found["action"] * factor}

        monkeypatch.setattr(run.generator, "losses", changed)
    assert_same(*runs)
    assert all(recordings(runs[0]))


def test_an_error_within_a_step_is_the_users() -> None:
    run = training("hyperzero")
    batch = next(run._batches(run._order(), 1))
    wrong = replace(batch, observations=batch.observations[..., :-1])
    with pytest.raises(RuntimeError):
        run._step(wrong)
    one, other = run._step(batch), training("hyperzero")._step(batch)
    assert one.keys() == other.keys()
    assert recordings(run) == [False]  # of the batch that was right, before its second step


def test_a_recording_does_not_import_torchs_compiler() -> None:
    program = """
import sys, torch
from hypogen.recorded import _Operations
with _Operations() as operations:
    torch.ones(3) + 1
assert len(operations.calls) == 2 and "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
