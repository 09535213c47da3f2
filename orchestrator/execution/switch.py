"""Switch: the actor through which a sweep that is asked to end tells its trials."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import ray
from ray.actor import ActorHandle

from orchestrator.execution.nodes import home, staying_on

ASK_EVERY_S = 1.0


class Switch:
    """A Ray actor that says whether trainings should stop."""

    def __init__(self) -> None:
        self._on = False

    def turn_on(self) -> None:
        """From now on they should."""
        self._on = True

    def is_on(self) -> bool:
        """Whether they should."""
        return self._on


def start_switch() -> ActorHandle[Switch]:
    """A switch that is off."""
    options = ray.remote(Switch).options(num_cpus=0, max_restarts=-1, scheduling_strategy=staying_on(home()))
    switch: ActorHandle[Switch] = options.remote()  # type: ignore[assignment]
    return switch


def asking(switch: ActorHandle[Switch]) -> Callable[[], bool]:
    """A function that asks a switch at most once in ``ASK_EVERY_S``, as cheap as trainings need it."""
    asked, answer = time.monotonic(), False

    def ask() -> bool:
        nonlocal asked, answer
        now = time.monotonic()
        if not answer and now - asked >= ASK_EVERY_S:
            asked = now
            with contextlib.suppress(ray.exceptions.RayError):  # it is being restarted
                answer = bool(ray.get(switch.is_on.remote(), timeout=10))
        return answer

    return ask
