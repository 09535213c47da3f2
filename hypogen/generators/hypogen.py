"""HyPoGen: a hypernetwork shaped like K steps of gradient descent on the policy (paper, section 4 and appendix A.2).

theta^k = theta^{k-1} + lambda^k(theta^{k-1}, phi(M)) * psi^k(theta^{k-1}, phi(M)),  k = 1..K         (equation 6)

psi imitates backpropagation through a policy of N layers h_1..h_N. Pseudo activations z_n stand for the outputs of the
layers. One network per layer estimates the Jacobians d h_n / d z_{n-1} and d h_n / d theta_n from (z_{n-1}, theta_n)
(equation 7), and their products, from the last layer down to the first, are the update (equation 8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypogen.benchmarks import Benchmark
from hypogen.factored import Chain, apply, product
from hypogen.generators.base import Batch, Generator, Specs
from hypogen.generators.encoder import SPEC_SCALINGS, SpecEncoder, SpecScaling
from hypogen.generators.heads import LayerDecoder, LayerEncoder, Sizes, fresh_parameters, unflatten
from hypogen.generators.value import ValueHead, imitation_losses
from hypogen.policy import Policy, PolicyShape
from hypogen.validation import DISCOUNT, one_of, require, whole

INITIAL_STEP = -0.01
"""Initial value of every step size, as in the authors' code: against the gradient, small beside codes of variance 1."""


@dataclass(frozen=True)
class HyPoGenSettings:
    """Settings of HyPoGen; the defaults are those of the paper's table 12 or, where it gives none, ours.

    blocks: number of updates and of hypernet blocks K.
    block_depth: linear layers of every MLP inside a block.
    hidden_dim: width of the hidden layers of those MLPs.
    weight_dim: width of a policy layer's latent code (the paper's "weight embedding").
    activation_dim: width of the pseudo activations between layers and of the chain of products (authors' code: 64).
    embedding_dim: width of the task embedding, a multiple of 4.
    step_size: "network" (equation 6: a function of theta and the embedding) or "scalar" (authors' code: one number per
        block).
    space: "latent" (appendix A.2: encode once, update, decode once) or "full" (authors' code: theta stays in its own
        space; every block encodes it, decodes its update and normalises that over the layer).
    share_blocks: whether all blocks share one set of networks instead of one set per block; step sizes stay one per
        block.
    spec_scaling: specs for the encoder, either scaled to [-1, 1] over the grid ("unit", ours) or as given ("raw", the
        authors').
    discount: discount of the Q head's temporal-difference target (paper's table 10: 0.99).
    """

    blocks: int = 8
    block_depth: int = 2
    hidden_dim: int = 128
    weight_dim: int = 256
    activation_dim: int = 64
    embedding_dim: int = 256
    step_size: Literal["network", "scalar"] = "network"
    space: Literal["latent", "full"] = "latent"
    share_blocks: bool = False
    spec_scaling: SpecScaling = "unit"
    discount: float = 0.99

    def __post_init__(self) -> None:
        require(self, whole(1), "blocks", "block_depth", "hidden_dim", "weight_dim", "activation_dim")
        require(self, whole(4), "embedding_dim")
        require(self, one_of("network", "scalar"), "step_size")
        require(self, one_of("latent", "full"), "space")
        require(self, one_of(*SPEC_SCALINGS), "spec_scaling")
        require(self, DISCOUNT, "discount")


def mlp(inputs: int, outputs: int, settings: HyPoGenSettings, gain: float = 1.0) -> Chain:
    """An MLP of `block_depth` linear layers, `hidden_dim` wide, with ReLU between them.

    Weights are drawn for ReLU (He et al., 2015), which keeps ten layers trainable; for inputs of variance 1 the outputs
    start with a standard deviation of about `gain`.
    """
    widths = [inputs, *[settings.hidden_dim] * (settings.block_depth - 1), outputs]
    layers: list[nn.Module] = []
    for width, out in pairwise(widths):
        layers += [_linear(width, out, math.sqrt(2.0)), nn.ReLU()]
    layers[-2:] = [_linear(widths[-2], outputs, gain)]
    return Chain(*layers)


def _linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(inputs))
    nn.init.zeros_(layer.bias)
    return layer


