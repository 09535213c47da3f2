"""The execution state's counts and lists agree, after whatever happens, with what follows from its sets."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
import yaml

from orchestrator.artifacts import KINDS
from orchestrator.artifacts.artifact import Place
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.integrity import MANIFEST
from orchestrator.config.loading import expand, load
from orchestrator.execution.state import ExecutionState
from orchestrator.planning.plan import Plan, build
from tests.helpers.experiments import TINY

STEPS = 300


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Two splits of three cells: what one of them needs is needed by others."""
    path = tmp_path_factory.mktemp("state") / "state.yaml"
    grid = {"split": {"seeds": [0, 1]}, "grid": {"training.epochs": [1, 2, 3]}}
    path.write_text(yaml.safe_dump({**yaml.safe_load(TINY), **grid}))
    return build(expand(load(path)))


def stored_by_chance(plan: Plan, storage: Path, chance: random.Random) -> Store:
    """A store with some of the plan's artifacts, as far as anybody can tell who does not read them."""
    store = Store(str(storage))
    for key, artifact in plan.artifacts.items():
        if chance.random() < 0.3:
            (folder := storage / "artifacts" / artifact.kind / key).mkdir(parents=True)
            (folder / MANIFEST).touch()
    return store


def agrees(state: ExecutionState) -> None:
    """What is kept, as it follows from the sets alone."""
    over = state.made | set(state.failures)
    idle = [
        artifact
        for key, artifact in state.plan.artifacts.items()
        if key in state.missing and key not in over | state.running and all(map(state.is_there, artifact.inputs))
    ]
    for place in Place:
        assert list(state.ready(place)) == [artifact for artifact in idle if artifact.place is place]
        assert state.has_ready(place) == any(artifact.place is place for artifact in idle)
        left = [key for key, artifact in state.missing.items() if artifact.place is place and key not in over]
        assert state.finished(place) == (not left)
    assert state.finished() == (not set(state.missing) - over)
    for kind in KINDS:
        keys = [key for key, artifact in state.missing.items() if artifact.kind == kind]
        expected = {
            "stored": state.plan.sizes[kind] - len(keys),
            "made": sum(key in state.made for key in keys),
            "running": sum(key in state.running for key in keys),
            "failed": sum(key in state.failures for key in keys),
            "waiting": sum(key not in over | state.running for key in keys),
        }
        assert state.counts(kind) == expected
    for key, failure in state.failures.items():
        parents = [parent.key for parent in state.plan.artifacts[key].inputs if parent.key in state.failures]
        assert failure.reason == "because" if not parents else "needs" in failure.reason
        assert state.is_cause(key) == (not parents)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_lists_and_counts_agree(plan: Plan, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    state = ExecutionState(plan, stored_by_chance(plan, tmp_path, chance))
    happened: Counter[str] = Counter()
    for _ in range(STEPS):
        agrees(state)
        there = [key for key, artifact in plan.artifacts.items() if state.is_there(artifact)]
        options = {
            "start": [artifact.key for place in Place for artifact in state.ready(place)],
            "finish": sorted(state.running),
            "release": sorted(state.running),
            "fail": sorted(state.running) if chance.random() < 0.1 else [],
            "lose": there if chance.random() < 0.1 else [],
        }
        options = {name: keys for name, keys in options.items() if keys}
        if not options:
            break
        name = chance.choice(sorted(options))
        key = chance.choice(options[name])
        happened[name] += 1
        if name == "fail":
            waiting = state.waiting_runs(key)
            state.fail(key, "because")
            assert set(waiting) >= {run for run in plan.users[key] if run in state.missing_runs}
        else:
            getattr(state, name)(key)
    agrees(state)
    assert happened["finish"] > 5


def test_the_runs_that_wait_for_an_artifact_are_all_that_come_of_it(plan: Plan, tmp_path: Path) -> None:
    state = ExecutionState(plan, Store(str(tmp_path)))
    experts = next(key for key, artifact in plan.artifacts.items() if artifact.kind == "experts")
    assert set(state.waiting_runs(experts)) == set(plan.runs)
    last = list(plan.artifacts)[-1]
    assert state.waiting_runs(last) == [run for run in plan.runs if run in plan.users[last]]
    state.start(experts)
    state.fail(experts, "because")
    assert state.finished() and len(state.failures) == len(plan.artifacts)
