"""Policies: the common result of all methods, a batch of small MLPs, one per spec, with stacked parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hypogen.validation import at_least, require


@dataclass(frozen=True)
class PolicyShape:
    """Shape of the generated policies: the paper's MLPs (section 5.1), the same for every method.

    layers: linear layers, at least 1. Two layers (the paper's MuJoCo policies) are observation -> hidden -> action.
    hidden_dim: width of every layer except the last.

    Raises ValueError with a message that begins with the setting at fault.
    """

    layers: int = 2
    hidden_dim: int = 256

    def __post_init__(self) -> None:
        require(self, at_least(1), "layers", "hidden_dim")

    def sizes(self, inputs: int, outputs: int) -> tuple[tuple[int, int], ...]:
        """Sizes (in, out) of the linear layers, first to last."""
        widths = [inputs, *[self.hidden_dim] * (self.layers - 1), outputs]
        return tuple(pairwise(widths))


def stacked_mlp(weights: Sequence[Tensor], biases: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Apply S MLPs together, each to its own rows, with ReLU between layers and no activation after the last.

    weights [S, out, in] and biases [S, out] for each layer; inputs [S, E, in]; returns [S, E, out].
    """
    hidden = inputs
    last = len(weights) - 1
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = torch.baddbmm(bias.unsqueeze(1), hidden, weight.transpose(1, 2))
        if layer < last:
            hidden = torch.relu(hidden)
    return hidden


def fold_condition(weight: Tensor, bias: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """First layer on [condition, observation], rewritten as a layer on the observation alone with one bias per spec.

    weight [out, C + D], bias [out], condition [S, C]; returns weight [S, out, D] (a view) and bias [S, out].
    Exact, since W [c, x] + b = W_x x + (W_c c + b): the condition need not enter the policy at every step.
    """
    size = condition.shape[1]
    folded = torch.addmm(bias, condition, weight[:, :size].T)
    return weight[:, size:].expand(len(condition), -1, -1), folded


@dataclass(frozen=True, eq=False)
class Policy:
    """S deterministic MLP policies: ReLU between the layers and tanh on the action, so that actions lie in [-1, 1].

    weights: one tensor [S, out, in] per layer. biases: one tensor [S, out] per layer.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        if not self.weights or len(self.weights) != len(self.biases):
            raise ValueError(f"a policy needs as many biases as weights: {len(self.weights)}, {len(self.biases)}")
        inputs = self.weights[0].shape[-1]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            if weight.ndim != 3 or bias.shape != weight.shape[:2] or weight.shape[::2] != (self.specs, inputs):
                shapes = [tuple(tensor.shape) for tensor in (*self.weights, *self.biases)]
                raise ValueError(f"policy layers do not fit together, expected [S, out, in] and [S, out]: {shapes}")
            inputs = weight.shape[1]

    def __call__(self, observations: Tensor) -> Tensor:
        """Actions [S, E, A] for observations [S, E, D]; the policy of spec s acts on row s."""
        return torch.tanh(stacked_mlp(self.weights, self.biases, observations))

    @property
    def specs(self) -> int:
        """Number of policies S."""
        return self.weights[0].shape[0]

    @property
    def device(self) -> torch.device:
        return self.weights[0].device

    @property
    def observation_dim(self) -> int:
        return self.weights[0].shape[2]

    @property
    def action_dim(self) -> int:
        return self.weights[-1].shape[1]

    def select(self, indices: Sequence[int] | Tensor) -> Policy:
        """Policies at `indices`, in that order; repeated indices repeat a policy."""
        rows = torch.as_tensor(indices, dtype=torch.long, device=self.weights[0].device)
        return Policy(tuple(w[rows] for w in self.weights), tuple(b[rows] for b in self.biases))

    def to(self, device: torch.device | str | torch.dtype) -> Policy:
        """Copy on another device or in another floating type."""
        return Policy(tuple(w.to(device) for w in self.weights), tuple(b.to(device) for b in self.biases))

    def detach(self) -> Policy:
        """The same policies, detached from the autograd graph that generated them."""
        return Policy(tuple(w.detach() for w in self.weights), tuple(b.detach() for b in self.biases))

    def save(self, path: Path | str, says: Mapping[str, str] | None = None) -> None:
        """Write one safetensors file (tensors `weight.0`, `bias.0`, ...), with what it says of itself as metadata."""
        tensors = {f"weight.{i}": w for i, w in enumerate(self.weights)}
        tensors |= {f"bias.{i}": b for i, b in enumerate(self.biases)}
        # Shared weights are expanded views; safetensors needs tensors that own their memory.
        owned = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        save_file(owned, str(path), None if says is None else dict(says))

    @classmethod
    def load(cls, path: Path | str) -> Policy:
        """Read a file that `save` wrote. Raises FileNotFoundError when missing, ValueError when not a policy file."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"no policy at {path}")
        try:
            tensors = load_file(str(path))
            layers = range(len(tensors) // 2)
            return cls(tuple(tensors[f"weight.{i}"] for i in layers), tuple(tensors[f"bias.{i}"] for i in layers))
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is not a readable policy file: {error}") from error


def concatenate(policies: Sequence[Policy]) -> Policy:
    """One policy for the specs of all `policies`, in order [S1 + S2 + ...]; all must have the same shape."""
    return Policy(
        tuple(torch.cat(layer) for layer in zip(*(p.weights for p in policies), strict=True)),
        tuple(torch.cat(layer) for layer in zip(*(p.biases for p in policies), strict=True)),
    )
