import json
import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import FileSelector

from hypogen.errors import Stopped
from orchestrator.artifacts import lock
from orchestrator.artifacts.artifact_store import MANIFEST, Store
from orchestrator.artifacts.remote_folder import POINTER, RemoteFolder
from orchestrator.artifacts.workspace import Workspace
from orchestrator.exceptions import Damaged, UserError
from results.remote import ATTEMPTS
from tests.helpers.s3 import BUCKET, S3Server


def build(text: str = "content", wait_s: float = 0.0) -> Any:
    def write(folder: Path, workspace: Workspace) -> dict[str, Any]:
        (workspace.folder / "checkpoint").write_text("half")
        (folder / "data").write_text(text)
        time.sleep(wait_s)
        return {"summary": text}

    return write


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A real S3 protocol server on this machine."""
    before = dict(os.environ)
    with S3Server().running() as running:
        os.environ |= running.environment
        yield running
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def url(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of a test's own, seen from a machine without a cache."""
    on_machine(tmp_path / "one", monkeypatch)
    return f"s3://{BUCKET}/{tmp_path.name}"


def on_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as another machine: that is, with another cache."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folder))


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "runs"))
    return Store(request.getfixturevalue("url"))


def test_an_artifact_is_made_once_and_then_found(store: Store) -> None:
    store.check_writable()
    assert store.keys("experts") == set() and not store.exists("experts", "k")
    assert store.make("experts", "k", build())
    assert not store.make("experts", "k", build("other"))
    assert store.keys("experts") == {"k"} and store.exists("experts", "k")
    assert (store.folder("experts", "k") / "data").read_text() == "content"
    assert store.manifest("experts", "k")["summary"] == "content"
    assert store.manifest("experts", "k")["seconds"] >= 0


def test_a_failed_build_leaves_nothing_but_its_checkpoint(store: Store) -> None:
    def fail(folder: Path, workspace: Workspace) -> dict[str, Any]:
        (folder / "data").write_text("half")
        (workspace.folder / "checkpoint").write_text("17")
        workspace.sync()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.make("generator", "k", fail)
    assert store.keys("generator") == set()

    def go_on(folder: Path, workspace: Workspace) -> dict[str, Any]:
        (folder / "data").write_text((workspace.folder / "checkpoint").read_text())
        return {}

    assert store.make("generator", "k", go_on)
    assert (store.folder("generator", "k") / "data").read_text() == "17"
    assert not list(Workspace(store, "generator", "k").folder.glob("checkpoint")), "checkpoints go when it is whole"


