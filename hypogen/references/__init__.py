"""Reference methods, which any generator must beat: lookups among the training specs' experts, and plain learning.

A reference sees the training specs, their experts and the specs that it is asked for, never a test spec's expert. A new
one is a file here and a line in REFERENCES.
"""

from __future__ import annotations

from hypogen.errors import did_you_mean
from hypogen.references.base import ExpertPolicies, Reference
from hypogen.references.interpolate import InterpolateSettings, interpolate_policy
from hypogen.references.joint import JointSettings, joint_policy
from hypogen.references.nearest import NearestSettings, nearest_policy

__all__ = [
    "REFERENCES",
    "ExpertPolicies",
    "InterpolateSettings",
    "JointSettings",
    "NearestSettings",
    "Reference",
    "get_reference",
]

REFERENCES: dict[str, Reference] = {
    "nearest": Reference(NearestSettings, nearest_policy, "Nearest expert", "#999999"),
    "interpolate": Reference(InterpolateSettings, interpolate_policy, "Interpolated experts", "#666666"),
    "joint": Reference(JointSettings, joint_policy, "Joint TD3", "#332288", algorithm="td3"),
}
"""Every reference method, by name."""


def get_reference(name: str) -> Reference:
    """The reference called ``name``; ValueError with the closest and all known names when there is none."""
    if name in REFERENCES:
        return REFERENCES[name]
    raise ValueError(f"unknown reference {name!r}: {did_you_mean(name, REFERENCES)}")
