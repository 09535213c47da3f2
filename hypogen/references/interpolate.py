"""Interpolate: neighbouring training specs' experts act together, each weighted by its nearness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hypogen.benchmarks import Benchmark
from hypogen.demonstrations import Selectable
from hypogen.policy import Policy
from hypogen.references.base import Array, ExpertPolicies, distances
from hypogen.validation import one_of, require, whole


@dataclass(frozen=True)
class InterpolateSettings:
    """Settings of Interpolate.

    mix: "actions" averages the neighbours' actions; "weights" averages their networks' weights, which means something
        only where the experts grew from a common agent (recipe ``fast``).
    neighbours: number of nearest training specs, at most as many as there are; None for one more than the context has
        variables (two on a line, three on a plane).
    """

    mix: Literal["actions", "weights"] = "actions"
    neighbours: int | None = None

    def __post_init__(self) -> None:
        require(self, one_of("actions", "weights"), "mix")
        require(self, whole(1).or_null(), "neighbours")


def interpolate_policy(
    benchmark: Benchmark, settings: InterpolateSettings, train: Array, experts: ExpertPolicies, specs: Array
) -> Selectable:
    """One policy per row of ``specs`` [S, C]. ValueError for weights of experts that are no networks."""
    rows, shares = neighbours(benchmark, settings, train, specs)
    mixture = Mixture([experts(train[rows[:, place]]) for place in range(rows.shape[1])], torch.from_numpy(shares))
    return mixture if settings.mix == "actions" else mixture.averaged()


def neighbours(
    benchmark: Benchmark, settings: InterpolateSettings, train: Array, specs: Array
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Rows [S, K] of the nearest training specs, nearest first, and their shares [S, K], which add up to 1.

    Shares are in proportion to the inverse distance, so a training spec itself is its own expert.
    """
    count = min(settings.neighbours or specs.shape[1] + 1, len(train))
    gaps = distances(benchmark, train, specs)
    rows = gaps.argsort(axis=1, kind="stable")[:, :count]
    near = np.take_along_axis(gaps, rows, axis=1)
    inverse = 1.0 / np.maximum(near, 1e-12)
    return rows, (inverse / inverse.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Mixture:
    """Weighted means of policies' actions.

    parts: K batches of S policies each. shares: Weight of each part's policies, float32 [S, K].
    """

    parts: Sequence[Selectable]
    shares: Tensor

    @property
    def specs(self) -> int:
        """S, the number of policies."""
        return len(self.shares)

    @property
    def device(self) -> torch.device:
        """Where observations are wanted."""
        return self.parts[0].device

    def __call__(self, observations: Tensor) -> Tensor:
        """Actions [S, E, A] for observations [S, E, D]."""
        weighted = [
            share[:, None, None] * part(observations) for part, share in zip(self.parts, self.shares.T, strict=True)
        ]
        return torch.stack(weighted).sum(dim=0)

    def select(self, indices: Sequence[int]) -> Mixture:
        """The mixtures of some specs, in the order of ``indices``."""
        return Mixture([part.select(indices) for part in self.parts], self.shares[list(indices)])  # type: ignore[misc]

    def averaged(self) -> Policy:
        """One network per spec, with the weighted means of the parts' weights."""
        networks = [part for part in self.parts if isinstance(part, Policy)]
        if len(networks) != len(self.parts):
            raise ValueError("mix must be actions here: these experts are no networks, so they have no weights")

        def mean(layers: Sequence[Tensor]) -> Tensor:
            stacked = torch.stack(list(layers))  # [K, S, ...]
            return (stacked * self.shares.T.reshape(*stacked.shape[:2], *[1] * (stacked.ndim - 2))).sum(dim=0)

        weights = zip(*(network.weights for network in networks), strict=True)
        biases = zip(*(network.biases for network in networks), strict=True)
        return Policy(tuple(map(mean, weights)), tuple(map(mean, biases)))
