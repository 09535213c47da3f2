"""Trained experts: their actors, their first critics, and the evaluations made during training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hypogen.policy import Policy, concatenate, stacked_mlp


@dataclass(frozen=True, eq=False)
class Critic:
    """S stacked action-value functions Q1(s, a): weights ``[S, out, in]`` and biases ``[S, out]`` of each layer."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def __call__(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Values ``[S, N]`` of actions ``[S, N, A]`` at observations ``[S, N, D]``."""
        return stacked_mlp(self.weights, self.biases, torch.cat([observations, actions], dim=-1)).squeeze(-1)

    def select(self, indices: Sequence[int]) -> Critic:
        """Critics of the specs at ``indices``, in that order."""
        rows = torch.as_tensor(indices, dtype=torch.long)
        return Critic(tuple(w[rows] for w in self.weights), tuple(b[rows] for b in self.biases))

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with the layout of a policy file."""
        save_file({name: tensor.contiguous() for name, tensor in _tensors(self).items()}, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Critic:
        """Read a file that ``save`` wrote."""
        return cls(*_layers(load_file(Path(path))))


@dataclass(frozen=True, eq=False)
class Experts:
    """One expert per spec.

    specs: raw values ``[S, C]``. returns: mean return ``[S]`` in the evaluation for which each expert was kept. curve:
    all evaluations, one row ``{"update", "spec", "return"}`` per spec, where spec is the position in ``specs``.
    """

    specs: npt.NDArray[np.float64]
    actor: Policy
    critic: Critic
    returns: npt.NDArray[np.float64]
    curve: list[dict[str, Any]] = field(default_factory=list)

    def select(self, indices: Sequence[int]) -> Experts:
        """Experts of the specs at ``indices``, in that order."""
        chosen = [int(index) for index in indices]
        curve = [
            {**row, "spec": place} for place, index in enumerate(chosen) for row in self.curve if row["spec"] == index
        ]
        return Experts(
            self.specs[chosen], self.actor.select(chosen), self.critic.select(chosen), self.returns[chosen], curve
        )

    def better(self, other: Experts) -> Experts:
        """Experts with the higher return per spec, from ``self`` when both are equal; both must have the same specs."""
        kept = np.arange(len(self.specs)) + len(self.specs) * (other.returns > self.returns)
        return Experts.concatenate([self, other]).select(kept.tolist())

    @staticmethod
    def concatenate(parts: Sequence[Experts]) -> Experts:
        """Experts of populations that were trained apart, in the given order. Raises ValueError when there are none."""
        if not parts:
            raise ValueError("there are no experts to concatenate")
        starts = np.cumsum([0, *(len(part.specs) for part in parts)])
        pairs = list(zip(starts.tolist(), parts, strict=False))
        return Experts(
            specs=np.concatenate([part.specs for part in parts]),
            actor=concatenate([part.actor for part in parts]),
            critic=Critic(
                tuple(torch.cat(layer) for layer in zip(*(part.critic.weights for part in parts), strict=True)),
                tuple(torch.cat(layer) for layer in zip(*(part.critic.biases for part in parts), strict=True)),
            ),
            returns=np.concatenate([part.returns for part in parts]),
            curve=[{**row, "spec": row["spec"] + start} for start, part in pairs for row in part.curve],
        )

    def state(self) -> dict[str, Any]:
        """Weights and returns as nested dictionaries of tensors, without specs and curve."""
        actor, critic = _tensors(self.actor), _tensors(self.critic)
        return {"returns": torch.from_numpy(self.returns), "actor": actor, "critic": critic}

    @classmethod
    def from_state(cls, specs: npt.NDArray[np.float64], state: Mapping[str, Any]) -> Experts:
        """Experts with this ``state``."""
        actor, critic = Policy(*_layers(state["actor"])), Critic(*_layers(state["critic"]))
        return cls(specs, actor, critic, state["returns"].numpy())

    def save(self, folder: str | Path) -> None:
        """Write ``actor.safetensors``, ``critic.safetensors`` and ``experts.json`` to a folder, which is created."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.actor.save(folder / "actor.safetensors")
        self.critic.save(folder / "critic.safetensors")
        record = {"specs": self.specs.tolist(), "returns": self.returns.tolist(), "curve": self.curve}
        (folder / "experts.json").write_text(json.dumps(record, indent=1))

    @classmethod
    def load(cls, folder: str | Path) -> Experts:
        """Read a folder that ``save`` wrote."""
        folder = Path(folder)
        record = json.loads((folder / "experts.json").read_text())
        actor, critic = Policy.load(folder / "actor.safetensors"), Critic.load(folder / "critic.safetensors")
        return cls(np.array(record["specs"]), actor, critic, np.array(record["returns"]), record["curve"])


def _tensors(network: Policy | Critic) -> dict[str, Tensor]:
    tensors = {f"weight.{layer}": weight for layer, weight in enumerate(network.weights)}
    return tensors | {f"bias.{layer}": bias for layer, bias in enumerate(network.biases)}


def _layers(tensors: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    layers = range(len(tensors) // 2)
    return tuple(tensors[f"weight.{layer}"] for layer in layers), tuple(tensors[f"bias.{layer}"] for layer in layers)
