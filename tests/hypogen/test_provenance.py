"""Provenance where not every package is installed."""

from importlib import metadata

import pytest

from hypogen import provenance


def test_packages_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install .` brings no ManiSkill2."""
    version = metadata.version

    def without_maniskill(name: str) -> str:
        if name in ("mani_skill2", "sapien"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without_maniskill)
    packages = provenance.surroundings.__wrapped__()["packages"]
    assert set(packages) == {"torch", "ray", "mujoco", "dm_control", "gymnasium", "numpy"}
    assert packages["torch"] == version("torch")
