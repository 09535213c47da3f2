"""Demonstrations to Minari and back, against the real library."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hypogen.demonstrations import Demonstrations
from hypogen.errors import MissingPackage
from hypogen.minari_data import load_minari, save_minari

NAME = "hypogen/cheetah-speed/experts-v0"
ABOUT = {"experts": "abc", "git_commit": "0" * 40, "noise": 0.1}


@pytest.fixture
def shown() -> Demonstrations:
    """Two specs with three episodes each, of different lengths, with the odd numbers that a float can be."""
    random = torch.Generator().manual_seed(0)
    lengths = torch.tensor([[4, 1, 7], [7, 3, 5]])
    real = torch.arange(8) < lengths[..., None]  # T is longer than any episode
    chain = torch.randn(2, 3, 9, 17, generator=random)
    chain[0, 0, :3, 0] = torch.tensor([-0.0, 1e-42, torch.inf])
    chain[0, 0, 1, 1] = torch.nan

    def zeroed(values: torch.Tensor) -> torch.Tensor:
        return torch.where(real.view(*real.shape, *[1] * (values.ndim - 3)), values, 0.0)

    return Demonstrations(
        specs=torch.tensor([[0.1], [1 / 3]], dtype=torch.float64),
        observations=zeroed(chain[:, :, :-1]),
        actions=zeroed(torch.rand(2, 3, 8, 6, generator=random)),
        rewards=zeroed(torch.rand(2, 3, 8, generator=random)),
        next_observations=zeroed(chain[:, :, 1:]),
        values=zeroed(torch.randn(2, 3, 8, generator=random)),
        lengths=lengths,
        terminated=torch.tensor([[True, False, False], [False, True, False]]),
    )


def bits(demonstrations: Demonstrations) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    arrays = {field.name: getattr(demonstrations, field.name).numpy() for field in fields(demonstrations)}
    return {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in arrays.items()}


def test_what_comes_back_is_what_went_to_the_last_bit(shown: Demonstrations, tmp_path: Path) -> None:
    folder = save_minari(shown, tmp_path, NAME, "cheetah-speed", ABOUT)
    assert folder == tmp_path / NAME
    back, about = load_minari(folder)
    assert bits(back) == bits(shown)
    assert {name: about[name] for name in ABOUT} == ABOUT
    assert about["variables"] == [{"name": "speed", "unit": "m/s"}]


def test_minari_itself_reads_episodes_specs_and_seeds(
    shown: Demonstrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import minari

    save_minari(shown, tmp_path, NAME, "cheetah-speed", seeds=np.arange(6).reshape(2, 3))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = minari.load_dataset(NAME)
    assert (dataset.total_episodes, dataset.total_steps) == (6, 27)
    episode = dataset[3]
    assert episode.observations.shape == (8, 17) and episode.observations.dtype == np.float32
    assert np.array_equal(episode.actions, shown.actions[1, 0, :7].numpy())
    assert [one.terminations[-1] for one in dataset] == shown.terminated.flatten().tolist()
    assert all(one.terminations[-1] ^ one.truncations[-1] for one in dataset)
    (metadata,) = dataset.storage.get_episode_metadata([3])
    assert metadata["seed"] == 3 and metadata["options"]["spec"].tolist() == [1 / 3]


def test_what_a_dataset_cannot_hold_is_refused(shown: Demonstrations, tmp_path: Path) -> None:
    torn, behind = shown.next_observations.clone(), shown.rewards.clone()
    torn[1, 0, 2, 5] += 1
    behind[0, 1, 3] = 1
    for changes, said in (
        ({"next_observations": torn}, "does not follow"),
        ({"rewards": behind}, "rewards has numbers"),
    ):
        with pytest.raises(ValueError, match=said):
            save_minari(replace(shown, **changes), tmp_path, NAME, "cheetah-speed")
    save_minari(shown, tmp_path, NAME, "cheetah-speed")
    with pytest.raises(ValueError, match="already exists"):
        save_minari(shown, tmp_path, NAME, "cheetah-speed")
    with pytest.raises(ValueError, match="is no folder of a Minari dataset"):
        load_minari(tmp_path)


def test_without_minari_the_extra_is_named(
    shown: Demonstrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypogen.minari_data.find_spec", lambda package: None)
    with pytest.raises(MissingPackage, match=r"pip install 'hypogen\[sharing\]'"):
        save_minari(shown, tmp_path, NAME, "cheetah-speed")
