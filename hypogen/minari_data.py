"""Demonstrations as a Minari dataset, and back, exact to the last bit.

An episode of the dataset is an episode here: its T + 1 observations, actions, rewards, seed and, as options, its spec
and its place. The experts' values are infos. Minari is a package of the extra ``sharing``.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from hypogen.benchmarks import get_benchmark
from hypogen.demonstrations import Demonstrations
from hypogen.errors import MissingPackage

if TYPE_CHECKING:
    from minari.data_collector import EpisodeBuffer

REMEDY = "a Minari dataset takes the package minari: pip install 'hypogen[sharing]'"
_FOLDER = "MINARI_DATASETS_PATH"
_ABOUT, _STEPS = "hypogen", "hypogen_steps"
"""Names in the dataset's metadata: what it is about, as JSON, and T."""


def save_minari(
    demonstrations: Demonstrations,
    root: Path | str,
    name: str,
    benchmark: str,
    about: Mapping[str, object] | None = None,
    seeds: npt.ArrayLike | None = None,
) -> Path:
    """Write the dataset ``name``, such as ``hypogen/cheetah-speed/experts-v0``, below ``root``; where it is now.

    Args:
        root: Folder of datasets, ``MINARI_DATASETS_PATH``.
        about: Provenance, as plain JSON, beside the benchmark and the units of its variables.
        seeds: Seed of each episode's start ``[S, E]``, where it is known.

    Raises ValueError for what a dataset cannot hold: an observation that does not follow from the step before, numbers
    after an episode's end, a name that is taken; MissingPackage without Minari.
    """
    _check_installed()
    from gymnasium.spaces import Box
    from minari import create_dataset_from_buffers

    described = get_benchmark(benchmark)
    _check(demonstrations)
    observations = demonstrations.observations.shape[-1]
    variables = [{"name": one.name, "unit": one.unit} for one in described.variables]
    episodes = list(_episodes(demonstrations, None if seeds is None else np.asarray(seeds)))
    with _rooted(root), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about an author and an environment that nobody named
        dataset = create_dataset_from_buffers(
            name,
            episodes,
            observation_space=Box(-np.inf, np.inf, (observations,), np.float32),
            action_space=Box(-1, 1, (demonstrations.actions.shape[-1],), np.float32),
            algorithm_name="experts",
            description=f"Experts of {described.identity}, one for each spec.",
            data_format="hdf5",
        )
    held = {"benchmark": described.identity, "variables": variables, **(about or {})}
    dataset.storage.update_metadata({_ABOUT: json.dumps(held), _STEPS: demonstrations.rewards.shape[2]})
    return Path(dataset.storage.data_path).parent


def load_minari(folder: Path | str) -> tuple[Demonstrations, dict[str, Any]]:
    """The demonstrations in a dataset's folder that ``save_minari`` wrote, and what they are about.

    Raises ValueError for another dataset, whose steps have no experts' values; MissingPackage without Minari.
    """
    _check_installed()
    from minari import MinariDataset

    data = Path(folder) / "data"
    if not data.is_dir():
        raise ValueError(f"{folder} is no folder of a Minari dataset")
    dataset = MinariDataset(data)
    metadata = dataset.storage.metadata
    if _ABOUT not in metadata:
        raise ValueError(f"{folder}: this dataset was not written by hypogen, and has no values of experts")
    indices = range(dataset.total_episodes)
    options = [one["options"] for one in dataset.storage.get_episode_metadata(indices)]
    specs = {int(one["spec_index"]): one["spec"] for one in options}
    count, steps = len(options) // len(specs), int(metadata[_STEPS])
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    for episode in dataset.storage.get_episodes(indices):
        for field, values in _fields(episode, steps).items():
            parts.setdefault(field, []).append(values)
    stacked = {name: np.stack(values) for name, values in parts.items()}
    tensors = {
        name: torch.from_numpy(values.reshape(len(specs), count, *values.shape[1:])) for name, values in stacked.items()
    }
    found = Demonstrations(torch.from_numpy(np.stack([specs[row] for row in range(len(specs))])), **tensors)
    return found, json.loads(metadata[_ABOUT])


def _check_installed() -> None:
    if find_spec("minari") is None:
        raise MissingPackage(REMEDY)


@contextmanager
def _rooted(root: Path | str) -> Iterator[None]:
    """Minari's own folder, for as long as a dataset is made."""
    before = os.environ.get(_FOLDER)
    os.environ[_FOLDER] = str(Path(root).absolute())
    try:
        yield
    finally:
        del os.environ[_FOLDER]
        if before is not None:
            os.environ[_FOLDER] = before


def _episodes(demonstrations: Demonstrations, seeds: npt.NDArray[np.int64] | None) -> Iterator[EpisodeBuffer]:
    """Episodes of each spec in turn; the spec is one of the options."""
    from minari.data_collector import EpisodeBuffer

    array = {name: tensor.numpy() for name, tensor in vars(demonstrations).items()}
    for row, place in np.ndindex(*demonstrations.lengths.shape):
        length = int(array["lengths"][row, place])
        real = {name: values[row, place, :length] for name, values in array.items() if values.ndim > 2}
        ended = np.arange(length) == length - 1
        terminated = bool(array["terminated"][row, place])
        yield EpisodeBuffer(
            seed=None if seeds is None else int(seeds[row, place]),
            options={"spec": array["specs"][row], "spec_index": row, "episode": place},
            observations=np.concatenate([real["observations"], real["next_observations"][-1:]]),  # type: ignore[arg-type]
            actions=real["actions"],  # type: ignore[arg-type]
            rewards=real["rewards"],  # type: ignore[arg-type]
            terminations=ended & terminated,  # type: ignore[arg-type]
            truncations=ended & (not terminated),  # type: ignore[arg-type]
            infos={"expert_value": real["values"]},
        )


def _fields(episode: Mapping[str, Any], steps: int) -> dict[str, npt.NDArray[Any]]:
    """Fields of one episode [T, …], zeros behind its end."""
    length = len(episode["rewards"])

    def padded(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate([values, np.zeros((steps - length, *values.shape[1:]), values.dtype)])

    return {
        "observations": padded(episode["observations"][:-1]),
        "actions": padded(episode["actions"]),
        "rewards": padded(episode["rewards"]),
        "next_observations": padded(episode["observations"][1:]),
        "values": padded(episode["infos"]["expert_value"]),
        "lengths": np.array(length, np.int64),
        "terminated": np.array(episode["terminations"][-1], np.bool_),
    }


def _check(demonstrations: Demonstrations) -> None:
    """ValueError unless an episode is a chain of observations, and zero behind its end."""
    steps = torch.arange(demonstrations.rewards.shape[2])
    real = steps < demonstrations.lengths[..., None]
    for name, tensor in vars(demonstrations).items():
        if tensor.ndim > 2 and tensor[~real].any():
            raise ValueError(f"{name} has numbers behind the end of an episode, which a dataset cannot hold")
    if (demonstrations.lengths < 1).any():
        raise ValueError("an episode without a step cannot be written")
    follows = _bits(demonstrations.next_observations[:, :, :-1]) == _bits(demonstrations.observations[:, :, 1:])
    if not follows.all(-1)[real[..., 1:]].all():
        raise ValueError("an observation does not follow from the step before, which a dataset cannot hold")


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.int32)
