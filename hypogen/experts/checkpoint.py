"""What an interrupted training continues from: a small state, replaced whole, and the replay's rows, only appended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hypogen.experts.replay import Replay


class Checkpoint:
    """A folder with ``state.npz`` and ``replay.f32``, the property of one training.

    The rows are written before the state that speaks of them, and the state is renamed into place, so that a kill at
    any moment leaves the last state and all that it needs. The file of rows keeps every row ever seen, so that the
    rows that the replay has overwritten since are still there for the older state.

    Args:
        folder: where; it is made.
        identity: what makes this training another one than its neighbours, JSON.
        every_s: seconds between two checkpoints.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], every_s: float) -> None:
        self._folder, self._identity, self._every_s = Path(folder), json.dumps(identity, sort_keys=True), every_s
        self._folder.mkdir(parents=True, exist_ok=True)
        self._last_s = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._last_s >= self._every_s

    def save(self, state: Mapping[str, Any], replay: Replay) -> None:
        """Save nested dictionaries of arrays, and the rows that the replay gained."""
        self.flush(replay)
        temporary = self._folder / "state.partial"
        with temporary.open("wb") as file:
            np.savez(file, identity=np.array(self._identity), **_flatten(state))
        os.replace(temporary, self._state_path)
        self._last_s = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last saved state, None if there is none. ValueError if it belongs to another training."""
        if not self._state_path.exists():
            return None
        with np.load(self._state_path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if arrays.pop("identity").item() != self._identity:
            raise ValueError(f"the checkpoint in {self._folder} belongs to a training with other settings")
        return _nest(arrays)

    def flush(self, replay: Replay) -> None:
        """Write the rows that the replay gained; due at the end of every episode."""
        replay.flush(self._folder / "replay.f32")

    def restore(self, replay: Replay, position: tuple[int, int]) -> None:
        """Fill the replay as it was at ``position``."""
        replay.restore(self._folder / "replay.f32", position)

    @property
    def _state_path(self) -> Path:
        return self._folder / "state.npz"


def _flatten(state: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    flat: dict[str, np.ndarray] = {}
    for name, value in state.items():
        flat |= _flatten(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _nest(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, name = path.split("/")
        inner = nested
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = array
    return nested
