"""The simulated schedule: as computed by hand, and never better than arithmetic allows."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from orchestrator.artifacts.artifact_store import Store
from orchestrator.config.loading import expand, load
from orchestrator.config.sections import Resources, RolloutResources
from orchestrator.exceptions import UserError
from orchestrator.execution import schedule
from orchestrator.execution.estimate import Estimate
from orchestrator.execution.instances import Instance, catalogue, parse_nodes
from orchestrator.execution.schedule import SimulatedSchedule, longest_chains, simulate
from orchestrator.execution.state import ExecutionState
from orchestrator.planning.plan import build
from tests.helpers.experiments import ROOT, sweep
from tests.helpers.toys import Toy, ToyExpert, ToyRollout, ToyTraining, state_of, toy


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing takes time but the artifacts."""
    for name in ("START_S", "PROCESS_S", "HAND_OUT_S"):
        monkeypatch.setattr(schedule, name, 0.0)


def simulated(storage: Path, toys: list[Toy], nodes: str, most: int = 0, **resources: object) -> SimulatedSchedule:
    state = state_of(toys, storage)
    return simulate(state, lambda artifact: artifact.seconds, parse_nodes(nodes), Resources(**resources), most)


def times(toys: list[Toy], found: SimulatedSchedule) -> dict[str, tuple[float, float]]:
    """When each begins and ends."""
    return {one.name: tuple(round(moment, 6) for moment in found.spans[one.key]) for one in toys}


def test_the_longest_go_first(tmp_path: Path) -> None:
    toys = [toy(ToyTraining, name, seconds) for name, seconds in {"a": 2, "b": 2, "c": 2, "d": 3, "e": 3}.items()]
    found = simulated(tmp_path, toys, "cpu:2")
    assert times(toys, found) == {"d": (0, 3), "e": (0, 3), "a": (3, 5), "b": (3, 5), "c": (5, 7)}
    assert found.wall_s == 7
    assert found.cpus.held == pytest.approx(12 / 14) and found.cpus.held_before == 1.0
    assert found.chain_s == 3 and [artifact.label for artifact in found.chain] == ["d"]


def test_what_much_waits_for_goes_first_however_short_it_is(tmp_path: Path) -> None:
    short = toy(ToyTraining, "short", 1)
    toys = [toy(ToyTraining, "long", 4), short, toy(ToyTraining, "behind", 5, short)]
    assert times(toys, simulated(tmp_path, toys, "cpu:1")) == {"short": (0, 1), "behind": (1, 6), "long": (6, 10)}
    assert times(toys, simulated(tmp_path, toys, "cpu:2")) == {"short": (0, 1), "behind": (1, 6), "long": (0, 4)}
    chain = simulated(tmp_path, toys, "cpu:1").chain
    assert [artifact.label for artifact in chain] == ["short", "behind"]


def test_trainings_on_one_gpu_take_turns(tmp_path: Path) -> None:
    toys = [toy(ToyTraining, f"{number}", 2) for number in range(5)]
    found = simulated(tmp_path, toys, "cpu:8,gpu:1")
    assert times(toys, found) == {**dict.fromkeys("0123", (0, 8)), "4": (8, 10)}, "four quarters, then one alone"
    assert found.gpus.busy == 1.0 and found.gpus.held == pytest.approx((4 * 8 * 0.25 + 2 * 0.25) / 10)
    spread = simulated(tmp_path, toys[:4], "2xcpu:8,gpu:1")
    assert spread.wall_s == 4, "each node takes two, for Ray prefers the emptier one"


def test_one_that_lacks_a_whole_gpu_is_passed_by_those_that_need_a_part(tmp_path: Path) -> None:
    toys = [
        toy(ToyTraining, "first", 9),
        toy(ToyExpert, "second", 8),
        toy(ToyTraining, "third", 1),
        toy(ToyExpert, "none fits", 7),
    ]
    found = times(toys, simulated(tmp_path, toys, "2xcpu:8,gpu:1"))
    assert found["first"][0] == found["second"][0] == found["third"][0] == 0
    assert found["none fits"] == (8, 15)


def test_rollouts_reserve_nothing_and_share_the_cores(tmp_path: Path) -> None:
    toys = [toy(ToyTraining, "training", 4), toy(ToyRollout, "rollout", 2)]
    assert times(toys, simulated(tmp_path, toys, "cpu:1")) == {"training": (0, 6), "rollout": (0, 4)}
    assert times(toys, simulated(tmp_path, toys, "cpu:2")) == {"training": (0, 4), "rollout": (0, 2)}
    many = [toy(ToyRollout, f"{number}", 2) for number in range(6)]
    assert simulated(tmp_path, many, "cpu:2").wall_s == 6
    assert simulated(tmp_path, many, "cpu:2", rollout=RolloutResources(workers=1)).wall_s == 12


def test_no_more_trainings_than_asked_for_run_at_once(tmp_path: Path) -> None:
    toys = [toy(ToyTraining, f"{number}", 1) for number in range(4)]
    assert simulated(tmp_path, toys, "cpu:4").wall_s == 1
    assert simulated(tmp_path, toys, "cpu:4", most=1).wall_s == 4


def test_what_no_node_has_room_for_is_named(tmp_path: Path) -> None:
    runners = type("Runners", (ToyTraining,), {"runners": property(lambda self: 4)})
    with pytest.raises(UserError, match="no room for big: it asks for 1 CPU and 1 CPU and"):
        simulated(tmp_path, [toy(runners, "big", 1)], "2xcpu:2")


