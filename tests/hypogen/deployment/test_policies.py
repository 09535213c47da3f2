"""Policies to take home: what acts here, what ONNX Runtime makes of the exported files, and which specs are refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open

import hypogen
from hypogen import zoo
from hypogen.benchmarks import get_benchmark
from hypogen.deployment import KnownPolicies, SpecPolicy, TrainedGenerator
from hypogen.deployment.limits import check, parse
from hypogen.generators import GENERATORS, build
from hypogen.generators.hypogen import HyPoGenSettings
from hypogen.policy import Policy, PolicyShape

SMALL = {"hypogen": HyPoGenSettings(blocks=2, hidden_dim=8, weight_dim=16, activation_dim=4)}
METHODS = [name for name, entry in GENERATORS.items() if not entry.few_shot]
Act = Callable[[Any], Any]


def generator(method: str, benchmark: str = "cheetah-speed", **changes: Any) -> TrainedGenerator:
    """An untrained generator, whose policies act as wildly as trained ones."""
    settings = HyPoGenSettings(**{**vars(SMALL["hypogen"]), **changes}) if changes else SMALL.get(method)
    made = build(method, get_benchmark(benchmark), PolicyShape(2, 32), settings, seed=1)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.startswith(("policy_head", "layer_decoders", "layers")):
                parameter *= 3.0
    return TrainedGenerator(made)


def runtime(path: Path, **fixed: Any) -> Act:
    """The action of an exported graph for one observation."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda observation: session.run(["action"], {"observation": np.atleast_2d(observation), **fixed})[0]


def observations(benchmark: str, count: int = 32) -> Any:
    return (3 * np.random.default_rng(0).normal(size=(count, get_benchmark(benchmark).observation_dim))).astype(
        np.float32
    )


def returns(policy: SpecPolicy, act: Act, episodes: int, steps: int) -> list[float]:
    """Returns in dm_control's own environment."""
    env = gymnasium.make(f"hypogen/{policy.benchmark.name}-v0", spec=policy.spec)
    found = []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        total = 0.0
        for _ in range(steps):
            observation, reward, *_ = env.step(np.ravel(act(observation.astype(np.float32))))
            total += float(reward)
        found.append(total)
    return found


@pytest.mark.parametrize("benchmark", ["cheetah-speed", "walker-speed-length", "liftcube-stiffness"])
@pytest.mark.parametrize("method", METHODS)
def test_every_generators_graphs_act_as_it_does(method: str, benchmark: str, tmp_path: Path) -> None:
    trained = generator(method, benchmark)
    spec = trained.benchmark.grid[3].tolist()
    policy, seen = trained.at(spec), observations(benchmark)
    policy.save(tmp_path / "policy.onnx")
    trained.save_onnx(tmp_path / "generator.onnx")
    acts = policy.act(seen)
    assert acts.dtype == np.float32 and acts.std() > 0.1
    assert (runtime(tmp_path / "policy.onnx")(seen) == acts).all()
    assert (runtime(tmp_path / "generator.onnx", spec=np.array(spec))(seen) == acts).all()
    assert (np.stack([policy(one) for one in seen]) == acts).all()
    with torch.no_grad():
        single = trained.generator.policy(np.array([spec]))(torch.from_numpy(seen)[None])[0].numpy()
    np.testing.assert_allclose(acts, single, atol=1e-4)


@pytest.mark.parametrize(
    "changes", [{"space": "full"}, {"step_size": "scalar", "share_blocks": True, "block_depth": 1}]
)
def test_variants_of_hypogen_are_exported(changes: dict[str, Any], tmp_path: Path) -> None:
    trained, seen = generator("hypogen", **changes), observations("cheetah-speed")
    trained.save_onnx(tmp_path / "generator.onnx")
    acts = trained.policy(speed=-2).act(seen)
    assert (runtime(tmp_path / "generator.onnx", spec=np.array([-2.0]))(seen) == acts).all()
    assert not (runtime(tmp_path / "generator.onnx", spec=np.array([5.0]))(seen) == acts).all()


@pytest.mark.parametrize("method", ["hypogen", "hyperzero"])
def test_exported_policies_return_what_the_process_returns(method: str, tmp_path: Path) -> None:
    """Ten episodes each. In float32, as networks are usually exported, the same policy returns something else."""
    trained = generator(method)
    policy = trained.policy(speed=5)
    policy.save(tmp_path / "policy.onnx")
    trained.save_onnx(tmp_path / "generator.onnx")
    here = returns(policy, policy.act, 10, 200)
    assert len({round(value, 3) for value in here}) == 10
    for act in (runtime(tmp_path / "policy.onnx"), runtime(tmp_path / "generator.onnx", spec=np.array([5.0]))):
        np.testing.assert_allclose(returns(policy, act, 10, 200), here, rtol=0, atol=1e-3)
    single = returns(policy, lambda seen: policy.network(torch.from_numpy(seen)[None, None]).numpy(), 3, 1000)
    assert np.abs(np.subtract(single, returns(policy, policy.act, 3, 1000))).max() > 1e-3


