"""Policy of one spec, ready to act, and trained generators and experts, which make such policies.

Robots amplify the last bit: over a thousand steps, two libraries that multiply the same float32 matrices in another
order return 955 and 950. So weights are generated, and actions computed, in float64 and then rounded to float32. Every
library then comes to the same bits, and a policy returns in an ONNX runtime what it returns here.
"""

from __future__ import annotations

import copy
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.deployment.limits import Spec, check, described, named
from hypogen.generators import FewShotGenerator, Generator, get_generator, storage
from hypogen.policy import Policy

POLICIES, KNOWN = "policies.safetensors", "policies.json"
"""Files of a folder with the policies of some specs."""


@dataclass(frozen=True, eq=False)
class SpecPolicy:
    """Policy of one spec.

    Attributes:
        benchmark: Benchmark that it acts in.
        spec: Raw values [C].
        method: Name of the method that made it, or ``expert``.
        network: The policy as rollouts take it, one spec, float32, on the CPU.
    """

    benchmark: Benchmark
    spec: Spec
    method: str
    network: Policy

    def act(self, observation: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Actions [A] within [-1, 1] for an observation [D] as the environment gives it; [E, A] for [E, D].

        Raises ValueError for an observation of another length.
        """
        given = np.asarray(observation, dtype=np.float32)
        if given.ndim not in (1, 2) or given.shape[-1] != self.benchmark.observation_dim:
            raise ValueError(
                f"{self.benchmark.name} has observations of {self.benchmark.observation_dim} numbers, got {given.shape}"
            )
        hidden = given.astype(np.float64)
        *inner, (weight, bias) = self._layers
        for inner_weight, inner_bias in inner:
            hidden = np.maximum(hidden @ inner_weight + inner_bias, 0.0)
        action: npt.NDArray[np.float32] = np.tanh(hidden @ weight + bias).astype(np.float32)
        return action

    __call__ = act

    def __str__(self) -> str:
        return f"{self.method}, {self.benchmark.name}, {described(self.benchmark, self.spec)}"

    def save(self, path: Path | str) -> None:
        """Write it as ``.onnx`` or ``.safetensors``, by the ending. ValueError for another one.

        ONNX: ``observation`` float32 [E, D] to ``action`` float32 [E, A]. safetensors: see ``Policy.save``, one spec.
        """
        path = Path(path)
        if path.suffix == ".safetensors":
            self.network.save(path, self.about)
        elif path.suffix == ".onnx":
            from hypogen.deployment import onnx_graphs

            onnx_graphs.save_policy(self, path)
        else:
            raise ValueError(f"{path}: a policy is written as .onnx or .safetensors")

    @property
    def about(self) -> dict[str, str]:
        """What a file says of it, as text."""
        return {"method": self.method, **about(self.benchmark), "spec": described(self.benchmark, self.spec)}

    @cached_property
    def _layers(self) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        """Weights [in, out] and biases [out] of each layer, float64."""
        layers = zip(self.network.weights, self.network.biases, strict=True)
        return [(weight[0].double().numpy().T.copy(), bias[0].double().numpy()) for weight, bias in layers]


class Trained(ABC):
    """What makes policies for specs: a trained generator, or experts."""

    benchmark: Benchmark
    method: str

    def policy(self, **values: float) -> SpecPolicy:
        """Policy of the spec with these values by name, such as ``policy(speed=3.7)``, in the benchmark's units.

        Warns about a spec off the benchmark's grid. Raises ValueError for one that is refused (see
        :mod:`hypogen.deployment.limits`), or that there is no policy for.
        """
        return self.at(named(self.benchmark, values))

    def at(self, spec: Sequence[float]) -> SpecPolicy:
        """The same for a spec [C] in the benchmark's order."""
        point = tuple(map(float, spec))
        remark, network = check(self.benchmark, point), self._network(point)
        if remark is not None:
            warnings.warn(remark, stacklevel=2)
        return SpecPolicy(self.benchmark, point, self.method, network)

    @abstractmethod
    def save(self, folder: Path | str) -> None:
        """Write a folder that :func:`hypogen.load` takes; it is created if it is missing."""

    @abstractmethod
    def _network(self, spec: Spec) -> Policy:
        """The network of one spec [C], float32."""


