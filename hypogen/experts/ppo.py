"""Experts for ManiSkill: RLlib's PPO with the settings of the paper's table 11, one training per spec.

This is the only module in the package that imports Ray. The mean of the RLlib policy is the tanh of an MLP, so the
trained network is a :class:`hypogen.policy.Policy` without conversion. Checkpoints have a format of our own, because
RLlib's are pickles.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.checkpoints import Checkpoint, load_optimizer_state, optimizer_state
from hypogen.errors import Diverged, Stopped
from hypogen.experts.cloning import clone
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
    stop: Callable[[], bool] | None = None,
) -> Experts:
    """Train the PPO expert of one spec, in a private Ray if none is running.

    An interrupted training that is called again with the same arguments continues from the last evaluation, or from the
    batch after which it was stopped. Its result is not bit-identical to that of an uninterrupted training, because its
    worlds start new episodes.

    Args:
        benchmark: name of a ManiSkill benchmark.
        spec: raw spec values ``[C]``.
        settings: settings of the training, such as those in ``PPO_RECIPES``.
        seed: seed of all random numbers of the training.
        start: expert ``[1]`` of another spec, whose weights are the initial ones; None for random weights.
        checkpoint: folder of the checkpoint from which an interrupted training continues; None for no checkpoint.
        on_progress: function called after every batch with ``update`` and ``updates`` (environment steps, so far and at
            most), ``mean_return`` and ``success`` (of the last evaluation). An error that it raises ends the training.
        threads: processes that step the worlds of the evaluations.
        device: device that trains the networks.
        stop: function called after every batch; if it returns True, the training ends with a checkpoint and
            ``Stopped``.

    Returns one expert. Its critic is PPO's value of the state with ``settings.discount``, whatever the action, and its
    curve has ``success`` beside the return. Raises ValueError for a benchmark of another simulator, a wrong spec or a
    checkpoint of another training, Diverged when a weight is NaN or infinite, and Stopped when ``stop`` returns True.
    """
    entry, point = get_benchmark(benchmark), np.atleast_1d(np.asarray(spec, dtype=np.float64))
    if entry.simulator.name != "maniskill":
        raise ValueError(f"PPO experts exist for ManiSkill benchmarks, not for {benchmark}")
    entry.values(point)
    identity = {"benchmark": benchmark, "spec": point.tolist(), "seed": seed, **asdict(settings)}
    files = None if checkpoint is None else Checkpoint(checkpoint, identity)
    state = None if files is None else files.load()
    _ensure_ray()
    algorithm = _configure(entry, point, settings, _fresh_seed(seed, state), device).build_algo()
    try:
        training = _PPOTraining(algorithm, entry, point, settings, seed, threads)
        if state is not None:
            training.restore(state)
        elif start is not None:
            _set_weights(algorithm, start)
        elif settings.start == "cloned":
            training.clone(stop)
        return training.run(files, on_progress, stop)
    finally:
        algorithm.stop()


def _ensure_ray() -> None:
    """Start a private Ray if none is running."""
    if not ray.is_initialized():
        ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)


class _PPOTraining:
    """State of the training of one spec: RLlib's algorithm, steps and curve."""

    def __init__(
        self,
        algorithm: Any,
        benchmark: Benchmark,
        spec: npt.NDArray[np.float64],
        settings: PPOSettings,
        seed: int,
        threads: int,
    ) -> None:
        self._algorithm, self._benchmark, self._spec = algorithm, benchmark, spec
        self._settings, self._seed, self._threads = settings, seed, threads
        self._curve: list[dict[str, Any]] = []
        self._steps = 0

    def run(self, files: Checkpoint | None, on_progress: Progress | None, stop: Callable[[], bool] | None) -> Experts:
        """Train to the end, with a checkpoint after every evaluation. Raises Stopped when ``stop`` returns True."""
        settings = self._settings
        while not self._curve or not finished(self._curve, settings):
            if self._due():
                self._evaluate()
                self._save(files)
                continue
            self._algorithm.train()
            self._steps += settings.batch_size
            last = self._curve[-1]
            if on_progress:
                values = {"mean_return": last["return"], "success": last["success"]}
                on_progress({"update": self._steps, "updates": settings.steps, **values})
            if stop is not None and stop():
                self._save(files)
                raise Stopped(f"PPO on {self._benchmark.name} {self._spec} stopped after {self._steps:,} steps")
        actor, critic = _networks(self._algorithm.get_module(), self._benchmark.action_dim)
        return Experts(self._spec[None], actor, critic, np.array([self._curve[-1]["return"]]), self._curve)

    def clone(self, stop: Callable[[], bool] | None) -> None:
        """Start from networks that imitate the scripted controller. Raises Stopped when ``stop`` returns True."""
        settings, module = self._settings, copy.deepcopy(self._algorithm.get_module())
        clone(
            self._benchmark.name,
            self._spec,
            module.actor,
            module.critic,
            settings.clone_episodes,
            settings.clone_epochs,
            settings.discount,
            self._seed,
            self._threads,
            stop,
        )
        _send_weights(self._algorithm, module.state_dict())

    def _due(self) -> bool:
        """Whether an evaluation is due: at the start, after every ``evaluate_every`` steps, and at the end."""
        if not self._curve or self._steps >= self._settings.steps:
            return True
        return self._steps - self._curve[-1]["update"] >= self._settings.evaluate_every

    def _evaluate(self) -> None:
        actor, _ = _networks(self._algorithm.get_module(), self._benchmark.action_dim)
        self._require_finite()
        sequence = np.random.SeedSequence([self._seed, self._steps])
        seeds = sequence.generate_state(self._settings.evaluation_episodes).astype(np.int64)[None]
        episodes = rollout(self._benchmark.name, self._spec[None], actor, seeds, self._threads)
        mean_return, success = float(episodes.returns.mean()), float(episodes.success.mean())
        self._curve.append({"update": self._steps, "spec": 0, "return": mean_return, "success": success})

    def _require_finite(self) -> None:
        weights = _learner(self._algorithm).module[DEFAULT_MODULE_ID].state_dict().values()
        if not all(bool(torch.isfinite(tensor).all()) for tensor in weights):
            raise Diverged(f"PPO on {self._benchmark.name} {self._spec}: a weight is NaN after {self._steps} steps")

    def _save(self, files: Checkpoint | None) -> None:
        if files is not None:
            self._require_finite()
            files.save(self.state())

    def state(self) -> dict[str, Any]:
        """State that determines the next batches, without the worlds and the random numbers."""
        learner = _learner(self._algorithm)
        return {
            "steps": self._steps,
            "curve": self._curve,
            "networks": learner.module[DEFAULT_MODULE_ID].state_dict(),
            "optimizer": optimizer_state(learner.get_optimizer()),
            "kl_coefficient": learner.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a ``state``."""
        self._steps, self._curve = state["steps"], state["curve"]
        _send_weights(self._algorithm, state["networks"])
        learner = _learner(self._algorithm)
        load_optimizer_state(learner.get_optimizer(), state["optimizer"])
        learner.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID].copy_(state["kl_coefficient"])


class ActorCritic(TorchRLModule, ValueFunctionAPI):
    """Networks behind RLlib's interface: a Gaussian around tanh(actor) with free deviations, and a state value."""

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
    """Whether a training is over after the evaluations of ``curve``: good enough, or out of steps."""
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
    """RLlib's configuration; RLlib's names are on the left."""
    return (
        PPOConfig()
        .environment(
            f"hypogen.envs:hypogen/{benchmark.name}-v0",  # importing the module registers it, also in the runners
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
    """Trained networks; the critic's first layer gets zero weights for the action, which PPO's value ignores."""

    def layers(network: nn.Sequential) -> tuple[list[Tensor], list[Tensor]]:
        linear = [layer for layer in network if isinstance(layer, nn.Linear)]
        weights = [layer.weight.detach().cpu().clone()[None] for layer in linear]
        return weights, [layer.bias.detach().cpu().clone()[None] for layer in linear]

    actor, (weights, biases) = layers(module.actor), layers(module.critic)
    ignored = torch.zeros(*weights[0].shape[:2], action_dim)
    weights[0] = torch.cat([weights[0], ignored], dim=-1)
    return Policy(*map(tuple, actor)), Critic(tuple(weights), tuple(biases))


def _set_weights(algorithm: Any, expert: Experts) -> None:
    """Start from the networks of another spec, with the deviations of a new training."""
    weights = algorithm.get_module().state_dict()
    for name, source in (("actor", expert.actor), ("critic", expert.critic)):
        for layer, (weight, bias) in enumerate(zip(source.weights, source.biases, strict=True)):
            place = f"{name}.{2 * layer}"  # a ReLU lies between two layers
            inputs = weights[f"{place}.weight"].shape[1]  # the value function has no action input
            weights[f"{place}.weight"], weights[f"{place}.bias"] = weight[0, :, :inputs], bias[0]
    _send_weights(algorithm, weights)


def _send_weights(algorithm: Any, weights: Mapping[str, Tensor]) -> None:
    """Give these weights to the learner and, through it, to all workers that step worlds."""
    state = {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}
    algorithm.learner_group.set_weights({DEFAULT_MODULE_ID: state})
    algorithm.env_runner_group.sync_weights(from_worker_or_learner_group=algorithm.learner_group, inference_only=True)


def _learner(algorithm: Any) -> Any:
    """RLlib's learner, which runs in this process."""
    (result,) = algorithm.learner_group.foreach_learner(lambda learner: learner)
    return result.get()


def _fresh_seed(seed: int, state: Mapping[str, Any] | None) -> int:
    """Seed itself at the start, another one after a checkpoint, so that no random number is drawn twice."""
    if state is None:
        return seed
    return int(np.random.SeedSequence([seed, state["steps"], *b"resumed"]).generate_state(1)[0] >> 1)
