"""Training by factored gradients against torch's own layers, gradients and Adam, and its independence of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hypogen import training
from hypogen.adam import FactoredAdam, PlainAdam, adam
from hypogen.checkpoints import FILE
from hypogen.factored import Chain, Linear, apply, product
from hypogen.generators import GENERATORS
from hypogen.training import TrainingSettings, _Run, fit
from tests.helpers.imitation import tiny_demonstrations, tiny_generator

torch.set_num_threads(1)
SETTINGS = TrainingSettings(epochs=40, batch_size=64, learning_rate=1e-3, checkpoint_every_s=0.0)


class Net(nn.Module):
    """Every kind of layer, of sizes that fit no block of the kernels, and one used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one = Chain(nn.Linear(13, 37), nn.ReLU(), nn.Linear(37, 301))
        self.other = Chain(Chain(nn.ReLU(), nn.Linear(13, 7)), nn.ReLU())
        self.twice = Linear(301, 301)
        self.matrices, self.slopes = nn.Parameter(torch.randn(301 * 7, 5) / 40), nn.Parameter(torch.randn(301, 5))
        self.plain, self.idle = nn.Linear(5, 3), nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        rows, features = apply((self.one, inputs), (self.other, inputs))
        rows = self.twice(torch.relu(self.twice(rows)))
        return self.plain(product(rows, features, self.matrices, self.slopes))


def trained(
    rows: int, factored: bool, dtype: torch.dtype, max_norm: float | None = None, threads: int = 1
) -> list[Tensor]:
    """Losses, parameters and slope by the inputs after some steps."""
    torch.manual_seed(0)
    net, torch_threads = Net().to(dtype), torch.get_num_threads()
    inputs, wanted = torch.randn(rows, 13, dtype=dtype, requires_grad=True), torch.randn(rows, 3, dtype=dtype)
    optimizer = adam(net.parameters(), 1e-3, max_norm, factored)
    assert isinstance(optimizer, FactoredAdam if factored else PlainAdam)
    losses = []
    torch.set_num_threads(threads)
    try:
        for _ in range(20):
            with optimizer.recording():
                loss = (net(inputs) - wanted).square().mean()
            optimizer.step(loss)
            losses.append(loss.detach())
    finally:
        torch.set_num_threads(torch_threads)
    assert inputs.grad is not None
    return [torch.stack(losses), inputs.grad, *(parameter.detach() for parameter in net.parameters())]


@pytest.mark.parametrize("rows", [1, 3, 8, 13, 40])
@pytest.mark.parametrize("max_norm", [None, 0.1, 1e6])
def test_it_is_torchs_adam(rows: int, max_norm: float | None) -> None:
    """Ranks below, at and above the kernels' 8, and above the largest (two uses of 40 rows)."""
    ours, torchs = (trained(rows, factored, torch.float64, max_norm) for factored in (True, False))
    assert torchs[0][-1] < 0.9 * torchs[0][0]
    torch.testing.assert_close(ours, torchs, rtol=1e-9, atol=1e-12)


def test_it_is_torchs_adam_in_float32_too() -> None:
    torch.testing.assert_close(
        trained(8, True, torch.float32)[0], trained(8, False, torch.float32)[0], rtol=1e-5, atol=0
    )


