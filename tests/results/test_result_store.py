"""Files: whole or absent, never changed unasked, readable by name or URL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.problems import ResultsError
from results.result_store import ResultStore, open_results
from results.schema import RUNS, TABLES
from tests.helpers.result_rows import BENCHMARK_ROW, METHOD_ROW, PROVENANCE_ROW, asked, episode_rows, fill, run_row
from tests.helpers.s3 import BUCKET, S3Server

CURVE = {"run": "a", "epoch": 1, "step": 10, "metric": "loss", "value": 0.5}


def test_the_same_rows_again_touch_nothing(store):
    store.write("episodes", "a", episode_rows("a", 0, [1.0, 2.0]))
    (file,) = Path(store.root, "episodes").iterdir()
    before = file.stat().st_mtime_ns, file.stat().st_ino
    store.write("episodes", "a", episode_rows("a", 0, [1.0, 2.0])[::-1])
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before
    assert file.name == "a.parquet"


def test_not_a_number_equals_itself(store):
    for _ in range(2):
        store.write("curves", "a", [{**CURVE, "value": float("nan")}])
    assert store.frame("SELECT value FROM curves").value.isna().tolist() == [True]


def test_other_rows_under_one_key_are_refused_and_the_old_stay(store):
    store.write("curves", "a", [CURVE])
    with pytest.raises(ResultsError, match="already holds other rows under 'a'"):
        store.write("curves", "a", [{**CURVE, "value": 0.25}])
    assert store.frame("SELECT value FROM curves").value.tolist() == [0.5]
    store.write("curves", "a", [{**CURVE, "value": 0.25}], replace=True)
    assert store.frame("SELECT value FROM curves").value.tolist() == [0.25]


def test_the_last_word_on_provenance_wins(store):
    store.write("provenance", "a", [{**PROVENANCE_ROW, "status": "failed", "error": "out of luck"}])
    store.write("provenance", "a", [PROVENANCE_ROW])
    assert store.frame("SELECT status, error FROM provenance").to_dict("list") == {"status": ["done"], "error": [None]}


def test_a_changed_description_replaces_the_old_one(store):
    for title in ("Fresh Idea", "Fresher Idea"):
        store.write("methods", "fresh", [{**METHOD_ROW, "title": title}])
    assert store.frame("SELECT title FROM methods WHERE method = 'fresh'").title.tolist() == ["Fresher Idea"]


def test_descriptions_alone_are_no_results(store, tmp_path):
    store.write("methods", "fresh", [METHOD_ROW])
    store.write("benchmarks", "tray-tilt", [BENCHMARK_ROW])
    assert store.is_empty()
    with pytest.raises(ResultsError, match="no run of this storage has been rolled out"):
        open_results(str(tmp_path / "runs"))


def test_provenance_written_before_it_had_labels_and_runs_is_read_beside_new_rows(store):
    store.write("provenance", "a", [PROVENANCE_ROW])
    file = Path(store.root, "provenance", "a.parquet")
    old = pq.read_table(file).drop_columns(["label", "runs"])
    pq.write_table(old, file)
    store.write("provenance", "b", [{**PROVENANCE_ROW, "artifact": "b", "status": "failed", "error": "out of luck"}])
    assert store.table("SELECT artifact, label, runs FROM provenance ORDER BY artifact").to_pylist() == [
        {"artifact": "a", "label": None, "runs": None},
        {"artifact": "b", "label": PROVENANCE_ROW["label"], "runs": PROVENANCE_ROW["runs"]},
    ]
    failed = "SELECT unnest(runs) AS run, label, error FROM provenance WHERE status = 'failed'"
    store.write("experiments", "all", [asked("e", "expert-run"), asked("e", "other")])
    joined = store.frame(f"SELECT experiment, run, label FROM experiments JOIN ({failed}) USING (run)")
    assert joined.values.tolist() == [["e", "expert-run", PROVENANCE_ROW["label"]]]


def test_a_store_that_does_not_exist_yet_has_tables_of_the_right_types_empty_but_for_the_papers_own_names(store):
    for name, table in TABLES.items():
        answer = store.table(f"SELECT * FROM {name}")
        rows = {"methods": 7, "benchmarks": 17}.get(name, 0)
        assert (answer.num_rows, answer.schema.names) == (rows, list(table.names))
        assert answer.schema.types == table.arrow.types, name
    assert not Path(store.root).exists()


def test_types_are_the_same_with_rows(store):
    fill(store, [run_row("a")], episode_rows("a", 0, [1.0]))
    store.write("methods", "fresh", [METHOD_ROW])
    store.write("benchmarks", "tray-tilt", [BENCHMARK_ROW])
    for name in ("runs", "episodes", "methods", "benchmarks"):
        assert store.table(f"SELECT * FROM {name}").schema.types == TABLES[name].arrow.types


def test_many_files_are_one_table(store):
    for name in "cab":
        store.write("curves", name, [{**CURVE, "run": name}])
    assert store.keys("curves") == ["a", "b", "c"]
    assert store.frame("SELECT run FROM curves ORDER BY run").run.tolist() == ["a", "b", "c"]


def test_a_query_takes_parameters(store):
    fill(store, [run_row("a"), run_row("b", split=1)], [])
    assert store.frame("SELECT run FROM runs WHERE split_seed = $seed", seed=1).run.tolist() == ["b"]


def test_a_url_and_a_path_name_the_same_store(store):
    store.write("curves", "a", [CURVE])
    other = ResultStore(Path(store.root).as_uri())
    other.write("curves", "b", [{**CURVE, "run": "b"}])
    assert store.keys("curves") == other.keys("curves") == ["a", "b"]
    assert store.table("FROM curves ORDER BY run") == other.table("FROM curves ORDER BY run")


def test_a_relative_root_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = ResultStore("runs/results")
    monkeypatch.chdir("/")
    store.write("curves", "a", [CURVE])
    assert (tmp_path / "runs/results/curves/a.parquet").is_file()


def test_rows_from_before_a_column_was_added_read_as_null(store):
    folder = Path(store.root, "runs")
    folder.mkdir(parents=True)
    store.write("runs", "new", [run_row("new")])
    old = pq.read_table(folder / "new.parquet").drop_columns(["learning_rate"])
    pq.write_table(old.set_column(0, RUNS.arrow.field("run"), pa.array(["old"])), folder / "old.parquet")
    assert store.table("SELECT learning_rate FROM runs ORDER BY run").column(0).to_pylist() == [1e-4, None]


def test_a_file_is_replaced_never_written_over(store):
    """A reader that has the old file open reads it to its end; what a killed writer left behind is not read."""
    store.write("curves", "a", [CURVE])
    file = Path(store.root, "curves", "a.parquet")
    old = file.read_bytes()
    with file.open("rb") as reader:
        store.write("curves", "a", [{**CURVE, "value": 0.25}], replace=True)
        assert reader.read() == old
    assert [path.name for path in file.parent.iterdir()] == ["a.parquet"]
    (file.parent / ".b.parquet.123").write_bytes(old[:20])
    assert store.keys("curves") == ["a"]
    assert store.frame("SELECT value FROM curves").value.tolist() == [0.25]


@pytest.mark.parametrize("key", ["", ".hidden", "a/b", "../a", "a b", "ä"])
def test_a_key_that_is_no_file_name_is_refused(store, key):
    with pytest.raises(ResultsError, match="cannot name a file"):
        store.write("curves", key, [CURVE])


def test_an_unknown_table_is_refused_with_the_nearest(store):
    with pytest.raises(ResultsError, match=r"'episode'. Did you mean 'episodes'.*Known: runs, episodes"):
        store.write("episode", "a", [])


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    store = ResultStore(tmp_path / "file" / "results")
    with pytest.raises(ResultsError, match=r"cannot write results to .*file/results"):
        store.write("curves", "a", [CURVE])


def test_an_unknown_kind_of_storage_is_an_error():
    with pytest.raises(ResultsError, match="cannot open storage ftp://x/y"):
        ResultStore("ftp://x/y")


def test_reading_asks_for_a_storage_with_something_in_it(tmp_path):
    with pytest.raises(ResultsError, match=r"does not exist.*--storage"):
        open_results(str(tmp_path / "none"))
    with pytest.raises(ResultsError, match=r"nothing in .*results yet"):
        open_results(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="is not a folder"):
        open_results(str(tmp_path / "file"))
    ResultStore(tmp_path / "results").write("curves", "a", [CURVE])
    assert open_results(str(tmp_path) + "/").keys("curves") == ["a"]


WRITER = """
import sys
from itertools import count
from results.result_store import ResultStore
store = ResultStore(sys.argv[1])
rows = [{"run": "a", "epoch": n, "step": n, "metric": "loss", "value": float(n)} for n in range(3000)]
for n in count():
    store.write("curves", f"k{n % 3}", [{**row, "value": row["value"] + n} for row in rows], replace=True)
