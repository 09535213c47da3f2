"""A search instead of a grid: real Optuna, real ASHA, on a real small problem."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hypogen.benchmarks import get_benchmark
from orchestrator.artifacts.artifact import specs_at
from orchestrator.artifacts.artifact_store import Store
from orchestrator.config.loading import expand, load
from orchestrator.config.search_space import distributions, with_settings
from orchestrator.exceptions import ConfigError
from orchestrator.planning import study
from orchestrator.planning.plan import build
from results.result_store import ResultStore
from tests.helpers.experiments import Killed, sweep

SEARCH = {
    "method": "cond_policy",
    "space": {"training.learning_rate": {"loguniform": [1e-5, 1e-2]}, "policy.hidden_dim": {"choice": [8, 16]}},
    "trials": 4,
    "validation_fraction": 0.4,
    "episodes": 1,
    "rungs": 2,
}
CHANGES = {"methods": ["cond_policy"], "search": SEARCH, "split": {"train_fraction": 0.6, "seeds": [0]}}


def test_trials_are_judged_on_training_specs_that_they_do_not_train_on(tiny: Callable[..., Path]) -> None:
    experiment = study.check_point(load(tiny(**CHANGES)))
    benchmark = get_benchmark("cheetah-speed")
    split = experiment.split.resolve(benchmark, experiment.specs.indices(benchmark), 0)
    (fold,) = study.folds(experiment, experiment.search)
    assert fold.validation and fold.train
    assert tuple(sorted(fold.train + fold.validation)) == specs_at(benchmark, split.train)
    assert not [spec for spec in fold.train + fold.validation if spec in specs_at(benchmark, split.test)]


def test_a_few_shot_method_gets_demonstrations_of_the_specs_it_is_judged_on(tiny: Callable[..., Path]) -> None:
    changes = {**CHANGES, "specs": {}, "split": {"train_fraction": 0.2, "seeds": [0]}}
    for method, extra in (("cond_policy", False), ("pearl", True)):
        chosen = {**changes, "methods": [method], "search": {**SEARCH, "method": method}}
        experiment = study.check_point(load(tiny(**chosen)))
        (fold,) = study.folds(experiment, experiment.search)
        seen = [spec for shown in fold.demonstrations for spec in shown.specs]
        assert all(spec in seen for spec in fold.train)
        assert all(spec in seen for spec in fold.validation) == extra


def test_a_training_set_of_one_spec_cannot_be_divided(tiny: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="validation_fraction: the 1 training specs"):
        study.check_point(load(tiny(**{**CHANGES, "split": {"train_fraction": 0.2, "seeds": [0]}})))


def test_a_space_that_reaches_beyond_what_is_valid_is_refused_with_its_line(tiny: Callable[..., Path]) -> None:
    space = {"training.learning_rate": {"loguniform": [1e-5, 1e-3]}}
    changes = {**CHANGES, "search": {**SEARCH, "space": space}}
    study.check_point(load(tiny(**changes)))
    training = {"epochs": 2, "batch_size": 500, "learning_rate": 1e-3, "learning_rate_final": 1e-4}
    with pytest.raises(ConfigError, match=r"tiny.yaml:\d+: training.learning_rate_final: .* must lie in 0..1e-05"):
        study.check_point(load(tiny(**{**changes, "training": training})))


def test_rungs_grow_by_the_reduction() -> None:
    assert study.rung_epochs(90, 3, 3.0) == [10, 30, 90]
    assert study.rung_epochs(2, 5, 3.0) == [1, 2]


def test_a_search_ends_in_the_run_of_its_best_settings_even_if_it_is_killed(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path, storage = tiny(**CHANGES), tmp_path / "runs"
    run = Killed(path, storage, "--address", "local")
    assert run.until(lambda: list(storage.glob("work/study/*/trial-00001.json"))), run.kill()
    run.kill()
    kept = {file.name: file.read_text() for file in storage.glob("work/study/*/trial-*.json")}
    assert len(kept) >= 2
    done = sweep(path, "--storage", storage, "--address", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"search: trial {SEARCH['trials']} of {SEARCH['trials']}: " in done.stdout
    store = Store(str(storage))
    (key,) = store.keys("study")
    trials = json.loads((store.folder("study", key) / "trials.json").read_text())
    assert len(trials) == SEARCH["trials"]
    assert all(json.loads(text) in trials for text in kept.values()), "what was measured before the kill counts"
    best = max((t for t in trials if t["complete"]), key=lambda t: t["value"])
    runs = ResultStore(storage / "results").frame("SELECT settings FROM runs").settings.map(json.loads)
    assert [run["training.learning_rate"] for run in runs] == [best["settings"]["training.learning_rate"]]
    assert not list((storage / "work").glob("search/*/*"))
    again = sweep(path, "--storage", storage)
    assert again.returncode == 0 and "made nothing" in again.stdout


def test_a_search_that_is_stopped_ends_quietly_and_keeps_its_checkpoints(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    training = {"epochs": 100_000, "batch_size": 500, "learning_rate": 1e-3, "checkpoint_every_s": 1.0}
    path, storage = tiny(**{**CHANGES, "training": training}), tmp_path / "runs"
    run = Killed(path, storage, "--address", "local")
    assert run.until(lambda: list(storage.glob("work/search/*/checkpoint/*"))), run.kill()
    run.process.send_signal(signal.SIGTERM)
    output, _ = run.process.communicate(timeout=90)
    assert run.process.returncode == 143, output
    assert "stopped by SIGTERM: the same command continues" in output and "Traceback" not in output
    assert list(storage.glob("work/search/*/checkpoint/*")) and not list(storage.glob("work/study/*/trial-*.json"))


def test_the_outcome_is_the_experiment_without_a_search(tiny: Callable[..., Path]) -> None:
    found = with_settings(load(tiny(**CHANGES)), {"training.learning_rate": 3e-4, "policy.hidden_dim": 8})
    experiment = study.check_point(found)
    assert experiment.search is None and experiment.training.learning_rate == 3e-4
    assert build(expand(found)).runs


SEARCHABLE = {
    "demonstrations.noise": {"choice": [0.3]},
    "experts.updates": {"choice": [60, 120]},
    "training.learning_rate": {"choice": [1e-3, 1e30]},
    "split.train_fraction": {"choice": [0.8]},
}


def test_whatever_is_searched_is_really_tried(tiny: Callable[..., Path], tmp_path: Path) -> None:
    """Experts, demonstrations and the size of the training set are made anew for the trials that ask for them.

    There are fewer settings than trials: each is tried once. A training that diverges is a trial, too, without a value.
    """
    path, storage = tiny(**{**CHANGES, "search": {**SEARCH, "space": SEARCHABLE, "trials": 9, "rungs": 1}}), tmp_path
    done = sweep(path, "--storage", storage / "runs", "--address", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    store = Store(str(storage / "runs"))
    (key,) = store.keys("study")
    trials = json.loads((store.folder("study", key) / "trials.json").read_text())
    assert len(trials) == 4 == len({json.dumps(trial["settings"], sort_keys=True) for trial in trials})
    assert "failed" not in done.stdout and done.stdout.count(": diverged by ") == 2
    assert all((trial["value"] is None) == (trial["settings"]["training.learning_rate"] > 1) for trial in trials)
    for name, part in SEARCHABLE.items():
        assert all(trial["settings"][name] in part["choice"] for trial in trials)
    tried = {trial["settings"]["experts.updates"] for trial in trials}
    manifests = [store.manifest("experts", key)["payload"]["settings"]["updates"] for key in store.keys("experts")]
    assert set(manifests) == tried, "each trial learned from experts of its own"
    noises = {
        store.manifest("demonstrations", key)["payload"].get("noise", 0.0) for key in store.keys("demonstrations")
    }
    assert noises == {trial["settings"]["demonstrations.noise"] for trial in trials}
    (best,) = ResultStore(storage / "runs" / "results").frame("SELECT settings FROM runs").settings.map(json.loads)
    winner = max((t for t in trials if t["value"] is not None), key=lambda trial: trial["value"])["settings"]
    assert {name: best[name] for name in SEARCHABLE} == winner


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("hypogen.blocks", {"choice": [1, 2]}, "hypogen.blocks is no setting of cond_policy"),
        ("evaluation.episodes", {"choice": [1, 2]}, "cannot be searched"),
        ("benchmarks", {"choice": [["cheetah-speed"], ["walker-speed"]]}, "cannot be searched"),
        ("split.seeds", {"choice": [[0], [1]]}, "cannot be searched"),
        ("training.checkpoint_every_s", {"uniform": [1, 2]}, "cannot be searched"),
        ("training.epochs", {"uniform": [1.5, 4]}, "takes whole numbers"),
        ("training.precision", {"uniform": [0, 1]}, "is no number: give a `choice`"),
        ("split.train_fraction", {"choice": [0.6, 0.2]}, "validation_fraction: the 1 training specs"),
        ("experts.recipe", {"choice": ["fast", "slow"]}, "unknown recipe 'slow'"),
    ],
)
def test_whatever_cannot_be_searched_is_refused_before_anything_starts(
    tiny: Callable[..., Path], name: str, part: dict[str, object], message: str
) -> None:
    changes = {**CHANGES, "methods": {"cond_policy": {}, "hypogen": {}}, "search": {**SEARCH, "space": {name: part}}}
    with pytest.raises(ConfigError, match=message):
        study.check_point(load(tiny(**changes)))


def test_whole_numbers_are_proposed_for_settings_that_take_no_others(tiny: Callable[..., Path]) -> None:
    space = {"training.epochs": {"uniform": [2, 9]}, "training.learning_rate": {"loguniform": [1e-5, 1e-3]}}
    experiment = study.check_point(load(tiny(**{**CHANGES, "search": {**SEARCH, "space": space}})))
    made = distributions(experiment)
    assert [type(made[name]).__name__ for name in space] == ["IntDistribution", "FloatDistribution"]
