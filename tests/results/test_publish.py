"""Publishing: what is copied, that it prints the same tables, and that doing it again changes nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from results.__main__ import app
from results.catalogue import render
from results.problems import ResultsError
from results.publish import publish
from results.result_store import ResultStore, open_results
from results.schema import TABLES
from tests.helpers.result_rows import (
    BENCHMARK_ROW,
    METHOD_ROW,
    PROVENANCE_ROW,
    asked,
    episode_rows,
    expert_row,
    fill,
    run_row,
)

TRAY = {name: BENCHMARK_ROW[name] for name in ("benchmark", "environment", "context")}
LINEAGE = {
    "experts": [],
    "demonstrations": ["experts"],
    "generator-a": ["demonstrations"],
    "generator-b": ["demonstrations"],
    "generator-c": ["demonstrations"],
    "rollouts-a": ["generator-a"],
    "rollouts-c": ["generator-c"],
    "rollouts-of-experts": ["experts"],
}


@pytest.fixture
def measured(store):
    """Experiment one asked for a and the experts, two for a and b; c was never asked for."""
    runs = [
        run_row(name, artifact=f"generator-{name}", settings={"hypogen.blocks": n}) for n, name in enumerate("abc", 1)
    ]
    runs.append(expert_row("e", artifact="experts"))
    episodes = [row for run in runs for row in episode_rows(run["run"], 0, [1.0, 2.0])]
    members = [asked("one", "a"), asked("one", "e"), asked("two", "a"), asked("two", "b", 1)]
    fill(store, runs, episodes, members)
    for run in "abc":
        store.write("curves", run, [{"run": run, "epoch": 1, "step": 1, "metric": "loss", "value": 0.5}])
    for artifact, parents in LINEAGE.items():
        kind = artifact.partition("-")[0]
        store.write(
            "provenance", artifact, [{**PROVENANCE_ROW, "artifact": artifact, "kind": kind, "parents": parents}]
        )
    return store


@pytest.fixture
def published(tmp_path):
    return ResultStore(tmp_path / "published" / "results")


def column(store, table, name):
    return store.table(f"SELECT {name} FROM {table} ORDER BY ALL").column(0).to_pylist()


def test_an_experiments_rows_are_copied_and_no_others(measured, published):
    assert publish(measured, "one", published) == {
        "runs": 2,
        "episodes": 4,
        "curves": 1,
        "trajectories": 0,
        "decisions": 0,
        "experiments": 2,
        "provenance": 5,
        "methods": 2,
        "benchmarks": 1,
    }
    assert column(published, "runs", "run") == ["a", "e"]
    assert column(published, "provenance", "artifact") == [
        "demonstrations",
        "experts",
        "generator-a",
        "rollouts-a",
        "rollouts-of-experts",
    ]
    filled = [table for table in TABLES if published.keys(table) == ["published"]]
    assert filled == [table for table in TABLES if table not in ("trajectories", "decisions")], "no file without rows"


def test_methods_and_benchmarks_are_published_as_they_are_described_and_the_last_description_stays(measured, published):
    fill(measured, [run_row("f", "fresh", **TRAY)], episode_rows("f", 0, [1.0, 2.0]), [])
    measured.write("experiments", "tray", [asked("tray", "f")])
    measured.write("methods", "fresh", [{**METHOD_ROW, "color": "#123456"}])
    measured.write("methods", "unrelated", [{**METHOD_ROW, "method": "unrelated"}])
    measured.write("benchmarks", "tray-tilt", [BENCHMARK_ROW])
    publish(measured, "one", published)
    publish(measured, "tray", published)
    kept = published.dataset("methods").to_table().to_pylist()
    assert [(row["method"], row["title"], row["color"]) for row in kept] == [
        ("expert", "Expert", "#000000"),
        ("fresh", "Fresh Idea", "#123456"),
        ("hypogen", "HyPoGen", "#D55E00"),
    ]
    scores = published.dataset("benchmarks").to_table().to_pylist()
    assert [(row["benchmark"], row["score"]) for row in scores] == [
        ("cheetah-speed", "return"),
        ("tray-tilt", "success"),
    ]
    measured.write("methods", "fresh", [{**METHOD_ROW, "title": "Fresher"}])
    publish(measured, "tray", published)
    assert "Fresher" in column(published, "methods", "title")


def test_two_experiments_share_their_runs_and_print_as_they_did(measured, published, tmp_path):
    publish(measured, "one", published)
    publish(measured, "two", published)
    assert column(published, "runs", "run") == ["a", "b", "e"]
    assert column(published, "episodes", "run") == ["a", "a", "b", "b", "e", "e"]
    copy = open_results(str(tmp_path / "published"))
    for experiment in ("one", "two"):
        assert render("table20", copy, experiment=experiment) == render("table20", measured, experiment=experiment)


def test_again_changes_nothing_and_a_smaller_experiment_leaves_nothing_behind(measured, published, tmp_path):
    publish(measured, "two", published)
    publish(measured, "one", published)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("published.parquet")}
    publish(measured, "one", published)
    publish(measured, "two", published)
    assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before}
    measured.write("experiments", "all", [asked("one", "a"), asked("one", "e"), asked("two", "a")], replace=True)
    publish(measured, "two", published)
    assert column(published, "runs", "run") == ["a", "e"]


def test_a_run_with_other_rows_is_refused_and_nothing_is_written(measured, published, tmp_path):
    publish(measured, "two", published)
    before = {path: path.read_bytes() for path in tmp_path.rglob("published.parquet")}
    measured.write("episodes", "a", episode_rows("a", 0, [1.0, 5.0]), replace=True)
    with pytest.raises(ResultsError, match="has another row of episodes for run a, spec_index 0, episode 1"):
        publish(measured, "one", published)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("published.parquet")}


def test_a_training_done_anew_is_refused_unless_a_run_shows_that_it_came_out_the_same(measured, published):
    publish(measured, "one", published)
    began = column(published, "provenance", "started")
    again = {**PROVENANCE_ROW, "artifact": "generator-a", "kind": "generator", "parents": ["demonstrations"]}
    again["started"] += timedelta(hours=1)
    measured.write("provenance", "generator-a", [again], replace=True)
    publish(measured, "two", published)
    assert set(column(published, "provenance", "started")) == set(began), "run a came out the same: its first training"
    fill(measured, [run_row("d", artifact="generator-a")], episode_rows("d", 0, [1.0, 2.0]), [])
    measured.write("experiments", "three", [asked("three", "d")])
    with pytest.raises(ResultsError, match=r"rows of another training of .*generator-a.*publish to another folder"):
        publish(measured, "three", published)
    assert "d" not in column(published, "runs", "run")
    first = published.table("SELECT * FROM provenance WHERE artifact = 'generator-a'").to_pylist()
    measured.write("provenance", "copied", first)
    with pytest.raises(ResultsError, match="rows of another training"):
        publish(measured, "three", published)


@pytest.mark.parametrize("copied_file", ["a-copy", "z-copy"])
def test_of_two_makings_in_one_storage_the_first_is_told_of(measured, published, copied_file):
    """Others' rows were copied beside a storage's own: which file is read first decides nothing."""
    copied = {**PROVENANCE_ROW, "artifact": "experts", "kind": "experts", "parents": []}
    copied["started"] -= timedelta(days=1)
    measured.write("provenance", copied_file, [copied])
    measured.write(
        "provenance", "0-failed", [{**copied, "started": copied["started"] - timedelta(days=1), "status": "failed"}]
    )
    publish(measured, "one", published)
    told = published.table("SELECT started FROM provenance WHERE artifact = 'experts'").column(0).to_pylist()
    assert told == [copied["started"]]


def test_the_command_says_what_it_copied_or_why_not(measured, tmp_path):
    storage, to = str(Path(measured.root).parent), str(tmp_path / "git")

    def call(experiment):
        return CliRunner().invoke(app, ["publish", "--experiment", experiment, "--to", to, "--storage", storage])

    counted = "2 runs, 4 episodes, 1 curves, 0 trajectories, 2 experiments, 0 decisions"
    counted += ", 5 provenance, 2 methods, 1 benchmarks"
    assert call("one").output == f"one -> {to}: {counted}\n"
    assert "error: unknown experiment 'three'" in call("three").stderr
    measured.write("experiments", "more", [asked("nothing", "not-run-yet")])
    assert "error: experiment nothing has no finished run" in call("nothing").stderr
