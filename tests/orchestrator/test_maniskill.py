"""ManiSkill experiments: from scripted experts to rows, and how PPO trainings follow each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from orchestrator.estimate import nominal_seconds

from hypogen.demonstrations import Demonstrations
from orchestrator import stages
from orchestrator.artifacts.store import Store
from orchestrator.config.loading import expand, load
from orchestrator.execution.measured import write_run
from orchestrator.execution.trainings import placement
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
    for node in plan.nodes.values():
        assert stages.make(store, node.kind, node.key, node.payload, node.inputs)
    for run in plan.runs.values():
        write_run(store, plan, run)
    shown = [node for node in plan.nodes.values() if node.kind == "demonstrations"]
    (generator,) = (node for node in plan.nodes.values() if node.kind == "generator")
    assert [node.payload["specs"][0] for node in shown] == generator.payload["train"], "nobody learns from the others"
    for node in shown:
        demonstrations = Demonstrations.load(store.folder("demonstrations", node.key) / "demonstrations.safetensors")
        assert demonstrations.terminated.all() and demonstrations.lengths.max() < 100
    sql = "SELECT method, expert_recipe, count(*) AS episodes, avg(success::int) AS success, max(length) AS length"
    rows = ResultStore(store.results).frame(f"{sql} FROM runs JOIN episodes USING (run) GROUP BY ALL ORDER BY method")
    assert rows[["method", "expert_recipe", "episodes"]].values.tolist() == [
        ["cond_policy", "scripted", 2],
        ["expert", "scripted", 4],
    ]
    assert rows.success.tolist()[1] == 1.0 and rows.length.tolist()[1] < 100
    assert rows.length.tolist()[0] == 200  # trained for a moment, it fails, which takes all the time there is


def test_neighbours_are_trained_from_the_default_outwards(lift: Callable[..., Plan]) -> None:
    plan = lift({"algorithm": "ppo", "recipe": "laptop", "runners": 2})
    trained = {node.payload["spec"][0]: node for node in plan.nodes.values() if "spec" in node.payload}
    assert list(trained) == [1000.0, 900.0, 500.0, 1500.0]
    starts = {spec: node.payload["start"] for spec, node in trained.items()}
    keys = {spec: node.key for spec, node in trained.items()}
    assert starts == {1000.0: None, 900.0: keys[1000.0], 500.0: keys[900.0], 1500.0: keys[1000.0]}
    (together,) = (node for node in plan.nodes.values() if "parts" in node.payload)
    assert together.inputs == tuple(keys[spec] for (spec,) in SPECS)
    run = next(run for run in plan.runs.values() if run.row["method"] == "expert")
    assert run.row["expert_recipe"] == "ppo laptop" and run.row["settings"]["experts.algorithm"] == "ppo"
    assert nominal_seconds(trained[500.0]) > 1000 * nominal_seconds(together)
    assert len(placement(plan.experiment.resources.expert, runners=2).bundles) == 3
    fresh = lift({"algorithm": "ppo", "recipe": "laptop", "start": "fresh"})
    assert all(not node.inputs for node in fresh.nodes.values() if "spec" in node.payload)
