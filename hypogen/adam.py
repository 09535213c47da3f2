"""Adam, by gradients that are kept as their factors, and plainly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hypogen.checkpoints import load_optimizer_state, optimizer_state
from hypogen.factored import Tape

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's constants (torch's defaults)."""

LARGEST_RANK = 64
"""Largest number of factors' rows by which a parameter is updated; more of them are multiplied first."""


class Optimizer(Protocol):
    """Training step: a forward pass within `recording`, then `step`.

    rate: learning rate, which may be set before every step.
    """

    rate: float

    def recording(self) -> AbstractContextManager[None]:
        """Context of the forward pass."""

    def step(self, loss: Tensor) -> None:
        """Backward pass from a loss, clipping, and the update."""

    def state(self) -> dict[str, Any]:
        """Buffers by the number of their parameter, named like those of torch's Adam."""

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go back to a `state`, of either optimiser."""


def adam(
    parameters: Iterable[nn.Parameter], rate: float, max_norm: float | None = None, factored: bool = True
) -> Optimizer:
    """Adam for these parameters.

    max_norm: largest norm of all gradients together, which are scaled down to it; None for no limit.
    factored: whether gradients may be kept as factors, which takes parameters on the CPU of one floating type, and
        torch with GNU's OpenMP (Linux); otherwise, and there, this is torch's own Adam.
    """
    parameters = list(parameters)
    if factored and (kernels := _kernels(parameters)) is not None:
        return FactoredAdam(parameters, rate, max_norm, Tape(kernels))
    return PlainAdam(parameters, rate, max_norm)


def _kernels(parameters: list[nn.Parameter]) -> Any:
    """Native kernels that these parameters can be trained with, or None."""
    kinds = {(parameter.device.type, parameter.dtype) for parameter in parameters}
    if kinds not in ({("cpu", torch.float32)}, {("cpu", torch.float64)}):
        return None
    try:
        from hypogen.native import Kernels  # loads Numba, which only training needs
    except OSError:
        return None
    return Kernels(parameters[0].dtype)


class PlainAdam:
    """torch's Adam by whole gradients."""

    def __init__(self, parameters: list[nn.Parameter], rate: float, max_norm: float | None) -> None:
        self.rate, self._parameters, self._max_norm = rate, parameters, max_norm
        self._adam = torch.optim.Adam(parameters, lr=rate, betas=BETAS, eps=EPSILON, fused=True)

    def recording(self) -> AbstractContextManager[None]:
        return nullcontext()

    def step(self, loss: Tensor) -> None:
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        if self._max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        for group in self._adam.param_groups:
            group["lr"] = self.rate
        self._adam.step()

    def state(self) -> dict[str, Any]:
        return optimizer_state(self._adam)

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        load_optimizer_state(self._adam, state)


class FactoredAdam:
    """Adam by the factors on a tape and by whole gradients: torch's arithmetic but for the order of additions.

    The norm for clipping follows from the factors' Gram matrices, and the update forms each row of a gradient while it
    has that row's weights and moments at hand.
    """

    def __init__(self, parameters: list[nn.Parameter], rate: float, max_norm: float | None, tape: Tape) -> None:
        self.rate, self._parameters, self._max_norm, self._tape = rate, parameters, max_norm, tape
        self._steps = [0] * len(parameters)
        self._means, self._squares = _together(parameters), _together(parameters)
        moments = zip(self._means, self._squares, strict=True)
        self._moments = [(mean.data_ptr(), square.data_ptr()) for mean, square in moments]
        for parameter, room in zip(parameters, _together(parameters), strict=True):
            parameter.data = room.copy_(parameter.data)

    def recording(self) -> AbstractContextManager[None]:
        return self._tape.recording()

    def step(self, loss: Tensor) -> None:
        self._tape.factors.clear()
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        jobs, kept = [], []
        numbers = [1.0 - BETAS[0], BETAS[1], 1.0 - BETAS[1], EPSILON, 1.0]
        for number, parameter in enumerate(self._parameters):
            gradient = self._gradient(parameter)
            if gradient is None:
                continue
            kept.append(gradient)  # its memory is in use until the update is done
            rows, columns = gradient
            first, rank = (columns, 0) if rows is None else (rows, rows.shape[0])
            addresses = parameter.data_ptr(), *self._moments[number], first.data_ptr(), columns.data_ptr()
            width = columns.shape[1]
            jobs.append((*addresses, rank, parameter.numel() // width, width))
            count = self._steps[number] = self._steps[number] + 1
            numbers += ((1.0 - BETAS[1] ** count) ** -0.5, self.rate / (1.0 - BETAS[0] ** count))
        if self._max_norm is not None:
            norm = float(self._tape.kernels.norms(jobs).sum().sqrt())
            numbers[4] = min(1.0, self._max_norm / (norm + 1e-6))  # as torch has it
        self._tape.kernels.adam(jobs, numbers)
        self._tape.factors.clear()

    def _gradient(self, parameter: nn.Parameter) -> tuple[Tensor | None, Tensor] | None:
        """Rows and columns of a gradient, or no rows and the whole gradient as a matrix; None where there is none."""
        factors = self._tape.factors.get(parameter, [])
        if not factors and parameter.grad is None:
            return None
        rows, columns = factors[0] if len(factors) == 1 else (None, None)
        if len(factors) > 1:
            rows, columns = (torch.cat(parts) for parts in zip(*factors, strict=True))
        if rows is not None and columns is not None and rows.shape[0] <= LARGEST_RANK and parameter.grad is None:
            return rows, columns
        whole = parameter.grad
        if rows is not None and columns is not None:
            product = (rows.T @ columns).view_as(parameter)
            whole = product if whole is None else whole + product
        assert whole is not None
        return None, whole.contiguous().view(-1, whole.shape[-1] if whole.ndim else 1)

    def state(self) -> dict[str, Any]:
        return {
            str(number): {
                "step": torch.tensor(float(steps)),
                "exp_avg": self._means[number],
                "exp_avg_sq": self._squares[number],
            }
            for number, steps in enumerate(self._steps)
            if steps
        }

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        for number, (mean, square) in enumerate(zip(self._means, self._squares, strict=True)):
            buffers = state.get(str(number))
            self._steps[number] = 0 if buffers is None else int(buffers["step"])
            mean.copy_(torch.zeros(()) if buffers is None else buffers["exp_avg"])
            square.copy_(torch.zeros(()) if buffers is None else buffers["exp_avg_sq"])


def _together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Zeros like these, side by side in memory that numpy asks the kernel to map by huge pages.

    Passes over hundreds of megabytes then wait for the tables of pages less: the thin products run up to 1.4 x as fast.
    """
    line = 64 // tensors[0].itemsize
    sizes = [-(-tensor.numel() // line) * line for tensor in tensors]
    kind = torch.empty(0, dtype=tensors[0].dtype).numpy().dtype
    room = torch.from_numpy(np.empty(sum(sizes), kind)).zero_()
    return [part[: like.numel()].view_as(like) for part, like in zip(room.split(sizes), tensors, strict=True)]