"""


def test_a_reader_never_sees_half_a_file_whenever_the_writer_is_killed(store):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, store.root])
    try:
        deadline = time.monotonic() + 30
        while len(store.keys("curves")) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        seen = [store.frame("SELECT count(*) AS n FROM curves").n[0] for _ in range(10)]
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert set(seen) == {9000}
    assert store.frame("SELECT count(*) AS n FROM curves").n[0] == 9000


def test_a_folder_that_is_made_while_it_is_listed_is_listed_again(store, monkeypatch):
    store.write("curves", "a", [CURVE])

    class Racing:
        failures = 3

        def get_file_info(self, selector):
            self.failures -= 1
            if self.failures >= 0:
                raise FileNotFoundError(selector.base_dir)
            return files.get_file_info(selector)

    files, racing = store._files, Racing()
    monkeypatch.setattr(store, "_files", racing)
    assert store.keys("curves") == ["a"] and racing.failures == -1
    racing.failures = 100
    with pytest.raises(FileNotFoundError):
        store.keys("curves")


def test_nothing_heavy_is_imported():
    program = (
        "import pkgutil, importlib, sys, results\n"
        "names = [module.name for module in pkgutil.iter_modules(results.__path__, 'results.')]\n"
        "for name in names:\n"
        "    if name != 'results.figures': importlib.import_module(name)\n"  # figures alone are drawn with matplotlib
        "assert 'results.catalogue' in sys.modules\n"
        "assert results.ResultStore and results.render and results.titles and results.TABLES and results.ResultsError\n"
        "assert 'matplotlib' not in sys.modules and 'results.figures' in names\n"
        "for module in pkgutil.walk_packages(results.__path__, 'results.'): importlib.import_module(module.name)\n"
        "print(sorted({'torch', 'ray', 'hypogen', 'orchestrator', 'mujoco'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A bucket behind a real HTTP server that speaks S3, seen from a machine without a cache."""
    with S3Server().running() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "cache"))
        yield running


