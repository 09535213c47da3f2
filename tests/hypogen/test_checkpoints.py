"""Checkpoints: every state comes back as it was, none of another training does, and nothing in them is run."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hypogen import checkpoints
from hypogen.checkpoints import FILE, Checkpoint, load_optimizer_state, optimizer_state

IDENTITY = {"benchmark": "cheetah-speed", "specs": [[0.1], [2.0]], "sizes": (3, 4), "rate": None}
SHARED = torch.arange(6.0)
STATE = {
    "epoch": 3,
    "rows": [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-300}],
    "none": {},
    "network": {"0.weight": SHARED.view(2, 3).T, "same": SHARED, "half": torch.tensor([1.5], dtype=torch.bfloat16)},
    "world": {
        "streams": {"keys": np.array([[1, 2**32 - 1]], dtype=np.uint32), "position": np.array(7)},
        "physics": np.array([0.1, np.nan, -0.0]),
    },
    "no_rows": np.zeros((0, 3)),
}


def content(tensor):
    return bytes(tensor.clone(memory_format=torch.contiguous_format).untyped_storage())


def assert_same(ours, theirs):
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            assert_same(ours[name], theirs[name])
    elif isinstance(theirs, torch.Tensor | np.ndarray):
        theirs = torch.as_tensor(theirs)
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape and content(ours) == content(theirs)
    else:
        assert ours == theirs


def test_a_state_comes_back_to_the_last_bit_and_replaces_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    assert Checkpoint(folder, IDENTITY).load() is None and not folder.exists()
    Checkpoint(folder, IDENTITY).save({"epoch": 1, "gone": torch.ones(1)})
    Checkpoint(folder, IDENTITY).save(STATE)
    assert_same(Checkpoint(folder, dict(reversed(IDENTITY.items()))).load(), STATE)
    assert [file.name for file in folder.iterdir()] == [FILE]
    assert set(load_file(folder / FILE)) >= {"network/same", "world/streams/keys"}, "anybody can read it"


def test_a_state_of_another_training_is_refused_by_the_names_of_all_that_differs(tmp_path: Path) -> None:
    Checkpoint(tmp_path, IDENTITY).save(STATE)
    other = {**IDENTITY, "specs": [[0.1], [2.1]], "seed": None}
    with pytest.raises(ValueError, match="belongs to another training: specs, seed differ; a training with other"):
        Checkpoint(tmp_path, other).load()
    with pytest.raises(ValueError, match="belongs to another training: rate differ"):
        Checkpoint(tmp_path, {name: value for name, value in IDENTITY.items() if name != "rate"}).load()


class Exploit:
    """Pickles as a call that leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_what_cannot_be_read_is_named_and_no_pickle_is_run(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    for damaged in (b"", b"\x00" * 40, pickle.dumps(Exploit(tmp_path / "trace"))):
        folder.mkdir(exist_ok=True)
        (folder / FILE).write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint cannot be read .*; delete it to train from the start"):
            Checkpoint(folder, IDENTITY).load()
    torch.save(Exploit(tmp_path / "trace"), folder / FILE)
    with pytest.raises(ValueError, match="cannot be read"):
        Checkpoint(folder, IDENTITY).load()
    (tmp_path / "file").write_bytes(b"of an older version")
    with pytest.raises(ValueError, match="file cannot be read"):
        Checkpoint(tmp_path / "file", IDENTITY).load()
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("place", ["save_file", "sync", "replace"])
def test_a_failure_at_any_moment_leaves_the_last_state(place: str, tmp_path: Path, monkeypatch) -> None:
    Checkpoint(tmp_path, IDENTITY).save({"epoch": 1})

    def fail(*arguments):
        if place == "save_file":
            Path(arguments[1]).write_bytes(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os if place == "replace" else checkpoints, place, fail)
        with pytest.raises(OSError, match="No space"):
            Checkpoint(tmp_path, IDENTITY).save({"epoch": 2})
    again = Checkpoint(tmp_path, IDENTITY)
    assert again.load() == {"epoch": 1}
    again.save({"epoch": 3})
    assert again.load() == {"epoch": 3} and [file.name for file in tmp_path.iterdir()] == [FILE]


def test_file_and_folder_are_on_the_disk_in_the_order_that_makes_a_state_whole(tmp_path: Path, monkeypatch) -> None:
    done, replace = [], os.replace
    monkeypatch.setattr(checkpoints, "sync", lambda path: done.append(path.name))
    monkeypatch.setattr(os, "replace", lambda source, target: done.append("replace") or replace(source, target))
    Checkpoint(tmp_path / "folder", IDENTITY).save(STATE)
    assert done == [f"{FILE}.partial", "replace", "folder"]


def test_due_counts_from_the_start_and_from_every_state(tmp_path: Path, monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    files = Checkpoint(tmp_path, IDENTITY, every_s=10.0)
    assert not files.due()
    now = 110.0
    assert files.due()
    files.save(STATE)
    assert not files.due() and Checkpoint(tmp_path, IDENTITY).due()


def test_an_optimiser_goes_on_with_its_buffers_and_its_own_options(tmp_path: Path) -> None:
    def step(parameters, optimizer):
        for number, parameter in enumerate(parameters[:2]):  # the third never gets a gradient
            parameter.grad = torch.full_like(parameter, 0.1 + number) * parameter.detach()
        optimizer.step()

    def make(rate):
        parameters = [torch.nn.Parameter(torch.full((3,), 1.0 + number)) for number in range(3)]
        return parameters, torch.optim.Adam(parameters, lr=rate, fused=True)

    ours, theirs = make(0.1), make(0.1)
    step(*ours)
    step(*theirs)
    Checkpoint(tmp_path, IDENTITY).save({"optimizer": optimizer_state(ours[1])})
    parameters, optimizer = make(0.1)
    with torch.no_grad():
        for mine, other in zip(parameters, theirs[0], strict=True):
            mine.copy_(other)
    load_optimizer_state(optimizer, Checkpoint(tmp_path, IDENTITY).load()["optimizer"])
    for _ in range(3):
        step(*theirs)
        step(parameters, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(parameters, theirs[0], strict=True))
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
