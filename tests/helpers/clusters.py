"""Clusters of several nodes on this host, and ports for them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster

from tests.helpers.experiments import ROOT

NODE: dict[str, Any] = {"object_store_memory": 100 * 2**20, "dashboard_agent_listen_port": 0}
"""Of every node: a small object store, and an agent that takes any free port: for one that is taken it waits 3 s."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def connected_to_nodes(prepare: Callable[[], None] | None = None, **head: Any) -> Iterator[Cluster]:
    """A head, to which this process is connected and nodes can be added; ``prepare`` runs in every worker first.

    The environment has to say already that there is no token, and how nice workers are.
    """
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, **head})
    surroundings: dict[str, Any] = {"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}}
    if prepare is not None:
        surroundings["worker_process_setup_hook"] = prepare
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=surroundings)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
