"""A sweep follows a real cluster: its pool grows with a node that joins, and lets an idle one go."""

from __future__ import annotations

import io
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from rich.console import Console

from orchestrator.artifacts.artifact_store import Store
from orchestrator.console.progress import Progress
from orchestrator.exceptions import Interrupted, UserError
from orchestrator.execution import rollout_pool
from orchestrator.execution.budget import Budget, price_of_cluster
from orchestrator.execution.estimate import Estimate
from orchestrator.execution.execution import Session
from orchestrator.execution.state import ExecutionState
from orchestrator.execution.stopping import StopRequest
from tests.helpers.clusters import NODE, connected_to_nodes
from tests.helpers.toys import ToyRollout, ToyTraining, plan_of, toy


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head with two CPUs, to which this process is connected."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # a busy machine would keep the actors waiting
    with connected_to_nodes(num_cpus=2, labels={"instance-type": "c7i.large"}) as found:
        yield found


def until(condition: Callable[[], Any], timeout_s: float) -> float:
    """Wait until something is so; the seconds that it took."""
    begun = time.monotonic()
    while not condition():
        time.sleep(0.1)
        assert time.monotonic() - begun < timeout_s, "in vain"
    return time.monotonic() - begun


def actors() -> Counter[str]:
    """Number of rollout actors that run, by node."""
    rows = ray._private.state.actors().values()
    alive = [row for row in rows if row["ActorClassName"] == "RolloutWorker" and row["State"] == "ALIVE"]
    return Counter(row["Address"]["NodeID"] for row in alive)


def idle_s(node: str) -> float:
    """Seconds for which Ray takes a node to be idle, as an autoscaler asks; 0 while anything keeps it busy."""
    from ray._private.worker import global_worker
    from ray.core.generated import autoscaler_pb2

    reply = autoscaler_pb2.GetClusterResourceStateReply()
    reply.ParseFromString(global_worker.gcs_client.get_cluster_resource_state())
    states = reply.cluster_resource_state.node_states
    return next(one.idle_duration_ms for one in states if one.node_id.hex() == node) / 1000


class Sweep:
    """A real execution in a thread, of a training that lasts as long as it may and of rollouts for six actors."""

    def __init__(self, storage: Path) -> None:
        toys = [toy(ToyTraining, "training", 600.0), *(toy(ToyRollout, f"{number}", 30.0) for number in range(6))]
        self.plan, self.stop = plan_of(toys), StopRequest()
        self.ended: list[BaseException] = []
        self._session = Session(Store(str(storage)), Console(file=io.StringIO()), self.stop, self._watch)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        until(lambda: self.ended or hasattr(self, "state"), 60)

    def _watch(self, console: Console, state: ExecutionState, estimate: Estimate) -> Progress:
        self.state = state
        return Progress(console, state, estimate)

    def _run(self) -> None:
        try:
            self._session.execute(self.plan, wanted=self.plan.artifacts.values())
        except BaseException as error:
            self.ended.append(error)

    def left(self) -> int:
        """Rollouts that are not made yet."""
        return len(self.plan.artifacts) - 1 - len(self.state.made)

    def end(self) -> None:
        """As a signal does."""
        self.stop.ended = Interrupted(signal.SIGTERM)
        self._thread.join(60)
        assert isinstance(self.ended[0], Interrupted)


def test_the_pool_grows_with_a_node_that_joins_and_an_idle_one_may_leave_while_a_training_runs(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_pool, "IDLE_S", 2.0)
    (head,) = (node["NodeID"] for node in ray.nodes())
    sweep = Sweep(tmp_path / "runs")
    try:
        until(lambda: actors() == {head: 2} and len(sweep.state.running) == 3, 120)
        node = cluster.add_node(num_cpus=4, **NODE, labels={"usd-per-hour": "0.5"})
        until(lambda: len(sweep.state.running) == 7, 20)
        (new,) = (one["NodeID"] for one in ray.nodes() if one["NodeID"] != head)
        until(lambda: actors() == {head: 2, new: 4}, 60)
        assert price_of_cluster(0.0) == pytest.approx(0.08925 + 0.5)
        until(lambda: not sweep.left(), 180)
        until(lambda: actors() == {head: 2}, 30)
        until(lambda: idle_s(new) > 1.0, 30)
        assert len(sweep.state.running) == 1 and idle_s(head) == 0.0, "the training runs on"
        cluster.remove_node(node)
        time.sleep(2)
        assert not sweep.ended and len(sweep.state.running) == 1
    finally:
        sweep.end()


def test_dollars_need_nodes_that_say_what_they_cost(cluster: Cluster) -> None:
    Budget("20usd").check_prices()
    cluster.add_node(num_cpus=1, **NODE)
    cluster.wait_for_nodes()
    with pytest.raises(UserError, match="ray start --labels instance-type="):
        Budget("20usd").check_prices()
    Budget("2h").check_prices()
    assert price_of_cluster(0.0) == pytest.approx(2 * 0.08925), "as much as the dearest that is known"