def test_files_say_what_they_are(tmp_path: Path) -> None:
    trained = generator("hyperzero")
    policy = trained.policy(speed=5)
    policy.save(tmp_path / "policy.onnx")
    policy.save(tmp_path / "policy.safetensors")
    trained.save_onnx(tmp_path / "generator.onnx")
    says = {"method": "hyperzero", "benchmark": "cheetah-speed", "spec": "speed=5 m/s", "variables": "speed (m/s)"}
    model = onnx.load(tmp_path / "policy.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props} == says
    with safe_open(tmp_path / "policy.safetensors", "pt") as file:
        assert file.metadata() == says
    assert torch.equal(Policy.load(tmp_path / "policy.safetensors").weights[0], policy.network.weights[0])
    weights = sum(parameter.numel() for name, parameter in trained.generator.named_parameters() if "value" not in name)
    assert (tmp_path / "generator.onnx").stat().st_size < 4 * weights + 50_000  # float32, not float64
    with pytest.raises(ValueError, match=r"policy\.pt: a policy is written as \.onnx or \.safetensors"):
        policy.save(tmp_path / "policy.pt")


@pytest.mark.parametrize("shape", [(16,), (2, 16), (1, 1, 17), ()])
def test_an_observation_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cheetah-speed has observations of 17 numbers"):
        generator("blind").policy(speed=5).act(np.zeros(shape))


def test_a_few_shot_method_is_no_generator_of_any_spec() -> None:
    with pytest.raises(ValueError, match="pearl has policies only for specs that it adapted to"):
        TrainedGenerator(build("pearl", get_benchmark("cheetah-speed")))


@pytest.mark.parametrize("value", [3.7, 0.2, 10.5, -12.0])
def test_a_spec_off_the_grid_is_warned_about(value: float) -> None:
    with pytest.warns(UserWarning, match="no measurement says how good"):
        assert generator("blind").policy(speed=value).spec == (value,)


def test_a_spec_of_the_grid_goes_without_saying() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator("blind").policy(speed=3.5)


@pytest.mark.parametrize(
    ("benchmark", "text", "message"),
    [
        ("cheetah-speed", "speed=12.1", "refused: policies are generated for -12 to 12"),
        ("cheetah-speed", "speed=0", "has no direction"),
        ("cheetah-speed", "speed=nan", "must be a finite number"),
        ("cheetah-length", "length=-0.3", "must be positive"),
        ("walker-length", "length=0", "must be positive"),
        ("liftcube-stiffness", "stiffness=5000", "refused: policies are generated for 400 to 1600"),
        ("cheetah-speed", "sped=3", "did you mean 'speed'"),
        ("cheetah-speed", "length=0.4", "does not vary length, which is 0.5"),
        ("cheetah-speed", "speed=fast", "'fast' is no number"),
        ("cheetah-speed", "3.7", "write it as speed=10"),
        ("cheetah-speed-length", "speed=3", "no value for length; write a spec as speed=10,length=0.7"),
    ],
)
def test_a_spec_that_means_nothing_is_refused_in_one_line(benchmark: str, text: str, message: str) -> None:
    entry = get_benchmark(benchmark)
    with pytest.raises(ValueError, match=message) as caught:
        check(entry, parse(entry, text))
    assert "\n" not in str(caught.value)


def test_folders_and_the_zoo_are_loaded_by_name(tmp_path: Path) -> None:
    seen, trained = observations("cheetah-speed"), generator("hyperzero")
    trained.save(tmp_path / "generator")
    assert (hypogen.load(tmp_path / "generator").policy(speed=5)(seen) == trained.policy(speed=5)(seen)).all()
    experts = hypogen.load("zoo:cheetah-speed")
    experts.save(tmp_path / "experts")
    again = hypogen.load(str(tmp_path / "experts"))
    assert isinstance(again, KnownPolicies)
    assert (again.policy(speed=5)(seen) == experts.policy(speed=5)(seen)).all()
    row = zoo.load("cheetah-speed").specs[:, 0].tolist().index(5.0)
    network = zoo.load("cheetah-speed").actor.select([row])
    np.testing.assert_allclose(experts.policy(speed=5)(seen), network(torch.from_numpy(seen)[None])[0], atol=1e-5)
    with pytest.raises(ValueError, match=r"not for speed=3.7 m/s; the nearest is speed=3.5 m/s"):
        again.policy(speed=3.7)
    with pytest.raises(ValueError, match="did you mean 'cheetah-speed'"):
        hypogen.load("zoo:chetah-speed")
    (tmp_path / "experts" / "policies.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="does not hold policies"):
        hypogen.load(tmp_path / "experts")
