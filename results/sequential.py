"""Whether one method is ahead of another, asked again as splits are added, at a level that holds over all the asking.

A sign-flip test of the differences by split: did the methods not differ, every difference might as well have had the
other sign. Its level is spent evenly over the stages (Lan and DeMets 1983, doi:10.2307/2336502), on the joint
distribution of all stages under the same flips, as AdaStop does with permutations (Mathieu et al. 2024,
arXiv:2306.10882). Several comparisons share the level evenly (Bonferroni).

The level holds for methods that do not differ in distribution, whatever that is, over random splits. It does not hold
for two that differ with equal means: where one seldom fails but then badly, few splits may all show it ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

EXACT = 16
"""Up to so many splits, all flips are tried; beyond it, as many drawn ones."""
DIGITS = 9
"""Means are compared to so many decimals: the same sum in another order is the same."""


@dataclass(frozen=True)
class Decision:
    """The end of the asking, or where it stands.

    Attributes:
        decided: Whether the methods differ.
        splits: Splits that it took; all there are, where it is not decided.
        difference: Mean over these splits.
        boundary: What the size of that mean has to exceed at this stage; None where no size would do.
    """

    decided: bool
    splits: int
    difference: float
    boundary: float | None


def stages(step: int, most: int) -> list[int]:
    """Numbers of splits at which is asked: every ``step``, and at ``most``."""
    return sorted({*range(step, most, step), most})


def fewest(alpha: float) -> int:
    """Splits without which nothing can be decided at level ``alpha``, were all differences of one sign."""
    return int(np.ceil(1 - np.log2(alpha)))


def decide(differences: Sequence[float], step: int, most: int, alpha: float) -> Decision:
    """Ask at every stage that the ``differences`` (a method's mean less another's, split by split) reach.

    Args:
        step: Splits between two stages.
        most: Splits of the last stage.
        alpha: Chance to decide, over all stages, where there is no difference.
    """
    observed, flips = np.asarray(differences, dtype=np.float64), _flips(most)
    crossed, latest = np.zeros(len(flips), dtype=bool), Decision(False, 0, float("nan"), None)
    asked = stages(step, most)
    for number, splits in enumerate(asked, start=1):
        if splits > len(observed):
            break
        # The size of the mean under every flip; the first is what was observed.
        means = np.round(np.abs(flips[:, :splits] @ observed[:splits]) / splits, DIGITS)
        spendable = int(alpha * number / len(asked) * len(flips)) - int(crossed.sum())
        left = np.sort(means[~crossed])[::-1]
        boundary = float(left[spendable]) if 0 < spendable < len(left) and left[0] > left[spendable] else None
        beyond = means > (np.inf if boundary is None else boundary)
        latest = Decision(bool(beyond[0]), splits, float(observed[:splits].mean()), boundary)
        if latest.decided:
            break
        crossed |= beyond
    return latest


def _flips(most: int) -> Values:
    """Signs [R, most]. The first row flips nothing. All of them up to EXACT, but for negatives, which are alike."""
    if most <= EXACT:
        numbers = np.arange(2 ** (most - 1))
        flipped = numbers[:, None] >> np.arange(most)[::-1] & 1
    else:
        flipped = np.random.default_rng(0).integers(2, size=(2 ** (EXACT - 1), most))
        flipped[0] = 0
    return 1.0 - 2.0 * flipped
