"""Policy of retries: a clock that the test moves, no Ray."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ray import exceptions
from ray.exceptions import RayTaskError

from hypogen.errors import Diverged
from orchestrator.exceptions import UserError
from orchestrator.execution.failures import ending_of, persistently
from orchestrator.execution.retry_policy import (
    LEFT_OUT_S,
    LONGEST_WAIT_S,
    TRIES,
    Attempt,
    Ending,
    NextAttempt,
    RetryPolicy,
)


class Bench:
    """A policy, its clock, and the nodes that it left out."""

    def __init__(self, seed: int = 0) -> None:
        self.now, self.left_out = 1000.0, list[tuple[str, float]]()
        self.policy = RetryPolicy(seed, lambda: self.now, lambda node, seconds: self.left_out.append((node, seconds)))

    def fail(self, key: str, ending: Ending, node: str = "", progress: float = 0.0) -> NextAttempt:
        return self.policy.failed(Attempt(key, ending, node, progress))


def raised(action: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        action()
    return caught.value


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (Diverged("NaN"), Ending.FINAL),
        (ValueError("learning_rate"), Ending.FINAL),
        (UserError("--storage"), Ending.FINAL),
        (KeyError("speed"), Ending.UNKNOWN),
        (RuntimeError("shapes"), Ending.UNKNOWN),
        (raised(Path("/nowhere").read_text), Ending.TRANSIENT),
        (OSError("When reading information for key …: AWS Error NETWORK_CONNECTION"), Ending.TRANSIENT),
        (TimeoutError(), Ending.TRANSIENT),
        (exceptions.GetTimeoutError(), Ending.TRANSIENT),
        (exceptions.ObjectLostError("", "", ""), Ending.TRANSIENT),
        (exceptions.ActorDiedError(), Ending.TRANSIENT),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error"), Ending.TRANSIENT),
        (exceptions.RayActorError(preempted=True), Ending.PREEMPTED),
        (exceptions.NodeDiedError("gone"), Ending.PREEMPTED),
        (MemoryError(), Ending.MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Ending.MEMORY),
        (exceptions.OutOfMemoryError("killed"), Ending.MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory"), Ending.MEMORY),
        (raised(lambda: torch.empty(2**50)), Ending.MEMORY),
        (raised(lambda: np.empty(2**50)), Ending.MEMORY),
        (RayTaskError("make", "traceback", OSError("disk")), Ending.TRANSIENT),
        (RayTaskError("make", "traceback", Diverged("NaN")), Ending.FINAL),
    ],
)
def test_exceptions_are_told_apart(error: BaseException, ending: Ending) -> None:
    assert ending_of(error) is ending


@pytest.mark.parametrize(("error", "tries"), [(OSError("away"), 3), (Diverged("NaN"), 1), (KeyError("bug"), 2)])
def test_in_one_process_too_what_passes_is_tried_again(error: Exception, tries: int) -> None:
    met = []

    def action() -> None:
        met.append(error)
        if len(met) < 3:
            raise error

    if tries < 3:
        with pytest.raises(type(error)):
            persistently(action, "a", seed=0)
    else:
        persistently(action, "a", seed=0)
    assert len(met) == tries


@pytest.mark.parametrize("ending", TRIES)
def test_each_kind_of_failure_has_its_number_of_tries(ending: Ending) -> None:
    bench = Bench()
    answers = [bench.fail("a", ending) for _ in range(TRIES[ending])]
    assert [terms.again for terms in answers] == [True] * (TRIES[ending] - 1) + [False]
    assert answers[-1].tries == TRIES[ending]


def test_preemptions_never_count() -> None:
    bench = Bench()
    assert all(bench.fail("a", Ending.PREEMPTED, "spot").again for _ in range(1000))
    assert bench.fail("a", Ending.UNKNOWN).again and not bench.left_out


def test_progress_resets_the_count_and_a_standstill_does_not() -> None:
    bench = Bench()
    for percent in range(0, 100, 2):
        assert bench.fail("a", Ending.TRANSIENT, progress=percent / 100).tries == 1
    for tries in range(2, 1 + TRIES[Ending.TRANSIENT]):
        last = bench.fail("a", Ending.TRANSIENT, progress=0.98)
        assert last.tries == tries
    assert not last.again


def test_waits_grow_to_a_limit_and_their_jitter_comes_from_the_seed() -> None:
    def waits(seed: int, key: str) -> list[float]:
        bench = Bench(seed)
        return [bench.fail(key, Ending.TRANSIENT).not_before - bench.now for _ in range(TRIES[Ending.TRANSIENT])]

    assert waits(0, "a") == waits(0, "a")
    assert len({tuple(waits(seed, key)) for seed in (0, 1) for key in "ab"}) == 4, "what failed together parts"
    longest = [min(2.0**n, LONGEST_WAIT_S) for n in range(TRIES[Ending.TRANSIENT])]
    assert all(most / 2 <= wait <= most for most, wait in zip(longest, waits(0, "a"), strict=True))
    assert sum(waits(0, "a")[:-1]) > 200, "a storage that refuses for minutes costs nothing but time"


def test_after_running_out_of_memory_more_of_a_node_is_asked_for_until_there_is_no_more() -> None:
    bench = Bench()
    assert bench.policy.terms("a").share == 0
    assert [bench.fail("a", Ending.MEMORY, "n").share for _ in range(3)] == [0.5, 1.0, 1.0]
    assert not bench.policy.terms("a").again and bench.policy.terms("b") == NextAttempt()
    bench.fail("c", Ending.MEMORY, progress=0.1)
    assert bench.fail("c", Ending.TRANSIENT, progress=0.9).share == 0.5, "progress doesn't make it smaller"


def test_the_next_attempt_avoids_the_node_of_the_last_until_it_succeeds() -> None:
    bench = Bench()
    assert bench.fail("a", Ending.UNKNOWN, "bad").avoid == {"bad"}
    assert bench.policy.terms("b").avoid == frozenset()
    assert bench.fail("m", Ending.MEMORY, "bad").avoid == frozenset(), "the node isn't to blame"
    bench.policy.succeeded("a", "good")
    assert bench.policy.terms("a") == NextAttempt()


def test_a_node_that_fails_what_succeeds_elsewhere_is_left_out_for_all_and_comes_back() -> None:
    bench = Bench()
    bench.policy.succeeded("before", "good")
    bench.now += 1
    for key in "abc":
        bench.fail(key, Ending.TRANSIENT, "bad")
    assert not bench.left_out, "nothing has succeeded elsewhere since: perhaps the storage is to blame"
    bench.policy.succeeded("d", "good")
    assert bench.left_out == [("bad", LEFT_OUT_S)]
    assert bench.policy.terms("never seen").avoid == {"bad"}
    bench.fail("started there before", Ending.TRANSIENT, "bad")
    bench.now += LEFT_OUT_S
    assert bench.policy.terms("never seen").avoid == frozenset()
    bench.policy.succeeded("e", "good")
    assert len(bench.left_out) == 1, "it has its chance"
    bench.fail("f", Ending.TRANSIENT, "bad")
    bench.policy.succeeded("g", "good")
    assert bench.left_out[1:] == [("bad", 2 * LEFT_OUT_S)]


@pytest.mark.parametrize(
    "events",
    [
        [("a", "bad"), ("a", "bad"), ("a", "bad"), ("good", "")],  # always the same artifact
        [("a", "bad"), ("b", "bad"), ("bad", ""), ("c", "bad"), ("good", "")],  # it made something in between
        [("a", "bad"), ("b", "bad"), ("c", "bad"), ("bad", "")],  # nothing succeeded elsewhere
    ],
)
def test_a_node_is_not_left_out_without_a_reason(events: list[tuple[str, str]]) -> None:
    bench = Bench()
    for what, node in events:
        bench.now += 1
        if node:
            bench.fail(what, Ending.TRANSIENT, node)
        else:
            bench.policy.succeeded("other", what)
    assert not bench.left_out


@pytest.mark.parametrize("ending", [Ending.FINAL, Ending.MEMORY, Ending.PREEMPTED])
def test_what_no_node_can_help_leaves_none_out(ending: Ending) -> None:
    """Divergence would come anywhere, a larger share of the node may help, and a preempted node is gone anyway."""
    bench = Bench()
    bench.policy.succeeded("other", "good")
    for key in "abcdef":
        assert bench.fail(key, ending, "bad").avoid == frozenset()
    bench.policy.succeeded("another", "good")
    assert not bench.left_out
