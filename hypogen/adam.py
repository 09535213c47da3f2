"""Adam, by gradients that are kept as their factors, and plainly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hypogen.checkpoints import load_optimizer_state, optimizer_state
from hypogen.factored import Tape
from hypogen.native import Jobs

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


@dataclass(frozen=True)
class Gradients:
    """Gradients of one step, as the kernels read them.

    used: numbers of the parameters that have one. jobs: see `CpuKernels.adam`. parts: the tensors whose addresses are
    in the jobs: rows and columns, or no rows and the whole gradient. held: `Tape.held`.
    """

    used: list[int]
    jobs: Jobs
    parts: list[tuple[Tensor | None, Tensor]]
    held: list[Tensor]

    def tensors(self) -> list[Tensor]:
        """All that they consist of."""
        return [tensor for part in self.parts for tensor in part if tensor is not None]


class Capturable(Optimizer, Protocol):
    """An optimiser whose step may be captured in a CUDA graph (`hypogen.captured`)."""

    def buffers(self) -> list[Tensor]:
        """Moments and counts, as far as they exist: all once a step was taken."""

    def prepare(self) -> None:
        """Make ready for a capture, once such steps were taken."""

    def settle(self) -> None:
        """Finish what can't be done while a graph is captured."""


def adam(
    parameters: Iterable[nn.Parameter], rate: float, max_norm: float | None = None, factored: bool = True
) -> Optimizer:
    """Adam for these parameters.

    max_norm: largest norm of all gradients together, which are scaled down to it; None for no limit.
    factored: whether gradients may be kept as factors. On a processor that takes parameters of one floating type, and
        torch with GNU's OpenMP (Linux); on a GPU, float32 and Triton. Otherwise, and there, this is torch's own Adam.
    """
    parameters = list(parameters)
    kinds = {(parameter.device.type, parameter.dtype) for parameter in parameters}
    if factored and kinds in ({("cpu", torch.float32)}, {("cpu", torch.float64)}):
        try:
            from hypogen.native.cpu import CpuKernels  # loads Numba, which only training needs
        except OSError:
            return PlainAdam(parameters, rate, max_norm)
        return FactoredAdam(parameters, rate, max_norm, CpuKernels(parameters[0].dtype))
    if factored and kinds == {("cuda", torch.float32)}:
        try:
            from hypogen.native.gpu import GpuKernels
        except ImportError:
            return PlainAdam(parameters, rate, max_norm)
        return GpuFactoredAdam(parameters, rate, max_norm, GpuKernels(parameters[0].device))
    return PlainAdam(parameters, rate, max_norm)


class PlainAdam:
    """torch's Adam by whole gradients. On a GPU its step may be captured: rate and counts lie there."""

    def __init__(self, parameters: list[nn.Parameter], rate: float, max_norm: float | None) -> None:
        self._parameters, self._max_norm = parameters, max_norm
        on_gpu = parameters[0].is_cuda
        given = torch.tensor(rate, device=parameters[0].device) if on_gpu else rate
        self._adam = torch.optim.Adam(parameters, lr=given, betas=BETAS, eps=EPSILON, fused=True, capturable=on_gpu)
        self._rate = rate

    @property
    def rate(self) -> float:
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        for group in self._adam.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._rate = rate

    def recording(self) -> AbstractContextManager[None]:
        return nullcontext()

    def step(self, loss: Tensor) -> None:
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        if self._max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        self._adam.step()

    def buffers(self) -> list[Tensor]:
        return [tensor for parameter in self._parameters for tensor in self._adam.state.get(parameter, {}).values()]

    def prepare(self) -> None:
        pass

    def settle(self) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return optimizer_state(self._adam)

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        load_optimizer_state(self._adam, state)


