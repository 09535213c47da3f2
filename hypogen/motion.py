"""Films of MuJoCo's planar robots: joint positions along one episode per spec, and the shapes to draw them with.

    film = record("cheetah-speed", [[5.0], [-3.0]], policy, seeds=[0, 1])
    film.positions                      # [S, T, Q], from the start of the episode
    skeleton("cheetah-speed", [5.0])    # bodies, joints and shapes, as plain data

All of this is in the plane of x (forward) and z (up): a turn by a positive angle takes z towards x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
import torch

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.envs.mujoco import get_environment
from hypogen.envs.mujoco.models import get_model
from hypogen.envs.mujoco.vector import MujocoVectorEnv
from hypogen.rollouts import Actor
from hypogen.simulators import MUJOCO

FRAME_S = 0.04
"""Seconds between two frames, as near as control steps allow."""
DECIMALS = 5
_LONG = (int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_CYLINDER))


@dataclass(frozen=True)
class Film:
    """The beginning of one episode per spec, and the return of all of it.

    Attributes:
        positions: Joint positions float64 [S, T, Q], in m and rad.
        rewards: Mean reward of the control steps of each frame [S, T], before the first of them 0.
        returns: Sum of the whole episode's rewards [S].
        frame_s: Simulated seconds between two frames.
    """

    positions: npt.NDArray[np.float64]
    rewards: npt.NDArray[np.float64]
    returns: npt.NDArray[np.float64]
    frame_s: float


def can_be_filmed(benchmark: Benchmark) -> bool:
    """Whether the benchmark's robot moves in a plane: MuJoCo's do."""
    return benchmark.simulator is MUJOCO


@torch.no_grad()
def record(
    benchmark: str, specs: npt.ArrayLike, policy: Actor, seeds: npt.ArrayLike, seconds: float = 4.0, threads: int = 1
) -> Film:
    """Roll out one episode per spec and keep the positions of its first ``seconds``.

    Args:
        specs: raw spec values ``[S, C]``, in the units of the benchmark's variables.
        policy: stacked policies, one per spec; it acts in float32, as in ``hypogen.rollouts.rollout``, whose first
            episode this is if it has the same seed.
        seeds: seeds ``[S]``.

    Raises:
        ValueError: the shapes disagree, or the benchmark is none of MuJoCo's.
    """
    values, seed_values = np.asarray(specs, dtype=np.float64), np.asarray(seeds, dtype=np.int64)
    if not len(values) == policy.specs == len(seed_values):
        raise ValueError(f"{len(values)} specs, {policy.specs} policies and {len(seed_values)} seeds do not match")
    env = MujocoVectorEnv(benchmark, values, threads)
    every = max(1, round(FRAME_S / env.control_step_s))
    frames = 1 + min(int(seconds / (every * env.control_step_s)), env.benchmark.episode_steps // every)
    positions = np.zeros((len(values), frames, env.positions.shape[1]))
    rewards, returns = np.zeros((len(values), frames)), np.zeros(len(values))
    try:
        observations, _ = env.reset(seed=seed_values.tolist())
        positions[:, 0] = env.positions
        for step in range(1, env.benchmark.episode_steps + 1):
            stacked = torch.from_numpy(observations.astype(np.float32)).unsqueeze(1)
            actions = policy(stacked.to(policy.device)).cpu().squeeze(1).numpy()
            observations, reward, *_ = env.step(actions)
            returns += reward
            frame = -(-step // every)
            if frame < frames:
                rewards[:, frame] += reward / every
                positions[:, frame] = env.positions
    finally:
        env.close()
    return Film(positions, rewards, returns, every * env.control_step_s)


def skeleton(benchmark: str, spec: npt.ArrayLike) -> dict[str, Any]:
    """The robot of ``benchmark`` at ``spec`` [C] as plain data.

    ``bodies``, parents first, each with its ``parent`` (its number, -1 for the world), its place ``at`` [x, z] and
    ``angle`` in it, its ``joints`` [kind, number of its position, rest, x, z] and its ``shapes`` [x, z, x, z, radius,
    depth], capsules in the body's own frame. A ``slide`` moves along (x, z); a ``hinge`` turns about the point (x, z),
    ``-hinge`` the other way. ``ground``: whether there is a floor at z = 0. Lengths in m, angles in rad.
    """
    entry = get_benchmark(benchmark)
    environment = get_environment(entry)
    model = get_model(environment, environment.model_values(entry.values(np.asarray(spec, dtype=np.float64))))
    bodies = [
        {
            "parent": int(model.body_parentid[number]) - 1,
            "at": _plane(model.body_pos[number]),
            "angle": _angle(model.body_quat[number]),
            "joints": _joints(model, number),
            "shapes": _shapes(model, number),
        }
        for number in range(1, model.nbody)
    ]
    return {"bodies": bodies, "ground": bool((model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE).any())}


def _joints(model: mujoco.MjModel, body: int) -> list[list[Any]]:
    found = []
    for number in np.flatnonzero(model.jnt_bodyid == body):
        address, axis = int(model.jnt_qposadr[number]), model.jnt_axis[number]
        rest = round(float(model.qpos0[address]), DECIMALS)
        if model.jnt_type[number] == mujoco.mjtJoint.mjJNT_SLIDE:
            found.append(["slide", address, rest, *_plane(axis)])
        else:
            found.append(["hinge" if axis[1] > 0 else "-hinge", address, rest, *_plane(model.jnt_pos[number])])
    return found


def _shapes(model: mujoco.MjModel, body: int) -> list[list[float]]:
    """Capsules, and whatever else there is as the nearest capsule."""
    found = []
    for number in np.flatnonzero(model.geom_bodyid == body):
        size, at = model.geom_size[number], model.geom_pos[number]
        turned = np.zeros(9)
        mujoco.mju_quat2Mat(turned, model.geom_quat[number])
        along = turned.reshape(3, 3)[:, 2]
        half = along * (size[1] if int(model.geom_type[number]) in _LONG else 0.0)
        found.append([*_plane(at - half), *_plane(at + half), round(float(size[0]), DECIMALS), _rounded(at[1])])
    return found


def _plane(vector: npt.NDArray[np.float64]) -> list[float]:
    return [_rounded(vector[0]), _rounded(vector[2])]


def _rounded(number: float) -> float:
    return round(float(number), DECIMALS) + 0.0


def _angle(quaternion: npt.NDArray[np.float64]) -> float:
    """Turn about y."""
    return _rounded(2 * math.atan2(quaternion[2], quaternion[0]))
