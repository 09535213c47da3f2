"""What is measured beside the final episodes: policies on the way, the best of them, and the probes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from hypogen.generators import storage
from hypogen.policy import Policy
from hypogen.probes import STARTS, random_starts, update_losses
from orchestrator.artifacts import GeneratorArtifact, UpdateLossesProbe
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.demonstrations_artifact import load_demonstrations
from orchestrator.artifacts.generator_artifact import POLICY
from orchestrator.artifacts.making import make_all
from orchestrator.artifacts.probe_artifacts import random_starts_seed
from orchestrator.config.loading import expand, load
from orchestrator.execution.measured import write_experiment, write_run
from orchestrator.planning.plan import Plan, build
from results.result_store import ResultStore
from tests.helpers.experiments import TINY, Killed, tables

ASKED = {
    "training": {"epochs": 5, "batch_size": 500, "learning_rate": 1e-3},
    "evaluation": {"episodes": 2, "during_training_every": 2},
    "probes": ["random_start", "update_losses"],
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / f"{len(list(folder.glob('*.yaml')))}.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(TINY), **changes}, sort_keys=False))
    return path


def plan_of(path: Path) -> Plan:
    return build(expand(load(path)))


def made(path: Path, root: Path) -> ResultStore:
    """The results of an experiment, made one artifact after the other in this process, without Ray."""
    plan, store = plan_of(path), Store(str(root))
    make_all(store, plan.artifacts.values())
    write_experiment(store, plan)
    for run in plan.runs.values():
        write_run(store, run)
    return ResultStore(store.results)


def curve(results: ResultStore, method: str, pattern: str, selection: str = "final") -> dict[tuple[str, int], float]:
    rows = results.frame(
        "SELECT metric, epoch, value FROM curves JOIN runs USING (run) "
        "WHERE method = $method AND metric SIMILAR TO $pattern AND selection = $selection",
        method=method,
        pattern=pattern,
        selection=selection,
    )
    return {(row.metric, row.epoch): row.value for row in rows.itertuples()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment that asks for everything, and its storage under `runs`."""
    folder = tmp_path_factory.mktemp("measured")
    made(write(folder, **ASKED), folder / "runs")
    return folder


def results_of(folder: Path) -> ResultStore:
    return ResultStore(folder / "runs" / "results")


def test_the_return_on_the_way_is_that_of_a_shorter_training(measured: Path, tmp_path: Path) -> None:
    shorter = made(write(tmp_path, training={**ASKED["training"], "epochs": 2}), measured / "runs")
    results = results_of(measured)
    for method in ("hypogen", "cond_policy"):
        on_the_way = curve(results, method, "return")
        assert [epoch for _, epoch in on_the_way] == [2, 4, 5]
        means = shorter.frame(
            'SELECT spec_index, epochs, avg("return") AS mean FROM episodes JOIN runs USING (run) '
            "WHERE method = $method AND epochs IN (2, 5) GROUP BY ALL ORDER BY ALL",
            method=method,
        )
        deviations = curve(results, method, "return_std")
        for epoch in (2, 5):
            of_specs = means[means.epochs == epoch]["mean"]
            assert on_the_way["return", epoch] == pytest.approx(of_specs.mean(), rel=1e-12)
            assert deviations["return_std", epoch] == pytest.approx(of_specs.std(ddof=1), rel=1e-9)


def test_best_test_takes_the_policy_with_the_best_mean_and_says_so(measured: Path, tmp_path: Path) -> None:
    chosen = {**ASKED["evaluation"], "selection": "best_test"}
    results = made(write(tmp_path, **{**ASKED, "evaluation": chosen, "probes": []}), measured / "runs")
    for method in ("hypogen", "cond_policy"):
        on_the_way = curve(results, method, "return")
        best = max(on_the_way, key=lambda point: on_the_way[point])
        assert curve(results, method, "return@selected", "best_test") == {
            ("return@selected", best[1]): on_the_way[best]
        }
        episodes = results.frame(
            'SELECT avg("return") AS mean FROM episodes JOIN runs USING (run) '
            "WHERE method = $method AND selection = 'best_test'",
            method=method,
        )
        assert episodes["mean"][0] == pytest.approx(on_the_way[best], rel=1e-12)
    assert results.frame("SELECT DISTINCT selection FROM runs WHERE method = 'expert'").selection.tolist() == ["final"]


