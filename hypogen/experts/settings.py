"""Settings of the experts' training: the paper's, and recipes that get there with far less."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch

from hypogen.validation import (
    DISCOUNT,
    FRACTION,
    POSITIVE,
    POSITIVE_FRACTION,
    Rule,
    at_least,
    one_of,
    require,
    whole,
)


@dataclass(frozen=True)
class TD3Settings:
    """Settings of a population of TD3 experts; the defaults are the paper's table 10 and the authors' TD3 details.

    Every spec has its own expert; all of them advance together, one update each at a time. Raises ValueError that
    begins with the setting at fault.

    Attributes:
        updates: Gradient updates of each expert, after the seed steps.
        joint_fraction: Fraction of these, the first, that are made by agents that serve neighbouring specs together
            and are told the spec; they then part into the experts (paper: 0, every expert starts from nothing).
        joint_agents: Number of such agents.
        joint_batch_size: Transitions of every spec in one joint update.
        batch_size: Transitions in one update of one expert.
        learning_rate: Learning rate of Adam, for actors and critics, at the first update.
        learning_rate_final: The same at the last update, linear in between; None for no change (paper).
        discount: Discount per step. Episodes end by a time limit only, so every target bootstraps.
        n_step: Steps of real reward in a target, fewer where an episode ends earlier.
        hidden_dim: Width of the two hidden layers of actors and critics.
        actor_every: Updates of the critics for each update of the actor.
        target_every: Updates of the critics for each move of the target networks.
        tau: Fraction of the way that target networks move.
        exploration_initial: Standard deviation of the noise on actions at the first update; of target smoothing, too.
        exploration_final: The same once the schedule has ended.
        exploration_fraction: Fraction of the updates over which the noise falls linearly from the first to the second.
        saturation_penalty: Weight, in the actor's loss, of the squared length of its tanh's inputs (paper: 0);
            it falls to 0 as the noise falls. Without it the first hundred updates drive nearly every action to -1 or 1,
            where tanh passes no gradient back, and thousands of updates pass before an expert recovers; but kept up,
            it holds back the fastest gaits.
        noise_clip: Bound on the smoothing noise that is added to target actions.
        seed_steps: Environment steps per spec before the first update.
        exploration_steps: Environment steps per spec with uniformly random actions.
        environments: Worlds per spec.
        steps_per_update: Steps of every world for one update.
        replay_capacity: Transitions per spec to keep, in whole episodes.
        shared_replay: Whether each expert learns from the worlds of all specs that move alike (same dynamics, another
            reward), with rewards recomputed for its own spec; else from its own worlds alone.
        precision: Precision of the matrix products: "float32"; "bfloat16", with float32 weights and Adam; or "auto"
            (see resolve).
        evaluate_every: Updates between two evaluations.
        evaluation_episodes: Episodes per spec and evaluation.
        keep: Weights that become the expert: the "last", or the "best" per spec by the evaluations of its training.
    """

    updates: int = 1_000_000
    joint_fraction: float = 0.0
    joint_agents: int = 1
    joint_batch_size: int = 16
    batch_size: int = 256
    learning_rate: float = 1e-4
    learning_rate_final: float | None = None
    discount: float = 0.99
    n_step: int = 1
    hidden_dim: int = 256
    actor_every: int = 2
    target_every: int = 2
    tau: float = 0.01
    exploration_initial: float = 1.0
    exploration_final: float = 0.1
    exploration_fraction: float = 1.0
    saturation_penalty: float = 0.0
    noise_clip: float = 0.3
    seed_steps: int = 4000
    exploration_steps: int = 2000
    environments: int = 1
    steps_per_update: int = 1
    replay_capacity: int = 1_000_000
    shared_replay: bool = False
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    evaluate_every: int = 10_000
    evaluation_episodes: int = 10
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        require(self, whole(1), "updates", "joint_agents", "joint_batch_size", "batch_size", "n_step", "hidden_dim")
        require(self, whole(1), "actor_every", "target_every", "seed_steps", "environments", "steps_per_update")
        require(self, whole(1), "replay_capacity", "evaluate_every", "evaluation_episodes")
        require(self, whole(0), "exploration_steps")
        require(self, at_least(0), "exploration_initial", "exploration_final", "saturation_penalty", "noise_clip")
        require(self, POSITIVE_FRACTION, "tau", "exploration_fraction")
        require(self, FRACTION, "joint_fraction")
        require(self, DISCOUNT, "discount")
        require(self, POSITIVE, "learning_rate")
        require(self, POSITIVE.or_null(), "learning_rate_final")
        require(self, one_of("last", "best"), "keep")
        require(self, one_of("float32", "bfloat16", "auto"), "precision")

    @property
    def joint_updates(self) -> int:
        """Updates that are made jointly."""
        return round(self.joint_fraction * self.updates)

    def at(self, update: int) -> Schedule:
        """Scheduled values at the given update (0 is the first)."""
        last_rate = self.learning_rate if self.learning_rate_final is None else self.learning_rate_final
        whole, part = update / self.updates, min(1.0, update / (self.exploration_fraction * self.updates))
        return Schedule(
            learning_rate=_between(self.learning_rate, last_rate, whole),
            exploration_std=_between(self.exploration_initial, self.exploration_final, part),
            saturation_penalty=_between(self.saturation_penalty, 0.0, part),
        )


class Schedule(NamedTuple):
    """The settings that change in the course of a training, as they are at one update."""

    learning_rate: float
    exploration_std: float
    saturation_penalty: float


def _between(first: float, last: float, progress: float) -> float:
    return first + progress * (last - first)


_FAST = TD3Settings(
    updates=100_000,
    joint_fraction=0.85,
    joint_agents=4,
    batch_size=64,
    learning_rate=1e-3,
    learning_rate_final=1e-4,
    n_step=3,
    hidden_dim=128,
    tau=0.02,
    exploration_initial=0.4,
    exploration_fraction=0.5,
    saturation_penalty=0.03,
    seed_steps=1000,
    exploration_steps=1000,
    replay_capacity=5000,
    shared_replay=True,
    precision="auto",
    evaluate_every=2500,
    evaluation_episodes=3,
    keep="best",
)

_JOINT = dataclasses.replace(_FAST, updates=60_000, joint_fraction=1.0, joint_batch_size=8, evaluate_every=5000)
_FEW = dataclasses.replace(_JOINT, joint_agents=2, joint_batch_size=32, environments=4, replay_capacity=20_000)

RECIPES: Mapping[str, TD3Settings] = MappingProxyType(
    {
        "paper": TD3Settings(),
        "fast": _FAST,
        "independent": dataclasses.replace(_FAST, joint_fraction=0.0, shared_replay=False),
        "joint": _JOINT,
        "long": dataclasses.replace(_JOINT, updates=120_000),
        "brief": dataclasses.replace(_JOINT, updates=40_000),
        "pair": dataclasses.replace(_JOINT, joint_agents=2),
        "brief_pair": dataclasses.replace(_JOINT, updates=40_000, joint_agents=2),
        "few": _FEW,
        "long_few": dataclasses.replace(_FEW, updates=180_000),
    }
)
"""Settings by name: the paper's own, and ours, which trade the paper's updates for shared experience.

