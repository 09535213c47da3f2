"""Many ManiSkill worlds, stepped in worker processes: SAPIEN holds Python's lock, so threads would gain nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from hypogen.benchmarks import get_benchmark
from hypogen.envs.maniskill import get_environment
from hypogen.envs.maniskill.single import ManiSkillEnv
from hypogen.envs.worlds import specs_array, world_seeds

Array = npt.NDArray[Any]
Answer = tuple[Array, ...]


class ManiSkillVectorEnv(gymnasium.vector.VectorEnv[Array, Array, Array]):
    """W worlds of a ManiSkill benchmark, one per row of ``specs`` [W, C].

    Observations are float32 [W, D], actions [W, 7]. Worlds end one by one, terminated at success or truncated after
    ``episode_steps``; there is no autoreset: a world that is over stands still, repeats its last observation, earns 0
    and stays terminated or truncated. ``infos["success"]`` bool [W]. What a world does depends on its spec, seed and
    actions alone, not on its neighbours or its process.

    Raises ValueError for an unknown or non-ManiSkill benchmark, one with a variable that its environment does not
    consume, specs that mean nothing, or fewer than 1 process.
    """

    metadata = {"render_modes": [], "autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, benchmark: str, specs: Array | Sequence[Sequence[float]], processes: int = 1) -> None:
        self._chunks: list[_Here | _Process] = []  # first: an unfinished vector is closed as well
        self.benchmark = get_benchmark(benchmark)
        get_environment(self.benchmark)  # refuses what does not run here
        self.specs = specs_array(self.benchmark, specs)
        for spec in self.specs:
            self.benchmark.values(spec)
        if processes < 1:
            raise ValueError(f"processes must be at least 1, got {processes}")
        self.num_envs, entry = len(self.specs), self.benchmark
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (entry.observation_dim,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (entry.action_dim,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        processes = min(processes, self.num_envs)
        kind = _Here if processes == 1 else _Process
        self._rows = [np.arange(first, self.num_envs, processes) for first in range(processes)]
        self._chunks = [kind(benchmark, self.specs[rows]) for rows in self._rows]
        self._running = False

    def reset(
        self, *, seed: int | Sequence[int] | Array | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts an episode in every world: observations [W, D] and infos.

        One number seeds world i with ``seed + i``; without a seed the worlds' random streams continue. No options.
        """
        if options:
            raise ValueError(f"worlds start together and take no options, got {options}")
        seeds = [None] * self.num_envs if seed is None else world_seeds(seed, self.num_envs).tolist()
        (observations,) = self._ask("reset", [[seeds[row] for row in rows] for rows in self._rows])
        self._running = True
        return observations, {"success": np.zeros(self.num_envs, dtype=bool)}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """One control step with ``actions`` [W, 7]: observations, rewards [W], terminated, truncated [W], infos.

        Raises ValueError for a wrong shape, actions that are not finite, or when every episode is over.
        """
        if not self._running:
            raise ValueError("call reset before step: no episode is running")
        actions = np.asarray(actions, dtype=np.float32)
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions must have shape {self.action_space.shape}, got {actions.shape}")
        answer = self._ask("step", [actions[rows] for rows in self._rows])
        observations, rewards, terminated, truncated = answer
        self._running = not (terminated | truncated).all()
        return observations, rewards, terminated, truncated, {"success": terminated.copy()}

    def close_extras(self, **kwargs: Any) -> None:
        """Frees the simulators and ends the processes."""
        for chunk in self._chunks:
            chunk.close()

    def _ask(self, command: str, arguments: list[Any]) -> Answer:
        """Have every chunk do the same at once, and put the answers in the order of the worlds."""
        self._running = False  # a failure leaves no episode to continue
        for chunk, argument in zip(self._chunks, arguments, strict=True):
            chunk.send(command, argument)
        received = [chunk.receive() for chunk in self._chunks]  # all of them, before any error is raised
        for answer in received:
            if isinstance(answer, Exception):
                raise answer
        answers: list[Answer] = [answer for answer in received if not isinstance(answer, Exception)]
        order = np.argsort(np.concatenate(self._rows))
        return tuple(np.concatenate([answer[part] for answer in answers])[order] for part in range(len(answers[0])))


class _Worlds:
    """Some worlds of one process, and where each stands in its episode."""

    def __init__(self, benchmark: str, specs: Array) -> None:
        self._envs = [ManiSkillEnv(benchmark, spec) for spec in specs]
        self._observations = np.zeros((len(specs), get_benchmark(benchmark).observation_dim), np.float32)
        self._terminated, self._truncated = np.zeros((2, len(specs)), dtype=bool)

    def reset(self, seeds: list[int | None]) -> Answer:
        for row, (env, seed) in enumerate(zip(self._envs, seeds, strict=True)):
            self._observations[row], _ = env.reset(seed=seed)
        self._terminated[:] = self._truncated[:] = False
        return (self._observations.copy(),)

    def step(self, actions: Array) -> Answer:
        rewards = np.zeros(len(self._envs))
        for row in np.flatnonzero(~(self._terminated | self._truncated)):
            step = self._envs[row].step(actions[row])
            self._observations[row], rewards[row], self._terminated[row], self._truncated[row], _ = step
        return self._observations.copy(), rewards, self._terminated.copy(), self._truncated.copy()

    def close(self) -> None:
        for env in self._envs:
            env.close()


class _Here:
    """Worlds in this process, behind the interface of those in another."""

    def __init__(self, benchmark: str, specs: Array) -> None:
        self._worlds = _Worlds(benchmark, specs)

    def send(self, command: str, argument: Any) -> None:
        self._answer: Answer = getattr(self._worlds, command)(argument)

    def receive(self) -> Answer:
        return self._answer

    def close(self) -> None:
        self._worlds.close()


class _Process:
    """Worlds in a process of their own, started afresh: a fork would copy torch's and Ray's threads half-alive."""

    def __init__(self, benchmark: str, specs: Array) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, benchmark, specs), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def send(self, command: str, argument: Any) -> None:
        self._pipe.send((command, argument))

    def receive(self) -> Answer | Exception:
        try:
            answer: Answer | Exception = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a process of worlds died with exit code {self._process.exitcode}") from None
        return answer

    def close(self) -> None:
        self._pipe.close()  # which ends the process
        self._process.join()


def _serve(pipe: Connection, benchmark: str, specs: Array) -> None:
    """Answers commands until the other end of the pipe is closed."""
    worlds = None
    while True:
        try:
            command, argument = pipe.recv()
        except EOFError:
            return
        try:
            worlds = worlds or _Worlds(benchmark, specs)
            pipe.send(getattr(worlds, command)(argument))
        except Exception as error:
            pipe.send(error)
