"""Failures told apart: the kind of ending that an exception stands for."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

import torch
from ray import exceptions

from hypogen.errors import Diverged, Stopped
from orchestrator.exceptions import UserError
from orchestrator.execution.nodes import Process, alive
from orchestrator.execution.retry_policy import Attempt, Ending, RetryPolicy

ENDINGS: tuple[tuple[tuple[type[BaseException], ...], Ending], ...] = (
    ((MemoryError, torch.OutOfMemoryError, exceptions.OutOfMemoryError), Ending.MEMORY),
    ((exceptions.NodeDiedError,), Ending.PREEMPTED),
    ((Diverged, UserError), Ending.FINAL),
    ((OSError, EOFError, exceptions.RayError, torch.AcceleratorError), Ending.TRANSIENT),
    ((ValueError,), Ending.FINAL),
)
"""The first row that holds an exception's class decides; no row: unknown."""
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""Words of libraries that raise a plain RuntimeError where memory is short."""


def ending_of(error: BaseException) -> Ending:
    """Kind of ending; for an exception that Ray carried from another process, that of the exception there."""
    if isinstance(error, exceptions.RayTaskError) and isinstance(error.cause, BaseException):
        return ending_of(error.cause)
    if isinstance(error, exceptions.RayActorError) and error.preempted:
        return Ending.PREEMPTED
    short = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if short or (type(error) is RuntimeError and any(words in str(error) for words in OUT_OF_MEMORY)):
        return Ending.MEMORY
    return next((ending for kinds, ending in ENDINGS if isinstance(error, kinds)), Ending.UNKNOWN)


def death(error: BaseException | None, process: Process | None) -> tuple[Ending, str]:
    """Kind and description of the end of a process that raised nothing; with its node it was not to blame."""
    where = f" {process.pid} on {process.host}" if process else ""
    if process is not None and process.node not in {node.id for node in alive()}:
        return Ending.PREEMPTED, f"{error}\nits process{where} is gone with its node"
    ending = Ending.TRANSIENT if error is None else ending_of(error)
    return ending, f"{error}\nits process{where} died ({type(error).__name__})"


def persistently(action: Callable[[], None], key: str, seed: int) -> None:
    """Run an action that continues from what it has done, again in this process as the policy of retries says.

    Raises what it raised last; Stopped at once.
    """
    policy = RetryPolicy(seed, time.monotonic, lambda node, seconds: None)
    while True:
        try:
            return action()
        except Stopped:
            raise
        except Exception as error:
            terms = policy.failed(Attempt(key, ending_of(error)))
            if not terms.again:
                raise
        time.sleep(max(terms.not_before - time.monotonic(), 0.0))