``fast`` lets agents that serve neighbouring specs part into one expert per spec at the end. ``joint`` never does: each
expert is what its agent is at its spec. On cheetah-speed the updates after the parting raised the mean of the best
evaluations from 896 to 898, and they take several times as long as those before; where lengths vary, specs share no
transitions once they have parted. ``brief`` is ``joint`` with two thirds of the updates, ``long`` with twice as many.
``pair`` is ``joint`` with one agent per direction, which learns the low speeds first and the high ones from there: an
agent of high exact speeds alone finds no reward; ``brief_pair`` is the brief one of these. ``few`` is ``pair`` for a
grid of about ten specs, with four worlds for each, and ``long_few`` that with three times as many updates.
``independent`` has the budget of ``fast``, but its experts share nothing from the first update on: own weights, own
transitions, own random numbers.
"""


def resolve(settings: TD3Settings, device: str = "cpu") -> TD3Settings:
    """The same settings with "auto" replaced by what this machine will do, fit to identify the resulting weights.

    "auto" becomes "bfloat16" where the processor (AVX512-BF16, AMX) or the GPU multiplies bfloat16 natively.
    """
    if settings.precision != "auto":
        return settings
    return dataclasses.replace(settings, precision="bfloat16" if _native_bfloat16(device) else "float32")


def _native_bfloat16(device: str) -> bool:
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@dataclass(frozen=True)
class PPOSettings:
    """Settings of a ManiSkill expert's training, one spec at a time; the defaults are the paper's table 11.

    Defaults that are not in the paper say so. Raises ValueError that begins with the setting at fault.

    Attributes:
        steps: Environment steps of each expert at most, in whole batches.
        learning_rate: Learning rate of Adam.
        minibatch_size: Steps in one update.
        discount: Discount per step.
        target_kl: KL divergence per update (nats) towards which RLlib steers the weight of its penalty on it.
        value_weight: Weight of the value's loss beside the policy's.
        clip: Bound on how far the probability ratios leave 1.
        gae_lambda: Lambda of the generalised advantage estimator.
        max_gradient_norm: Norm to which all gradients together are scaled down.
        batch_size: Environment steps between two improvements of the policy (not in the paper).
        epochs: Passes over each batch (not in the paper).
        hidden_dim: Width of the hidden layers; there are as many as the benchmark's generated policies have.
        initial_log_std: Logarithm of the actions' deviation at the start (not in the paper).
        environments: Worlds of each runner.
        runners: Ray actors that step worlds beside the training; with 0 it steps them itself.
        episode_steps: Steps of a training episode at most. Evaluations always take the benchmark's 200.
        ends_at_success: Whether success ends a training episode, as it ends those of evaluations. Every step is
            rewarded, so that to hover just below the goal then earns more than to reach it; ManiSkill2's own examples
            go on (not in the paper).
        success_rate: Stop once an evaluation reaches it; None: train to the end.
        evaluate_every: Environment steps between two evaluations, each followed by a checkpoint.
        evaluation_episodes: Episodes of an evaluation, without noise.
        start: Weights that a training begins with: "fresh" ones (paper); those of the next spec towards the default
            one ("neighbour"); or "cloned" from the scripted controller at the same spec.
        clone_episodes: Successful episodes of the controller that a cloned start imitates.
        clone_epochs: Passes over their steps.
    """

    steps: int = 4_000_000
    learning_rate: float = 3e-4
    minibatch_size: int = 400
    discount: float = 0.85
    target_kl: float = 0.09
    value_weight: float = 0.5
    clip: float = 0.2
    gae_lambda: float = 0.95
    max_gradient_norm: float = 0.5
    batch_size: int = 3200
    epochs: int = 15
    hidden_dim: int = 256
    initial_log_std: float = -0.5
    environments: int = 8
    runners: int = 0
    episode_steps: int = 200
    ends_at_success: bool = False
    success_rate: float | None = None
    evaluate_every: int = 48_000
    evaluation_episodes: int = 50
    start: Literal["fresh", "neighbour", "cloned"] = "fresh"
    clone_episodes: int = 200
    clone_epochs: int = 100

    def __post_init__(self) -> None:
        require(self, whole(1), "steps", "minibatch_size", "batch_size", "epochs", "hidden_dim", "environments")
        require(self, whole(1), "episode_steps", "evaluate_every", "evaluation_episodes")
        require(self, whole(1), "clone_episodes", "clone_epochs")
        require(self, whole(0), "runners")
        require(self, POSITIVE, "learning_rate", "target_kl", "clip", "max_gradient_norm")
        require(self, at_least(0), "value_weight")
        require(self, FRACTION, "gae_lambda")
        require(self, DISCOUNT, "discount")
        require(self, POSITIVE_FRACTION.or_null(), "success_rate")
        require(self, one_of("fresh", "neighbour", "cloned"), "start")
        require(self, Rule("be at most batch_size", lambda steps: steps <= self.batch_size), "minibatch_size")


PPO_RECIPES: Mapping[str, PPOSettings] = MappingProxyType(
    {
        "paper": PPOSettings(),
        "laptop": PPOSettings(
            steps=1_000_000,
            episode_steps=100,
            success_rate=0.94,
            evaluate_every=24_000,
            initial_log_std=-2.0,
            start="cloned",
        ),
    }
)
"""PPO's settings by name: the paper's, and those of a machine without a GPU."""


@dataclass(frozen=True)
class ScriptedSettings:
    """Scripted experts are not trained: there is nothing to set."""