def test_a_bucket_is_a_store_like_any_other(server, tmp_path):
    store = ResultStore(f"s3://{BUCKET}/{tmp_path.name}/results")
    assert store.is_empty()
    fill(store, [run_row("a")], episode_rows("a", 0, [1.0, 2.0]))
    fill(store, [run_row("a")], episode_rows("a", 0, [1.0, 2.0]))
    with pytest.raises(ResultsError, match="already holds other rows"):
        store.write("episodes", "a", episode_rows("a", 0, [1.0]))
    store.write("episodes", "a", episode_rows("a", 0, [3.0]), replace=True)
    assert open_results(f"s3://{BUCKET}/{tmp_path.name}").frame('SELECT "return" FROM episodes JOIN runs USING (run)')[
        "return"
    ].tolist() == [3.0]
    listed = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=tmp_path.name)["Contents"]
    files = [entry["Key"].removeprefix(f"{tmp_path.name}/results/") for entry in listed]
    assert files == ["episodes/a.parquet", "runs/a.parquet"]
    with pytest.raises(ResultsError, match="does not exist"):
        open_results(f"s3://{BUCKET}/{tmp_path.name}-elsewhere")


def operations(server):
    """What was asked since the last time."""
    found = [request.operation for request in server.requests]
    server.requests.clear()
    return found


def test_a_bucket_is_asked_only_for_what_changed(server, tmp_path):
    store = ResultStore(f"s3://{BUCKET}/{tmp_path.name}/results")
    for name in "ab":
        store.write("curves", name, [{**CURVE, "run": name}], replace=True)
    store.write("provenance", "a", [PROVENANCE_ROW])
    assert operations(server) == ["put"] * 3
    values = "SELECT run, value FROM curves ORDER BY ALL"
    assert store.frame(values).value.tolist() == [0.5, 0.5]
    assert sorted(operations(server)) == ["get", "get", "head", "head", "list", "list"], "once they are settled"
    assert store.frame(values).value.tolist() == [0.5, 0.5]
    assert operations(server) == ["list"]
    store.write("curves", "a", [{**CURVE, "run": "a"}], replace=True)
    assert operations(server) == ["head"], "the same rows again touch nothing"
    ResultStore(store.root).write("curves", "a", [{**CURVE, "run": "a", "value": 0.25}], replace=True)
    assert operations(server) == ["head", "put"]
    assert store.frame(values).value.tolist() == [0.25, 0.5]
    assert store.frame("SELECT artifact FROM provenance").artifact.tolist() == [PROVENANCE_ROW["artifact"]]


def test_however_many_names_are_described_again_a_bucket_is_asked_once(server, tmp_path):
    names = [f"fresh{number}" for number in range(4)]

    def describe(store, title="Fresh Idea"):
        for name in names:
            store.write("methods", name, [{**METHOD_ROW, "method": name, "title": title}])

    store = ResultStore(f"s3://{BUCKET}/{tmp_path.name}/results")
    describe(store)
    titles = "SELECT DISTINCT title FROM methods WHERE method LIKE 'fresh%'"
    assert store.frame(titles).title.tolist() == ["Fresh Idea"]
    operations(server)
    describe(ResultStore(store.root))
    assert operations(server) == ["list"]
    describe(store, "Fresher Idea")
    assert operations(server).count("put") == len(names)
    assert store.frame(titles).title.tolist() == ["Fresher Idea"], "the last word counts"


def test_a_file_that_was_just_written_is_read_again_as_its_successor_may_look_alike(server, tmp_path):
    store = ResultStore(f"s3://{BUCKET}/{tmp_path.name}/results")
    for value in (0.5, 0.25, 0.75):
        store.write("curves", "a", [{**CURVE, "value": value}], replace=True)
        assert store.dataset("curves").to_table()["value"].to_pylist() == [value]


def test_a_cache_that_another_could_fill_is_refused(server, tmp_path):
    cache = tmp_path / "cache" / f"hypogen-{os.getuid()}"
    cache.parent.mkdir()
    cache.symlink_to(tmp_path)
    with pytest.raises(ResultsError, match=r"cannot open storage s3://.* is a link or a file: remove it"):
        ResultStore(f"s3://{BUCKET}/{tmp_path.name}/results")
