"""ManiSkill's experts: RLlib's PPO with the paper's table 11, one training a spec.

The only place in this package that imports Ray. A policy's mean is the tanh of an MLP, so that what was trained is a
:class:`hypogen.policy.Policy` as it stands.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.errors import Diverged
from hypogen.experts.settings import PPOSettings
from hypogen.experts.trained import Critic, Experts
from hypogen.policy import Policy, PolicyShape
from hypogen.rollouts import rollout

Progress = Callable[[dict[str, Any]], None]


def train(
    benchmark: str,
    spec: npt.ArrayLike,
    settings: PPOSettings,
    seed: int,
    start: Experts | None = None,
    checkpoint: Path | None = None,
    on_progress: Progress | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> Experts:
    """Train the PPO expert of one spec; where Ray is not running, a private one is started.

    Interrupted and called again with the same arguments, it continues from the last evaluation (not to the same bits:
    its worlds start new episodes).

    Args:
        benchmark: name of a ManiSkill benchmark.
        spec: raw spec values ``[C]``.
        settings: how to train; ``PPO_RECIPES`` has some.
        seed: of every random number in it.
        start: another spec's expert ``[1]`` whose weights it starts from; None for random ones.
        checkpoint: folder for what an interrupted training continues from; none is kept without it.
        on_progress: called after every batch with ``update`` and ``updates`` (environment steps, done and at most),
            ``mean_return`` and ``success`` (of the last evaluation). What it raises ends the training.
        threads: processes that step the evaluations' worlds.
        device: where the networks are trained.

    Returns:
        One expert, whose critic is PPO's value of the state, with ``settings.discount``, whatever the action. Its curve
        has ``success`` beside the return.

    Raises:
        ValueError: not a ManiSkill benchmark, a wrong spec, or a checkpoint that belongs to another training.
        Diverged: a weight became NaN or infinite.
    """
    entry, point = get_benchmark(benchmark), np.atleast_1d(np.asarray(spec, dtype=np.float64))
    if entry.simulator.name != "maniskill":
        raise ValueError(f"PPO experts exist for ManiSkill benchmarks, not for {benchmark}")
    entry.values(point)
    if checkpoint is not None:
        _claim(checkpoint, {"benchmark": benchmark, "spec": point.tolist(), "seed": seed, **asdict(settings)})
    if not ray.is_initialized():
        ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    algorithm = _configure(entry, point, settings, seed, device).build_algo()
    try:
        training = _PPOTraining(algorithm, entry, point, settings, seed, checkpoint, threads)
        if not training.restore() and start is not None:
            _set_weights(algorithm, start)
        return training.run(on_progress)
    finally:
        algorithm.stop()


class _PPOTraining:
    """What a training carries beside RLlib's algorithm: steps and curve."""

    def __init__(
        self,
        algorithm: Any,
        benchmark: Benchmark,
        spec: npt.NDArray[np.float64],
        settings: PPOSettings,
        seed: int,
        folder: Path | None,
        threads: int,
    ) -> None:
        self._algorithm, self._benchmark, self._spec = algorithm, benchmark, spec
        self._settings, self._seed, self._folder, self._threads = settings, seed, folder, threads
        self._curve: list[dict[str, Any]] = []
        self._steps = 0

    def run(self, on_progress: Progress | None) -> Experts:
        """Train to the end."""
        settings = self._settings
        while not self._curve or not finished(self._curve, settings):
            if self._due():
                self._evaluate()
                self._save()
                continue
            self._algorithm.train()
            self._steps += settings.batch_size
            last = self._curve[-1]
            if on_progress:
                values = {"mean_return": last["return"], "success": last["success"]}
                on_progress({"update": self._steps, "updates": settings.steps, **values})
        actor, critic = _networks(self._algorithm.get_module(), self._benchmark.action_dim)
        return Experts(self._spec[None], actor, critic, np.array([self._curve[-1]["return"]]), self._curve)

    def _due(self) -> bool:
        """Whether to evaluate: at the start, whenever ``evaluate_every`` steps have passed, and at the end."""
        if not self._curve or self._steps >= self._settings.steps:
            return True
        return self._steps - self._curve[-1]["update"] >= self._settings.evaluate_every

    def _evaluate(self) -> None:
        actor, _ = _networks(self._algorithm.get_module(), self._benchmark.action_dim)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in (*actor.weights, *actor.biases)):
            raise Diverged(f"PPO on {self._benchmark.name} {self._spec}: a weight is NaN after {self._steps} steps")
        sequence = np.random.SeedSequence([self._seed, self._steps])
        seeds = sequence.generate_state(self._settings.evaluation_episodes).astype(np.int64)[None]
        episodes = rollout(self._benchmark.name, self._spec[None], actor, seeds, self._threads)
        mean_return, success = float(episodes.returns.mean()), float(episodes.success.mean())
        self._curve.append({"update": self._steps, "spec": 0, "return": mean_return, "success": success})

    def _save(self) -> None:
        """Write a checkpoint beside the last one, rename it into place, and only then remove the others."""
        if self._folder is None:
            return
        partial, name = self._folder / "partial", f"steps-{self._steps}"
        shutil.rmtree(partial, ignore_errors=True)
        self._algorithm.save_to_path(str((partial / "algorithm").resolve()))
        (partial / "curve.json").write_text(json.dumps(self._curve))
        shutil.rmtree(self._folder / name, ignore_errors=True)
        partial.rename(self._folder / name)
        for other in self._folder.glob("steps-*"):
            if other.name != name:
                shutil.rmtree(other)

    def restore(self) -> bool:
        """Continue from the newest checkpoint, if there is one."""
        known = list(self._folder.glob("steps-*")) if self._folder else []
        if not known:
            return False
        newest = max(known, key=lambda folder: int(folder.name.removeprefix("steps-")))
        self._algorithm.restore_from_path(str((newest / "algorithm").resolve()))
        self._curve = json.loads((newest / "curve.json").read_text())
        self._steps = self._curve[-1]["update"]
        return True