class Jacobian(nn.Module):
    """An MLP whose output is one matrix [rows, columns] per spec, multiplied by a row vector (psi of equation 7).

    The matrix is linear in the last hidden activations f, so row * matrix is one product of the outer product row x f
    with the weights of that linear layer. The matrices [S, rows, columns] are therefore never written to memory. The
    weights, nearly all of HyPoGen's, are read and their gradients written in memory order.

    steady: whether to keep the weights in units of their initial deviation. Adam changes all of a matrix's thousands of
    weights at once; in plain units one step changes a product by a third of its size, and through the six products of a
    seven-layer policy the updates explode within ten steps. Only the links of the chain need it.
    """

    def __init__(self, inputs: int, rows: int, columns: int, settings: HyPoGenSettings, steady: bool = False) -> None:
        super().__init__()
        if settings.block_depth > 1:
            shallower = replace(settings, block_depth=settings.block_depth - 1)
            self.features = Chain(mlp(inputs, settings.hidden_dim, shallower, math.sqrt(2.0)), nn.ReLU())
            inputs = settings.hidden_dim
        else:
            self.features = Chain()
        # Entries of variance 1/rows: the product with a row of variance 1 has variance 1, along a chain of any depth.
        deviation = 1.0 / math.sqrt(rows * inputs)
        self.unit = deviation if steady else 1.0
        self.weight = nn.Parameter(torch.empty(rows * inputs, columns).normal_().mul_(deviation / self.unit))
        self.bias = nn.Parameter(torch.zeros(rows, columns))

    def forward(self, row: Tensor, inputs: Tensor) -> Tensor:
        """Product of row [S, rows] with the matrices for inputs [S, in]: [S, columns]."""
        return self.multiply(row, self.features(inputs))

    def multiply(self, row: Tensor, features: Tensor) -> Tensor:
        """The same for inputs with these last hidden activations."""
        scaled = features if self.unit == 1.0 else features * self.unit
        return product(row, scaled, self.weight, self.bias)


