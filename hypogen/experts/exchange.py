"""Exchange: every spec gets the best of all experts for it, its own or another spec's.

An agent that serves a stretch of the grid may stay in a poor gait while the one beside it does well. To try an expert
on another spec takes an episode and no update.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from hypogen.experts.trained import Experts
from hypogen.rollouts import rollout

FINALISTS = 4
"""Experts that are tried again for a spec, beside its own: the best of one episode is often only lucky."""
EPISODES = 10
"""Fresh episodes by which a finalist is judged."""


def exchange(benchmark: str, experts: Experts, seed: int, threads: int = 1) -> tuple[Experts, npt.NDArray[np.int64]]:
    """The experts with each replaced by the one that is best on its spec, and whose it was ``[S]``, by position.

    All S x S pairs are tried for an episode, then the ``FINALISTS`` best on each spec and its own for ``EPISODES``
    fresh ones; a spec keeps its own unless another is better. Actor and critic move together: the critic still values
    the reward that it was trained on.
    """
    specs = len(experts.specs)
    random = np.random.default_rng([seed, *b"exchange"])

    def returns(positions: npt.NDArray[np.int64], episodes: int) -> npt.NDArray[np.float64]:
        """Mean returns ``[S]`` of the experts at ``positions`` on the specs, over fresh episodes."""
        seeds = random.integers(2**32, size=(specs, episodes))
        policy = experts.actor.select(positions.tolist())
        return rollout(benchmark, experts.specs, policy, seeds, threads).returns.mean(axis=1)

    tried = np.stack([returns(np.full(specs, position), 1) for position in range(specs)])
    own = np.arange(specs)
    tried[own, own] = np.inf  # always among those that are judged, and the first of them
    finalists = np.argsort(-tried, axis=0, kind="stable")[: FINALISTS + 1]
    judged = np.stack([returns(positions, EPISODES) for positions in finalists])
    best = judged.argmax(axis=0)
    chosen = finalists[best, own]
    exchanged = experts.select(chosen.tolist())
    return dataclasses.replace(exchanged, specs=experts.specs, returns=judged[best, own]), chosen