class ActorCritic(TorchRLModule, ValueFunctionAPI):
    """RLlib's view of the networks: a Gaussian around tanh(actor), its deviations free, and a value of the state."""

    def setup(self) -> None:
        """Build the networks."""
        spaces: Any = (self.observation_space, self.action_space)
        inputs, actions = (space.shape[0] for space in spaces)
        config: Any = self.model_config
        shape = PolicyShape(config["layers"], config["hidden_dim"])
        self.actor, self.critic = _mlp(shape.sizes(inputs, actions)), _mlp(shape.sizes(inputs, 1))
        with torch.no_grad():
            last: Any = self.actor[-1]
            last.weight.mul_(0.01)  # start close to the middle of the actions
        self.log_std = nn.Parameter(torch.full((actions,), float(config["initial_log_std"])))

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        mean = torch.tanh(self.actor(batch[Columns.OBS]))
        return {Columns.ACTION_DIST_INPUTS: torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values [B] of the observations [B, D]."""
        return self.critic(batch[Columns.OBS]).squeeze(-1)


def finished(curve: list[dict[str, Any]], settings: PPOSettings) -> bool:
    """Whether a training is over after these evaluations: good enough, or out of steps."""
    enough = settings.success_rate is not None and curve[-1]["success"] >= settings.success_rate
    return enough or curve[-1]["update"] >= settings.steps


def _mlp(sizes: tuple[tuple[int, int], ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in sizes:
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _configure(
    benchmark: Benchmark, spec: npt.NDArray[np.float64], settings: PPOSettings, seed: int, device: str
) -> PPOConfig:
    """RLlib's configuration; its names are on the left."""
    return (
        PPOConfig()
        .environment(
            f"hypogen.envs:hypogen/{benchmark.name}-v0",  # the module registers it, in the runners' processes too
            env_config={
                "spec": tuple(spec.tolist()),
                "episode_steps": settings.episode_steps,
                "ends_at_success": settings.ends_at_success,
            },
        )
        .env_runners(num_env_runners=settings.runners, num_envs_per_env_runner=settings.environments)
        .learners(num_learners=0, num_gpus_per_learner=1 if torch.device(device).type == "cuda" else 0)
        .training(
            lr=settings.learning_rate,
            gamma=settings.discount,
            lambda_=settings.gae_lambda,
            clip_param=settings.clip,
            kl_target=settings.target_kl,
            vf_loss_coeff=settings.value_weight,
            vf_clip_param=float("inf"),
            grad_clip=settings.max_gradient_norm,
            grad_clip_by="global_norm",
            minibatch_size=settings.minibatch_size,
            train_batch_size_per_learner=settings.batch_size,
            num_epochs=settings.epochs,
        )
        .rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=ActorCritic,
                model_config={
                    "layers": benchmark.policy_layers,
                    "hidden_dim": settings.hidden_dim,
                    "initial_log_std": settings.initial_log_std,
                },
            )
        )
        .debugging(seed=seed, log_level="ERROR")
    )


def _networks(module: ActorCritic, action_dim: int) -> tuple[Policy, Critic]:
    """The trained networks; the critic's first layer gets zero weights for the action, which PPO's value ignores."""

    def layers(network: nn.Sequential) -> tuple[list[Tensor], list[Tensor]]:
        linear = [layer for layer in network if isinstance(layer, nn.Linear)]
        weights = [layer.weight.detach().cpu().clone()[None] for layer in linear]
        return weights, [layer.bias.detach().cpu().clone()[None] for layer in linear]

    actor, (weights, biases) = layers(module.actor), layers(module.critic)
    ignored = torch.zeros(*weights[0].shape[:2], action_dim)
    weights[0] = torch.cat([weights[0], ignored], dim=-1)
    return Policy(*map(tuple, actor)), Critic(tuple(weights), tuple(biases))


def _set_weights(algorithm: Any, expert: Experts) -> None:
    """Start from another spec's networks, with the deviations of a new training."""
    module = algorithm.get_module()
    for network, source in ((module.actor, expert.actor), (module.critic, expert.critic)):
        linear = [layer for layer in network if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, weight, bias in zip(linear, source.weights, source.biases, strict=True):
                layer.weight.copy_(weight[0, :, : layer.in_features])
                layer.bias.copy_(bias[0])
    state = {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
    algorithm.learner_group.set_weights({"default_policy": state})
    algorithm.env_runner_group.sync_weights(from_worker_or_learner_group=algorithm.learner_group, inference_only=True)


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Make the folder this training's; ValueError when it is another one's."""
    folder.mkdir(parents=True, exist_ok=True)
    file, text = folder / "identity.json", json.dumps(identity, sort_keys=True)
    if file.exists() and file.read_text() != text:
        raise ValueError(f"the checkpoint in {folder} belongs to a training with other settings")
    file.write_text(text)
