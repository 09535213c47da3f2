"""Settings of the experts' training: the paper's, and recipes that get there with far less."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch


@dataclass(frozen=True)
class TD3Settings:
    """How a population of TD3 experts trains. The defaults are the paper's table 10 and the authors' TD3 details.

    "A spec" below means for every spec's own expert; all of them advance together, one update each at a time.

    Attributes:
        updates: Gradient updates of each expert, after the seed steps.
        joint_fraction: Fraction of these, the first, that are made by agents that serve neighbouring specs together
            and are told the spec; they then part into the experts (paper: 0, every expert starts from nothing).
        joint_agents: How many such agents there are.
        joint_batch_size: Transitions of every spec in one joint update.
        batch_size: Transitions in one update of one expert.
        learning_rate: Of Adam, for actors and critics, at the first update.
        learning_rate_final: The same at the last update, linear in between; None for no change (paper).
        discount: Of a step's future. Episodes end by a time limit only, so every target bootstraps.
        n_step: Steps of real reward in a target, fewer where an episode ends earlier.
        hidden_dim: Width of the two hidden layers of actors and critics.
        actor_every: Updates of the critics for each update of the actor.
        target_every: Updates of the critics for each move of the target networks.
        tau: Fraction of the way that target networks move.
        exploration_initial: Standard deviation of the noise on actions at the first update; of target smoothing, too.
        exploration_final: The same once the schedule has ended.
        exploration_fraction: Fraction of the updates over which the noise falls linearly from the first to the second.
        saturation_penalty: Weight, in the actor's loss, of the squared length of what goes into its tanh (paper: 0);
            it falls to 0 as the noise falls. Without it the first hundred updates drive nearly every action to -1 or 1,
            where tanh passes no gradient back, and thousands of updates pass before an expert recovers; but kept up,
            it holds back the fastest gaits.
        noise_clip: Bound on the smoothing noise that is added to target actions.
        seed_steps: Environment steps a spec before the first update.
        exploration_steps: Environment steps a spec with uniformly random actions.
        environments: Worlds a spec.
        steps_per_update: Steps of every world for one update.
        replay_capacity: Transitions a spec that are kept, in whole episodes.
        shared_replay: Whether each expert learns from the worlds of all specs that move alike (same dynamics, another
            reward), with rewards recomputed for its own spec; else from its own worlds alone.
        precision: Of the matrix products: "float32"; "bfloat16", with float32 weights and Adam; or "auto", see resolve.
        evaluate_every: Updates between two evaluations.
        evaluation_episodes: Episodes a spec in one evaluation.
        keep: Which weights become the expert: the "last", or a spec's "best" by the evaluations of its training.
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
        counts: tuple[str, ...] = (
            "updates",
            "batch_size",
            "joint_agents",
            "joint_batch_size",
            "n_step",
            "hidden_dim",
            "actor_every",
            "target_every",
            "seed_steps",
        )
        counts += ("environments", "steps_per_update", "replay_capacity", "evaluate_every", "evaluation_episodes")
        for name in counts:
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in (
            "exploration_initial",
            "exploration_final",
            "saturation_penalty",
            "noise_clip",
            "exploration_steps",
        ):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("tau", "exploration_fraction"):
            self._require(name, 0 < getattr(self, name) <= 1, "in (0, 1]")
        self._require("discount", 0 <= self.discount < 1, "in [0, 1)")
        for name in ("learning_rate", "learning_rate_final"):
            rate = getattr(self, name)
            self._require(name, rate is None or 0 < rate < float("inf"), "positive and finite")
        self._require("joint_fraction", 0 <= self.joint_fraction <= 1, "in [0, 1]")
        self._require("keep", self.keep in ("last", "best"), "last or best")
        self._require("precision", self.precision in ("float32", "bfloat16", "auto"), "float32, bfloat16 or auto")

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"experts: {name} must be {what}, not {getattr(self, name)!r}")

    @property
    def joint_updates(self) -> int:
        """Updates that are made jointly."""
        return round(self.joint_fraction * self.updates)

    def at(self, update: int) -> Schedule:
        """What is scheduled for the given update (0 is the first)."""
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


RECIPES: Mapping[str, TD3Settings] = MappingProxyType(
    {
        "paper": TD3Settings(),
        "fast": TD3Settings(
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
        ),
    }
)
"""Settings by name: the paper's own, and ours, which trades the paper's updates for shared experience."""


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
    """How a ManiSkill expert trains, one spec at a time. The defaults are the paper's table 11 where it says something.

    Attributes:
        steps: Environment steps of each expert at most, in whole batches.
        learning_rate: Of Adam.
        minibatch_size: Steps in one update.
        discount: Of a step's future.
        target_kl: What RLlib steers the weight of its penalty on changes of the policy to (nats).
        value_weight: Of the value's loss beside the policy's.
        clip: Of the probability ratios.
        gae_lambda: Of the generalised advantage estimator.
        max_gradient_norm: Of all gradients together.
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
        start: "fresh", or "neighbour": an experiment's experts start from the weights of the next spec towards the
            default one.
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
    start: Literal["fresh", "neighbour"] = "fresh"

    def __post_init__(self) -> None:
        for name in ("steps", "minibatch_size", "batch_size", "epochs", "hidden_dim", "environments", "episode_steps"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("evaluate_every", "evaluation_episodes"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "target_kl", "clip", "max_gradient_norm"):
            self._require(name, 0 < getattr(self, name) < float("inf"), "positive and finite")
        self._require("runners", self.runners >= 0, "at least 0")
        self._require("value_weight", self.value_weight >= 0, "at least 0")
        self._require("discount", 0 <= self.discount < 1, "in [0, 1)")
        self._require("gae_lambda", 0 <= self.gae_lambda <= 1, "in [0, 1]")
        self._require("success_rate", self.success_rate is None or 0 < self.success_rate <= 1, "in (0, 1]")
        self._require("start", self.start in ("fresh", "neighbour"), "fresh or neighbour")
        self._require("minibatch_size", self.minibatch_size <= self.batch_size, "at most batch_size")

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"experts: {name} must be {what}, not {getattr(self, name)!r}")


PPO_RECIPES: Mapping[str, PPOSettings] = MappingProxyType(
    {
        "paper": PPOSettings(),
        "laptop": PPOSettings(
            steps=1_000_000, episode_steps=100, success_rate=0.94, evaluate_every=24_000, start="neighbour"
        ),
    }
)
"""PPO's settings by name: the paper's, and those of a machine without a GPU."""


@dataclass(frozen=True)
class ScriptedSettings:
    """Scripted experts are not trained: there is nothing to set."""
