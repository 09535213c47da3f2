"""Choice of the Ray to use: the given address, RAY_ADDRESS, the cluster of this host, or a private local Ray."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypogen.provenance import COMMIT_VARIABLE, surroundings
from orchestrator.exceptions import UserError

if TYPE_CHECKING:  # these import PyTorch, which takes a second
    from orchestrator.config.sections import Resources, TaskResources

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
PRIVATE = "local"
GPUS_VARIABLE = "HYPOGEN_GPUS"
"""Variable that overrides ``resources.gpus``; a cluster that starts GPU nodes on demand sets it to ``always``."""
PACKAGES = ("hypogen", "orchestrator", "results")
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Address:
    """Address of Ray (``host:port``, or ``"local"`` for a private one), the reason for it, and what was ignored."""

    value: str
    reason: str
    notes: tuple[str, ...] = ()


def choose(address: str | None) -> Address:
    """Choose without starting anything. Raises UserError with the remedy when a requested address does not answer."""
    asked = [("--address", address), ("RAY_ADDRESS", os.environ.get("RAY_ADDRESS"))]
    for name, value in asked:
        if value is None or value == "":
            continue
        if value == PRIVATE:
            return Address(PRIVATE, f"{name}=local")
        if value == "auto":
            found = _host_cluster()
            if found is None or not answers(found[0]):
                raise UserError(
                    f"{name}=auto: no Ray cluster runs on this host. Start one (`ray start --head`), or leave it out."
                )
            return Address(found[0], f"{name}=auto")
        _check_address(name, value)
        return Address(value, name)
    found = _host_cluster()
    if found is None:
        return Address(PRIVATE, "no cluster runs on this host")
    value, trace = found
    if answers(value):
        return Address(value, f"the cluster of this host ({trace})")
    note = f"ignored {trace}: it is the trace of a cluster at {value} that no longer answers"
    return Address(PRIVATE, "no cluster runs on this host", (note,))


def answers(address: str) -> bool:
    """Whether something listens at ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S):
            return True
    except (OSError, ValueError):
        return False


def _check_address(name: str, value: str) -> None:
    if "://" in value:
        raise UserError(
            f"{name}={value}: from outside of a cluster, run `hypogen submit …`; or give the "
            "host:port of a head that this host has joined."
        )
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdigit():
        raise UserError(
            f"{name}={value}: an address is host:port, for example 10.0.0.5:6379; or 'local' for a private Ray."
        )
    if not answers(value):
        raise UserError(
            f"{name}={value}: nothing answers there within {CONNECT_TIMEOUT_S:g} s. "
            "Start the head (`ray up cluster/gpu.yaml`, `ray start --head`), correct it, or leave it out to run here."
        )


