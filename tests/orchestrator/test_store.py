import json
import multiprocessing
import os
import platform
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.artifacts import lock
from orchestrator.artifacts.artifact_store import MANIFEST, Store, Workspace
from orchestrator.exceptions import Damaged, UserError


def build(text: str = "content", wait_s: float = 0.0) -> Any:
    def write(folder: Path, workspace: Workspace) -> dict[str, Any]:
        (workspace.folder / "checkpoint").write_text("half")
        (folder / "data").write_text(text)
        time.sleep(wait_s)
        return {"summary": text}

    return write


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A real S3 protocol server on this machine."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    before = dict(os.environ)
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    boto3.client("s3").create_bucket(Bucket="runs")
    yield "s3://runs/here"
    os.environ.clear()
    os.environ.update(before)
    server.stop()


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "runs"))
    url = request.getfixturevalue("bucket").replace("/here", f"/{tmp_path.name}")
    return Store(url)


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


def test_remote_storage_moves_between_machines(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines are two caches: what one made or half made, the other finds."""
    url = bucket.replace("/here", "/moves")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "one"))
    one = Store(url)
    one.make("experts", "k", build("from one"))
    workspace = Workspace(one, "generator", "g")
    (workspace.folder / "checkpoint").write_text("epoch 3")
    workspace.sync()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "two"))
    two = Store(url)
    assert (two.folder("experts", "k") / "data").read_text() == "from one"
    assert (Workspace(two, "generator", "g").folder / "checkpoint").read_text() == "epoch 3"


def test_an_upload_that_is_cut_off_lacks_the_checkpoint_and_not_what_it_builds_upon(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket.replace("/here", "/cut-off")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "one"))
    workspace, uploaded = Workspace(Store(url), "generator", "g"), []
    upload = Workspace._upload

    def cut_off(self: Workspace, file: Path) -> None:
        uploaded.append(file.name)
        if len(uploaded) == 3:
            raise OSError("killed")
        upload(self, file)

    monkeypatch.setattr(Workspace, "_upload", cut_off)
    (workspace.folder / "snapshots").mkdir()
    for name in ("snapshots/z", "snapshots/a", "checkpoint"):
        (workspace.folder / name).write_text(name)
        time.sleep(0.01)
    with pytest.raises(OSError, match="killed"):
        workspace.sync()
    assert uploaded == ["z", "a", "checkpoint"]
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "two"))
    found = Workspace(Store(url), "generator", "g").folder
    assert sorted(path.name for path in found.rglob("*") if path.is_file()) == ["a", "z"]


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
