"""Nodes that a cluster could have, by name: ``32xg5.2xlarge``, ``2xcpu:8,gpu:1``; what each has, and what it costs."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hypogen.errors import did_you_mean
from orchestrator.exceptions import UserError

CATALOGUE = Path(__file__).with_name("instances.csv")
_PART = re.compile(r"(?:(\d+)x)?(.+)")
_RESOURCE = re.compile(r"(cpu|gpu|memory|usd):(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Instance:
    """A node of a cluster.

    Attributes:
        memory_gb: Memory in GiB; infinite where nobody says.
        usd_per_hour: Price; None where nobody says.
    """

    name: str
    cpus: float
    gpus: float = 0.0
    memory_gb: float = float("inf")
    usd_per_hour: float | None = None

    @property
    def resources(self) -> dict[str, float]:
        """What Ray would say it has."""
        return {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_gb * 2**30}


@cache
def catalogue() -> dict[str, Instance]:
    """Every instance type whose price is known (``instances.csv``), by name."""
    lines = (line for line in CATALOGUE.read_text().splitlines() if not line.startswith("#"))
    return {
        row["name"]: Instance(
            row["name"], float(row["cpus"]), float(row["gpus"]), float(row["memory_gb"]), float(row["usd_per_hour"])
        )
        for row in csv.DictReader(lines)
    }


def price_of(name: str) -> float | None:
    """Dollars per hour of an instance type; None where it is unknown."""
    known = catalogue().get(name)
    return None if known is None else known.usd_per_hour


def parse_nodes(spec: str) -> list[Instance]:
    """The nodes that a text such as ``4xg5.2xlarge,2xcpu:16,usd:0.5`` names. UserError where it makes no sense."""
    nodes: list[Instance] = []
    for part in _parts(spec):
        found = _PART.fullmatch(part)
        count, name = (int(found[1] or 1), found[2]) if found else (0, "")
        if not count:
            raise UserError(f"--nodes {spec}: {part or 'an empty part'} is no number of nodes, such as 4xg5.2xlarge")
        nodes += [_described(spec, name) if ":" in name else _known(spec, name)] * count
    return nodes


def _parts(spec: str) -> list[str]:
    """Descriptions of nodes; a resource without a number of nodes before it belongs to the part before."""
    parts: list[str] = []
    for piece in (piece.strip() for piece in spec.split(",")):
        if parts and _RESOURCE.fullmatch(piece) and ":" in parts[-1]:
            parts[-1] += f",{piece}"
        else:
            parts.append(piece)
    return parts


def _described(spec: str, text: str) -> Instance:
    """A node by its resources: ``cpu:8,gpu:1``."""
    amounts: dict[str, float] = {}
    for piece in text.split(","):
        found = _RESOURCE.fullmatch(piece)
        if found is None or found[1] in amounts:
            raise UserError(f"--nodes {spec}: {piece} is none of cpu:N, gpu:N, memory:GB, usd:PRICE, each once")
        amounts[found[1]] = float(found[2])
    if not amounts.get("cpu"):
        raise UserError(f"--nodes {spec}: a node needs CPUs, such as cpu:8")
    return Instance(
        text, amounts["cpu"], amounts.get("gpu", 0.0), amounts.get("memory", float("inf")), amounts.get("usd")
    )


def _known(spec: str, name: str) -> Instance:
    known = catalogue()
    if name not in known:
        raise UserError(
            f"--nodes {spec}: unknown instance type {name}: {did_you_mean(name, known)} "
            "Or say what a node has: cpu:8,gpu:1,usd:1.2"
        )
    return known[name]
