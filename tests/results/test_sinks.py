"""Sinks, against the real libraries: what arrives, that nothing arrives twice, and what is refused."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from results.__main__ import app
from results.problems import ResultsError
from results.result_store import ResultStore
from results.sinks import open_sink, send
from results.sinks.sent_runs import headings, sent_runs
from tests.helpers.experiments import ROOT, environment
from tests.helpers.result_rows import PROVENANCE_ROW, asked, episode_rows, expert_row, fill, run_row

CURVE = {"loss": [(50, 0.1), (100, 1 / 3)], "return@selected": [(100, 700.25)]}
FINAL = {
    "final/return": 2.5,
    "final/return_in_distribution": 1.5,
    "final/return_out_of_distribution": 3.5,
    "final/return_on_training_specs": 9.0,
    "final/success_percent": 100.0,
}
NAME = "cheetah-speed/hypogen/split0-a"
TRACKIO = Path(sys.prefix) / "trackio"


@pytest.fixture
def filled(store: ResultStore) -> ResultStore:
    """Two runs of the experiment `one`; the first, with a curve, is one of `two` as well."""
    episodes = [
        *episode_rows("a", 0, [1.0, 2.0]),
        *episode_rows("a", 1, [3.0, 4.0], inside=False),
        *episode_rows("a", 2, [9.0], role="train"),
        *episode_rows("e", 0, [5.0]),
    ]
    wanted = [asked("one", "a"), asked("one", "e", 1), asked("two", "a"), asked("one", "not-finished", 2)]
    fill(store, [run_row("a"), expert_row("e")], episodes, wanted)
    points = [
        {"run": "a", "epoch": step // 10, "step": step, "metric": metric, "value": value}
        for metric, curve in CURVE.items()
        for step, value in curve
    ]
    store.write("curves", "a", points)
    store.write("provenance", "p", [{**PROVENANCE_ROW, "artifact": "artifact-of-a"}])
    return store


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a library leaves in the working folder is seen."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")


def call(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["send", *map(str, words)])
    return done.exit_code, done.output


def test_a_run_is_what_was_measured_of_it(filled: ResultStore) -> None:
    (run,) = sent_runs(filled, headings(filled, "two"))
    assert (run.experiment, run.key, run.name) == ("two", "a", NAME)
    assert (run.curves, run.final, run.last_step) == (CURVE, FINAL, 100)
    assert (run.started, run.seconds) == (PROVENANCE_ROW["started"], 1.5)
    assert run.settings["hypogen.blocks"] == 8 and run.settings["benchmark"] == "cheetah-speed"
    assert run.settings["git_commit"] == "0" * 40 and "started" not in run.settings


@pytest.mark.parametrize("sink", ["tensorboard", "mlflow"])
def test_what_is_there_is_not_sent_again_and_what_is_new_is_added(
    sink: str, filled: ResultStore, tmp_path: Path
) -> None:
    words = (sink, "--to", tmp_path / "place", "--storage", tmp_path / "runs")
    told = f"sent to {tmp_path / 'place'}"
    assert call(*words, "--experiment", "two") == (0, f"{sink}: 1 {told}, 0 there already\n")
    assert call(*words) == (0, f"{sink}: 2 {told}, 1 there already\n")
    assert call(*words) == (0, f"{sink}: 0 {told}, 3 there already\n")
    fill(filled, [run_row("b", "hyperzero")], episode_rows("b", 0, [1.0]))
    filled.write("experiments", "three", [asked("three", "b")])
    assert call(*words) == (0, f"{sink}: 1 {told}, 3 there already\n")
    assert not os.listdir()


def test_tensorboard_shows_settings_curves_and_final_numbers(filled: ResultStore, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    send(filled, open_sink("tensorboard", str(tmp_path / "boards")))
    folders = {str(file.parent.relative_to(tmp_path / "boards")) for file in (tmp_path / "boards").rglob("*events*")}
    assert folders == {f"one/{NAME}", f"two/{NAME}", "one/cheetah-speed/expert/e"}
    seen = EventAccumulator(str(tmp_path / "boards" / "one" / NAME)).Reload()
    for metric, curve in {**CURVE, **{name: [(100, value)] for name, value in FINAL.items()}}.items():
        points = [(event.step, event.value) for event in seen.Scalars(metric)]
        assert [step for step, _ in points] == [step for step, _ in curve]
        assert all(math.isclose(got, put, rel_tol=1e-7) for (_, got), (_, put) in zip(points, curve, strict=True))
    assert seen.Scalars("final/return")[0].wall_time == PROVENANCE_ROW["started"].timestamp() + 1.5
    marks = seen.summary_metadata
    assert {metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG} <= marks.keys()
    content = marks[metadata.SESSION_START_INFO_TAG].plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(content)
    assert start.hparams["hypogen.blocks"].number_value == 8 and start.hparams["method"].string_value == "hypogen"


def test_mlflow_has_every_digit_and_removes_what_was_broken_off(filled: ResultStore, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    place = tmp_path / "place"
    send(filled, open_sink("mlflow", str(place)), "two")
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    experiment = client.get_experiment_by_name("two").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.run_name == NAME and run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time - run.info.start_time) == (1735787045000, 1500)
    assert run.data.params["hypogen.blocks"] == "8" and run.data.params["method"] == "hypogen"
    assert {name: run.data.metrics[name] for name in FINAL} == FINAL
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == CURVE["loss"]
    assert run.data.metrics["return/selected"] == 700.25

    client.update_run(run.info.run_id, status="RUNNING")
    assert send(filled, open_sink("mlflow", f"sqlite:///{place}/mlflow.db"), "two") == (1, 0)
    (again,) = client.search_runs([experiment])
    assert again.info.run_id != run.info.run_id and again.info.status == "FINISHED"


def test_trackio_has_settings_curves_and_final_numbers(filled: ResultStore, tmp_path: Path) -> None:
    """trackio wants an older Pillow than the lock has, and lies in a folder of its own (`make test`)."""
    assert TRACKIO.exists(), f"install trackio first: make test, or pip install --target {TRACKIO} trackio"
    words = ["trackio", "--to", str(tmp_path / "place"), "--storage", str(tmp_path / "runs")]
    beside = {**environment(), "PYTHONPATH": f"{ROOT}:{TRACKIO}", "TRACKIO_DIR": str(tmp_path / "place")}

    def python(*command: str) -> str:
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=beside, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for sent, there in ((3, 0), (0, 3)):
        told = f"trackio: {sent} sent to {tmp_path / 'place'}, {there} there already\n"
        assert python("-m", "results", "send", *words) == told
    look = """
