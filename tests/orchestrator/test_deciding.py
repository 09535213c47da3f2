"""``until_decided:``: splits are added until it is settled who is ahead, with nothing made that is not needed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.making import make_all
from orchestrator.config.loading import expand, load
from orchestrator.exceptions import ConfigError
from orchestrator.execution.deciding import stages
from orchestrator.execution.measured import write_experiment, write_run
from results.catalogue import grid
from results.result_store import ResultStore
from tests.helpers.experiments import sweep

LOOKUPS = {
    "benchmarks": ["cheetah-exact-speed"],
    "methods": ["expert", "nearest", "interpolate"],
    "experts": {"source": "zoo"},
    "specs": {"every": 10},
    "split": {"seeds": list(range(9))},
    "evaluation": {"episodes": 1},
    "until_decided": {"methods": ["nearest", "expert"], "step": 3},
}
"""A few rollouts; no generator is trained."""


def through(path: Path, storage: Path) -> tuple[list[int], list[str]]:
    """Make every stage of a file in this process: how many runs each plans, and what is said."""
    store, said, runs = Store(str(storage)), list[str](), []
    source = load(path)
    for plan in stages(source, expand(source), store, said.append):
        runs.append(len(plan.runs))
        make_all(store, plan.artifacts.values())
        write_experiment(store, plan)
        for run in plan.runs.values():
            write_run(store, run)
    return runs, said


def decisions(storage: Path) -> list[dict[str, Any]]:
    return ResultStore(str(storage / "results")).table("SELECT * FROM decisions").to_pylist()


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[int], list[str]]:
    """One policy without the spec against the expert of the nearer of two specs that are far apart."""
    folder = tmp_path_factory.mktemp("settled")
    path = folder / "settled.yaml"
    wanted = {"methods": ["blind", "nearest"], "step": 7}
    cheap = {"methods": ["nearest", "blind"], "training": {"epochs": 1, "batch_size": 500}, "until_decided": wanted}
    path.write_text(yaml.safe_dump({"name": "settled", **LOOKUPS, **cheap, "demonstrations": {"episodes": 1}}))
    return path, folder / "runs", *through(path, folder / "runs")


def test_it_stops_where_it_is_decided(settled: tuple[Path, Path, list[int], list[str]]) -> None:
    _, storage, runs, said = settled
    [row] = decisions(storage)
    assert runs == [14] and row["decided"] and (row["splits"], row["most_splits"]) == (7, 9)
    assert said[-1] == "took 14 runs of the 18 that there could have been"
    assert "after 7 of 9 splits" in said[0] and said[0].endswith("decided, blind is ahead")


def test_the_difference_is_that_of_the_rows(settled: tuple[Path, Path, list[int], list[str]]) -> None:
    _, storage, _, _ = settled
    results = ResultStore(str(storage / "results"))
    frame = results.frame('SELECT method, avg("return") AS mean FROM episodes JOIN runs USING (run) GROUP BY method')
    means = dict(zip(frame["method"], frame["mean"], strict=True))
    assert decisions(storage)[0]["difference"] == pytest.approx(means["blind"] - means["nearest"])


def test_its_table_is_the_decision(settled: tuple[Path, Path, list[int], list[str]]) -> None:
    _, storage, _, _ = settled
    table = grid("decisions", ResultStore(str(storage / "results")), experiment="settled")
    [row], [stored] = table.rows, decisions(storage)
    shown = {**stored, "most": stored["most_splits"]}
    assert dict(zip(table.columns, row, strict=True)) == {name: shown[name] for name in table.columns}


def test_the_same_command_ends_where_it_did(settled: tuple[Path, Path, list[int], list[str]]) -> None:
    path, storage, _, said = settled
    before = decisions(storage)
    again = sweep(path, "--storage", storage, "--address", "local")
    assert again.returncode == 0 and said[0] in again.stdout and "made nothing" in again.stdout, again.stderr
    assert "Ray:" not in again.stdout and decisions(storage) == before


def test_no_split_is_added_where_a_compared_run_is_missing(
    settled: tuple[Path, Path, list[int], list[str]], tmp_path: Path
) -> None:
    path, storage, _, _ = settled
    said: list[str] = []
    source = load(path)
    for plan in stages(
        source, expand(source), store := Store(str(shutil.copytree(storage, tmp_path / "runs"))), said.append
    ):
        gone = next(run for run in plan.runs.values() if run.method == "nearest")
        Path(store.results, "runs", f"{gone.key}.parquet").unlink()
    assert said == ["until_decided: no split is added, since 1 runs failed that are compared"]


def test_runs_of_others_in_the_same_storage_do_not_count(
    settled: tuple[Path, Path, list[int], list[str]], tmp_path: Path
) -> None:
    """What another sweep of the same name has noted meanwhile changes nothing."""
    path, storage, _, said = settled
    copy, again, source = shutil.copytree(storage, tmp_path / "runs"), list[str](), load(path)
    ResultStore(str(copy / "results")).write("experiments", "settled", [], replace=True)
    assert [len(plan.runs) for plan in stages(source, expand(source), Store(str(copy)), again.append)] == [14]
    assert again == said


def test_what_stays_open_takes_all_splits_and_only_its_benchmark(tiny: Callable[..., Path], tmp_path: Path) -> None:
    """At a level that lets nothing pass at the first stages, every split is used."""
    wanted = {"methods": ["interpolate", "nearest"], "step": 4, "alpha": 0.0079}
    path = tiny(**{**LOOKUPS, "methods": ["nearest", "interpolate"], "until_decided": wanted})
    runs, said = through(path, tmp_path / "runs")
    assert runs == [8, 16, 18] and said[-1] == "took 18 runs of the 18 that there could have been"
    assert [row["splits"] for row in decisions(tmp_path / "runs")] == [9]


WRONG = [
    ({"until_decided": {"methods": ["nearest", "interpolat"]}}, "did you mean 'interpolate'?"),
    ({}, "'expert': Known: nearest, interpolate"),
    ({"until_decided": {"methods": ["nearest", "nearest"]}}, "two different methods"),
    ({"until_decided": {"methods": ["nearest"]}}, "at least 2"),
    ({"split": {"seeds": [0, 1, 2, 3, 4]}}, "it takes 6 at least"),
    ({"split": {"seeds": [0, 0, 0, 1, 1, 1]}}, "split.seeds: 0 is given twice"),
    ({"split": {"kind": "evenly_spaced"}}, "one evenly_spaced split"),
    ({"until_decided": {"methods": ["nearest", "interpolate"], "alpha": 1e-6}}, "none can be decided"),
    ({"evaluation": {"roles": ["train"]}}, "add `test`"),
    ({"grid": {"demonstrations.noise": [0.0, 0.1]}}, "only training.seed may vary"),
    ({"grid": {"until_decided.step": [1, 2]}}, "changes nothing that is measured"),
]


@pytest.mark.parametrize(("changes", "remedy"), WRONG)
def test_what_cannot_be_decided_is_refused(tiny: Callable[..., Path], changes: dict[str, Any], remedy: str) -> None:
    fine = {"until_decided": {"methods": ["nearest", "interpolate"]}} if changes else {}
    path = tiny(**{**LOOKUPS, **fine, **changes})
    with pytest.raises(ConfigError) as caught:
        expand(load(path))
    assert remedy in str(caught.value) and str(path) in str(caught.value)


def test_seeds_of_the_training_may_vary(tiny: Callable[..., Path]) -> None:
    wanted = {"methods": ["nearest", "interpolate"]}
    assert len(expand(load(tiny(**{**LOOKUPS, "until_decided": wanted, "grid": {"training.seed": [0, 1]}})))) == 2