def test_remote_storage_moves_between_machines(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines are two caches: what one made or half made, the other finds."""
    one = Store(url)
    one.make("experts", "k", build("from one"))
    workspace = Workspace(one, "generator", "g")
    (workspace.folder / "checkpoint").write_text("epoch 3")
    workspace.sync()
    on_machine(tmp_path / "two", monkeypatch)
    two = Store(url)
    assert (two.folder("experts", "k") / "data").read_text() == "from one"
    again = Workspace(two, "generator", "g")
    assert (again.folder / "checkpoint").read_text() == "epoch 3"
    again.clear()
    assert not list(Workspace(two, "generator", "g").folder.iterdir())


def test_a_checkpoint_that_was_cut_off_is_the_one_before_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(Store(url), "experts", "g")
    write_checkpoint(workspace, "update 1", b"rows of 1")
    workspace.sync()
    write_checkpoint(workspace, "update 2", b"rows of 1 and 2")
    with monkeypatch.context() as killed:
        killed.setattr(RemoteFolder, "_publish", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception, match="killed"):
            workspace.sync()
    on_machine(tmp_path / "two", monkeypatch)
    found = Workspace(Store(url), "experts", "g").folder
    assert (found / "state.safetensors").read_text() == "update 1" and (found / "replay").read_text() == "rows of 1"


def test_a_checkpoint_whose_pieces_are_gone_is_none(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(url)
    workspace = Workspace(store, "experts", "g")
    write_checkpoint(workspace, "update 1", b"rows")
    workspace.sync()
    remote = f"{store.root}/work/experts/g"
    for info in store.fs.get_file_info(FileSelector(remote)):
        if info.base_name != POINTER:
            store.fs.delete_file(info.path)
    on_machine(tmp_path / "two", monkeypatch)
    assert not list(Workspace(Store(url), "experts", "g").folder.iterdir())


def write_checkpoint(workspace: Workspace, state: str, replay: bytes) -> None:
    """As a training does: the state is replaced, after what it builds upon has grown."""
    with (workspace.folder / "replay").open("r+b" if (workspace.folder / "replay").exists() else "wb") as file:
        file.write(replay)
    partial = workspace.folder / "state.safetensors.partial"
    partial.write_text(state)
    partial.replace(workspace.folder / "state.safetensors")


def test_what_was_sent_of_a_replay_is_not_sent_again(
    server: S3Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, rows = Store(url), os.urandom(8 * 2**20 + 2000)
    workspace = Workspace(store, "experts", "g")
    for end in (5 * 2**20, 5 * 2**20 + 1000, 8 * 2**20, len(rows)):  # the last row before the end changes its mind
        server.requests.clear()
        write_checkpoint(workspace, f"{end} bytes", rows[:end] + bytes(10))
        before = sum(request.sent for request in server.requests)
        workspace.sync()
    assert before == 0 < sum(request.sent for request in server.requests) < 1.1 * 2**20
    on_machine(tmp_path / "two", monkeypatch)
    found = Workspace(store, "experts", "g")
    assert (found.folder / "replay").read_bytes() == rows + bytes(10)
    assert len(store.fs.get_file_info(FileSelector(f"{store.root}/work/experts/g"))) <= 2 + 4, "old pieces are gone"
    server.requests.clear()
    write_checkpoint(found, "more", rows + bytes(1000))
    found.sync()
    assert sum(request.sent for request in server.requests) < 1.1 * 2**20, "nor by the next machine"


def test_whoever_goes_on_from_his_own_checkpoint_fetches_nothing(server: S3Server, url: str) -> None:
    store = Store(url)
    workspace = Workspace(store, "experts", "g")
    write_checkpoint(workspace, "update 1", b"rows")
    workspace.sync()
    write_checkpoint(workspace, "update 2", b"rows and more")  # and killed before it was sent
    server.requests.clear()
    found = Workspace(store, "experts", "g").folder
    assert (found / "state.safetensors").read_text() == "update 2"
    assert [request.key for request in server.requests if request.operation == "get"] == [
        f"{store.root.partition('/')[2]}/work/experts/g/{POINTER}"
    ]


def test_a_checkpoint_is_sent_whatever_the_clock_says(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(Store(url), "experts", "g")
    for number in range(3):
        write_checkpoint(workspace, f"update {number}", b"rows")
        long_ago = 10**9 - 3600 * number
        os.utime(workspace.folder / "state.safetensors", (long_ago, long_ago))
        workspace.begin_sync()
        workspace.sync()
    on_machine(tmp_path / "two", monkeypatch)
    found = Workspace(Store(url), "experts", "g").folder
    assert (found / "state.safetensors").read_text() == "update 2"


def test_an_upload_goes_beside_the_training_and_a_stop_waits_for_it(
    server: S3Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: list[float] = []

    def train(folder: Path, workspace: Workspace) -> dict[str, Any]:
        write_checkpoint(workspace, "update 1", b"rows")
        monkeypatch.setattr(server, "delay_s", 0.3)
        for _ in range(5):
            started = time.monotonic()
            workspace.begin_sync()
            took.append(time.monotonic() - started)
        write_checkpoint(workspace, "update 2", b"more rows")
        raise Stopped("stopped")

    store = Store(url)
    with pytest.raises(Stopped):
        store.make("experts", "g", train)
    assert max(took) < 0.2
    monkeypatch.setattr(server, "delay_s", 0.0)
    on_machine(tmp_path / "two", monkeypatch)
    found = Workspace(Store(url), "experts", "g").folder
    assert (found / "state.safetensors").read_text() == "update 2"


def test_rows_that_are_only_appended_are_no_news_but_a_new_state_is(url: str) -> None:
    workspace = Workspace(Store(url), "experts", "g")
    write_checkpoint(workspace, "update 1", b"rows")
    workspace.sync()
    copy = RemoteFolder(Store(url).fs, "runs/elsewhere", workspace.folder)
    assert copy.has_news()
    copy.upload()
    with (workspace.folder / "replay").open("ab") as file:
        file.write(b"more")
    assert not copy.has_news()
    write_checkpoint(workspace, "update 2", b"rows")
    assert copy.has_news()


def test_every_request_to_a_bucket_counts(server: S3Server, url: str) -> None:
    store = Store(url)
    server.requests.clear()
    for number in range(3):
        assert store.make("experts", f"k{number}", build())
        (store.folder("experts", f"k{number}") / "data").read_text()
        store.manifest("experts", f"k{number}")
    operations = [request.operation for request in server.requests]
    assert operations == ["list", "list", "put", "put"] * 3, "is it there, has it a checkpoint, and its two files"
    put = [Path(request.key).name for request in server.requests if request.operation == "put"]
    assert put == ["data", MANIFEST] * 3, "what makes it whole comes last"
    server.requests.clear()
    assert store.keys("experts") == {"k0", "k1", "k2"}
    assert [request.operation for request in server.requests] == ["list"]


def test_the_processes_of_a_machine_fetch_an_artifact_once(
    server: S3Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(url).make("experts", "k", build())
    on_machine(tmp_path / "two", monkeypatch)
    server.requests.clear()
    monkeypatch.setattr(server, "delay_s", 0.1)
    stores = [Store(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:  # a lock of a file knows no difference between threads and processes
        folders = list(threads.map(lambda store: store.folder("experts", "k"), stores))
    assert {(folder / "data").read_text() for folder in folders} == {"content"}
    assert sorted(Path(request.key).name for request in server.requests if request.operation == "get") == [
        MANIFEST,
        "data",
    ]


def test_a_damaged_copy_does_not_outlive_the_repair(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(url)
    store.make("experts", "k", build())
    (store.folder("experts", "k") / "data").write_text("harmed")
    assert (Store(url).folder("experts", "k") / "data").read_text() == "content"


def test_a_server_that_refuses_for_some_seconds_costs_only_time(server: S3Server, url: str) -> None:
    store = Store(url)
    server.stop()
    started = time.monotonic()
    timer = threading.Timer(2.5, server.start)
    timer.start()
    try:
        assert store.make("experts", "k", build())
    finally:
        timer.join()
    assert time.monotonic() - started >= 2.5 and store.keys("experts") == {"k"}
    assert sum(0.025 * 2**attempt for attempt in range(ATTEMPTS)) > 45, "the waits of the AWS library"


def test_a_cache_that_another_user_could_fill_is_refused(
    server: S3Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "one" / f"hypogen-{os.getuid()}"
    Store(url)
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o755)
    Store(url)
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o777)
    with pytest.raises(UserError, match=r"--storage s3://.* can be written by others: remove it, or set TMPDIR"):
        Store(url)
    cache.rename(tmp_path / "elsewhere")
    cache.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link"):
        Store(url)
    cache.unlink()
    stranger = os.getuid() + 1
    (cache.parent / f"hypogen-{stranger}").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    with pytest.raises(UserError, match=f"belongs to user {stranger - 1}"):
        Store(url)


def _make_slowly(root: str, made: Any) -> None:
    made.put(Store(root).make("experts", "k", build(wait_s=0.5)))


def test_two_makers_make_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    made = context.Queue()
    makers = [context.Process(target=_make_slowly, args=(str(tmp_path), made)) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(timeout=30)
    assert sorted(made.get(timeout=5) for _ in makers) == [False, False, True]


def test_who_waits_says_for_whom_and_an_owner_that_stands_still_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    context, store, host = multiprocessing.get_context("fork"), Store(str(tmp_path)), platform.node()
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(lock, "STILL_S", 0.5)
    monkeypatch.setattr(lock, "SAY_AFTER_S", 0.3)
    assert store.owner("experts", "k") is None
    maker = context.Process(target=lambda: store.make("experts", "k", build(wait_s=3)))
    maker.start()
    while (owner := store.owner("experts", "k")) is None:
        time.sleep(0.02)
    assert str(owner).startswith(f"pid {maker.pid} on {host} makes it since ") and "python" in owner.command
    time.sleep(1)
    alive = store.owner("experts", "k")
    assert alive is not None and not alive.stands_still, "its heart beats"
    os.kill(maker.pid, signal.SIGSTOP)
    time.sleep(1)
    assert f"has shown no life since {time.strftime('%H:')}" in (said := str(store.owner("experts", "k")))
    assert said.endswith(f"if it hangs, run `kill -9 {maker.pid}` on {host}")
    os.kill(maker.pid, signal.SIGCONT)
    assert not store.make("experts", "k", build()), "it waited"
    assert caplog.text.count("waiting for experts-k: pid") == 1 and str(maker.pid) in caplog.text
    maker.join(timeout=10)
    assert store.owner("experts", "k") is None


def test_a_killed_maker_frees_its_claim_and_its_rubbish_is_swept(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    store = Store(str(tmp_path))

    def hang(folder: Path, workspace: Workspace) -> dict[str, Any]:
        (folder / "data").write_text("half")
        time.sleep(60)
        return {}

    maker = context.Process(target=lambda: store.make("experts", "k", hang))
    maker.start()
    staging = tmp_path / "staging"
    deadline = time.monotonic() + 10
    while not list(staging.glob("experts-k-*/data")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert maker.pid is not None
    os.kill(maker.pid, signal.SIGKILL)
    maker.join(timeout=10)
    assert store.keys("experts") == set() and list(staging.iterdir())
    assert store.make("experts", "k", build())
    assert not list(staging.iterdir())


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.make("experts", "k", build())
    (tmp_path / "artifacts" / "experts" / "k" / MANIFEST).unlink()
    assert not store.exists("experts", "k")
    with pytest.raises(Damaged, match=r"experts k is damaged: (it is not in|artifact.json is missing)"):
        store.folder("experts", "k")


def test_the_time_before_a_kill_counts(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    workspace = Workspace(store, "experts", "k")
    (workspace.folder / "seconds").write_text("100")
    assert 100 <= Workspace(store, "experts", "k").seconds() < 110


def test_storage_that_cannot_be_written_is_refused_and_not_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot be written"):
        Store(str(tmp_path / "file" / "runs")).check_writable()
    fresh = Store(str(tmp_path / "new"))
    fresh.check_writable()
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="Give a folder, or a URL"):
        Store("nosuch://bucket/runs")


def test_manifests_are_plain_json(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.make("experts", "k", build())
    assert json.loads((store.folder("experts", "k") / MANIFEST).read_text())["summary"] == "content"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3:/bucket/runs", "a URL has two slashes: s3://bucket/runs"),
        ("/etc/passwd", "/etc/passwd is not a folder"),
        ("/etc/passwd/runs", "/etc/passwd is not a folder"),
        ("abfs://a/b", r"unknown scheme abfs://. Give a folder, or a URL of: s3://, gs://"),
        ("gs://no-such-bucket/runs", "Give a folder, or a URL like s3://bucket/folder"),
    ],
)
def test_a_place_that_cannot_work_is_refused_with_one_line(uri: str, message: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=f"^--storage {uri}: .*{message}") as caught:
        Store(uri)
    assert len(str(caught.value).splitlines()) == 1 and time.monotonic() - started < 60


def test_a_folder_whose_name_has_a_colon_is_a_folder(tmp_path: Path) -> None:
    assert Store(str(tmp_path / "a:b")).local
