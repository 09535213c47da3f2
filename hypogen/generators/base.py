"""Base class of every generator: a module that maps raw specs to one batched policy and defines its own losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hypogen.benchmarks import Benchmark
from hypogen.policy import Policy, PolicyShape
from hypogen.validation import described

if TYPE_CHECKING:  # a runtime import would load the simulators, which a generator does not need
    from hypogen.demonstrations import Demonstrations

Specs = npt.NDArray[Any] | Tensor
"""Raw specs [S, C] in the benchmark's units; the caller never scales them."""


@dataclass(frozen=True)
class Batch:
    """B transitions of each of S specs, as float tensors on the generator's device.

    specs [S, C] raw, float64, on the CPU unless the step is captured; observations and next_observations [S, B, D];
    actions [S, B, A]; rewards [S, B]; values [S, B]: the expert's Q1(s, a), a discounted sum of rewards; continues [S,
    B]: 1, or 0 where the episode ended for good, so that the next observation has no value.
    """

    specs: Tensor
    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    values: Tensor
    continues: Tensor

    @classmethod
    def of(cls, demonstrations: Demonstrations, device: torch.device | str = "cpu") -> Batch:
        """All transitions of each spec in one row: the real steps of episodes [E, T] become samples [B].

        A spec with fewer of them than another repeats its own, from the first on, so that all specs have the same
        weight.
        """
        index = (torch.arange(len(demonstrations.specs))[:, None], _real_steps(demonstrations))
        flat = {name: getattr(demonstrations, name).flatten(1, 2)[index].to(device) for name in _sampled()}
        return cls(specs=demonstrations.specs, **flat)

    def samples(self, part: slice | Tensor) -> Batch:
        """Some transitions of each spec, the same rows for all specs."""
        return replace(self, **{name: getattr(self, name)[:, part] for name in _sampled()})


def _sampled() -> list[str]:
    """Names of the batch's fields that have one row per transition."""
    return [field.name for field in fields(Batch) if field.name != "specs"]


def _real_steps(demonstrations: Demonstrations) -> Tensor:
    """Positions [S, B] of real steps on the flattened axes [E * T], repeated where a spec has fewer than another."""
    lengths = demonstrations.lengths
    real = (torch.arange(demonstrations.rewards.shape[2]) < lengths[:, :, None]).flatten(1)
    counts = real.sum(1)
    if not len(counts) or counts.min() == 0:
        raise ValueError("there are no demonstrations to train on")
    first = real.int().argsort(dim=1, descending=True, stable=True)
    return first.gather(1, torch.arange(int(counts.max())) % counts[:, None])


class Generator(nn.Module, ABC):
    """A method that maps specs to policies, trained by imitation (paper, equation 1).

    Subclasses take (benchmark, shape, settings), where settings is their own frozen dataclass with the paper's values
    as defaults, and draw their initial weights from torch's global random numbers.

    least_samples: smallest number of transitions per spec that `losses` can work with.
    reads_specs: whether its policies depend on the spec.
    """

    least_samples: ClassVar[int] = 1
    reads_specs: ClassVar[bool] = True

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: Any) -> None:
        super().__init__()
        self.benchmark, self.shape, self.settings = benchmark, shape, settings

    @abstractmethod
    def policy(self, specs: Specs) -> Policy:
        """One policy per raw spec [S, C]; differentiable, so call `detach()` on it before a rollout."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Unweighted scalar losses of a batch by name: always "action", with a Q head also "value" and "td".

        They depend on the batch, the parameters and torch's random numbers alone, not on what Python counts from step
        to step: a step's operations are recorded and repeated (`hypogen.recorded`), on a GPU captured, which saves up
        to a third of its time. On a processor a look at a value is seen, and turns that off.
        """

    def loss_weights(self) -> dict[str, float]:
        """Weights of the losses that only this method has, by name; a loss without an entry has weight 1."""
        return {}

    def extra_repr(self) -> str:
        return f"{self.benchmark.name}, {self.shape}, {described(self.settings)}"


def raw_specs(benchmark: Benchmark, specs: Specs) -> Tensor:
    """Specs as float64 [S, C], on the device that they are on. Raises ValueError for another shape."""
    raw = specs.double() if isinstance(specs, Tensor) else torch.from_numpy(np.array(specs, dtype=np.float64))
    if raw.ndim != 2 or raw.shape[1] != benchmark.grid.shape[1]:
        raise ValueError(f"{benchmark.name} wants specs [S, {benchmark.grid.shape[1]}], not {list(raw.shape)}")
    return raw


def parameter_count(generator: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in generator.parameters())


def parameter_breakdown(generator: nn.Module) -> dict[str, int]:
    """Number of trained parameters per part, in module order; the same part of several blocks is added up."""
    counts: dict[str, int] = {}
    for name, parameter in generator.named_parameters():
        words = [word for word in name.split(".") if not word.isdigit()]
        part = ".".join(words[:2]) if words[0] == "gradients" else words[0]
        counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


def device_of(module: nn.Module) -> torch.device:
    """Device of the module's parameters."""
    return next(module.parameters()).device
