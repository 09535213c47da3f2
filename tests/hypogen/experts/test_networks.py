"""Stacked networks against float64 and autograd, in native code and in torch's operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hypogen.experts import networks
from hypogen.experts.networks import PassBuffers, StackedMLP, Tails, TorchAdam, TorchTails
from hypogen.native.stacked import CpuAdam, CpuTails

N, B, SIZES = 5, 37, (11, 45, 29, 3)
DTYPES = [torch.float32, torch.bfloat16]
FORMS: dict[str, type[Tails]] = {"native": CpuTails, "torch": lambda dtype: TorchTails()}


def make(form: str, dtype: torch.dtype, outputs: int) -> tuple[StackedMLP, PassBuffers, Tensor]:
    """A network, the memory of its passes, and slopes at its outputs."""
    generator = torch.Generator().manual_seed(0)
    network = StackedMLP(N, (*SIZES[:-1], outputs), dtype, "cpu")
    network._tails = FORMS[form](dtype)
    network.initialise(generator)
    space = PassBuffers(network, B)
    space.inputs.copy_(torch.randn(N, B, SIZES[0], generator=generator))
    return network, space, torch.randn(N, B, outputs, generator=generator)


def exact(network: StackedMLP, inputs: Tensor, slope: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    """Outputs, gradients of weights and biases, and of the inputs, by autograd in float64."""
    parameters = [part.double().clone().requires_grad_() for parts in network.linear() for part in parts]
    weights, biases = parameters[: len(SIZES) - 1], parameters[len(SIZES) - 1 :]
    rows = given = inputs.double().requires_grad_()
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        rows = rows @ weight.mT + bias.unsqueeze(1)
        rows = rows.relu() if number < len(weights) - 1 else rows
    (rows * slope).sum().backward()
    return rows.detach(), [parameter.grad for parameter in parameters], given.grad


def ours(network: StackedMLP, space: PassBuffers, slope: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    outputs = network.forward(space).clone()
    network.backward(space, slope)
    gradients = network._views(network.collect())
    *hidden, head = gradients.weights
    weights = [*(weight.mT for weight in hidden), head]
    return outputs, weights + [bias.flatten(1) for bias in gradients.biases], network.input_gradient(space, slope, N)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_passes_are_those_of_autograd(form: str, dtype: torch.dtype, outputs: int) -> None:
    network, space, slope = make(form, dtype, outputs)
    wanted = exact(network, space.inputs, slope)
    found = ours(network, space, slope)
    apart = 1e-5 if dtype == torch.float32 else 0.05  # of 1 / 256 each, and some units change sides
    for one, other in zip([found[0], *found[1], found[2]], [wanted[0], *wanted[1], wanted[2]], strict=True):
        assert (one.double() - other).norm() < apart * other.norm()


@pytest.mark.parametrize("dtype", DTYPES)
def test_native_tails_round_as_torch_does(dtype: torch.dtype) -> None:
    """To the last bit, where sums have one order: a pass over a product's output, and ReLU's slope."""
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(N, B, 29, generator=generator).to(dtype)
    wanted[0, 0, :4] = torch.tensor([torch.inf, -torch.inf, torch.nan, -0.0])
    out, tails = wanted.clone(), CpuTails(dtype)
    TorchTails().relu(wanted)
    tails.relu(out)
    torch.testing.assert_close(out, wanted, rtol=0, atol=0, equal_nan=True)
    slope = torch.randn(N, B, 29, generator=generator).to(dtype)
    kept = slope.clone()
    TorchTails().slopes(wanted, kept, None)
    tails.slopes(wanted, slope, None)
    torch.testing.assert_close(slope, kept, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_and_the_number_of_networks_change_no_bit(dtype: torch.dtype) -> None:
    passes = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            network, space, slope = make("native", dtype, 3)
            passes.append(ours(network, space, slope))
    finally:
        torch.set_num_threads(1)
    for one, other in zip([passes[0][0], *passes[0][1]], [passes[1][0], *passes[1][1]], strict=True):
        assert torch.equal(one, other)
    some = PassBuffers(network, B, 2)
    some.inputs.copy_(space.inputs[:2])
    assert torch.equal(network.forward(some, 2), passes[0][0][:2])
    assert torch.equal(network.input_gradient(some, slope[:2], 2), passes[0][2][:2])


def stepped(network: StackedMLP, space: PassBuffers, slope: Tensor, threads: int, native: bool) -> dict[str, Tensor]:
    """Parameters, their copy and Adam's state after three steps at different rates."""
    adam = network.adam() if native else TorchAdam(network)
    assert isinstance(adam, CpuAdam) == native
    torch.set_num_threads(threads)
    try:
        for rate in (1e-3, 3e-3, 1e-4):
            network.forward(space)
            network.backward(space, slope)
            adam.step(rate)
    finally:
        torch.set_num_threads(1)
    return {"flat": network.flat, **{f"copy{n}": w for n, w in enumerate(network.layers.weights[:-1])}, **adam.state}


@pytest.mark.parametrize("dtype", DTYPES)
def test_native_adam_is_torchs(dtype: torch.dtype) -> None:
    wanted = stepped(*make("native", dtype, 3), threads=1, native=False)
    found = stepped(*make("native", dtype, 3), threads=1, native=True)
    shared = stepped(*make("native", dtype, 3), threads=2, native=True)
    for name, value in wanted.items():
        assert torch.equal(found[name], shared[name]), name
        apart = 1e-6 if value.dtype == torch.float32 else 2**-7
        torch.testing.assert_close(found[name], value, rtol=apart, atol=apart * float(value.abs().max()))
    assert found["step"] == 3


def test_products_use_the_nearest_bfloat16_after_a_step() -> None:
    network, space, slope = make("native", torch.bfloat16, 3)
    stepped(network, space, slope, threads=1, native=True)
    network.flat[::2] = 1 + torch.arange(len(network.flat[::2])) % 4 / 256  # half of them between two bfloat16
    network.adam().step(0.0)
    after = [weight.clone() for weight in network.layers.weights[:-1]]
    network.refresh()
    assert all(torch.equal(one, other) for one, other in zip(after, network.layers.weights, strict=False))


def test_without_gnus_openmp_it_is_torch_that_passes_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "_native", lambda device: None)
    network = StackedMLP(N, SIZES, torch.float32, "cpu")
    assert isinstance(network._tails, TorchTails) and isinstance(network.adam(), TorchAdam)
