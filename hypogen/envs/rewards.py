"""The paper's MuJoCo rewards as pure functions of a few features of the state and of the target speed.

All three tasks earn dm_control's ``rewards.tolerance(direction * velocity, bounds=(abs(speed), inf),
margin=abs(speed), sigmoid='linear', value_at_margin=0.1)``: 1 at the target speed or beyond, 0.1 standing still, and
0 from 1/9 of the target speed backwards. Written with arithmetic and ``clip`` alone, so that numpy arrays and torch
tensors go through the same operations, in the order that dm_control does them, to the same bits.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

VALUE_AT_MARGIN = 0.1
"""The reward for standing still."""

FEATURES: dict[str, int] = {"cheetah": 1, "walker": 2, "finger": 1}
"""What a reward is computed from: the velocity (m/s; finger: of the hinge, rad/s), and walker's stand term."""

_STAND_HEIGHT_M = 1.2

Array = TypeVar("Array")


def reward(environment: str, features: Array, speed: Array | float) -> Array:
    """The reward [...] from ``features`` [..., F] at target ``speed`` [...], which broadcast.

    ``features`` are those of a step's ``infos["features"]``: a numpy array or a torch tensor, ``speed`` of the same
    kind or a number. Speeds of 0 have no direction and give NaN. Raises ValueError for an unknown environment or a
    wrong number of features. Source: PAPER_NOTES, and for the walker dm_control's ``walker`` task.
    """
    _check(environment, features)
    moving = _moving(features[..., 0], speed)  # type: ignore[index]
    if environment == "walker":
        return features[..., 1] * (5 * moving + 1) / 6  # type: ignore[index]
    return moving


def stand(height: np.ndarray, upright: np.ndarray) -> np.ndarray:
    """dm_control's stand term of the walker [W], from its torso's height (m) and the z of its z axis [W]."""
    scale = np.sqrt(-2 * np.log(VALUE_AT_MARGIN))
    below = (_STAND_HEIGHT_M - height) / (_STAND_HEIGHT_M / 2) * scale
    # dm_control squares one number at a time, with C's pow: x * x, which arrays use, can differ in the last bit.
    squares = np.array([number**2 for number in below.tolist()])
    standing = np.where(height >= _STAND_HEIGHT_M, 1.0, np.exp(-0.5 * squares))
    return (3 * standing + (1 + upright) / 2) / 4


def _moving(velocity: Any, speed: Any) -> Any:
    target = abs(speed)
    gap = (target - velocity * (speed / target)) / target
    return 1 - (gap * (1 - VALUE_AT_MARGIN)).clip(0, 1)


def _check(environment: str, features: Any) -> None:
    if environment not in FEATURES:
        raise ValueError(f"no reward for environment {environment!r}; known: {', '.join(FEATURES)}")
    if features.shape[-1] != FEATURES[environment]:
        raise ValueError(f"{environment} has {FEATURES[environment]} feature(s), got shape {tuple(features.shape)}")
