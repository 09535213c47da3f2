"""Checkpoints of TD3: a small state, replaced as a whole, and the rows of the replay, which are only appended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypogen.checkpoints import Checkpoint, sync
from hypogen.experts.replay import Replay

ROWS = "replay.f32"


class ReplayCheckpoint(Checkpoint):
    """Checkpoint whose folder also holds every row that the replay of the training has ever had.

    The rows are on disk before the state that refers to them. Rows that the replay has since overwritten stay in the
    file, because a killed run may leave an older state that needs them. A state must hold the ``position`` of the
    replay.

    Args:
        folder, identity, every_s: as for ``Checkpoint``.
        replay: replay of this training.
    """

    def __init__(self, folder: Path | str, identity: Mapping[str, Any], every_s: float, replay: Replay) -> None:
        super().__init__(folder, identity, every_s)
        self._replay = replay

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the new rows of the replay, and then the state."""
        self.flush()
        if self._rows.exists():
            sync(self._rows)
        super().save(state)

    def flush(self) -> None:
        """Write the new rows of the replay; must be called at the end of every episode."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._replay.flush(self._rows)

    def restore_replay(self, position: tuple[int, int]) -> None:
        """Restore the replay at ``position``. Raises ValueError when the file of rows ends before it."""
        self._replay.restore(self._rows, position)

    @property
    def _rows(self) -> Path:
        return self.folder / ROWS
