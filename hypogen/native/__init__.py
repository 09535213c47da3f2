"""Kernels for layers that see few rows.

A hypernetwork's layers see one row per spec: 8 rows against millions of weights. Their products and Adam's update take
as long as the weights take to come from memory, if each is one pass over them:

- `dots`: inputs @ weight.T + bias, with ReLU if asked for: linear layers;
- `sums`: inputs @ weight: the slopes of the same by their inputs;
- `norm`: of all gradients, which are kept as factors (see `hypogen.factored`), or whole;
- `adam`: Adam's update by such gradients, each formed row by row while the weights are at hand.

Every kernel takes a list of jobs, so that many small layers cost one call. `hypogen.native.cpu` has them for
processors, `hypogen.native.gpu` for GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

Jobs = Sequence[Sequence[int]]
"""Rows of eight integers, addresses among them."""


class Kernels(Protocol):
    """The kernels that layers are made of, for one floating type.

    Raises nothing on bad addresses: it reads and writes what is there.
    """

    dtype: torch.dtype

    def dots(self, jobs: Jobs) -> None:
        """Rows: inputs [S, n], weight [m, n], outputs [S, m], bias [m] or 0, S, m, n, whether ReLU follows."""

    def sums(self, jobs: Jobs) -> None:
        """Rows: inputs [S, m], weight [m, n], outputs [chunks, S, n] to be added up, mask [S, n] or 0, S, m, n, 0.

        Outputs are 0 where the mask is not positive: the slope of a ReLU whose output is the mask.
        """

    def chunks(self, rows: int) -> int:
        """Number of parts in which `sums` adds up the rows of a weight."""