@dataclass(frozen=True, eq=False)
class TrainedGenerator(Trained):
    """A generator, which has a policy for every spec. ValueError for a few-shot method, which has not."""

    generator: Generator

    def __post_init__(self) -> None:
        if isinstance(self.generator, FewShotGenerator):
            raise ValueError(f"{self.method} has policies only for specs that it adapted to, not at any spec")

    @property
    def benchmark(self) -> Benchmark:  # type: ignore[override]
        """Benchmark that it was trained on."""
        return self.generator.benchmark

    @property
    def method(self) -> str:  # type: ignore[override]
        """Name of the method."""
        return storage.method_of(self.generator)

    def save(self, folder: Path | str) -> None:
        """Write the generator's own folder (:mod:`hypogen.generators.storage`)."""
        storage.save(self.generator, folder)

    def save_onnx(self, path: Path | str) -> None:
        """Write the whole generator as one ONNX graph, from ``spec`` and ``observation`` to ``action``."""
        from hypogen.deployment import onnx_graphs

        onnx_graphs.save_generator(self, path)

    def _network(self, spec: Spec) -> Policy:
        with torch.no_grad():
            layers = InDouble(self.generator)(torch.tensor([spec], dtype=torch.float64))
        half = len(layers) // 2
        return Policy(layers[:half], layers[half:])


class InDouble(nn.Module):
    """A copy of a generator that computes in float64: specs [S, C] to weights, then biases, of each layer, float32."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = copy.deepcopy(generator).double()

    def forward(self, specs: Tensor) -> tuple[Tensor, ...]:
        policy = self.generator.policy(specs)
        return tuple(layer.float() for layer in (*policy.weights, *policy.biases))


@dataclass(frozen=True, eq=False)
class KnownPolicies(Trained):
    """Policies of some specs and no others: experts, or what a few-shot method adapted to.

    Attributes:
        specs: Raw values [S, C], float64.
        policies: One per spec, float32, on the CPU.
    """

    benchmark: Benchmark
    method: str
    specs: npt.NDArray[np.float64]
    policies: Policy

    def save(self, folder: Path | str) -> None:
        """Write the policies, and of which specs they are."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.policies.save(folder / POLICIES)
        record = {"method": self.method, "benchmark": self.benchmark.name, "specs": self.specs.tolist()}
        (folder / KNOWN).write_text(json.dumps(record, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path | str) -> KnownPolicies:
        """Read a folder that ``save`` wrote. ValueError when a file of it is damaged or missing."""
        folder = Path(folder)
        try:
            record = json.loads((folder / KNOWN).read_text())
            benchmark, specs = get_benchmark(record["benchmark"]), np.array(record["specs"], dtype=np.float64)
            return cls(benchmark, record["method"], specs, Policy.load(folder / POLICIES))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{folder} does not hold policies: {error}") from error

    def _network(self, spec: Spec) -> Policy:
        distances = np.abs(self.specs - np.array(spec)).max(axis=1)
        row = int(distances.argmin())
        if distances[row] > 1e-9:
            nearest = described(self.benchmark, self.specs[row])
            raise ValueError(
                f"{self.method} has policies for {len(self.specs)} specs of {self.benchmark.name}, not for "
                f"{described(self.benchmark, spec)}; the nearest is {nearest}"
            )
        return self.policies.select([row])


def about(benchmark: Benchmark) -> dict[str, str]:
    """What a file says of the benchmark, as text."""
    variables = ", ".join(f"{variable.name} ({variable.unit})" for variable in benchmark.variables)
    return {"benchmark": benchmark.identity, "variables": variables}


def title_of(method: str) -> str:
    """Name of a method for people, such as HyPoGen."""
    return "Expert" if method == "expert" else get_generator(method).title
