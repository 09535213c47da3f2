"""Checkpoints of an interrupted training: one folder per training, one file that is replaced whole, and no pickle.

The file is safetensors: the state's arrays as tensors, and everything else, the training's identity included, as JSON
in its header. Nothing in it can run code when it is read.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE = "state.safetensors"


class UnreadableCheckpoint(ValueError):
    """A checkpoint is there and cannot be read."""


class Checkpoint:
    """A folder with the last state of one training; it is made when the first state is saved.

    A state is a dictionary with string keys (none with a "/"). Its values are arrays, tensors, such dictionaries
    again, or anything that JSON can hold.

    Args:
        folder: Folder that belongs to this training alone.
        identity: Everything that a state must share with the training that continues from it, as JSON.
        every_s: Seconds between two states, see ``due``.
    """

    def __init__(self, folder: Path | str, identity: Mapping[str, Any], every_s: float = 0.0) -> None:
        self.folder, self._every_s = Path(folder), every_s
        self._identity: dict[str, Any] = json.loads(json.dumps(identity))  # as it will be read again
        self._saved_s = time.monotonic()

    def due(self) -> bool:
        """Whether ``every_s`` seconds have passed since the last state, or since the start."""
        return time.monotonic() - self._saved_s >= self._every_s

    def save(self, state: Mapping[str, Any]) -> None:
        """Put a state in the place of the last one, durably: a kill or a power cut leaves one of the two, whole."""
        arrays, values = _split(state)
        header = {"identity": json.dumps(self._identity), "values": json.dumps(values)}
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{FILE}.partial"
        save_file(arrays, partial, header)
        sync(partial)
        os.replace(partial, self.folder / FILE)
        sync(self.folder)
        self._saved_s = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last state, with every array as a tensor on the CPU; None where there is none.

        Raises UnreadableCheckpoint for a state that cannot be read, ValueError for that of another training.
        """
        path = self.folder / FILE
        if not path.exists() and not self.folder.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata()
                identity, values = json.loads(header["identity"]), json.loads(header["values"])
                state = _join({name: file.get_tensor(name).clone() for name in file.keys()}, values)  # noqa: SIM118 - no mapping
        except Exception as error:  # the library has errors of its own beside those of files and JSON
            raise UnreadableCheckpoint(
                f"checkpoint {self.folder} cannot be read ({error}); delete it to train from the start"
            ) from error
        self._require_same(identity)
        return state

    def _require_same(self, identity: Mapping[str, Any]) -> None:
        ours, missing = self._identity, object()
        names = [*ours, *(name for name in identity if name not in ours)]
        differing = [name for name in names if ours.get(name, missing) != identity.get(name, missing)]
        if differing:
            raise ValueError(
                f"checkpoint {self.folder} belongs to another training: {', '.join(differing)} differ; "
                "a training with other settings needs a folder of its own"
            )


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Buffers of the optimiser by the number of their parameter; its options belong to the settings."""
    return {str(number): buffers for number, buffers in optimizer.state_dict()["state"].items()}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Go back to an ``optimizer_state``, on whatever device the parameters are."""
    buffers = {int(number): dict(values) for number, values in state.items()}
    optimizer.load_state_dict({"state": buffers, "param_groups": optimizer.state_dict()["param_groups"]})


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _split(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state's arrays by their path, and the same dictionaries without them."""
    arrays: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Mapping):
            inner, values[name] = _split(value)
            arrays |= {f"{name}/{path}": array for path, array in inner.items()}
        elif isinstance(value, Tensor | np.ndarray):
            # A copy: a file has no room for tensors that share memory.
            arrays[name] = torch.as_tensor(value).detach().cpu().clone(memory_format=torch.contiguous_format)
        else:
            values[name] = value
    return arrays, values


def _join(arrays: Mapping[str, Tensor], values: dict[str, Any]) -> dict[str, Any]:
    """The state that was split into these."""
    for path, array in arrays.items():
        *parents, name = path.split("/")
        inner = values
        for parent in parents:
            inner = inner[parent]
        inner[name] = array
    return values
