"""Joint training of all experts of a benchmark: worlds, replay, updates, evaluations, checkpoints."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hypogen import envs
from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.errors import Diverged, Stopped
from hypogen.experts.checkpoint import ReplayCheckpoint
from hypogen.experts.joint import JointTD3
from hypogen.experts.replay import Replay, n_step_returns
from hypogen.experts.settings import TD3Settings, resolve
from hypogen.experts.td3 import PopulationTD3, TransitionBatch
from hypogen.experts.trained import Critic, Experts
from hypogen.rollouts import rollout

if TYPE_CHECKING:  # a runtime import would load the simulator
    from hypogen.envs.mujoco.vector import MujocoVectorEnv

Progress = Callable[[dict[str, Any]], None]
_PROGRESS_EVERY_S = 1.0


def train(
    benchmark: str,
    specs: npt.ArrayLike,
    settings: TD3Settings,
    seed: int,
    checkpoint: Path | None = None,
    on_progress: Progress | None = None,
    threads: int = 1,
    device: str = "cpu",
    checkpoint_every_s: float = 60.0,
    stop: Callable[[], bool] | None = None,
) -> Experts:
    """Train one TD3 expert per spec, all of them together.

    A training that was interrupted at any point and is called again with the same arguments continues from
    ``checkpoint`` and ends, on the same machine, with the same weights to the last bit.

    Args:
        benchmark: name of a MuJoCo benchmark.
        specs: raw spec values ``[S, C]``.
        settings: settings of the training, such as those in ``RECIPES``.
        seed: seed of all random numbers of the training.
        checkpoint: folder of the checkpoint from which an interrupted training continues; None for no checkpoint.
        on_progress: function called about once a second and after every evaluation with ``update``, ``updates``,
            ``mean_return`` (of the last evaluation; None before the first) and ``updates_per_s`` (of each expert). An
            error that it raises ends the training.
        threads: threads that step the physics; their number does not change the result. PyTorch's own threads are left
            to the caller.
        device: device of the networks and the replay.
        checkpoint_every_s: seconds of work between two checkpoints.
        stop: function called after every update except the last; if it returns True, the training ends with a
            checkpoint and ``Stopped``.

    Raises:
        ValueError: not a MuJoCo benchmark, wrong specs, or a checkpoint of another training.
        Diverged: a weight became NaN or infinite.
        Stopped: ``stop`` returned True.
    """
    entry = get_benchmark(benchmark)
    if entry.simulator.name != "mujoco":
        raise ValueError(f"TD3 experts exist for MuJoCo benchmarks, not for {benchmark}")
    settings = resolve(settings, device)
    training = _PopulationTraining(entry, np.asarray(specs, dtype=np.float64), settings, seed, threads, device)
    identity = {
        "benchmark": entry.identity,
        "specs": training.specs.tolist(),
        "seed": seed,
        **dataclasses.asdict(settings),
    }
    files = ReplayCheckpoint(checkpoint, identity, checkpoint_every_s, training.replay) if checkpoint else None
    try:
        training.run(files, on_progress, stop)
    finally:
        training.close()
    return training.experts()


class _PopulationTraining:
    """Complete state of a population's training: every part is either fixed or saved in the checkpoint."""

    def __init__(
        self,
        benchmark: Benchmark,
        specs: npt.NDArray[np.float64],
        settings: TD3Settings,
        seed: int,
        threads: int,
        device: str,
    ) -> None:
        self.specs, self._benchmark, self._settings = specs, benchmark, settings
        self._seed, self._threads = seed, threads
        self._shape = (len(specs), settings.environments)
        worlds = np.repeat(specs, settings.environments, axis=0)
        self._env = cast("MujocoVectorEnv", envs.make_vector(benchmark.name, worlds, threads=threads))
        self._thread = ThreadPoolExecutor(1)
        self._generator = torch.Generator(device).manual_seed(_seeds(seed, "experts", 0, (1,)).item())
        self._learner = self._make_learner(joint=settings.joint_updates > 0)
        self.replay = self._make_replay(device)
        speeds = [benchmark.values(spec)["speed"] for spec in specs]
        self._speeds = torch.tensor(speeds, dtype=torch.float32, device=device).view(-1, 1, 1)
        self._steps = self._updates = 0
        self._curve: list[dict[str, Any]] = []
        self._kept: Experts | None = None

    def run(
        self, files: ReplayCheckpoint | None, on_progress: Progress | None, stop: Callable[[], bool] | None
    ) -> None:
        """Train to the end, from the checkpoint if there is one. Raises Stopped when ``stop`` returns True."""
        settings = self._settings
        if files and (state := files.load()):
            self._restore(files, state)
        while self._steps * settings.environments < settings.seed_steps:
            self._finish_step(files, self._begin_step())
        reporter = _Reporter(on_progress, self._updates, settings.updates)
        while self._updates < settings.updates:
            self._advance(files)
            evaluated = self._updates % settings.evaluate_every == 0 or self._updates == settings.updates
            if evaluated:
                self._evaluate()
            stopping = self._updates < settings.updates and stop is not None and stop()
            if files and (stopping or files.due()):
                self._require_finite()
                files.save(self._state())
            reporter.report(self._updates, self._mean_return(), evaluated)
            if stopping:
                raise Stopped(f"experts on {self._benchmark.name} stopped after {self._updates:,} updates")
        self._require_finite()

    def experts(self) -> Experts:
        """Trained experts: for each spec the last weights or the best ones."""
        assert self._kept is not None, "the last update is always evaluated"
        return dataclasses.replace(self._kept, curve=self._curve)

    def close(self) -> None:
        """Wait for a step that may be in progress, and free the worlds."""
        self._thread.shutdown(wait=True)
        self._env.close()

    def _advance(self, files: ReplayCheckpoint | None) -> None:
        """Update every expert once, and take the steps of the worlds that belong to the update.

        The last step runs while the networks update. Its actions come from the weights before the update, and its
        transitions are sampled only afterwards, so the result does not depend on which of the two finishes first.
        """
        for _ in range(self._settings.steps_per_update - 1):
            self._finish_step(files, self._begin_step())
        pending = self._begin_step()
        self._update()
        self._finish_step(files, pending)

    def _update(self) -> None:
        settings, generator, benchmark = self._settings, self._generator, self._benchmark
        joint = self._updates < settings.joint_updates
        if not joint and isinstance(self._learner, JointTD3):
            self._learner = self._learner.part()
        rows = settings.joint_batch_size if joint else settings.batch_size
        windows = self.replay.sample(rows, settings.n_step, generator)
        rewards = envs.reward(benchmark.environment, windows.features, self._speeds, benchmark.tolerance)
        returns, discounts = n_step_returns(rewards, windows.valid, settings.discount)
        batch = TransitionBatch(windows.observations, windows.actions, returns, discounts, windows.next_observations)
        noise = torch.empty_like(windows.actions).normal_(generator=generator)
        self._learner.update(batch, noise, settings.at(self._updates))
        self._updates += 1

    def _begin_step(self) -> tuple[Tensor, Future[Any]]:
        """Choose actions and start a step of the worlds: actions ``[W, A]`` and the future result of the step."""
        if self.replay.episode_over:
            seeds = _seeds(self._seed, "worlds", 0, (self._env.num_envs,)).tolist() if self._steps == 0 else None
            self.replay.start(torch.from_numpy(self._env.reset(seed=seeds)[0]))
        actions = self._choose_actions()
        host = actions.cpu()
        if not bool(torch.isfinite(host).all()):
            raise Diverged(f"experts on {self._benchmark.name}: an action is NaN after {self._updates} updates")
        return actions, self._thread.submit(self._env.step, host.numpy())

    def _finish_step(self, files: ReplayCheckpoint | None, pending: tuple[Tensor, Future[Any]]) -> None:
        actions, future = pending
        observations, _, _, _, infos = future.result()
        self.replay.append(actions, torch.from_numpy(infos["features"]), torch.from_numpy(observations))
        self._steps += 1
        if files and self.replay.episode_over:
            files.flush()

    def _choose_actions(self) -> Tensor:
        settings = self._settings
        actions = torch.empty(*self._shape, self._benchmark.action_dim, device=self._generator.device)
        if self._steps * settings.environments < settings.exploration_steps:
            actions.uniform_(-1, 1, generator=self._generator)
        else:
            actions.normal_(std=settings.at(self._updates).exploration_std, generator=self._generator)
            actions.add_(self._learner.act(self.replay.observations.view(*self._shape, -1))).clamp_(-1, 1)
        return actions.flatten(0, 1)

    def _evaluate(self) -> None:
        """Roll out the actors without noise, in separate episodes."""
        shape = (len(self.specs), self._settings.evaluation_episodes)
        seeds = _seeds(self._seed, "evaluation", self._updates, shape)
        policy = self._learner.policy()
        returns = rollout(self._benchmark.name, self.specs, policy, seeds, self._threads).returns.mean(axis=1)
        for spec, value in enumerate(returns.tolist()):
            self._curve.append({"update": self._updates, "spec": spec, "return": value})
        latest = Experts(self.specs, policy, Critic(*self._learner.q1()), returns)
        self._kept = self._kept.better(latest) if self._kept and self._settings.keep == "best" else latest

    def _returns(self) -> npt.NDArray[np.float64]:
        return np.array([row["return"] for row in self._curve[-len(self.specs) :]])

    def _mean_return(self) -> float | None:
        return float(self._returns().mean()) if self._curve else None

    def _require_finite(self) -> None:
        if not self._learner.finite():
            raise Diverged(f"experts on {self._benchmark.name}: a weight is NaN after {self._updates} updates")

    def _make_learner(self, joint: bool) -> JointTD3 | PopulationTD3:
        sizes = self._benchmark.observation_dim, self._benchmark.action_dim
        if not joint:
            return PopulationTD3(len(self.specs), *sizes, self._settings, self._generator)
        conditions = torch.as_tensor(self._benchmark.scale(self.specs), dtype=torch.float32)
        return JointTD3(conditions.to(self._generator.device), *sizes, self._settings, self._generator)

    def _make_replay(self, device: str) -> Replay:
        settings, benchmark = self._settings, self._benchmark
        sizes = (benchmark.observation_dim, benchmark.action_dim, envs.FEATURES[benchmark.environment])
        steps = settings.seed_steps // settings.environments + 1 + settings.updates * settings.steps_per_update
        # One episode more than will run: a training that never fills its replay needs no more memory than that.
        capacity = min(settings.replay_capacity // settings.environments, steps + benchmark.episode_steps)
        sources = _sources(benchmark, self.specs, settings)
        return Replay(sizes, sources, self._env.num_envs, benchmark.episode_steps, capacity, device)

    def _state(self) -> dict[str, Any]:
        return {
            "steps": self._steps,
            "updates": self._updates,
            "position": self.replay.position,
            "curve": self._curve,
            "generator": self._generator.get_state(),
            "learner": self._learner.state(),
            "env": self._env.get_state(),
            "kept": self._kept.state() if self._kept else {},
        }

    def _restore(self, files: ReplayCheckpoint, state: dict[str, Any]) -> None:
        self._steps, self._updates, self._curve = state["steps"], state["updates"], state["curve"]
        if self._updates > self._settings.joint_updates:  # at exactly that number the agents are still joint
            self._learner = self._make_learner(joint=False)
        self._generator.set_state(state["generator"])
        self._learner.load_state(state["learner"])
        self._env.set_state({name: array.numpy() for name, array in state["env"].items()})
        self._kept = Experts.from_state(self.specs, state["kept"]) if state["kept"] else None
        episode, time_in_episode = state["position"]
        files.restore_replay((episode, time_in_episode))


class _Reporter:
    """Reporter that calls ``on_progress`` about once a second."""

    def __init__(self, on_progress: Progress | None, updates: int, total: int) -> None:
        self._on_progress, self._total = on_progress, total
        self._updates, self._time = updates, time.monotonic()

    def report(self, updates: int, mean_return: float | None, now: bool) -> None:
        seconds = time.monotonic() - self._time
        if not self._on_progress or not (now or seconds >= _PROGRESS_EVERY_S):
            return
        rate = (updates - self._updates) / max(seconds, 1e-9)
        self._updates, self._time = updates, self._time + seconds
        self._on_progress(
            {"update": updates, "updates": self._total, "mean_return": mean_return, "updates_per_s": rate}
        )


def _seeds(seed: int, purpose: str, number: int, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Seeds below 2^32 of the given shape, different for every purpose and number."""
    sequence = np.random.SeedSequence([seed, number, *purpose.encode()])
    return sequence.generate_state(int(np.prod(shape))).astype(np.int64).reshape(shape)


def _sources(benchmark: Benchmark, specs: npt.NDArray[np.float64], settings: TD3Settings) -> Sequence[Sequence[int]]:
    """Worlds that each spec's expert learns from: all those with its dynamics if they are shared, otherwise its own."""
    worlds = [range(spec * settings.environments, (spec + 1) * settings.environments) for spec in range(len(specs))]
    if not settings.shared_replay:
        return worlds
    groups: dict[tuple[tuple[str, float], ...], list[int]] = {}
    dynamics = []
    for spec in specs:  # the target speed is the only variable that changes the reward and not the dynamics
        values = benchmark.values(spec)
        dynamics.append(tuple((name, value) for name, value in sorted(values.items()) if name != "speed"))
    for key, own in zip(dynamics, worlds, strict=True):
        groups.setdefault(key, []).extend(own)
    return [groups[key] for key in dynamics]