import json
from trackio import Api
from trackio.sqlite_storage import SQLiteStorage
runs = {run.name: [run.config, SQLiteStorage.get_logs("one", run.name)] for run in Api().runs("one")}
print(json.dumps(runs))
"""
    runs = json.loads(python("-c", look).splitlines()[-1])
    assert set(runs) == {NAME, "cheetah-speed/expert/e"}
    config, logs = runs[NAME]
    assert config["hypogen.blocks"] == 8
    assert [(log["step"], log["loss"]) for log in logs] == CURVE["loss"]
    assert {name: logs[-1][name] for name in FINAL} == FINAL and logs[-1]["return@selected"] == 700.25


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("tensorbord", "--to", "x"),
            "unknown sink 'tensorbord'. Did you mean 'tensorboard'? Known: tensorboard, mlflow",
        ),
        (("tensorboard", "--to", "s3://bucket/x"), "tensorboard takes a folder of this machine, not s3://bucket/x"),
        (("tensorboard", "--to", "x", "--experiment", "on"), "unknown experiment 'on'. Did you mean 'one'?"),
        (("tensorboard", "--to", "/dev/null/x"), "cannot send to /dev/null/x: "),
        (("mlflow", "--to", "what://x"), "cannot send to what://x: "),
        (("mlflow", "--to", "/dev/null/x"), "cannot send to /dev/null/x: "),
    ],
)
def test_what_makes_no_sense_is_one_line_and_status_2(
    words: tuple[str, ...], said: str, filled: ResultStore, tmp_path: Path
) -> None:
    status, output = call(*words, "--storage", tmp_path / "runs")
    assert status == 2 and len(output.splitlines()) == 1 and f"error: {said}" in output


def test_a_library_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, filled: ResultStore
) -> None:
    monkeypatch.setattr("results.sinks.find_spec", lambda package: None)
    for sink, extra in (("mlflow", "sinks"), ("trackio", "trackio")):
        with pytest.raises(ResultsError, match=rf"{sink} takes the package {sink}: pip install 'hypogen\[{extra}\]'"):
            open_sink(sink, "x")
