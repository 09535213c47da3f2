"""Policies and generators as ONNX graphs, by PyTorch's own exporter.

As everywhere in :mod:`hypogen.deployment` the graphs compute in float64 between float32 weights and float32 actions, so
that a runtime comes to the same bits. ONNX Runtime has kernels for that on processors.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from hypogen.deployment.policies import InDouble, SpecPolicy, TrainedGenerator, about
from hypogen.errors import MissingPackage
from hypogen.policy import Policy

if TYPE_CHECKING:  # a package of the extra `export`
    import onnx

OPSET = 16
"""The last one without LayerNormalization, which ONNX Runtime computes in part in float32."""
REMEDY = "writing ONNX needs the package onnx: pip install 'hypogen[export]'"


def save_policy(policy: SpecPolicy, path: Path | str) -> None:
    """Write ``observation`` float32 [E, D] to ``action`` float32 [E, A]; MissingPackage without onnx."""
    inputs = {"observation": torch.zeros(1, policy.benchmark.observation_dim)}
    _write(_Acts(policy.network), inputs, policy.about, path)


def save_generator(trained: TrainedGenerator, path: Path | str) -> None:
    """Write ``spec`` float64 [C] and ``observation`` float32 [E, D] to ``action`` float32 [E, A].

    Every call generates the policy anew. MissingPackage without onnx.
    """
    benchmark = trained.benchmark
    inputs = {
        "spec": torch.tensor(benchmark.grid[0]),
        "observation": torch.zeros(1, benchmark.observation_dim),
    }
    _write(_GeneratesAndActs(trained), inputs, {"method": trained.method, **about(benchmark)}, path)


class _Acts(nn.Module):
    """Policy of one spec on observations [E, D]."""

    def __init__(self, network: Policy) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weight.detach() for weight in network.weights)
        self.biases = nn.ParameterList(bias.detach() for bias in network.biases)

    def forward(self, observation: Tensor) -> Tensor:
        return _action(tuple(self.weights), tuple(self.biases), observation)


class _GeneratesAndActs(nn.Module):
    """Policy of ``spec`` [C], generated and applied to observations [E, D]."""

    def __init__(self, trained: TrainedGenerator) -> None:
        super().__init__()
        self.layers = InDouble(trained.generator)

    def forward(self, spec: Tensor, observation: Tensor) -> Tensor:
        layers = self.layers(spec.unsqueeze(0))
        half = len(layers) // 2
        return _action(layers[:half], layers[half:], observation)


def _action(weights: tuple[Tensor, ...], biases: tuple[Tensor, ...], observation: Tensor) -> Tensor:
    """Actions [E, A] of weights [1, out, in] and biases [1, out], as ``SpecPolicy.act`` computes them."""
    hidden = observation.double()
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = hidden @ weight[0].double().T + bias[0].double()
        if layer < len(weights) - 1:
            hidden = torch.relu(hidden)
    return torch.tanh(hidden).float()


def _write(module: nn.Module, inputs: dict[str, Tensor], says: dict[str, str], path: Path | str) -> None:
    try:
        import onnx
    except ImportError as error:
        raise MissingPackage(REMEDY) from error

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        traced = Path(folder) / "traced.onnx"
        warnings.simplefilter("ignore")  # shapes are checked while tracing; PyTorch's newer exporter needs onnxscript
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            traced,
            input_names=list(inputs),
            output_names=["action"],
            dynamic_axes={"observation": {0: "episodes"}, "action": {0: "episodes"}},
            opset_version=OPSET,
            do_constant_folding=False,  # the weights stay the float32 numbers that they are
            dynamo=False,
        )
        model = onnx.load_model(str(traced))
    _declare(model.graph, inputs)
    _narrow(model.graph)
    onnx.helper.set_model_props(model, says)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path))


def _declare(graph: onnx.GraphProto, inputs: dict[str, Tensor]) -> None:
    """Keep inputs that the graph does not use, such as the spec of a policy that is blind to it."""
    import onnx

    used = {tensor.name for tensor in graph.input}
    for name, tensor in inputs.items():
        if name not in used:
            dtype = onnx.helper.np_dtype_to_tensor_dtype(tensor.numpy().dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, dtype, tensor.shape))


def _narrow(graph: onnx.GraphProto) -> None:
    """Store float64 weights as float32 where that loses nothing, with a cast before their use: half the file."""
    import onnx

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.DOUBLE:
            continue
        wide = onnx.numpy_helper.to_array(tensor)
        narrow = wide.astype(np.float32)
        if (narrow == wide).all():
            name, stored = tensor.name, f"{tensor.name}.float32"
            tensor.CopyFrom(onnx.numpy_helper.from_array(narrow, stored))
            casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.DOUBLE))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
