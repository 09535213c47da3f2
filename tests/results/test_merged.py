"""Merged copies: the same rows as the files, whatever became of the files, of the copies and of other readers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from results import render
from results.merged import LEAST
from results.problems import ResultsError
from results.result_store import ResultStore
from results.rows import to_table
from results.schema import TABLES
from tests.helpers.result_rows import asked, episode_rows, fill, run_row
from tests.helpers.s3 import BUCKET, S3Server

FILES = 3 * LEAST


def put(store: ResultStore, number: int, value: float, age_s: float = 60) -> Path:
    """One file, as if it had been written a while ago."""
    key = f"k{number}"
    row = {"run": key, "epoch": 1, "step": 10, "metric": "loss", "value": value}
    path = Path(store.root, "curves", f"{key}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(TABLES["curves"], [row]), path)
    os.utime(path, (time.time() - age_s - number % 7,) * 2)
    return path


def rows(store: ResultStore) -> dict[str, float]:
    """The value of each run, twice the same whether it comes from files or from copies of them."""
    answer = store.table("SELECT run, value FROM curves")
    assert answer.num_rows == len(set(answer["run"].to_pylist())), "a row came twice"
    return dict(zip(answer["run"].to_pylist(), answer["value"].to_pylist(), strict=True))


def copies(store: ResultStore) -> list[Path]:
    return sorted(Path(store.root, ".merged", "curves").glob("*"))


@pytest.fixture
def many(store: ResultStore) -> ResultStore:
    """A store whose files are merged."""
    for number in range(FILES):
        put(store, number, float(number))
    assert rows(store) == expected()
    assert copies(store)
    return store


def expected(**changed: float | None) -> dict[str, float]:
    """Rows of `many`, but for those that changed or are gone (None)."""
    all_rows = {f"k{number}": float(number) for number in range(FILES)} | changed
    return {key: value for key, value in all_rows.items() if value is not None}


def test_what_is_merged_is_read_without_the_files(many, monkeypatch):
    """The files now hold something else under their old times: only who opens them sees that."""
    before = copies(many)
    for number in range(FILES):
        path = Path(many.root, "curves", f"k{number}.parquet")
        found = path.stat()
        path.write_bytes(bytes(found.st_size))
        os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns))
    assert rows(many) == expected()
    assert copies(many) == before
    assert len(list(many.problems())) == FILES, "the check reads the files themselves"


def test_a_file_that_is_new_changed_or_gone_is_never_taken_from_a_copy(many):
    put(many, 5, 0.5, age_s=0)
    assert rows(many) == expected(k5=0.5)
    Path(many.root, "curves", "k6.parquet").unlink()
    assert rows(many) == expected(k5=0.5, k6=None)
    put(many, FILES, 1.5)
    everything = expected(k5=0.5, k6=None) | {f"k{FILES}": 1.5}
    assert rows(many) == rows(many) == everything
    assert len(copies(many)) <= FILES // LEAST, "copies that nobody needs are removed"


def test_a_file_that_changed_within_a_moment_is_another_file(many):
    """It keeps its size and its place among the others; its time alone tells."""
    path = Path(many.root, "curves", "k5.parquet")
    before = path.stat()
    put(many, 5, 0.5)
    os.utime(path, ns=(before.st_mtime_ns + 1, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    assert rows(many) == expected(k5=0.5)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "swapped", "gone", "folder"])
def test_a_damaged_copy_does_no_harm_and_is_made_again(many, damage):
    before = {path: path.read_bytes() for path in copies(many)}
    for path, content in before.items():
        middle = len(content) // 2
        if damage == "flipped":
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        elif damage == "truncated":
            path.write_bytes(content[:middle])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "swapped":
            path.write_bytes(pq_bytes(path))
        elif damage == "gone":
            path.unlink()
    if damage == "folder":
        shutil.rmtree(Path(many.root, ".merged"))
    assert rows(many) == expected()
    assert {path: path.read_bytes() for path in copies(many)} == before


def pq_bytes(path: Path) -> bytes:
    """The copy with another row in it, sound as a file."""
    table = pq.read_table(path)
    target = path.with_name("other")
    pq.write_table(table.slice(1), target)
    return target.read_bytes()


def test_a_damaged_file_is_an_error_only_to_who_asks_for_its_rows(many):
    Path(many.root, "curves", "k7.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert many.table("SELECT count(*) AS n FROM runs")["n"].to_pylist() == [0]
    with pytest.raises(ResultsError, match=r"k7\.parquet"):
        rows(many)


def test_a_place_that_cannot_be_written_is_read_all_the_same(store):
    for number in range(FILES):
        put(store, number, float(number))
    Path(store.root, ".merged").write_text("in the way")
    assert rows(store) == expected()


def test_a_table_is_the_same_to_the_last_digit(store):
    runs = [run_row(f"r{n}", split=n % 5, settings={"training.epochs": 10 + n // 5}) for n in range(FILES)]
    episodes = [
        row for n in range(FILES) for row in episode_rows(f"r{n}", n % 3, [n / 3, n / 7, n * 1.1], inside=n % 2 == 0)
    ]
    for run in runs:
        for table, content in {"runs": [run], "episodes": [r for r in episodes if r["run"] == run["run"]]}.items():
            path = Path(store.root, table, f"{run['run']}.parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(to_table(TABLES[table], content), path)
    fill(store, [], [], [asked("e", run["run"], n) for n, run in enumerate(runs)])
    fresh = render("main", store, experiment="e", format="csv")
    assert not Path(store.root, ".merged").exists(), "what was just written may still change"
    for path in Path(store.root).glob("*/*"):
        os.utime(path, (time.time() - 60,) * 2)
    assert render("main", store, experiment="e", format="csv") == fresh
    assert {path.name for path in Path(store.root, ".merged").iterdir()} == {"runs", "episodes"}
    assert render("main", store, experiment="e", format="csv") == fresh


WRITER = """
import itertools, os, sys, time
from pathlib import Path
from tests.results.test_merged import FILES, put
from results.result_store import ResultStore
store, other = ResultStore(sys.argv[1]), ResultStore(sys.argv[2])
for turn in itertools.count(1):
    for number in range(0, FILES, 3):
        path = put(other, number, number + turn * 1000.0)
        os.replace(path, Path(store.root, "curves", path.name))