def test_the_probes_measure_the_stored_generator(measured: Path) -> None:
    plan, store, results = plan_of(measured / "0.yaml"), Store(str(measured / "runs")), results_of(measured)
    probe = next(artifact for artifact in plan.artifacts.values() if isinstance(artifact, UpdateLossesProbe))
    trained = probe.generator
    generator = storage.load(trained.folder(store))
    shown = load_demonstrations(store, trained.demonstrations, trained.train)
    assert curve(results, "hypogen", "train_loss@.*") == {
        (f"train_loss@{k}", 5): pytest.approx(float(value))
        for k, value in enumerate(update_losses(generator, shown).mean(1))
    }
    assert {name for name, _ in curve(results, "hypogen", "loss@.*")} == {f"loss@{k}" for k in range(3)}
    starts = random_starts(generator, STARTS, random_starts_seed(trained))
    assert curve(results, "hypogen", "random_train_loss@.*") == {
        (f"random_train_loss@{k}", 5): pytest.approx(float(value))
        for k, value in enumerate(update_losses(generator, shown, starts).mean(1))
    }
    assert {name for name, _ in curve(results, "hypogen", "random_loss@.*")} == {f"random_loss@{k}" for k in range(3)}
    statistics = curve(results, "hypogen", "(magnitude|magnitude_std)@.*")
    assert len(statistics) == 8 and all(value > 0 for value in statistics.values())
    assert not curve(results, "cond_policy", ".*@.*"), "it has no updates"


def test_the_return_from_random_starts_is_that_of_their_policies(measured: Path) -> None:
    plan, store, results = plan_of(measured / "0.yaml"), Store(str(measured / "runs")), results_of(measured)
    run = next(run for run in plan.runs.values() if run.diagnostics.probe_rollouts)
    ((probe, rollouts),) = run.diagnostics.probe_rollouts
    returns = curve(results, "hypogen", "return@start=.*")
    noisy = rollouts.load(store)["returns"]
    assert returns["return@start=random", 5] == pytest.approx(noisy.mean(axis=1).mean())
    assert returns["return@start=learned", 5] == curve(results, "hypogen", "return")["return", 5]
    random, learned = (Policy.load(made.folder(store) / POLICY).weights[0] for made in (probe, run.acting))
    assert random.shape == learned.shape and not torch.allclose(random, learned)


def test_what_is_asked_for_beside_changes_no_key_that_it_need_not(tmp_path: Path) -> None:
    plain = plan_of(write(tmp_path, training=ASKED["training"]))
    probed = plan_of(write(tmp_path, training=ASKED["training"], probes=ASKED["probes"]))
    watched = plan_of(write(tmp_path, training=ASKED["training"], evaluation=ASKED["evaluation"]))
    assert set(plain.artifacts) < set(probed.artifacts), "a probe looks at the generator that was there"
    new = sorted(probed.artifacts[key].kind for key in set(probed.artifacts) - set(plain.artifacts))
    assert new == ["probe", "probe", "rollouts"]
    rows = [{run.method: key for key, run in plan.runs.items()} for plan in (plain, probed, watched)]
    assert rows[0]["expert"] == rows[1]["expert"] == rows[2]["expert"]
    assert rows[0]["cond_policy"] == rows[1]["cond_policy"] != rows[2]["cond_policy"]
    assert len({found["hypogen"] for found in rows}) == 3
    generators = {key for key, artifact in plain.artifacts.items() if isinstance(artifact, GeneratorArtifact)}
    assert generators.isdisjoint(watched.artifacts), "an artifact with snapshots holds more"


def test_a_kill_in_the_training_and_other_workers_change_no_row(measured: Path, tmp_path: Path) -> None:
    slow = ["--set", "training.checkpoint_every_s=0"]
    path, runs = measured / "0.yaml", tmp_path / "runs"
    killed = Killed(path, runs, "--address", "local", *slow, "--max-concurrent", "1")
    assert killed.until(lambda: list(runs.glob("work/generator/*/snapshots/policy-2.safetensors"))), killed.kill()
    killed.kill()
    Killed(path, runs, "--address", "local", *slow, "--set", "resources.rollout.workers=3").finish()
    undisturbed = tmp_path / "undisturbed"
    made(path, undisturbed)
    assert tables(runs) == tables(undisturbed)
    assert not list(runs.glob("work/**/*.safetensors"))
