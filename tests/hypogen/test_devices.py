"""Trainings on every device that is here: a processor, and a GPU where there is one."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from hypogen.experts import TD3Settings, train
from hypogen.generators import GENERATORS, Generator
from hypogen.training import Stopped, TrainingSettings, _Run, fit
from tests.helpers.experiments import ROOT
from tests.helpers.imitation import tiny_demonstrations, tiny_generator

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SETTINGS = TrainingSettings(
    epochs=3,
    batch_size=50,
    learning_rate=1e-3,
    learning_rate_final=0.0,
    warmup_steps=2,
    spec_noise=0.1,
    max_gradient_norm=0.5,
    checkpoint_every_s=1e6,
)
"""Batches of two shapes, a rate that changes in every step, and random numbers in every step."""


def weights(generator: Generator) -> list[torch.Tensor]:
    return [parameter.detach().cpu() for parameter in generator.parameters()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", GENERATORS)
def test_a_stopped_training_ends_in_the_same_bits(method: str, precision: str, device: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, precision=precision)
    undisturbed = tiny_generator(method)
    rows = fit(undisturbed, tiny_demonstrations(), settings, 1, device=device)
    answers = iter([False] * 3 + [True])
    with pytest.raises(Stopped, match="in epoch"):
        fit(tiny_generator(method), tiny_demonstrations(), settings, 1, tmp_path, device=device, stop=answers.__next__)
    resumed = tiny_generator(method, seed=99)
    assert fit(resumed, tiny_demonstrations(), settings, 1, tmp_path, device=device) == rows
    assert all(map(torch.equal, weights(resumed), weights(undisturbed)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", [method for method in GENERATORS if method != "pearl"])
def test_every_device_takes_the_steps_of_plain_torch(method: str, device: str) -> None:
    """PEARL draws its latents on the device, and so from another device's random numbers."""
    plain, there = tiny_generator(method), tiny_generator(method)
    run = _Run(plain, tiny_demonstrations(), SETTINGS, 1, torch.device("cpu"), factored=False)
    for epoch in range(SETTINGS.epochs):
        run.advance(check_parameters=epoch + 1 == SETTINGS.epochs, between=lambda: None)
    rows = fit(there, tiny_demonstrations(), SETTINGS, 1, device=device)
    for ours, plains in zip(rows, run.rows, strict=True):
        assert ours == pytest.approx(plains, rel=1e-4)
    torch.testing.assert_close(weights(there), weights(plain), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_generated_policies_do_not_depend_on_the_device(device: str) -> None:
    one, other = tiny_generator("hypogen"), tiny_generator("hypogen").to(device)
    specs = one.benchmark.grid[:5]
    ours, theirs = other.policy(specs).to("cpu"), one.policy(specs)
    torch.testing.assert_close(ours.weights, theirs.weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("joint", [0.0, 0.5])
def test_stopped_experts_end_in_the_same_bits(joint: float, device: str, tmp_path: Path) -> None:
    settings = TD3Settings(
        updates=20,
        joint_fraction=joint,
        shared_replay=joint > 0.0,
        batch_size=16,
        hidden_dim=32,
        seed_steps=60,
        exploration_steps=0,
        replay_capacity=500,
        evaluate_every=10,
        evaluation_episodes=1,
        precision="auto",
    )
    specs, done = np.array([[-10.0], [5.0]]), iter([False] * 6 + [True])
    undisturbed = train("finger-speed", specs, settings, seed=1, device=device)
    with pytest.raises(Stopped):
        train("finger-speed", specs, settings, 1, tmp_path, stop=done.__next__, checkpoint_every_s=1e6, device=device)
    resumed = train("finger-speed", specs, settings, 1, tmp_path, device=device)
    for name in (field.name for field in dataclasses.fields(undisturbed.actor)):
        assert all(map(torch.equal, getattr(resumed.actor, name), getattr(undisturbed.actor, name)))
    assert np.array_equal(resumed.returns, undisturbed.returns)


def test_the_gpus_kernels_are_torchs_adam() -> None:
    """Interpreted, so that they run without a GPU."""
    beside = Path(sys.prefix) / "triton"
    assert beside.exists() or find_spec("triton"), f"install Triton first: make test, or pip install --target {beside}"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(beside)])}
    command = [sys.executable, "-m", "tests.helpers.gpu_kernels"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.01
