"""Watcher: what an execution tells whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ray import ObjectRef

from orchestrator.artifacts import Artifact
from orchestrator.execution.aggregator import Numbers
from orchestrator.planning.runs import Run


class Watcher(Protocol):
    """Whoever watches an execution, such as ``console.progress``."""

    def training(self, key: str, values: Mapping[str, float]) -> None:
        """A training reported."""

    def finished(self, artifact: Artifact) -> None:
        """An artifact is whole."""

    def completed(self, run: Run) -> None:
        """A run's rows are written."""

    def stopping(self) -> None:
        """A signal arrived; trainings leave checkpoints."""

    def damaged(self, text: str) -> None:
        """An artifact was damaged, and will be made again."""

    def note(self, text: str) -> None:
        """Something that the user may want to know, such as a failure that is tried again."""

    def waiting(self, resources: str) -> None:
        """From now on a training waits for resources that the cluster doesn't have; empty: none does."""

    def refresh(self, ask: Callable[[], ObjectRef[Numbers]], final: bool = False) -> None:
        """Time to renew the display; ``ask`` gives a reference to the aggregator's numbers."""
