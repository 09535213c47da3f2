"""The training loop: what an epoch is, exact continuation after a kill, and how it fails."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from hypogen.checkpoints import Checkpoint
from hypogen.generators import GENERATORS
from hypogen.training import Diverged, Stopped, TrainingSettings, _Run, fit
from tests.helpers.imitation import tiny_demonstrations, tiny_generator

torch.set_num_threads(1)
QUICK = TrainingSettings(epochs=4, batch_size=48, learning_rate=1e-3, checkpoint_every_s=0.0)


class Killed(Exception):
    """Stands for whatever ends a training from outside."""


def kill_at(epoch):
    def on_epoch(row):
        if row["epoch"] == epoch:
            raise Killed

    return on_epoch


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def epoch_of(run):
    """The batches of one epoch."""
    parts, groups = run.settings.epoch_parts(*run.data.rewards.shape)
    columns = run._order().tensor_split(parts, dim=1)
    return [batch for part in columns for batch in run._batches(part, groups)]


@pytest.mark.parametrize("method", GENERATORS)
@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_killed_training_ends_in_the_same_bits(method, epoch, tmp_path):
    undisturbed = tiny_generator(method)
    rows = fit(undisturbed, tiny_demonstrations(), QUICK, seed=1)
    interrupted, path = tiny_generator(method), tmp_path / "checkpoint"
    with pytest.raises(Killed):
        fit(interrupted, tiny_demonstrations(), QUICK, 1, path, kill_at(epoch))
    torch.rand(3)  # whatever else draws from torch's global state must not matter
    resumed, seen = tiny_generator(method, seed=99), []
    assert fit(resumed, tiny_demonstrations(), QUICK, 1, path, seen.append) == rows
    assert same(resumed, undisturbed)
    assert [row["epoch"] for row in seen] == list(range(epoch + 1, 5))
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("method", GENERATORS)
def test_a_stopped_training_ends_in_the_same_bits(method, tmp_path):
    rare = replace(QUICK, checkpoint_every_s=1e6)
    undisturbed, path = tiny_generator(method), tmp_path / "checkpoint"
    rows = fit(undisturbed, tiny_demonstrations(), rare, seed=1)
    steps = rows[0]["step"]
    assert steps > 1, "there is a middle of an epoch"
    for asked, where in ((steps, "after epoch 1"), (steps + 1, "in epoch 3"), (steps - 1, "after epoch 3")):
        seen, kept, answers = [], [], iter([False] * (asked - 1) + [True])
        watching = {"on_epoch": seen.append, "before_checkpoint": kept.append, "stop": answers.__next__}
        with pytest.raises(Stopped, match=f"{where} of 4"):
            fit(tiny_generator(method), tiny_demonstrations(), rare, 1, path, **watching)
        assert seen in (rows[:1], rows[1:2], rows[2:3]) and kept == [row["epoch"] for row in seen]
    resumed = tiny_generator(method, seed=99)
    assert fit(resumed, tiny_demonstrations(), rare, 1, path, stop=lambda: False) == rows
    assert same(resumed, undisturbed)


def test_with_groups_of_specs_and_noise_a_stop_within_an_epoch_changes_nothing(tmp_path):
    settings = replace(QUICK, checkpoint_every_s=1e6, specs_per_batch=2, batch_size=20, spec_noise=0.1)
    undisturbed, path = tiny_generator("pearl"), tmp_path / "checkpoint"
    rows = fit(undisturbed, tiny_demonstrations(), settings, seed=1)
    for _ in range(5):
        answers = iter([False] * 2 + [True])
        with pytest.raises(Stopped, match="in epoch"):
            fit(tiny_generator("pearl"), tiny_demonstrations(), settings, 1, path, stop=answers.__next__)
    resumed = tiny_generator("pearl", seed=99)
    assert fit(resumed, tiny_demonstrations(), settings, 1, path) == rows
    assert same(resumed, undisturbed)


def test_without_a_place_for_a_checkpoint_it_just_stops():
    with pytest.raises(Stopped):
        fit(tiny_generator("hyperzero"), tiny_demonstrations(), QUICK, 1, stop=lambda: True)


def test_without_a_recent_checkpoint_it_continues_from_the_last(tmp_path):
    rare = replace(QUICK, checkpoint_every_s=1e6)
    undisturbed, path = tiny_generator("hyperzero"), tmp_path / "checkpoint"
    rows = fit(undisturbed, tiny_demonstrations(), rare, seed=1)
    with pytest.raises(Killed):
        fit(tiny_generator("hyperzero"), tiny_demonstrations(), rare, 1, path, kill_at(3))
    assert not path.exists()
    resumed = tiny_generator("hyperzero")
    assert fit(resumed, tiny_demonstrations(), rare, 1, path) == rows
    assert path.exists() and same(resumed, undisturbed)


def test_the_end_is_not_written_where_nobody_wants_it(tmp_path):
    undisturbed, generator, path = tiny_generator("hyperzero"), tiny_generator("hyperzero"), tmp_path / "checkpoint"
    rows = fit(undisturbed, tiny_demonstrations(), QUICK, seed=1)
    assert fit(generator, tiny_demonstrations(), QUICK, 1, path, keep_end=False) == rows
    run = _Run(generator, tiny_demonstrations(), QUICK, 1, torch.device("cpu"))
    assert Checkpoint(path, run.identity()).load()["epoch"] == 3
    again = tiny_generator("hyperzero")
    assert fit(again, tiny_demonstrations(), QUICK, 1, path, keep_end=False) == rows
    assert same(again, undisturbed)
    fit(generator, tiny_demonstrations(), QUICK, 1, tmp_path / "part", until=2, keep_end=False)
    assert Checkpoint(tmp_path / "part", run.identity()).load()["epoch"] == 2, "a later call is to continue"


def test_a_finished_training_can_be_extended(tmp_path):
    longer = replace(QUICK, epochs=6)
    at_once, in_two, path = tiny_generator("hyperzero"), tiny_generator("hyperzero"), tmp_path / "checkpoint"
    rows = fit(at_once, tiny_demonstrations(), longer, seed=1)
    fit(in_two, tiny_demonstrations(), QUICK, 1, path)
    assert fit(in_two, tiny_demonstrations(), longer, 1, path) == rows
    assert same(at_once, in_two)
    with pytest.raises(ValueError, match="at epoch 6, past the 4"):
        fit(in_two, tiny_demonstrations(), QUICK, 1, path)


def test_the_learning_rate_falls_along_a_half_cosine_over_all_steps(monkeypatch):
    settings = replace(QUICK, epochs=2, batch_size=40, learning_rate_final=1e-4)
    used = []
    step = _Run._step
    monkeypatch.setattr(_Run, "_step", lambda run, batch: used.append(run.optimizer.rate) or step(run, batch))
    fit(tiny_generator("cond_policy"), tiny_demonstrations(), settings, seed=1)
    share = torch.arange(len(used), dtype=torch.float64) / len(used)
    expected = 1e-4 + 0.5 * (1e-3 - 1e-4) * (1 + torch.cos(torch.pi * share))
    torch.testing.assert_close(torch.tensor(used, dtype=torch.float64), expected)


def test_the_learning_rate_warms_up_in_a_straight_line_to_the_curve_it_would_have_had():
    falling = replace(QUICK, learning_rate_final=0.0)
    warming = replace(falling, warmup_steps=3)
    rates = [warming.learning_rate_at(step, 10) / falling.learning_rate_at(step, 10) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75] + 7 * [1.0])
    assert replace(QUICK, warmup_steps=1).learning_rate_at(0, 10) == QUICK.learning_rate / 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradients_are_scaled_down_to_their_greatest_norm_and_smaller_ones_left_alone(precision):
    norms = []
    for limit in (None, 1e-2, 1e6):
        settings = replace(QUICK, max_gradient_norm=limit, precision=precision)
        run = _Run(tiny_generator("hypogen"), tiny_demonstrations(), settings, 1, torch.device("cpu"))
        run._step(run.data)
        means = [buffers["exp_avg"].flatten() for buffers in run.optimizer.state().values()]
        norms.append(float(torch.cat(means).norm()) / 0.1)  # the first step's mean is a tenth of the gradient
    free, limited, unlimited = norms
    assert free > 2e-2 and free == unlimited
    assert limited == pytest.approx(1e-2, rel=1e-3)


def test_a_falling_learning_rate_continues_in_the_same_bits_but_not_to_another_end(tmp_path):
    falling = replace(QUICK, learning_rate_final=0.0)
    undisturbed, resumed, path = tiny_generator("hyperzero"), tiny_generator("hyperzero"), tmp_path / "checkpoint"
    rows = fit(undisturbed, tiny_demonstrations(), falling, seed=1)
    assert fit(tiny_generator("hyperzero"), tiny_demonstrations(), falling, 1, path, until=2) == rows[:2]
    assert fit(resumed, tiny_demonstrations(), falling, 1, path) == rows
    assert same(resumed, undisturbed)
    with pytest.raises(ValueError, match="belongs to another training: epochs differ"):
        fit(resumed, tiny_demonstrations(), replace(falling, epochs=6), 1, path)


def test_spec_noise_spreads_the_specs_in_halves_of_the_grids_range(tmp_path, monkeypatch):
    settings, data, seen = replace(QUICK, epochs=40, spec_noise=0.05), tiny_demonstrations(), []
    generator = tiny_generator("hyperzero")
    disturbed = _Run._disturbed
    monkeypatch.setattr(_Run, "_disturbed", lambda run, specs: seen.append(disturbed(run, specs)) or seen[-1])
    rows = fit(generator, data, settings, seed=1)
    monkeypatch.undo()
    noise = (torch.stack(seen) - data.specs) / torch.as_tensor(np.ptp(generator.benchmark.grid, axis=0) / 2)
    assert abs(noise.mean()) < 0.005 and 0.045 < noise.std() < 0.055
    assert fit(tiny_generator("hyperzero"), data, settings, 1, tmp_path / "checkpoint", until=3) == rows[:3]
    resumed = tiny_generator("hyperzero")
    assert fit(resumed, data, settings, 1, tmp_path / "checkpoint") == rows and same(resumed, generator)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    fit(tiny_generator("hyperzero"), tiny_demonstrations(), QUICK, 1, path)
    for change, settings, seed, overrides in (
        ("learning_rate", replace(QUICK, learning_rate=1e-2), 1, {}),
        ("seed", QUICK, 2, {}),
        ("generator", QUICK, 1, {"spec_scaling": "raw"}),
    ):
        with pytest.raises(ValueError, match=f"belongs to another training: {change} differ"):
            fit(tiny_generator("hyperzero", **overrides), tiny_demonstrations(), settings, seed, path)
    file = path / "state.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"checkpoint cannot be read .* delete it"):
        fit(tiny_generator("hyperzero"), tiny_demonstrations(), QUICK, 1, path)


def test_a_checkpoint_from_before_a_setting_existed_goes_on():
    told = tiny_generator("hyperzero").extra_repr()
    assert "HyperZeroSettings(embedding_dim=" in told and "heads" not in told and "value_loss" not in told
    assert "heads='authors'" in tiny_generator("hyperzero", heads="authors").extra_repr()


def test_the_seed_decides_the_order_and_nothing_else_does():
    one, same_seed, other = (tiny_generator("cond_policy") for _ in range(3))
    for generator, seed in ((one, 1), (same_seed, 1), (other, 2)):
        torch.rand(seed)
        fit(generator, tiny_demonstrations(), QUICK, seed)
    assert same(one, same_seed) and not same(one, other)


@pytest.mark.parametrize(("specs_per_batch", "batch_size"), [(None, 48), (None, 1000), (2, 24), (3, 25), (1, 7)])
def test_an_epoch_meets_every_sample_once(specs_per_batch, batch_size):
    demos = tiny_demonstrations()
    tagged = replace(demos, rewards=torch.arange(demos.rewards.numel()).reshape(demos.rewards.shape).float())
    settings = replace(QUICK, specs_per_batch=specs_per_batch, batch_size=batch_size)
    run = _Run(tiny_generator("cond_policy"), tagged, settings, 0, torch.device("cpu"))
    batches = epoch_of(run)
    seen = torch.cat([batch.rewards.flatten() for batch in batches])
    assert torch.equal(seen.sort().values, tagged.rewards.flatten())
    assert max(batch.rewards.numel() for batch in batches) <= batch_size
    for batch in batches:
        assert len(batch.specs) <= (specs_per_batch or 4)
        first = demos.observations.flatten(0, 2)[batch.rewards[0, 0].long()]
        assert torch.equal(batch.observations[0, 0], first), "fields of a sample stay together"
        row = int(batch.rewards[0, 0]) // demos.rewards[0].numel()
        assert torch.equal(batch.specs[0], demos.specs[row])
    assert not torch.equal(seen, torch.cat([batch.rewards.flatten() for batch in epoch_of(run)]))


@pytest.mark.parametrize("method", GENERATORS)
def test_an_absurd_learning_rate_diverges_by_name(method, tmp_path):
    settings = TrainingSettings(epochs=5, batch_size=64, learning_rate=1e25, checkpoint_every_s=0.0)
    path = tmp_path / "checkpoint"
    with pytest.raises(Diverged, match=r"epoch \d: losses loss (nan|inf).*lower learning rate than 1e\+25"):
        fit(tiny_generator(method), tiny_demonstrations(), settings, 0, path)
    if path.exists():
        with safe_open(path / "state.safetensors", "pt") as file:
            rows = json.loads(file.metadata()["values"])["rows"]
        assert all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in rows)


def test_a_last_step_that_ruins_the_weights_diverges_though_no_loss_shows_it():
    settings = TrainingSettings(epochs=1, batch_size=10**6, learning_rate=1e39, checkpoint_every_s=0.0)
    with pytest.raises(Diverged, match=r"epoch 1: losses loss \d"):
        fit(tiny_generator("cond_policy"), tiny_demonstrations(), settings, 0)


def test_rows_are_logged_every_so_often_and_at_the_end():
    rows = fit(tiny_generator("hyperzero"), tiny_demonstrations(), replace(QUICK, epochs=5, log_every=2), 0)
    assert [row["epoch"] for row in rows] == [2, 4, 5]
    for row in rows:
        expected = row["action"] + 0.01 * row["value"] + 0.01 * row["td"]
        assert row["loss"] == pytest.approx(expected, rel=1e-5)


def test_loss_weights_reach_the_critic():
    with_q, without = tiny_generator("hyperzero"), tiny_generator("hyperzero")
    before = [parameter.clone() for parameter in without.value_head.parameters()]
    fit(with_q, tiny_demonstrations(), QUICK, 0)
    fit(without, tiny_demonstrations(), replace(QUICK, value_weight=0.0, td_weight=0.0), 0)
    assert all(torch.equal(a, b) for a, b in zip(before, without.value_head.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, with_q.value_head.parameters(), strict=True))


def test_bfloat16_trains_too():
    rows = fit(tiny_generator("hypogen"), tiny_demonstrations(), replace(QUICK, precision="bfloat16", epochs=20), 0)
    assert rows[-1]["action"] < 0.8 * rows[0]["action"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1"),
        ({"learning_rate": -1e-4}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"learning_rate_final": 1e-3}, "learning_rate_final must lie in 0..0.0001"),
        ({"warmup_steps": -1}, "warmup_steps must be an integer of at least 0"),
        ({"max_gradient_norm": 0.0}, "max_gradient_norm must be positive and finite or null"),
        ({"spec_noise": -0.1}, "spec_noise must be finite and not negative"),
        ({"td_weight": -1.0}, "td_weight must be finite and not negative"),
        ({"precision": "float8"}, "precision must be"),
        ({"specs_per_batch": 0}, "specs_per_batch must be an integer"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**wrong)


def test_too_small_a_batch_is_refused():
    with pytest.raises(ValueError, match="batch_size 3 is less than one sample for each of the 4 specs"):
        fit(tiny_generator("cond_policy"), tiny_demonstrations(), replace(QUICK, batch_size=3), 0)


def test_a_warm_up_that_outlasts_the_training_is_refused():
    steps = fit(tiny_generator("cond_policy"), tiny_demonstrations(), replace(QUICK, warmup_steps=1), 0)[-1]["step"]
    with pytest.raises(ValueError, match=f"warmup_steps {steps} leaves nothing of a training of {steps} steps"):
        fit(tiny_generator("cond_policy"), tiny_demonstrations(), replace(QUICK, warmup_steps=steps), 0)


def test_only_real_steps_are_trained_on_and_every_spec_has_its_share():
    """Episodes of unequal length: nothing after their end is met, and every real step in every epoch."""
    demonstrations = tiny_demonstrations(specs=2, episodes=3, steps=20)
    lengths = torch.tensor([[20, 3, 7], [4, 4, 1]])
    over = torch.arange(20) >= lengths[..., None]
    rewards = torch.arange(120.0).view(2, 3, 20).masked_fill(over, -1.0)
    terminated = torch.tensor([[True, False, True], [True, True, False]])
    run = _Run(
        tiny_generator("cond_policy"),
        replace(demonstrations, rewards=rewards, lengths=lengths, terminated=terminated),
        replace(QUICK, batch_size=8),
        0,
        torch.device("cpu"),
    )
    batches = epoch_of(run)
    met = torch.cat([batch.rewards for batch in batches], dim=1)
    assert met.shape == (2, 30)  # as many of the second spec, which has 9 steps, as of the first
    for spec in range(2):
        assert set(met[spec].tolist()) == set(rewards[spec][~over[spec]].tolist())
    counts = [met[1].tolist().count(reward) for reward in set(met[1].tolist())]
    assert max(counts) - min(counts) <= 1
    for batch in batches:
        for spec in range(2):
            ends = {rewards[spec, episode, lengths[spec, episode] - 1].item() for episode in range(3)}
            final = {r for r in ends if terminated[spec][(rewards[spec] == r).any(1)].item()}
            expected = [0.0 if reward in final else 1.0 for reward in batch.rewards[spec].tolist()]
            assert batch.continues[spec].tolist() == expected