"""
READER = """
import sys
from tests.results.test_merged import FILES, rows
from results.result_store import ResultStore
while True:
    found = rows(ResultStore(sys.argv[1]))
    assert len(found) == FILES and all(value % 1000 == int(run[1:]) for run, value in found.items()), found
"""


@pytest.fixture
def busy(many: ResultStore, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A writer, whose files look old at once, and another reader."""
    programs = [(WRITER, many.root, str(tmp_path / "other")), (READER, many.root)]
    processes = [subprocess.Popen([sys.executable, "-c", *words]) for words in programs]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_readers_and_a_writer_at_once_see_whole_tables(many, busy):
    """Every row is there once and is never older than what this reader has seen before."""
    seen, changes = expected(), 0
    deadline = time.monotonic() + 60
    while changes < 5 and time.monotonic() < deadline:
        found = rows(many)
        assert found.keys() == seen.keys()
        assert all(found[run] >= value for run, value in seen.items())
        changes += found != seen
        seen = found
    assert changes == 5
    assert [process.poll() for process in busy] == [None, None]


def test_a_bucket_is_read_from_merged_copies(tmp_path, monkeypatch):
    """Neither the files nor the machine's copies of them are looked at again."""
    with S3Server().running() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "cache"))
        store = ResultStore(f"s3://{BUCKET}/{tmp_path.name}/results")
        for number in range(LEAST):
            row = {"run": f"k{number}", "epoch": 1, "step": 10, "metric": "loss", "value": float(number)}
            store.write("curves", f"k{number}", [row], replace=True)
        first = rows(store)
        (mirrored,) = (tmp_path / "cache").glob("*/*/curves")
        shutil.rmtree(mirrored)
        server.requests.clear()
        assert rows(ResultStore(store.root)) == first == {f"k{n}": float(n) for n in range(LEAST)}
        assert [request.operation for request in server.requests] == ["list"]
