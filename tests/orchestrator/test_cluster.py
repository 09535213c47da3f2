from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml

from orchestrator.exceptions import UserError
from orchestrator.execution.cluster import Address, answers, authenticate, choose
from tests.helpers.experiments import ROOT, environment

GPU = ROOT / "cluster" / "gpu.yaml"


@pytest.fixture
def listening() -> Iterator[str]:
    """Something that answers at an address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No address in the environment, and Ray's temporary folder in ours."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def test_an_address_wins_over_the_environment_and_that_over_the_host(
    listening: str, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean.write_text(listening)
    assert choose(None).value == listening and str(clean) in choose(None).reason
    assert choose("auto") == Address(listening, "--address=auto")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert choose(None) == Address("local", "RAY_ADDRESS=local")
    assert choose(listening) == Address(listening, "--address")


def test_without_any_cluster_ray_is_private() -> None:
    assert choose(None) == Address("local", "no cluster runs on this host")
    with pytest.raises(UserError, match="no Ray cluster runs on this host"):
        choose("auto")


def test_the_trace_of_a_dead_cluster_is_named_and_ignored(clean: Path) -> None:
    clean.write_text("127.0.0.1:1")
    chosen = choose(None)
    assert chosen.value == "local"
    assert str(clean) in chosen.notes[0] and "127.0.0.1:1" in chosen.notes[0] and "ignored" in chosen.notes[0]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "host:", "ray://127.0.0.1:10001", "http://a:1"])
def test_addresses_that_cannot_work_name_the_remedy(address: str) -> None:
    with pytest.raises(UserError) as caught:
        choose(address)
    assert address in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert not answers(address)


def test_the_cluster_file_is_valid_and_its_commands_exist() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(GPU.read_text())
    validate_config(prepare_config(config))
    types = config["available_node_types"]
    assert "GPU" not in types[config["head_node_type"]]["resources"]
    assert types["gpu"]["resources"]["GPU"] == types["gpu_spot"]["resources"]["GPU"] == 1
    assert types["gpu_spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["gpu"]["max_workers"] == types["gpu_spot"]["max_workers"] == config["max_workers"], "either may be out"
    assert types["gpu_spot"]["min_workers"] == 0 < types["gpu_spot"]["max_workers"]
    for word in ("experiments/ablation_k.yaml", "requirements.lock", "hypogen submit"):
        assert word in GPU.read_text()
    assert any("RAY_AUTH_MODE=token" in command and ".bashrc" in command for command in config["setup_commands"])


STRANGER = (
    "import ray; ray.init(address='{}', log_to_driver=False); print('ran', ray.get(ray.remote(lambda: 42).remote()))"
)


def without_ray() -> dict[str, str]:
    """The environment of somebody who has set nothing of Ray's."""
    return {name: value for name, value in environment().items() if not name.startswith("RAY_")}


def stranger(address: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Somebody on this machine who knows the address and tries to run code there."""
    command = [sys.executable, "-c", STRANGER.format(address)]
    variables = {**without_ray(), "HOME": str(home), **variables}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)


def test_a_private_ray_refuses_a_stranger_takes_its_own_and_starts_no_more_than_it_needs(tmp_path: Path) -> None:
    code = (
        "import os, sys; from orchestrator.execution.cluster import Address, authenticate, connected\n"
        "where = Address('local', 'test'); authenticate(where)\n"
        "import ray\n"
        "import orchestrator.console.dry_run, orchestrator.console.progress, orchestrator.execution.deciding\n"
        "import orchestrator.execution.execution, orchestrator.planning.study\n"
        "early = 'ray.tune' in sys.modules\n"
        "with connected(where, num_cpus=1):\n"
        "    logs = ray._private.worker._global_node.get_logs_dir_path()\n"
        "    print(ray.get_runtime_context().gcs_address, os.environ['RAY_AUTH_TOKEN'], logs,\n"
        "        early, 'ray.tune' in sys.modules, flush=True)\n"
        "    sys.stdin.read()"
    )
    mine = {**without_ray(), "HOME": str(tmp_path / "mine"), "RAY_AUTH_MODE": "disabled"}
    (tmp_path / "mine").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", code], env=mine, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as private:
        assert private.stdout and private.stdin
        address, token, logs, *tune = private.stdout.readline().split()
        assert tune == ["False", "True"], "what a sweep imports before has no need of Tune, which is imported meanwhile"
        started = [" ".join(child.cmdline()) for child in psutil.Process(private.pid).children(recursive=True)]
        assert any("dashboard/agent.py" in line and "--minimal" in line for line in started), started
        idle = ("log_monitor.py", "autoscaler", "dashboard/dashboard.py")
        assert not any(name in line for name in idle for line in started), started
        tried = ({}, {"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64})
        with ThreadPoolExecutor() as together:  # each gives up after twenty seconds
            for refused in together.map(lambda variables: stranger(address, tmp_path, **variables), tried):
                assert refused.returncode != 0 and "ran" not in refused.stdout, refused.stdout + refused.stderr
        welcome = stranger(address, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
        assert "ran 42" in welcome.stdout, welcome.stderr
        private.stdin.close()
    assert "Traceback" not in Path(logs, "dashboard_agent.log").read_text(), "it looks for nothing that is not there"
    assert not (tmp_path / "mine" / ".ray").exists(), "the token is written nowhere"


@pytest.mark.parametrize("variable", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "file"])
def test_the_token_of_a_cluster_is_used_where_there_is_one(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    authenticate(Address("10.0.0.5:6379", "--address"))
    assert "RAY_AUTH_MODE" not in os.environ, "none is there"
    if variable == "file":
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("secret")
    else:
        monkeypatch.setenv(variable, "secret")
    authenticate(Address("10.0.0.5:6379", "--address"))
    assert os.environ.pop("RAY_AUTH_MODE") == "token"