def test_any_number_of_threads_gives_the_same_bits() -> None:
    one = trained(8, True, torch.float32, 0.1)
    for threads in (2, 3):
        for ours, theirs in zip(one, trained(8, True, torch.float32, 0.1, threads), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("method", "overrides"),
    [
        *((method, {}) for method in GENERATORS),
        ("hypogen", {"space": "full", "step_size": "scalar"}),
        ("hypogen", {"share_blocks": True, "block_depth": 3}),
        ("hypogen", {"block_depth": 1}),
    ],
    ids=str,
)
def test_a_loss_curve_of_200_steps_is_that_of_plain_torch(
    method: str, overrides: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def curve() -> Tensor:
        settings = replace(SETTINGS, max_gradient_norm=0.1)
        run = _Run(
            tiny_generator(method, **overrides).double(), tiny_demonstrations(), settings, 0, torch.device("cpu")
        )
        numbers = {f.name: getattr(run.data, f.name).double() for f in fields(run.data)}
        run.data = replace(run.data, **numbers)
        losses: list[Tensor] = []
        step = run._step
        monkeypatch.setattr(run, "_step", lambda batch: losses.append((found := step(batch))["loss"].clone()) or found)
        while len(losses) < 200:
            run.advance(check_parameters=False, between=lambda: None)
        return torch.stack(losses)

    ours = curve()
    monkeypatch.setattr(training, "adam", lambda *arguments, **_: adam(*arguments, factored=False))
    torchs = curve()
    assert torchs[-1] < 0.6 * torchs[0]
    torch.testing.assert_close(ours, torchs, rtol=1e-9, atol=0)


def test_views_in_any_order_of_memory_will_do() -> None:
    def gradients(factored: bool) -> list[Tensor]:
        torch.manual_seed(0)
        opened, closed = Chain(nn.ReLU(), Linear(5, 4)).double(), Chain(Linear(5, 6), nn.ReLU()).double()
        weight, bias = (nn.Parameter(torch.randn(*shape, dtype=torch.float64)) for shape in ((24, 4), (4, 4)))
        parameters = [*opened.parameters(), *closed.parameters(), weight, bias]
        optimizer, inputs = adam(parameters, 1e-3, None, factored), torch.randn(5, 3, dtype=torch.float64).T
        with optimizer.recording():
            rows, features = apply((opened, inputs), (closed, inputs))
            made = product(rows.T.contiguous().T, features, weight, bias)
            loss = (made.T @ features.T.contiguous().T).square().sum() + (rows * made).sum()
        optimizer.step(loss)
        return [buffers["exp_avg"] for buffers in optimizer.state().values()]

    torch.testing.assert_close(gradients(True), gradients(False), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("inputs", [torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.float64), torch.zeros(2, 2, 4)])
def test_inputs_that_the_kernels_would_misread_are_refused(inputs: Tensor) -> None:
    layer = Linear(4, 4)
    with adam(layer.parameters(), 1e-3).recording(), pytest.raises(ValueError, match=r"a layer for \[S, 4\]"):
        layer(inputs)


def test_a_checkpoint_of_torchs_adam_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit(tiny_generator("hyperzero"), tiny_demonstrations(), SETTINGS, 1)
    with monkeypatch.context() as patch:
        patch.setattr(training, "adam", lambda *arguments, **_: adam(*arguments, factored=False))
        fit(tiny_generator("hyperzero"), tiny_demonstrations(), SETTINGS, 1, tmp_path, until=2)
    rows = fit(tiny_generator("hyperzero"), tiny_demonstrations(), SETTINGS, 1, tmp_path)
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in expected], rel=1e-4)


KILLED = """
import os, signal, sys, torch
from tests.helpers.imitation import tiny_demonstrations, tiny_generator
from tests.hypogen.test_adam import SETTINGS
from hypogen.training import fit
torch.set_num_threads(1)
kill = lambda row: row["epoch"] == 3 and os.kill(os.getpid(), signal.SIGKILL)
fit(tiny_generator("hypogen"), tiny_demonstrations(), SETTINGS, 1, sys.argv[1], kill)
"""


def test_after_a_kill_it_ends_in_the_same_bits(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert ended.returncode == -9 and (tmp_path / FILE).exists()
    undisturbed, resumed = tiny_generator("hypogen"), tiny_generator("hypogen", seed=99)
    rows = fit(undisturbed, tiny_demonstrations(), SETTINGS, 1)
    assert fit(resumed, tiny_demonstrations(), SETTINGS, 1, tmp_path) == rows
    assert all(torch.equal(a, b) for a, b in zip(undisturbed.parameters(), resumed.parameters(), strict=True))