def chance_plan(chance: random.Random) -> list[Toy]:
    """Artifacts that need some of those before them."""
    toys: list[Toy] = []
    for number in range(chance.randint(1, 40)):
        kind = chance.choice((ToyTraining, ToyTraining, ToyExpert, ToyRollout))
        after = chance.sample(toys, min(len(toys), chance.choice((0, 0, 1, 2))))
        toys.append(toy(kind, f"{number}", chance.choice((0.5, 1, 2, 3, 10)), *after))
    return toys


@pytest.mark.parametrize("seed", range(60))
def test_no_schedule_is_better_than_arithmetic_allows(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    toys, nodes = chance_plan(chance), chance.choice(("cpu:1", "cpu:2", "3xcpu:4", "2xcpu:4,gpu:1", "cpu:8,gpu:4"))
    found = simulated(tmp_path, toys, nodes)
    again = simulated(tmp_path, toys, nodes)
    assert found.spans == again.spans and found.usd == again.usd
    assert set(found.spans) == {one.key for one in toys}
    cluster = parse_nodes(nodes)
    gpus, cpus = (sum(getattr(node, name) for node in cluster) for name in ("gpus", "cpus"))
    on_gpus = sum(one.seconds for one in toys if gpus and isinstance(one, ToyTraining))
    on_cpus = sum(one.seconds for one in toys) - on_gpus
    least = max(found.chain_s, on_gpus / gpus if gpus else 0.0, on_cpus / cpus)
    assert least - 1e-6 <= found.wall_s <= sum(one.seconds for one in toys) + 1e-6
    events: dict[float, float] = defaultdict(float)
    for one in toys:
        begun, done = found.spans[one.key]
        assert done - begun >= one.seconds - 1e-6
        assert all(found.spans[parent.key][1] <= begun + 1e-9 for parent in one.after)
        if isinstance(one, ToyTraining):
            events[round(begun, 6)] += (0.25 if type(one) is ToyTraining else 1) if gpus else 1
            events[round(done, 6)] -= (0.25 if type(one) is ToyTraining else 1) if gpus else 1
    running = 0.0
    for _, change in sorted(events.items()):
        running += change
        assert running <= (gpus or cpus) + 1e-6
    assert found.chain_s == pytest.approx(longest(toys))


def longest(toys: list[Toy]) -> float:
    """Seconds of the longest chain, by recursion."""
    return max(one.seconds + (longest(list(one.after)) if one.after else 0) for one in toys)


def test_the_order_is_that_in_which_the_real_one_hands_out(tmp_path: Path) -> None:
    toys = chance_plan(random.Random(5))
    state = state_of(toys, tmp_path)
    chains = longest_chains(state, lambda artifact: artifact.seconds)
    state.prefer(chains)
    ranks = [state.rank(one.key) for one in sorted(toys, key=lambda one: -chains[one.key])]
    assert ranks == sorted(ranks)
    for place in {one.place for one in toys}:
        ready = [chains[artifact.key] for artifact in state.ready(place)]
        assert ready and ready == sorted(ready, reverse=True)


def test_ten_thousand_artifacts_take_about_a_second(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    data = yaml.safe_load((ROOT / "experiments" / "table1.yaml").read_text())
    path.write_text(yaml.safe_dump({**data, "split": {"seeds": list(range(9))}}))
    plan = build(expand(load(path)))
    state = ExecutionState(plan, Store(str(tmp_path)))
    cluster = parse_nodes("32xg5.2xlarge")
    estimate = Estimate(state, 256, 32)
    begun = time.process_time()
    found = simulate(state, estimate.of, cluster, plan.experiment.resources)
    assert len(found.spans) == len(state.missing) > 9_000
    assert time.process_time() - begun < 4, "a second where nothing else runs"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("4xg5.2xlarg", "unknown instance type g5.2xlarg: did you mean 'g5.2xlarge'"),
        ("0xg5.2xlarge", "no number of nodes"),
        ("2xgpu:1", "a node needs CPUs"),
        ("cpu:8,cpu:4", "each once"),
        ("cpu:8,tpu:1", "unknown instance type tpu:1|is none of cpu:N"),
        ("", "empty"),
    ],
)
def test_nodes_that_make_no_sense_are_refused_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_nodes(spec)
    assert len(str(caught.value).splitlines()) == 1


def test_nodes_are_named_by_type_or_by_what_they_have() -> None:
    nodes = parse_nodes("2xg5.2xlarge, c7i.4xlarge,3xcpu:8,gpu:2,usd:1.5,memory:64")
    assert [node.name for node in nodes[:3]] == ["g5.2xlarge", "g5.2xlarge", "c7i.4xlarge"]
    assert nodes[0] == Instance("g5.2xlarge", 8, 1, 32, 1.212)
    assert nodes[3:] == [Instance("cpu:8,gpu:2,usd:1.5,memory:64", 8, 2, 64, 1.5)] * 3
    assert all(known.usd_per_hour and known.cpus for known in catalogue().values())


def test_the_dry_run_prints_hours_dollars_and_how_full_the_nodes_are(tmp_path: Path) -> None:
    words = ("experiments/table1.yaml", "--storage", tmp_path / "runs", "--set", "benchmarks=[cheetah-speed]")
    done = sweep(*words, "--dry-run", "--nodes", "4xg5.2xlarge")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("about"))
    assert "h on 4xg5.2xlarge, " in line and "dollars on demand" in line
    assert "  4 GPUs: trainings hold " in done.stdout and "longest chain: " in done.stdout
    assert not (tmp_path / "runs").exists()
    unknown = sweep(*words, "--dry-run", "--nodes", "4xg5")
    assert unknown.returncode == 2 and "unknown instance type g5:" in unknown.stderr
    alone = sweep(*words, "--nodes", "4xg5.2xlarge")
    assert alone.returncode == 2 and "add --dry-run" in alone.stderr
