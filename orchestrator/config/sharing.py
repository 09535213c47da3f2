"""Sharing: cells of a grid have whatever they do not vary in common, so a plan works it out once for all of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from orchestrator.config.experiment import Experiment

P = ParamSpec("P")
T = TypeVar("T")
KEPT = 4096
"""Results that are kept per function; a grid that varies more than that works some out again."""

Shared = Callable[Concatenate["Experiment", P], T]
_known: list[dict[Any, Any]] = []


def shared(*sections: str) -> Callable[[Shared[P, T]], Shared[P, T]]:
    """Decorator of a function of an experiment that looks at ``sections`` of it alone; without any, at all of it.

    Its result is kept for the same sections and further arguments. Same means identical, not equal (``config.loading``
    lets cells share sections): 1 and 1.0 are equal, but are written differently and so have different keys.
    """

    def decorate(function: Shared[P, T]) -> Shared[P, T]:
        known: dict[tuple[object, ...], tuple[object, T]] = {}
        _known.append(known)

        @functools.wraps(function)
        def call(experiment: Experiment, /, *args: P.args, **kwargs: P.kwargs) -> T:
            parts = [getattr(experiment, name) for name in sections] if sections else [experiment]
            looked_at = (*parts, *args, *kwargs, *kwargs.values())
            key = tuple(part if type(part) in (int, str) else (id(part),) for part in looked_at)
            found = known.get(key)
            if found is None:
                found = looked_at, function(experiment, *args, **kwargs)  # what is referred to keeps its id
                if len(known) == KEPT:
                    del known[next(iter(known))]
                known[key] = found
            return found[1]

        return call

    return decorate


def forget() -> None:
    """Drop everything that is kept: another file may find another zoo."""
    for known in _known:
        known.clear()