class NeuralGradient(nn.Module):
    """psi of equations 7 and 8: map from codes [N, S, W] and embeddings [S, F] to update directions [N, S, W].

    The chain starts at a row vector d loss / d action, [S, d], which is computed from the embedding, and is multiplied
    by the Jacobians of the layers from the last to the second; d is `activation_dim`. Only the factors of equation 8
    exist: psi^z_n for n = 2..N and, since psi_n reads z_{n-1}, phi^z_n for n = 1..N-1; `activation_jacobians[0]` is
    psi^z_2.
    """

    def __init__(self, layers: int, settings: HyPoGenSettings) -> None:
        super().__init__()
        embedding, code, width = settings.embedding_dim, settings.weight_dim, settings.activation_dim
        both = width + code
        self.loss_slope = mlp(embedding, width, settings)
        self.observation = mlp(embedding, width, settings)
        self.activations = nn.ModuleList(mlp(both, width, settings) for _ in range(layers - 1))
        self.activation_jacobians = nn.ModuleList(
            Jacobian(both, width, width, settings, steady=True) for _ in range(layers - 1)
        )
        self.parameter_jacobians = nn.ModuleList(Jacobian(both, width, code, settings) for _ in range(layers))

    def forward(self, codes: Tensor, embedding: Tensor, ends: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """ends: what the networks of `ends` make of the embedding, where that is known already."""
        observation, row = ends or apply(*self.ends(embedding))
        features = self._features(codes, observation)
        links: Any = self.activation_jacobians
        parameters: Any = self.parameter_jacobians
        updates = []
        for layer in reversed(range(len(codes))):
            updates.append(parameters[layer].multiply(row, features[layer][0]))
            if layer:
                row = links[layer - 1].multiply(row, features[layer][1])
        return torch.stack(updates[::-1])

    def ends(self, embedding: Tensor) -> tuple[tuple[Chain, Tensor], tuple[Chain, Tensor]]:
        """Networks of z_0 and of d loss / d action, both [S, d], with their input."""
        return (self.observation, embedding), (self.loss_slope, embedding)

    def _features(self, codes: Tensor, observation: Tensor) -> list[list[Tensor]]:
        """Features of psi^theta_n and, but for n = 1, psi^z_n at (z_{n-1}, theta_n), [S, d + W], for n = 1..N.

        z_0 is `observation`, and z_n follows from (z_{n-1}, theta_n): one more network with the same inputs.
        """
        features, activation = [], observation
        for layer, code in enumerate(codes):
            inputs = torch.cat([activation, code], dim=-1)
            networks: list[Any] = [self.parameter_jacobians[layer].features]
            networks += [self.activation_jacobians[layer - 1].features] if layer else []
            networks += [self.activations[layer]] if layer + 1 < len(codes) else []
            features.append(apply(*((network, inputs) for network in networks)))
            activation = features[-1][-1]
        return features


class StepNetwork(nn.Module):
    """lambda^k of equation 6: map from codes [N, S, W] and embeddings [S, F] to one step size per spec, [S, 1].

    The network's output is relative to INITIAL_STEP, so that early training scales the step instead of replacing it.
    """

    def __init__(self, layers: int, settings: HyPoGenSettings) -> None:
        super().__init__()
        inputs = layers * settings.weight_dim + settings.embedding_dim
        self.network = mlp(inputs, 1, settings, gain=0.1)

    def forward(self, codes: Tensor, embedding: Tensor) -> Tensor:
        return INITIAL_STEP * (1.0 + self.network(torch.cat([*codes, embedding], dim=-1)))


class StepScalar(nn.Module):
    """lambda^k as one trained number per block (authors' code), [1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.full((1, 1), INITIAL_STEP))

    def forward(self, codes: Tensor, embedding: Tensor) -> Tensor:
        return self.value


class HyPoGen(Generator):
    """Equations 6 to 8 between layer encoders and decoders, and a generated Q head like HyperZero's."""

    settings: HyPoGenSettings

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: HyPoGenSettings) -> None:
        super().__init__(benchmark, shape, settings)
        self.sizes: Sizes = shape.sizes(benchmark.observation_dim, benchmark.action_dim)
        layers, code = shape.layers, settings.weight_dim
        sets = 1 if settings.share_blocks else settings.blocks
        codecs = sets if settings.space == "full" else 1
        self.encoder = SpecEncoder(benchmark, settings.embedding_dim, settings.spec_scaling)
        self.start = nn.ParameterList(nn.Parameter(fresh_parameters(layer)) for layer in self.sizes)
        self.layer_encoders = nn.ModuleList(
            nn.ModuleList(LayerEncoder(layer, code) for layer in self.sizes) for _ in range(codecs)
        )
        self.gradients = nn.ModuleList(NeuralGradient(layers, settings) for _ in range(sets))
        self.steps = nn.ModuleList(
            StepNetwork(layers, settings) if settings.step_size == "network" else StepScalar()
            for _ in range(settings.blocks)
        )
        self.layer_decoders = nn.ModuleList(
            nn.ModuleList(LayerDecoder(code, layer) for layer in self.sizes) for _ in range(codecs)
        )
        self.value_head = ValueHead(settings.embedding_dim, benchmark, shape.hidden_dim)

    def policy(self, specs: Specs, updates: int | None = None, start: Sequence[Tensor] | None = None) -> Policy:
        """Policy after `updates` of the K updates (None: all), 0 <= updates <= K, from `start` (None: theta^0).

        start: flat parameters of each policy layer, [out * in + out], as in `self.start` (paper's table 3).
        """
        return self._policy(self.encoder(specs), updates, start)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        embedding = self.encoder(batch.specs)
        return imitation_losses(self._policy(embedding), self.value_head(embedding), batch, self.settings.discount)

    def _policy(self, embedding: Tensor, updates: int | None = None, start: Sequence[Tensor] | None = None) -> Policy:
        updates = self.settings.blocks if updates is None else updates
        if not 0 <= updates <= self.settings.blocks:
            raise ValueError(f"updates must lie in 0..{self.settings.blocks} (the blocks), not {updates}")
        generate = self._in_latent_space if self.settings.space == "latent" else self._in_full_space
        first = [layer[None] for layer in (self.start if start is None else start)]
        return unflatten(generate(first, embedding, updates), self.sizes)

    def _in_latent_space(self, parameters: list[Tensor], embedding: Tensor, updates: int) -> list[Tensor]:
        """Updates of appendix A.2: the parameters [1, P] of each layer are encoded, updated and decoded to [S, P]."""
        codes = self._encode(parameters, 0).expand(-1, len(embedding), -1)
        ends = self._ends(embedding)
        for block in range(updates):
            step, direction = self._update(block, codes, embedding, ends)
            codes = codes + step * direction
        return self._decode(codes, 0)

    def _in_full_space(self, parameters: list[Tensor], embedding: Tensor, updates: int) -> list[Tensor]:
        """Updates of the authors' code: every update is decoded and normalised over its layer before it is added."""
        parameters = [layer.expand(len(embedding), -1) for layer in parameters]
        ends = self._ends(embedding)
        for block in range(updates):
            step, direction = self._update(block, self._encode(parameters, block), embedding, ends)
            decoded = self._decode(direction, block)
            normalised = [functional.layer_norm(layer, layer.shape[1:]) for layer in decoded]
            parameters = [p + step * n for p, n in zip(parameters, normalised, strict=True)]
        return parameters

    def _ends(self, embedding: Tensor) -> list[tuple[Tensor, Tensor]]:
        """`NeuralGradient.ends` of all sets: they depend on the embedding alone."""
        gradients: Any = self.gradients
        found = apply(*(pair for gradient in gradients for pair in gradient.ends(embedding)))
        return list(zip(found[::2], found[1::2], strict=True))

    def _update(self, block: int, codes: Tensor, embedding: Tensor, ends: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Step size [S, 1] or [1, 1] and direction [N, S, W] of update `block` + 1 at codes [N, S, W]."""
        number = block % len(self.gradients)
        return self.steps[block](codes, embedding), self.gradients[number](codes, embedding, ends[number])

    def _encode(self, parameters: Sequence[Tensor], block: int) -> Tensor:
        encoders: Any = self.layer_encoders[block % len(self.layer_encoders)]
        return torch.stack([encoder(layer) for encoder, layer in zip(encoders, parameters, strict=True)])

    def _decode(self, codes: Tensor, block: int) -> list[Tensor]:
        decoders: Any = self.layer_decoders[block % len(self.layer_decoders)]
        return [decoder(code) for decoder, code in zip(decoders, codes, strict=True)]
