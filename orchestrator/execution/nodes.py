"""Nodes of the connected cluster: which can take what is asked for, and which to keep it away from."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import ray

if TYPE_CHECKING:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Bundle = Mapping[str, float]
"""Resources that are taken on one node."""
NODE_LABEL = "ray.io/node-id"
"""Label that Ray gives to every node."""


class Node(NamedTuple):
    """A node that is alive, with all of its resources, taken or not."""

    id: str
    address: str
    resources: Bundle

    def fits(self, bundle: Bundle) -> bool:
        """Whether it has, when nothing else runs on it, what a bundle asks for."""
        return all(self.resources.get(name, 0.0) >= amount for name, amount in bundle.items())


class Process(NamedTuple):
    """A process that makes artifacts."""

    node: str
    host: str
    pid: int


def alive() -> list[Node]:
    """All nodes that are alive."""
    return [
        Node(node["NodeID"], node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]
    ]


def this_process() -> Process:
    """This process, which runs a task of Ray."""
    return Process(ray.get_runtime_context().get_node_id(), platform.node(), os.getpid())


def home() -> str:
    """Id of the driver's own node, which stays as long as the driver does."""
    return ray.get_runtime_context().get_node_id()


def staying_on(node: str, soft: bool = True) -> NodeAffinitySchedulingStrategy:
    """Scheduling strategy of an actor that is to run on a node; ``soft``: elsewhere if that suits Ray better."""
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=soft)


def avoiding(avoid: Collection[str], bundle: Bundle) -> dict[str, str]:
    """Label selector that keeps a bundle away from nodes; empty where no other node could ever take it."""
    if not avoid:
        return {}
    nodes = alive()
    bad = sorted(node.id for node in nodes if node.id in avoid)
    good = any(node.fits(bundle) for node in nodes if node.id not in avoid)
    return {NODE_LABEL: f"!in({','.join(bad)})"} if bad and good else {}


def share_of_a_node(share: float) -> dict[str, float]:
    """CPUs and bytes of memory that are a share of the node with most memory."""
    largest = max((node.resources for node in alive()), key=lambda resources: resources.get("memory", 0.0))
    return {name: float(int(share * largest.get(name, 0.0))) for name in ("CPU", "memory")}


def room_for(bundles: Sequence[Bundle]) -> int:
    """How many times bundles find room beside what runs: on the nodes there are, and those that may be started."""
    there, free, most = ray.cluster_resources(), ray.available_resources(), _most()
    asked: Counter[str] = Counter()
    for bundle in bundles:
        asked.update({name: amount for name, amount in bundle.items() if amount})
    rooms = [
        (free.get(name, 0.0) + max(most.get(name, 0.0) - there.get(name, 0.0), 0.0)) / amount
        for name, amount in asked.items()
    ]
    return int(min(rooms, default=0.0))


def _most() -> Bundle:
    """Resources of the cluster once an autoscaler has started all that it may; empty where there is none."""
    from ray._private.state import state

    return state.get_max_resources_from_cluster_config() or {}


def out_of_reach(bundles: Sequence[Bundle]) -> str:
    """What bundles ask for that the cluster will never have as it is, such as ``1 GPU (none here)``; else empty."""
    nodes = [node.resources for node in alive()]
    for name in ("GPU", "CPU", "memory"):
        here = [node.get(name, 0.0) for node in nodes]
        asked = [bundle.get(name, 0.0) for bundle in bundles]
        if max(asked) > max(here, default=0.0):
            where = " on one node" if any(here) else ""
            return f"{_amount(name, max(asked))}{where} ({_amount(name, max(here, default=0.0))} here)"
        if sum(asked) > sum(here):
            return f"{_amount(name, sum(asked))} ({_amount(name, sum(here))} here)"
    return ""


def _amount(name: str, amount: float) -> str:
    if not amount:
        return "none"
    if name == "memory":
        return f"{amount / 1e9:.3g} GB of memory"
    return f"{amount:g} {name}{'s' if amount > 1 else ''}"
