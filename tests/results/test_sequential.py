"""When a comparison is settled: the level holds over all stages, and against a plain enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from results.sequential import EXACT, decide, fewest, stages


def plain(differences: list[float], step: int, most: int, alpha: float) -> tuple[bool, int]:
    """The same test, written out: all signs of all splits, one stage after the other."""
    every = list(itertools.product([1, -1], repeat=most))
    stopped: set[tuple[int, ...]] = set()
    for number, splits in enumerate(stages(step, most), start=1):
        if splits > len(differences):
            break
        size = {
            signs: round(abs(sum(s * d for s, d in zip(signs, differences[:splits], strict=False))) / splits, 9)
            for signs in every
            if signs not in stopped
        }
        allowed = alpha * number / len(stages(step, most)) * len(every)
        mine = size[(1,) * most]
        if len(stopped) + sum(value >= mine for value in size.values()) <= allowed:
            return True, splits
        for bound in sorted(set(size.values())):  # the lowest bound above which there are few enough
            if len(stopped) + sum(value > bound for value in size.values()) <= allowed:
                stopped |= {signs for signs, value in size.items() if value > bound}
                break
    return False, splits


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("step", "most"), [(3, 9), (4, 10), (8, 8)])
def test_it_is_the_plain_test(shift: float, step: int, most: int) -> None:
    random = np.random.default_rng([int(shift), step, most])
    for _ in range(12):
        differences = (random.standard_normal(most) + shift).tolist()
        found = decide(differences, step, most, 0.1)
        assert (found.decided, found.splits) == plain(differences, step, most, 0.1)
        assert found.difference == pytest.approx(np.mean(differences[: found.splits]))


@pytest.mark.parametrize(("step", "most"), [(4, 12), (3, 14)])
def test_the_level_holds_over_all_stages(step: int, most: int) -> None:
    """Differences with long tails and no shift: decided no more often than alpha, but for the chance of 600 tries."""
    random = np.random.default_rng(most)
    decided = sum(decide(random.standard_t(2, most).tolist(), step, most, 0.05).decided for _ in range(600))
    assert 0.02 * 600 < decided < 0.05 * 600 + 3 * np.sqrt(600 * 0.05 * 0.95)


def test_more_splits_than_can_be_enumerated_are_drawn_alike_every_time() -> None:
    differences = np.random.default_rng(0).normal(0.5, 1, EXACT + 8).tolist()
    first = decide(differences, 8, EXACT + 8, 0.05)
    assert first == decide(differences, 8, EXACT + 8, 0.05) and first.boundary is not None


def test_later_splits_do_not_change_what_was_decided() -> None:
    early = decide([5.0] * 8, 4, 16, 0.05)
    assert early.decided and early.splits == 8
    assert decide([5.0] * 8 + [-50.0] * 8, 4, 16, 0.05) == early


@pytest.mark.parametrize("differences", [[], [1.0, 2.0, 3.0], [0.0] * 12])
def test_nothing_and_equality_decide_nothing(differences: list[float]) -> None:
    assert not decide(differences, 4, 12, 0.05).decided


@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.05 / 3, 0.01])
def test_fewest_is_the_fewest(alpha: float) -> None:
    assert decide([1.0] * fewest(alpha), fewest(alpha), fewest(alpha), alpha).decided
    assert not decide([1.0] * (fewest(alpha) - 1), fewest(alpha) - 1, fewest(alpha) - 1, alpha).decided
