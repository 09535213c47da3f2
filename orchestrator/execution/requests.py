"""Requests: what trainings ask Ray for, and how many of each kind may wait for room."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Hashable, Iterable

from orchestrator.artifacts import Artifact
from orchestrator.config.sections import Resources, TaskResources
from orchestrator.execution.attempts import LOOK_S
from orchestrator.execution.cluster import GPUS_VARIABLE, fit_to_cluster
from orchestrator.execution.nodes import room_for, share_of_a_node

AHEAD = 1
"""Trainings of each kind of request that wait for room, so that what gets free is taken at once. Tune picks among them
in any order, so that more of them would spoil ours."""
AHEAD_ON_DEMAND = 8
"""The same with ``gpus: always``, where an autoscaler may not say how many nodes it could start."""


class Requests:
    """What trainings ask the connected cluster for. Those of one kind ask for the same."""

    def __init__(self, resources: Resources, artifacts: Iterable[Artifact]) -> None:
        """``artifacts``: those that are to be trained; others may follow."""
        self._resources = resources
        self._fitted: dict[tuple[str, bool], TaskResources] = {}
        self._rooms: dict[Hashable, tuple[float, int]] = {}
        self.kinds = set(map(self.kind, artifacts))

    def of(self, artifact: Artifact) -> TaskResources:
        """What an artifact asks for; no GPU where that would be no use."""
        kind = artifact.resources, artifact.gpu_seconds is not None
        if kind not in self._fitted:
            self._fitted[kind] = fit_to_cluster(asked(artifact, self._resources), self._resources)
        return self._fitted[kind]

    def kind(self, artifact: Artifact) -> Hashable:
        """Name of its kind of request."""
        return artifact.resources, artifact.gpu_seconds is not None, artifact.runners

    def waiting_room(self, artifact: Artifact) -> int:
        """How many trainings of its kind may wait to be started: as many as there is room for now, and few more."""
        kind, now = self.kind(artifact), time.monotonic()
        looked, room = self._rooms.get(kind, (-math.inf, 0))
        if now - looked > LOOK_S:
            room = room_for(bundles(self.of(artifact), artifact.runners))
            self._rooms[kind] = now, room
        always = os.environ.get(GPUS_VARIABLE, self._resources.gpus) == "always"
        return max(room, AHEAD_ON_DEMAND if always else AHEAD)


def asked(artifact: Artifact, resources: Resources) -> TaskResources:
    """What an experiment file asks for; no GPU where that would be no use."""
    section: TaskResources = getattr(resources, artifact.resources)
    return section if artifact.gpu_seconds is not None else section.model_copy(update={"gpu": 0.0})


def bundles(request: TaskResources, runners: int = 0, share: float = 0.0) -> list[dict[str, float]]:
    """One bundle on one node, with a share of the node at least, and a CPU for each actor that a trial starts."""
    first = {"CPU": request.cpu, "GPU": request.gpu}
    if share:
        node = share_of_a_node(share)
        first = {"CPU": max(request.cpu, node["CPU"]), "GPU": float(math.ceil(request.gpu)), "memory": node["memory"]}
    return [{name: amount for name, amount in first.items() if amount}] + [{"CPU": 1.0}] * runners
