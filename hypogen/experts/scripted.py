"""Scripted experts: a control law that lifts and carries the cube for every ManiSkill spec, without any training.

The action is a function of the observation and the spec alone, without memory of phases, so that a policy can imitate
it. The tool moves above the cube and turns until the fingers face two sides, descends as it becomes aligned, and
closes. Once the fingers hold the cube, the tool moves it up (LiftCube) or to the goal (PickCube). The tool points down
unless the wrist would be out of the arm's reach; then it leans outwards as far as necessary. A joint approaches its
target at stiffness / damping of what is left per second, so an arm that is slower than the default one is told to go
proportionally further, and starts to slow down at the same distance. Everything is computed in
float64, number by number, so that an action does not depend on how many others are computed with it.

Vectors are arrays [S, E, 3] in metres, in ManiSkill2's world frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hypogen.benchmarks import get_benchmark

Array = npt.NDArray[np.float64]

VERSION = 2
"""Version of the law, to be raised when it changes: demonstrations of another one get new keys in an artifact store."""
STEP = 0.1
"""Displacement (m) and rotation (rad) of the tool by a full action: ManiSkill2's ``pd_ee_delta_pose``."""
LIFT_M = 0.2 + 0.015
"""Height to which a cube is lifted: slightly more than success requires."""
HOVER_M = 0.035
"""Height of the tool over the upper side of the cube while it is not aligned."""
LOWEST_M = 0.014
"""Height of the tool for the smallest cubes: its tips reach 9.5 mm below it."""

# Geometry of the Panda (m), both the parts that scale with the arm's length and those that do not.
_SHOULDER_M = 0.333
_FLANGE_M, _HAND_M = 0.107, 0.1034
_WRIST_OFFSET_M = 0.088
_DELAY_S = 100 / 1000
"""Damping over stiffness of the default arm; with gains above 1 an arm that is as fast, or faster, would overshoot."""
_REACH_M = 0.68
"""Distance from shoulder to wrist, slightly less than the limit of the elbow allows (0.695)."""


class ScriptedPolicy:
    """Control laws for S specs of a ManiSkill benchmark, called like a :class:`hypogen.policy.Policy`.

    Raises ValueError for a benchmark that does not run in ManiSkill.
    """

    device = torch.device("cpu")

    def __init__(self, benchmark: str, specs: npt.ArrayLike) -> None:
        entry = get_benchmark(benchmark)
        if entry.simulator.name != "maniskill":
            raise ValueError(f"scripted experts exist for ManiSkill benchmarks, not for {benchmark}")
        self._benchmark, self._points = benchmark, np.asarray(specs, dtype=np.float64)
        values = [entry.values(spec) for spec in self._points]
        self.specs = len(values)
        self._carries = entry.environment == "pickcube"
        self._half_size = np.array([value["cube_size"] for value in values])[:, None]  # [S, 1] m
        self._ratio = np.array([value["arm_length"] for value in values])[:, None]  # [S, 1]
        delay = np.array([value["damping"] / value["stiffness"] for value in values])  # s
        self._gain = np.maximum(1, delay / _DELAY_S)[:, None, None]

    def __call__(self, observations: Tensor) -> Tensor:
        """Actions [S, E, 7] for observations [S, E, D]."""
        seen = _read(observations.numpy().astype(np.float64), self._carries)
        return torch.from_numpy(self._act(seen).astype(np.float32))

    def select(self, indices: Sequence[int]) -> ScriptedPolicy:
        """Control laws of the specs at ``indices``, in that order."""
        return ScriptedPolicy(self._benchmark, self._points[list(indices)])

    def _act(self, seen: _Seen) -> Array:
        half, to_cube, turn = self._half_size, seen.cube - seen.tool, _quarter_turn(seen)
        off_centre = np.hypot(to_cube[..., 0], to_cube[..., 1])
        distance = np.sqrt((to_cube**2).sum(-1))
        lowest = np.maximum(seen.cube[..., 2], LOWEST_M)
        # A funnel: the worse the alignment, the higher the tool stays.
        misaligned = np.maximum(off_centre - 0.004, 0) * 6 + np.maximum(np.abs(turn) - 0.08, 0) * 0.5
        height = lowest + np.minimum(misaligned, half + HOVER_M)
        around = (off_centre < 0.01) & (np.abs(seen.tool[..., 2] - lowest) < 0.01) & (np.abs(turn) < 0.2)
        closed = (np.abs(seen.opening - half - 0.001) < 0.005) & (seen.closing_speed < 0.02)
        gripped = closed & (distance < half / 2 + 0.015)
        held, reached = gripped[..., None], _with_height(seen.cube, height)
        aim = np.where(held, seen.tool - seen.cube + self._destination(seen), reached)
        end = np.where(held, aim, _with_height(seen.cube, lowest))
        move = self._within_reach(seen, aim - seen.tool)
        rotation = _rotation(seen, self._lean(seen, end), np.where(gripped, 0.0, turn))
        return _action(seen, self._gain * move, self._gain * rotation, around | gripped)

    def _destination(self, seen: _Seen) -> Array:
        """Target position of a held cube."""
        if self._carries:
            return seen.goal
        return _with_height(seen.cube, np.broadcast_to(LIFT_M + self._half_size, seen.cube.shape[:-1]))

    def _lean(self, seen: _Seen, end: Array) -> Array:
        """Direction in which the tool should point at ``end``: down, or tilted only as far as the arm's reach requires.

        The wrist sits one hand's length h behind the tool. With v the vector from the shoulder to the tool, the wrist
        is within reach R if the angle between v and the tool's direction is at most arccos((v² + h² - R²) / (2 h v)).
        """
        hand, reach = _FLANGE_M * self._ratio + _HAND_M, 0.97 * _REACH_M * self._ratio
        span = end - self._offset(seen) - _shoulder(seen)
        length = np.sqrt((span**2).sum(-1))
        outwards = span / length[..., None]
        needed = np.clip((length**2 + hand**2 - reach**2) / (2 * hand * length), -1, 1)[..., None]
        down = np.zeros_like(span) - [0.0, 0.0, 1.0]
        along = (down * outwards).sum(-1, keepdims=True)
        across = (down - along * outwards) / np.sqrt(np.maximum(1 - along**2, 1e-12))
        return np.where(along >= needed, down, needed * outwards + np.sqrt(1 - needed**2) * across)

    def _within_reach(self, seen: _Seen, move: Array) -> Array:
        """Displacement, clipped to one step, without the part that would take the wrist out of reach.

        The controller does not move at all towards a pose that it cannot reach.
        """
        step = move / np.maximum(np.abs(move).max(-1, keepdims=True) / STEP, 1)
        hand = (_FLANGE_M * self._ratio + _HAND_M)[..., None]
        wrist = seen.tool - hand * seen.axes[2] - self._offset(seen) - _shoulder(seen)
        after = wrist + step
        length = np.sqrt((after**2).sum(-1, keepdims=True))
        return after * np.minimum(1, _REACH_M * self._ratio[..., None] / length) - wrist

    def _offset(self, seen: _Seen) -> Array:
        """Vector from the axis of the wrist to that of the flange, about which the last joint turns."""
        angle = (np.pi / 4 - seen.last_joint)[..., None]
        return _WRIST_OFFSET_M * self._ratio[..., None] * (np.cos(angle) * seen.axes[0] + np.sin(angle) * seen.axes[1])


