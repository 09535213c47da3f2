"""Training by the GPU's kernels, which Triton interprets, beside torch's Adam: the largest differences are printed.

TRITON_INTERPRET=1 python -m tests.helpers.gpu_kernels
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hypogen.adam import GpuFactoredAdam, PlainAdam
from hypogen.factored import Chain, apply, product
from hypogen.native.gpu import GpuKernels

CASES = [(3, None), (13, 0.1)]
"""Inputs' rows and largest norm of the gradients."""


class Net(nn.Module):
    """Layers narrower and wider than the kernels' tiles, inputs that are used twice, and whole gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.one = Chain(nn.Linear(1030, 20), nn.ReLU(), nn.Linear(20, 70), nn.ReLU())
        self.other = Chain(nn.Linear(70, 9))
        self.matrices, self.slopes = nn.Parameter(torch.randn(9 * 4, 33) / 6), nn.Parameter(torch.zeros(4, 33))
        self.plain, self.idle = nn.Linear(33, 3), nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        (features,) = apply((self.one, inputs))
        rows, columns = apply((self.other, features), (self.other, features * 2))
        return self.plain(product(rows[:, :4], columns, self.matrices, self.slopes))


def difference(rows: int, max_norm: float | None) -> float:
    """Largest one of a parameter after three steps, in units of the steps' size."""
    torch.manual_seed(rows)
    ours, theirs, rate = Net(), Net(), 1e-3
    theirs.load_state_dict(ours.state_dict())
    kernels = GpuKernels(torch.device("cpu"))
    pairs = [
        (ours, GpuFactoredAdam(list(ours.parameters()), rate, max_norm, kernels)),
        (theirs, PlainAdam(list(theirs.parameters()), rate, max_norm)),
    ]
    for step in range(3):
        inputs = torch.randn(rows, 1030)
        for net, optimizer in pairs:
            optimizer.rate = rate * (step + 1)
            with optimizer.recording():
                loss = net(inputs).square().mean()
            optimizer.step(loss)
    apart = [(a - b).abs().max() for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)]
    return float(max(apart).detach()) / rate


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(max(difference(*case) for case in CASES))
