"""The Franka Panda of ManiSkill2 with the paper's contexts: controller gains and the length of its arm.

An arm of ratio r has every joint from the elbow's (``panda_joint3``) to the flange r times as far from the one before,
with the meshes and centres of mass of links 2 to 7; pedestal, shoulder and hand stay. Masses stay, so inertias grow
with r². The base moves to x = -0.615 r m and the start pose is found by inverse kinematics, so that every arm's tool
starts at the same point, 0.17 m above the origin.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import sapien.core as sapien
from mani_skill2 import PACKAGE_ASSET_DIR
from mani_skill2.agents.configs.panda.defaults import PandaDefaultConfig

CONTROL_MODE = "pd_ee_delta_pose"
BASE_X_M = -0.615
"""Where ManiSkill2 puts the base of the default arm."""
REST = np.array([0, np.pi / 8, 0, -np.pi * 5 / 8, 0, np.pi * 3 / 4, np.pi / 4])
"""Joint angles (rad) that ManiSkill2 starts the default arm at, before its noise."""

_STOCK = PACKAGE_ASSET_DIR / "descriptions" / "panda_v2.urdf"
_JOINTS = [f"panda_joint{number}" for number in range(3, 9)]
_LINKS = [f"panda_link{number}" for number in range(2, 8)]
_TOOL = "panda_hand_tcp"


class PandaConfig(PandaDefaultConfig):
    """ManiSkill2's configuration with the arm's gains (N m/rad, N m s/rad) and length ratio; the gripper's stay.

    It knows one control mode only: the stock configuration builds all thirteen controllers at every reset.
    """

    def __init__(self, stiffness: float, damping: float, arm_length: float) -> None:
        super().__init__()
        self.arm_stiffness, self.arm_damping = stiffness, damping
        self.urdf_path = str(describe(arm_length))

    @property
    def controllers(self) -> dict[str, Any]:
        """The controller of end-effector displacements."""
        return {CONTROL_MODE: super().controllers[CONTROL_MODE]}


@functools.cache
def describe(ratio: float) -> Path:
    """URDF file of an arm; for ratio 1 ManiSkill2's own. Other files are deleted when the process ends."""
    if ratio == 1:
        return Path(_STOCK)
    tree = ElementTree.parse(_STOCK)
    root = tree.getroot()
    for mesh in root.iter("mesh"):
        mesh.set("filename", str(_STOCK.parent / mesh.attrib["filename"]))
    for name in _JOINTS:
        _scale(_only(root, f"joint[@name='{name}']/origin"), "xyz", ratio)
    for name in _LINKS:
        _stretch(_only(root, f"link[@name='{name}']"), ratio)
    path = Path(_folder().name) / f"panda_{ratio!r}.urdf"
    tree.write(path)
    shutil.copy(_STOCK.with_suffix(".srdf"), path.with_suffix(".srdf"))  # which links may overlap
    return path


@functools.cache
def start_pose(ratio: float) -> npt.NDArray[Any]:
    """Joint angles [7] (rad) that put an arm's tool where the default arm's starts. RuntimeError if it cannot reach."""
    if ratio == 1:
        return REST
    rest = np.append(REST, [0.04, 0.04])
    model, tool = _kinematics(1.0)
    model.compute_forward_kinematics(rest)
    pose = model.get_link_pose(tool)
    model, tool = _kinematics(ratio)
    target = sapien.Pose([-BASE_X_M * ratio, 0, pose.p[2]], pose.q)
    arm = np.append(np.ones(7), [0, 0])
    found, success, error = model.compute_inverse_kinematics(tool, target, rest, arm, max_iterations=1000)
    if not success:
        raise RuntimeError(f"an arm of {ratio:g} times the length cannot start where the default one does: {error}")
    return found[:7]


def _kinematics(ratio: float) -> tuple[sapien.PinocchioModel, int]:
    """An arm's kinematics, and the index of its tool."""
    scene = sapien.Engine().create_scene()
    loader = scene.create_urdf_loader()
    loader.fix_root_link = True
    robot = loader.load(str(describe(ratio)))
    return robot.create_pinocchio_model(), [link.name for link in robot.get_links()].index(_TOOL)


def _stretch(link: ElementTree.Element, ratio: float) -> None:
    _scale(_only(link, "inertial/origin"), "xyz", ratio)
    inertia = _only(link, "inertial/inertia")
    for name in inertia.attrib:
        _scale(inertia, name, ratio**2)
    for mesh in link.iter("mesh"):
        mesh.set("scale", f"{ratio} {ratio} {ratio}")


def _scale(element: ElementTree.Element, attribute: str, factor: float) -> None:
    values = (float(word) * factor for word in element.attrib[attribute].split())
    element.set(attribute, " ".join(map(repr, values)))


def _only(element: ElementTree.Element, path: str) -> ElementTree.Element:
    (found,) = element.findall(path)
    return found


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="hypogen-panda-")
