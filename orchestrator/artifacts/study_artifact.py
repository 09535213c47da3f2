"""Study: the outcome of a search, kept as an artifact so that the same search is never run twice."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.artifacts.artifact import Content, Json, content_key
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.manifest import Manifest
from orchestrator.artifacts.workspace import Workspace
from orchestrator.exceptions import Damaged

KIND, VERSION = "study", 2
TRIALS = "trials.json"

Settings = dict[str, Json]
"""Values by the names of settings."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trial that ended.

    Attributes:
        value: Mean score on the held-out specs: their return, on ManiSkill the share of successes. None where the
            training diverged.
        epochs: Epochs that it was trained for; of one that diverged, those after which it was measured last.
        complete: Whether these were all of them.
    """

    settings: Settings
    value: float | None
    epochs: int
    complete: bool

    @property
    def score(self) -> float:
        """The value; below all others where there is none."""
        return -math.inf if self.value is None else self.value


@dataclasses.dataclass(frozen=True)
class StudyArtifact:
    """The best settings of a search, under a key that names everything that they depend on."""

    content: Content
    parents: tuple[str, ...]

    @property
    def key(self) -> str:
        """Twenty hexadecimal digits that name the content."""
        return content_key(KIND, VERSION, self.content)

    def stored(self, store: Store) -> Settings | None:
        """The best settings, if the search has ended; a damaged study is set aside, and its search runs again."""
        if not store.exists(KIND, self.key):
            return None
        try:
            return self.best(store)
        except Damaged:
            store.set_aside(KIND, self.key)
            return None

    def best(self, store: Store) -> Settings:
        """The best settings of a stored study."""
        best = Manifest.load(store, KIND, self.key).summary["best"]
        assert isinstance(best, dict)
        return best

    def make(self, store: Store, run: Callable[[Workspace], list[Outcome]]) -> Settings:
        """Run the trials unless the study is stored; the best settings."""
        manifest = Manifest.of(KIND, self.key, "search", self.content, self.parents, "cpu", 1)

        def build(folder: Path, workspace: Workspace) -> Mapping[str, object]:
            outcomes = run(workspace)
            winner = best_of(outcomes)
            (folder / TRIALS).write_text(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=1))
            summary: dict[str, Json] = {"best": winner.settings, "value": winner.value, "trials": len(outcomes)}
            return dataclasses.replace(manifest, summary=summary).fields()

        if store.make(KIND, self.key, build):
            Manifest.load(store, KIND, self.key).record(store)
        return self.best(store)


def best_of(outcomes: list[Outcome]) -> Outcome:
    """The best of the complete trials; of all that were measured, where none was trained to the end."""
    ended = [outcome for outcome in outcomes if outcome.complete] or outcomes
    return max(ended, key=lambda outcome: round(outcome.score, 9))  # the last bit of a mean decides nothing
