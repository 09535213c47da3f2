"""ManiSkill experiments: from scripted experts to rows, and how PPO trainings follow each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.artifacts import DemonstrationsArtifact, GeneratorArtifact, JoinedExperts, SpecExpert
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.making import make
from orchestrator.config.loading import expand, load
from orchestrator.execution.measured import Episode, _selected, curve_rows, run_episodes, write_run
from orchestrator.execution.search_trial import FoldTraining, TrialTask
from orchestrator.execution.trainings import placement
from orchestrator.planning import study
from orchestrator.planning.plan import Plan, build
from results.result_store import ResultStore

SPECS = [[500.0], [900.0], [1000.0], [1500.0]]


@pytest.fixture
def lift(tiny: Callable[..., Path]) -> Callable[..., Plan]:
    """The plan of a tiny LiftCube experiment with other experts."""

    def plan(experts: dict[str, object]) -> Plan:
        changes = {
            "benchmarks": ["liftcube-stiffness"],
            "methods": ["expert", "cond_policy"],
            "specs": {"values": SPECS},
        }
        return build(expand(load(tiny(experts=experts, evaluation={"episodes": 1}, **changes))))

    return plan


def test_scripted_experts_become_demonstrations_a_generator_and_rows(lift: Callable[..., Plan], tmp_path: Path) -> None:
    plan, store = lift({"algorithm": "scripted"}), Store(str(tmp_path / "runs"))
    for artifact in plan.artifacts.values():
        assert make(store, artifact)
    for run in plan.runs.values():
        write_run(store, run)
    shown = [artifact for artifact in plan.artifacts.values() if isinstance(artifact, DemonstrationsArtifact)]
    (generator,) = (artifact for artifact in plan.artifacts.values() if isinstance(artifact, GeneratorArtifact))
    assert tuple(artifact.specs[0] for artifact in shown) == generator.train, "nobody learns from the others"
    for artifact in shown:
        demonstrations = artifact.load(store)
        assert demonstrations.terminated.all() and demonstrations.lengths.max() < 100
    sql = "SELECT method, expert_recipe, count(*) AS episodes, avg(success::int) AS success, max(length) AS length"
    rows = ResultStore(store.results).frame(f"{sql} FROM runs JOIN episodes USING (run) GROUP BY ALL ORDER BY method")
    assert rows[["method", "expert_recipe", "episodes"]].values.tolist() == [
        ["cond_policy", "scripted", 2],
        ["expert", "scripted", 4],
    ]
    assert rows.success.tolist()[1] == 1.0 and rows.length.tolist()[1] < 100
    assert rows.length.tolist()[0] == 200  # trained for a moment, it fails, which takes all the time there is
    (run,) = (run for run in plan.runs.values() if run.method == "cond_policy")
    run = dataclasses.replace(run, selection="best_test")
    points = curve_rows(store, run, {run.epochs: run_episodes(store, run, run.rollouts)}, run.epochs, steps=1)
    selected = {point["metric"]: point["value"] for point in points if "@selected" in str(point["metric"])}
    assert selected.keys() == {"return@selected", "success@selected"} and selected["success@selected"] == 0.0


def test_a_search_is_judged_by_successes_not_by_what_hovering_earns(tiny: Callable[..., Path], tmp_path: Path) -> None:
    changes = {
        "benchmarks": ["liftcube-stiffness"],
        "methods": ["cond_policy"],
        "specs": {"values": SPECS},
        "split": {"train_fraction": 0.75, "seeds": [0]},
        "experts": {"algorithm": "scripted"},
        "search": {
            "method": "cond_policy",
            "space": {"training.learning_rate": {"choice": [1e-3]}},
            "validation_fraction": 0.4,
        },
    }
    source = load(tiny(**changes))
    experiment = study.check_point(source)
    (fold,) = study.folds(experiment, experiment.search)
    store = Store(str(tmp_path / "runs"))
    for artifact in study.shared_inputs(experiment, experiment.search):
        make(store, artifact)
    task = TrialTask(source, str(tmp_path / "runs"), "study", threads=1, gpu=0.0, switch=None)  # nobody asks it
    found = FoldTraining(store, task, fold, episodes=2, stop=lambda: False)
    assert found.value(1) == 0.0, "hardly trained, it never succeeds, though every step earns something"


def test_best_test_prefers_success_to_return(lift: Callable[..., Plan]) -> None:
    def episode(value: float, success: bool) -> Episode:
        return Episode(0, "test", {"return": value, "success": success})

    (run,) = (run for run in lift({"algorithm": "scripted"}).runs.values() if run.method == "cond_policy")
    hovers, solves = [episode(150.0, False)] * 2, [episode(150.0, False), episode(20.0, True)]
    assert _selected(dataclasses.replace(run, selection="best_test"), {1: hovers, 2: solves, 3: hovers}) == 2


def test_neighbours_are_trained_from_the_default_outwards(lift: Callable[..., Plan]) -> None:
    plan = lift({"algorithm": "ppo", "recipe": "laptop", "start": "neighbour", "runners": 2})
    trained = {a.spec[0]: a for a in plan.artifacts.values() if isinstance(a, SpecExpert)}
    assert list(trained) == [1000.0, 900.0, 500.0, 1500.0]
    starts = {spec: artifact.start for spec, artifact in trained.items()}
    assert starts == {1000.0: None, 900.0: trained[1000.0], 500.0: trained[900.0], 1500.0: trained[1000.0]}
    (together,) = (artifact for artifact in plan.artifacts.values() if isinstance(artifact, JoinedExperts))
    assert together.inputs == tuple(trained[spec] for (spec,) in SPECS)
    run = next(run for run in plan.runs.values() if run.method == "expert")
    assert run.columns["expert_recipe"] == "ppo laptop" and run.columns["settings"]["experts.algorithm"] == "ppo"
    assert trained[500.0].seconds > 1000 * together.seconds
    assert trained[500.0].runners == 2
    assert len(placement(plan.experiment.resources.expert, runners=2).bundles) == 3
    alone = lift({"algorithm": "ppo", "recipe": "laptop"})
    assert all(not artifact.inputs for artifact in alone.artifacts.values() if isinstance(artifact, SpecExpert))