@dataclass(frozen=True)
class _Seen:
    """Parts of the observations [S, E, D] that the law uses."""

    tool: Array
    axes: tuple[Array, Array, Array]  # unit axes of the tool; the fingers close along the second
    cube: Array
    side: Array  # unit vector along one edge of the cube
    goal: Array
    base: Array
    opening: Array  # mean over the fingers [S, E] (m)
    closing_speed: Array  # speed of the faster finger, in either direction [S, E] (m/s)
    last_joint: Array  # angle [S, E] (rad)


def _read(observations: Array, carries: bool) -> _Seen:
    """Read ManiSkill2's order: joints 9, their speeds 9, base 7, tool 7, (goal 3, tool to goal 3,) cube 7, the rest."""
    cube = observations[..., 38:45] if carries else observations[..., 32:39]
    return _Seen(
        tool=observations[..., 25:28],
        axes=_axes(observations[..., 28:32]),
        cube=cube[..., :3],
        side=_axes(cube[..., 3:])[0],
        goal=observations[..., 32:35],
        base=observations[..., 18:21],
        opening=observations[..., 7:9].mean(-1),
        closing_speed=np.abs(observations[..., 16:18]).max(-1),
        last_joint=observations[..., 6],
    )


def _axes(quaternion: Array) -> tuple[Array, Array, Array]:
    """Three unit axes of a frame from its quaternion w, x, y, z."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    first = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=-1)
    second = np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], axis=-1)
    third = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=-1)
    return first, second, third


def _shoulder(seen: _Seen) -> Array:
    return seen.base + np.array([0.0, 0.0, _SHOULDER_M])


def _with_height(position: Array, height: Array) -> Array:
    return np.concatenate([position[..., :2], height[..., None]], axis=-1)


def _yaw(direction: Array) -> Array:
    return np.arctan2(direction[..., 1], direction[..., 0])


def _quarter_turn(seen: _Seen) -> Array:
    """Angle in [-π/4, π/4] that aligns the closing fingers with the nearest pair of the cube's sides."""
    angle = _yaw(seen.side) - _yaw(seen.axes[1])
    return angle - np.pi / 2 * np.round(angle / (np.pi / 2))


def _rotation(seen: _Seen, pointing: Array, turn: Array) -> Array:
    """Rotation to a tool that points along ``pointing`` and is turned by ``turn`` [S, E] about the vertical.

    Half the sum of the cross products of the old and new axes: the axis of the rotation, as long as the sine of its
    angle.
    """
    yaw = _yaw(seen.axes[1]) + turn
    x, y, z = np.moveaxis(pointing, -1, 0)
    slope = (np.cos(yaw) * x + np.sin(yaw) * y) / np.maximum(-z, 0.3)  # perpendicular to a leaning tool at this yaw
    closing = np.stack([np.cos(yaw), np.sin(yaw), slope], axis=-1)
    closing -= (closing * pointing).sum(-1, keepdims=True) * pointing
    closing /= np.sqrt((closing**2).sum(-1, keepdims=True))
    wanted = (np.cross(closing, pointing), closing, pointing)
    return np.sum([np.cross(old, new) for old, new in zip(seen.axes, wanted, strict=True)], axis=0) / 2


def _action(seen: _Seen, move: Array, rotation: Array, close: npt.NDArray[np.bool_]) -> Array:
    """Action [S, E, 7]: displacement and rotation in units of a step, in the frame of the tool, and the gripper."""
    shift, turn = (np.stack([(axis * vector).sum(-1) for axis in seen.axes], -1) / STEP for vector in (move, rotation))
    shift /= np.maximum(np.abs(shift).max(-1, keepdims=True), 1)
    turn /= np.maximum(np.sqrt((turn**2).sum(-1, keepdims=True)), 1)
    return np.concatenate([shift, turn, np.where(close, -1.0, 1.0)[..., None]], axis=-1)
