"""Reward for a target speed, shared by the MuJoCo environments.

dm_control's ``rewards.tolerance(direction * velocity, bounds=(abs(speed), inf), margin=abs(speed), sigmoid='linear',
value_at_margin=0.1)``, written with arithmetic and ``clip`` alone, so that numpy arrays and torch tensors go through
the same operations, in the order in which dm_control does them, to the same bits.
"""

from __future__ import annotations

from typing import Any

VALUE_AT_MARGIN = 0.1
"""Reward for standing still."""


def moving(velocity: Any, speed: Any) -> Any:
    """The reward [...] for a ``velocity`` [...] at a target ``speed`` [...] of the same unit, which broadcast.

    1 at the target speed or beyond, 0.1 standing still, and 0 from 1/9 of the target speed backwards. numpy arrays or
    torch tensors; a speed of 0 gives NaN. Source: the paper's reward for target speeds.
    """
    target = abs(speed)
    gap = (target - velocity * (speed / target)) / target
    return 1 - (gap * (1 - VALUE_AT_MARGIN)).clip(0, 1)
