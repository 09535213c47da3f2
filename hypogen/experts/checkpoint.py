"""Checkpoints of TD3: a small state, replaced whole, and beside it the replay's rows, only appended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypogen.checkpoints import Checkpoint, sync
from hypogen.experts.replay import Replay

ROWS = "replay.f32"


class ReplayCheckpoint(Checkpoint):
    """A checkpoint whose folder also holds every row that the training's replay ever had.

    The rows are on the disk before the state that refers to them. Those that the replay has overwritten since stay in
    the file for the older state that a kill may leave. A state must hold the replay's ``position``.

    Args:
        folder, identity, every_s: as for ``Checkpoint``.
        replay: Replay of this training.
    """

    def __init__(self, folder: Path | str, identity: Mapping[str, Any], every_s: float, replay: Replay) -> None:
        super().__init__(folder, identity, every_s)
        self._replay = replay

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the rows that the replay gained, and then the state."""
        self.flush()
        if self._rows.exists():
            sync(self._rows)
        super().save(state)

    def flush(self) -> None:
        """Write the rows that the replay gained; due at the end of every episode."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._replay.flush(self._rows)

    def restore_replay(self, position: tuple[int, int]) -> None:
        """Fill the replay as it was at ``position``. ValueError when the file of rows ends before it."""
        self._replay.restore(self._rows, position)

    @property
    def _rows(self) -> Path:
        return self.folder / ROWS
