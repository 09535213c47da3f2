"""Experiment files that come with the project, by name: the same in a checkout and where it was installed."""

from __future__ import annotations

from pathlib import Path

import orchestrator
from hypogen.errors import did_you_mean
from orchestrator.exceptions import ConfigError

EXPERIMENTS = Path(orchestrator.__file__).resolve().parents[1] / "experiments"
"""Folder beside the packages that the experiment files lie in."""


def names() -> list[str]:
    """Names of the experiment files, such as ``quickstart``."""
    return sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))


def experiment_file(given: Path) -> Path:
    """The path itself; for a bare name that is no file here, the project's own experiment of that name.

    Raises ConfigError for a bare name that is neither.
    """
    if given.exists() or given.name != str(given) or given.suffix:
        return given
    if (own := EXPERIMENTS / f"{given.name}.yaml").is_file():
        return own
    raise ConfigError(f"no experiment {given.name!r}, here or in the project: {did_you_mean(given.name, names())}")


def completed(incomplete: str) -> list[str]:
    """Names that begin with what was typed, for the shell; a path is left to it."""
    return [name for name in names() if name.startswith(incomplete)]
