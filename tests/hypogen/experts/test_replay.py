"""The replay against a plain list of episodes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hypogen import envs
from hypogen.experts.replay import Replay, Windows, n_step_returns

D, A, F, T = 3, 2, 1, 5
WORLDS, SOURCES = 4, [[0, 2], [1, 3], [3]]


class Recorder:
    """Feeds a replay with numbers that name their world, episode and step, and keeps them all."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.steps = 0

    @staticmethod
    def observation(world: int, episode: int, step: int) -> torch.Tensor:
        return torch.tensor([float(world), float(episode), float(step)])

    def observations(self, episode: int, step: int) -> torch.Tensor:
        return torch.stack([self.observation(world, episode, step) for world in range(WORLDS)])

    def advance(self, count: int) -> None:
        for _ in range(count):
            episode, step = divmod(self.steps, T)
            if self.replay.episode_over:
                self.replay.start(self.observations(episode, 0))
            here = self.observations(episode, step)
            self.replay.append(
                here[:, :A] + here[:, 2:] / 10, here.sum(1, keepdim=True), self.observations(episode, step + 1)
            )
            self.steps += 1

    def known(self, blocks: int) -> set[tuple[int, int]]:
        """The (episode, step) that a ring of ``blocks`` episodes still holds."""
        steps = [divmod(number, T) for number in range(self.steps)]
        episode, time = self.replay.position
        kept = {(e, t) for e, t in steps if e > episode - blocks}
        if not self.replay.episode_over:  # the oldest episode, where the newest has not reached it yet
            kept |= {(e, t) for e, t in steps if e == episode - blocks and t > time}
        return kept


def make(capacity: int) -> Recorder:
    return Recorder(Replay((D, A, F), SOURCES, WORLDS, T, capacity))


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 13, 15, 16, 18, 20, 27])
@pytest.mark.parametrize("n_step", [1, 3, 7])
def test_windows_are_those_of_the_episodes(steps: int, n_step: int) -> None:
    recorder = make(3 * T)
    recorder.advance(steps)
    windows = recorder.replay.sample(400, n_step, torch.Generator().manual_seed(steps))
    seen = set()
    for expert, sources in enumerate(SOURCES):
        assert {int(w) for w in windows.observations[expert, :, 0]} == set(sources)
        for index in range(400):
            world, episode, step = (int(x) for x in windows.observations[expert, index])
            seen.add((episode, step))
            last = min(T, steps - episode * T)  # the last observation that is known of this episode
            length = min(n_step, last - step)
            assert windows.valid[expert, index].tolist() == [k < length for k in range(n_step)]
            expected = recorder.observation(world, episode, step + length)
            assert torch.equal(windows.next_observations[expert, index], expected)
            rewards = [world + episode + step + k for k in range(length)]
            assert windows.features[expert, index, :length, 0].tolist() == rewards
            here = recorder.observation(world, episode, step)
            assert torch.equal(windows.actions[expert, index], here[:A] + here[2:] / 10)
    assert seen == recorder.known(blocks=3)
    assert len(recorder.replay) == len(seen)


def test_sampling_is_uniform() -> None:
    recorder = make(3 * T)
    recorder.advance(18)
    windows = recorder.replay.sample(20_000, 1, torch.Generator().manual_seed(0))
    keys, counts = np.unique(windows.observations[0].numpy(), axis=0, return_counts=True)
    expected = 20_000 / len(keys)
    assert len(keys) == 2 * len(recorder.replay)
    assert abs(counts - expected).max() < 5 * expected**0.5


def test_n_step_returns_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = torch.rand(2, 6, 4, generator=generator)
    lengths = torch.randint(1, 5, (2, 6), generator=generator)
    valid = torch.arange(4) < lengths.unsqueeze(-1)
    returns, discounts = n_step_returns(rewards, valid, 0.9)
    for s in range(2):
        for b in range(6):
            value, factor = 0.0, 1.0
            for k in range(int(lengths[s, b])):
                value, factor = value + factor * float(rewards[s, b, k]), factor * 0.9
            assert returns[s, b].item() == pytest.approx(value, rel=1e-6)
            assert discounts[s, b].item() == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize("name", ["cheetah-speed", "walker-speed", "finger-speed"])
def test_recomputed_rewards_are_the_environments(name: str) -> None:
    specs = np.array([[-4.0], [1.0], [3.0]])
    env = envs.make_vector(name, specs)
    observations, _ = env.reset(seed=[1, 2, 3])
    replay = Replay(
        (observations.shape[1], env.single_action_space.shape[0], envs.FEATURES[env.benchmark.environment]),
        [[0, 1, 2]] * 3,
        3,
        1000,
        1000,
    )
    replay.start(torch.from_numpy(observations))
    generator, earned = np.random.default_rng(0), []
    for _ in range(20):
        actions = generator.uniform(-1, 1, (3, env.single_action_space.shape[0]))
        observations, rewards, _, _, infos = env.step(actions)
        replay.append(torch.from_numpy(actions), torch.from_numpy(infos["features"]), torch.from_numpy(observations))
        earned.append(rewards)
    windows = replay.sample(200, 1, torch.Generator().manual_seed(0))
    speeds = torch.tensor(specs, dtype=torch.float32).view(3, 1, 1)
    recomputed = envs.reward(env.benchmark.environment, windows.features, speeds)
    stored = replay.rows[:20, :, : windows.observations.shape[-1]]
    checked = 0
    for expert in range(3):
        for index in range(200):
            row, world = (stored == windows.observations[expert, index]).all(-1).nonzero()[0].tolist()
            if world == expert:
                assert recomputed[expert, index, 0].item() == pytest.approx(earned[row][world], abs=1e-5)
                checked += 1
    assert checked > 100
    env.close()


@pytest.mark.parametrize("steps", [3, 5, 12, 18, 20, 31])
def test_a_file_restores_the_replay(steps: int, tmp_path: Path) -> None:
    path, recorder = tmp_path / "rows", make(3 * T)
    for count in range(steps):
        recorder.advance(1)
        if recorder.replay.episode_over or count % 4 == 1:
            recorder.replay.flush(path)
    recorder.replay.flush(path)
    position = recorder.replay.position
    before = recorder.replay.sample(100, 3, torch.Generator().manual_seed(0))
    recorder.advance(2)  # what a run does after its last checkpoint, and before it is killed
    if recorder.replay.episode_over:
        recorder.replay.flush(path)
    again = make(3 * T)
    again.replay.restore(path, position)
    again.steps = steps
    assert_same(again.replay.sample(100, 3, torch.Generator().manual_seed(0)), before)
    for _ in range(12):
        again.advance(1)
        if again.replay.episode_over:
            again.replay.flush(path)
    straight = make(3 * T)
    straight.advance(steps + 12)
    seeds = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert_same(again.replay.sample(200, 2, seeds[0]), straight.replay.sample(200, 2, seeds[1]))


def assert_same(ours: Windows, theirs: Windows) -> None:
    """Equal in all but the features past a window's end, which mean nothing."""
    for one, other in zip(
        ours._replace(features=ours.features * ours.valid.unsqueeze(-1)),
        theirs._replace(features=theirs.features * theirs.valid.unsqueeze(-1)),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_a_short_file_is_refused(tmp_path: Path) -> None:
    recorder = make(3 * T)
    recorder.advance(3)
    recorder.replay.flush(tmp_path / "rows")
    with pytest.raises(ValueError, match="ends before"):
        make(3 * T).replay.restore(tmp_path / "rows", (0, 4))
