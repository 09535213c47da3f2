"""Budget of a sweep: hours on the clock, or dollars for the nodes that are alive meanwhile.

A sweep ends before its budget does, early enough for its trainings to leave checkpoints. Time counts from the start of
the process, dollars from when the command was read. A node says what it costs by a label: ``instance-type``, if that is
one of ``instances.csv``, or ``usd-per-hour``.
"""

from __future__ import annotations

import re
import time

import psutil

from orchestrator.exceptions import UserError
from orchestrator.execution.instances import price_of

GRACE_S = 60.0
"""Time that trainings have to reach their next safe point."""
END_S = 5.0
"""Time to end, once they have."""
SPARED = 0.25
"""Fraction of a budget that is spared for both at most."""
LOOK_S = 1.0
TYPE_LABEL, PRICE_LABEL = "instance-type", "usd-per-hour"
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "usd": 0.0, "$": 0.0}
_BUDGET = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(map(re.escape, _UNITS))})")


class Budget:
    """What a sweep may use.

    Args:
        text: Such as ``2h``, ``90m``, ``20usd``. UserError for anything else.
    """

    def __init__(self, text: str) -> None:
        found = _BUDGET.fullmatch(text.strip().lower())
        if found is None or float(found[1]) <= 0:
            raise UserError(f"--budget {text}: say how many hours, minutes or dollars, such as 2h, 90m or 20usd")
        self._amount, unit = float(found[1]), found[2]
        self._unit_s, self.in_dollars = _UNITS[unit], not _UNITS[unit]
        self.text = f"{found[1]} {'dollars' if self.in_dollars else unit}"
        self._used_s = 0.0 if self.in_dollars else time.time() - psutil.Process().create_time()
        self._usd, self._usd_per_hour = 0.0, 0.0
        self._looked = time.monotonic()
        self._over = False

    @property
    def grace_s(self) -> float:
        """Seconds in which everything must have ended once the budget is used up."""
        return max(self._spared_s - END_S, self._spared_s / 2)

    @property
    def _spared_s(self) -> float:
        if not self.in_dollars:
            return min(GRACE_S + END_S, SPARED * self._amount * self._unit_s)
        return min(GRACE_S + END_S, SPARED * self._amount / max(self._usd_per_hour / 3600, 1e-9))

    def check_prices(self) -> None:
        """UserError where the price of a node of the connected cluster is needed, and unknown."""
        unpriced = [node for node in _nodes() if _price(node) is None] if self.in_dollars else []
        if unpriced:
            addresses = ", ".join(sorted({str(node["NodeManagerAddress"]) for node in unpriced}))
            raise UserError(
                f"--budget in dollars: the price of {addresses} is unknown. Start each node with its own, "
                f"`ray start --labels {TYPE_LABEL}=g5.2xlarge` or `--labels {PRICE_LABEL}=1.5`, or give hours"
            )

    def is_used_up(self) -> bool:
        """Whether it is time to end. Looks at the cluster at most once in ``LOOK_S``."""
        now = time.monotonic()
        if not self._over and now - self._looked >= LOOK_S:
            passed, self._looked = now - self._looked, now
            self._used_s += passed
            if self.in_dollars:
                self._usd_per_hour = price_of_cluster(self._usd_per_hour)
                self._usd += self._usd_per_hour * passed / 3600
                self._over = self._usd + self._usd_per_hour * self._spared_s / 3600 >= self._amount
            else:
                self._over = self._used_s + self._spared_s >= self._amount * self._unit_s
        return self._over


def price_of_cluster(before: float) -> float:
    """Dollars per hour of the nodes that are alive; one without a price costs as much as the dearest of the others."""
    prices = [_price(node) for node in _nodes()]
    dearest = max((price for price in prices if price is not None), default=before)
    return sum(dearest if price is None else price for price in prices)


def _nodes() -> list[dict[str, object]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _price(node: dict[str, object]) -> float | None:
    """Dollars per hour of a node, by its labels."""
    labels = node.get("Labels")
    assert isinstance(labels, dict)
    try:
        return float(labels[PRICE_LABEL]) if PRICE_LABEL in labels else price_of(labels.get(TYPE_LABEL, ""))
    except ValueError:
        return None
