"""Reward for a target speed, shared by the MuJoCo environments.

There are two kinds of target. Most benchmarks ask for *at least* a speed, as the paper does: dm_control's
``rewards.tolerance(direction * velocity, bounds=(abs(speed), inf), margin=abs(speed), sigmoid='linear',
value_at_margin=0.1)``. The ``exact-speed`` ones ask for *just* that speed: the same function with
``bounds=(abs(speed) - slack, abs(speed) + slack)`` and a margin of their own, both from the benchmark's
:class:`~hypogen.contexts.Tolerance`.

Both are written with arithmetic and ``clip`` alone, so that numpy arrays and torch tensors go through the same
operations, in the order in which dm_control does them, to the same bits.
"""

from __future__ import annotations

from typing import Any

from hypogen.contexts import Tolerance

VALUE_AT_MARGIN = 0.1
"""Reward for standing still where at least a speed is asked for, and at the margin of a tolerance."""


def moving(velocity: Any, speed: Any, tolerance: Tolerance | None = None) -> Any:
    """The reward [...] for a ``velocity`` [...] at a target ``speed`` [...] of the same unit, which broadcast.

    Without ``tolerance``: 1 at the target speed or beyond, 0.1 standing still, and 0 from 1/9 of the target speed
    backwards. With it: 1 within its slack of the target speed, 0.1 its margin further off on either side, 0 a ninth of
    the margin beyond that. numpy arrays or torch tensors; a speed of 0 gives NaN. Source: the paper's reward for target
    speeds; with ``tolerance``, ours.
    """
    target = abs(speed)
    along = velocity * (speed / target)
    if tolerance is None:
        gap = (target - along) / target
    else:
        slack = tolerance.slack_at(target)
        too_slow, too_fast = (target - slack) - along, along - (target + slack)
        gap = (too_slow.clip(min=0) + too_fast.clip(min=0)) / tolerance.margin_at(target)  # one of the two is 0
    return 1 - (gap * (1 - VALUE_AT_MARGIN)).clip(0, 1)
