"""Provenance of results: the git commit, the packages and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

COMMIT_VARIABLE = "HYPOGEN_COMMIT"
"""Environment variable with the commit, for code that was sent without its history."""


@cache
def surroundings() -> dict[str, Any]:
    """Git commit, whether files differ from it, installed packages' versions, host, processor and number of cores."""
    commit, dirty = _git_state()
    names = ("torch", "ray", "mujoco", "dm_control", "mani_skill2", "sapien", "gymnasium", "numpy")
    return {
        "host": platform.node(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "git_commit": commit,
        "git_dirty": dirty,
        "packages": {name: version for name in names if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    """Version of a package; None where it is not installed, as ManiSkill2 need not be."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> tuple[str | None, bool | None]:
    def git(*words: str) -> str:
        folder = Path(__file__).resolve().parent
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return os.environ.get(COMMIT_VARIABLE) or None, None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