def _host_cluster() -> tuple[str, Path] | None:
    """Address that the last ``ray start`` on this host left behind, and the file that contains it."""
    folder = Path(os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", tempfile.gettempdir())))
    trace = folder / "ray" / "ray_current_cluster"
    try:
        value = trace.read_text().strip()
    except OSError:
        return None
    return (value, trace) if value else None


@contextlib.contextmanager
def connected(address: Address, num_cpus: int | None = None) -> Iterator[None]:
    """Context with a connection to Ray, which is closed at the end (and a private Ray stopped)."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    already = ray.is_initialized()
    if not already:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
        if address.value == PRIVATE:
            os.environ.pop("RAY_ADDRESS", None)
            options |= {"num_cpus": num_cpus, "object_store_memory": 256 * 2**20}
        else:
            commit = surroundings()["git_commit"]
            sent = {COMMIT_VARIABLE: commit} if commit else {}
            folders = [str(path) for path in package_folders()]
            options["runtime_env"] = {"py_modules": folders, "env_vars": {**sent, **for_workers()}}
        try:
            with _privately() if address.value == PRIVATE else contextlib.nullcontext():
                ray.init(address=address.value, **options)
        except ImportError:  # of what is imported meanwhile
            raise
        except Exception as error:  # Ray raises that very class where a node does not start in time
            reason = str(error).splitlines()[0]
            raise UserError(f"Ray at {address.value} could not be used: {reason} Try the command again.") from None
    try:
        yield
    finally:
        if not already:
            ray.shutdown()


def authenticate(address: Address) -> None:
    """Set the token that Ray asks for, before Ray is imported: whoever reaches its ports without one runs no code.

    A private Ray gets a token of its own, which only this process and its children know. For a cluster it is the one
    that Ray finds (``ray get-auth-token --generate``, the same on every node), if there is one.
    """
    if address.value == PRIVATE:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    elif "RAY_AUTH_MODE" not in os.environ and _has_token():
        os.environ["RAY_AUTH_MODE"] = "token"  # Ray alone forgets it where an address is given


def _has_token() -> bool:
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").exists()


def for_workers() -> dict[str, str]:
    """Variables of workers: one thread per library until a stage asks for more, none spinning, as they share cores."""
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    quiet = {name: os.environ.get(name, value) for name, value in QUIET.items()}
    return {**threads, "MUJOCO_GL": os.environ.get("MUJOCO_GL", "disabled"), **quiet}


@contextlib.contextmanager
def _privately() -> Iterator[None]:
    """Ray is started meanwhile as a private one may be, sooner than another.

    Its workers inherit their variables, since a runtime environment takes an interpreter more for each of them. There
    is no autoscaler, nobody to print workers' output at the driver, and no API server, which would do nothing here but
    report usage; each takes a second of a core. The agent serves nothing either: for its usual port it waits 3 s where
    another Ray of the host has it. ``ray.init`` has no options for these. While they start, Tune is imported, which
    every sweep needs.
    """
    from ray._private import node, parameter, utils

    lean: dict[str, Any] = {"no_monitor": True, "include_log_monitor": False}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_replaced(parameter, "RayParams", functools.partial(parameter.RayParams, **lean)))
        stack.enter_context(_replaced(node.Node, "start_api_server", _name_no_api_server))
        start = _importing_meanwhile(node.Node.start_ray_processes)
        stack.enter_context(_replaced(node.Node, "start_ray_processes", start))
        stack.enter_context(_replaced(utils, "get_dashboard_dependency_error", lambda: "nothing to serve"))
        yield


def _name_no_api_server(node: Any, **options: object) -> None:
    """Leave an address at which nothing is: without one the agent looks for it, and logs so, once a second."""
    from ray._private import ray_constants

    name, space = ray_constants.DASHBOARD_ADDRESS.encode(), ray_constants.KV_NAMESPACE_DASHBOARD
    node.get_gcs_client().internal_kv_put(name, b"127.0.0.1:0", True, space)


def _importing_meanwhile(start: Callable[[Any], None]) -> Callable[[Any], None]:
    """The start of a node's processes, with variables for its workers, and Tune imported until its raylet is up.

    That takes as long. ``ray.init`` itself looks for the raylet at once, and then once a second.
    """

    def start_and_import(node: Any) -> None:
        with _variables(for_workers()):
            start(node)
        importlib.import_module("orchestrator.execution.search")
        until = time.monotonic() + CONNECT_TIMEOUT_S
        while not node.get_gcs_client().get_all_node_info() and time.monotonic() < until:
            time.sleep(0.01)

    return start_and_import


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def package_folders() -> list[Path]:
    """Folders of this project's packages, which are sent to a cluster so that it runs the driver's own code."""
    root = Path(__file__).resolve().parents[2]
    return [root / name for name in PACKAGES]


def fit_to_cluster(request: TaskResources, resources: Resources) -> TaskResources:
    """Resources that a training may request on the connected cluster, limited to its GPUs and CPUs.

    With ``gpus: always`` (a cluster that starts its GPU nodes on demand) the request stays as it is.
    """
    import ray

    gpus = os.environ.get(GPUS_VARIABLE, resources.gpus)
    if gpus == "always":
        return request
    return fit_to_nodes(request, resources, [node["Resources"] for node in ray.nodes() if node["Alive"]], gpus)


def fit_to_nodes(
    request: TaskResources, resources: Resources, nodes: Sequence[Mapping[str, float]], gpus: str
) -> TaskResources:
    """Resources that a training may request on nodes with such resources.

    No GPU is requested where there is none, nor with ``gpus: never``, and no more CPUs than there are. The rollout
    actors keep their share of every node.
    """
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= request.gpu > 0] if gpus != "never" else []
    gpu = request.gpu if with_gpu else 0.0
    spare = max((node.get("CPU", 0.0) for node in with_gpu or nodes), default=1.0) * (1 - resources.rollout.cpu)
    return request.model_copy(update={"cpu": min(request.cpu, spare), "gpu": gpu})