class FactoredAdam:
    """Adam by the factors on a tape and by whole gradients: torch's arithmetic but for the order of additions.

    The update forms each row of a gradient while it has that row's weights and moments at hand.

    kernels: those by which layers and update are computed.
    """

    def __init__(self, parameters: list[nn.Parameter], rate: float, max_norm: float | None, kernels: Any) -> None:
        self.rate, self._parameters, self._max_norm = rate, parameters, max_norm
        self._tape, self.kernels = Tape(kernels), kernels
        self._steps: Any = [0] * len(parameters)
        self._means, self._squares = _together(parameters), _together(parameters)
        moments = zip(self._means, self._squares, strict=True)
        self._moments = [(mean.data_ptr(), square.data_ptr()) for mean, square in moments]
        for parameter, room in zip(parameters, _together(parameters), strict=True):
            parameter.data = room.copy_(parameter.data)

    def recording(self) -> AbstractContextManager[None]:
        self._tape.clear()
        return self._tape.recording()

    def step(self, loss: Tensor) -> None:
        self.update(self.gradients(loss))

    def gradients(self, loss: Tensor) -> Gradients:
        """Backward pass from a loss, without a look at a value."""
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        used, jobs, parts = [], [], []
        for number, parameter in enumerate(self._parameters):
            gradient = self._gradient(parameter)
            if gradient is None:
                continue
            rows, columns = gradient
            first, rank = (columns, 0) if rows is None else (rows, rows.shape[0])
            addresses = parameter.data_ptr(), *self._moments[number], first.data_ptr(), columns.data_ptr()
            width = columns.shape[1]
            jobs.append((*addresses, rank, parameter.numel() // width, width))
            parts.append(gradient)
            used.append(number)
        held = self._tape.clear()
        return Gradients(used, jobs, parts, held)

    def update(self, gradients: Gradients) -> None:
        """Clipping, and the update."""
        numbers = [1.0 - BETAS[0], BETAS[1], 1.0 - BETAS[1], EPSILON, 1.0]
        for number in gradients.used:
            count = self._steps[number] = self._steps[number] + 1
            numbers += ((1.0 - BETAS[1] ** count) ** -0.5, self.rate / (1.0 - BETAS[0] ** count))
        if self._max_norm is not None:  # as torch has it
            numbers[4] = min(1.0, self._max_norm / (self.kernels.norm(gradients.jobs) + 1e-6))
        self.kernels.adam(gradients.jobs, numbers)

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


class GpuFactoredAdam(FactoredAdam):
    """The same on a GPU. Its step may be captured: rate and counts lie there."""

    def __init__(self, parameters: list[nn.Parameter], rate: float, max_norm: float | None, kernels: Any) -> None:
        device = parameters[0].device
        self._rate = torch.tensor(rate, dtype=torch.float64, device=device)
        super().__init__(parameters, rate, max_norm, kernels)
        self._steps = torch.zeros(len(parameters), dtype=torch.float64, device=device)
        self._one = torch.ones((), device=device)
        self._masks: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    @property
    def rate(self) -> float:
        return float(self._rate)

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rate.fill_(rate)

    def buffers(self) -> list[Tensor]:
        return [*self._means, *self._squares, self._steps]

    def prepare(self) -> None:
        self.kernels.prepare()

    def settle(self) -> None:
        self.kernels.settle()

    def update(self, gradients: Gradients) -> None:
        used, jobs = gradients.used, gradients.jobs
        if tuple(used) not in self._masks:
            places = torch.tensor(used, device=self._steps.device)
            self._masks[tuple(used)] = places, torch.zeros_like(self._steps).index_fill_(0, places, 1.0)
        places, mask = self._masks[tuple(used)]
        counts = self._steps.add_(mask)[places]
        roots = (1.0 - BETAS[1] ** counts).rsqrt().float()
        steps = (self._rate / (1.0 - BETAS[0] ** counts)).float()
        scale = self._one
        if self._max_norm is not None:  # as torch has it
            scale = (self._max_norm / (self.kernels.norm(jobs) + 1e-6)).clamp(max=1.0).float()
        constants = (1.0 - BETAS[0], BETAS[1], 1.0 - BETAS[1], EPSILON)
        self.kernels.adam(jobs, scale, roots, steps, constants)


def _together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Zeros like these, side by side; on a processor in memory that numpy asks the kernel to map by huge pages.

    Passes over hundreds of megabytes then wait for the tables of pages less: the thin products run up to 1.4 x as fast.
    """
    line = 64 // tensors[0].itemsize
    sizes = [-(-tensor.numel() // line) * line for tensor in tensors]
    if tensors[0].device.type == "cpu":
        kind = torch.empty(0, dtype=tensors[0].dtype).numpy().dtype
        room = torch.from_numpy(np.empty(sum(sizes), kind)).zero_()
    else:
        room = torch.zeros(sum(sizes), dtype=tensors[0].dtype, device=tensors[0].device)
    return [part[: like.numel()].view_as(like) for part, like in zip(room.split(sizes), tensors, strict=True)]
