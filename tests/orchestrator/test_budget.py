"""A budget ends a sweep in time, with a status of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.exceptions import BudgetSpent, UserError
from orchestrator.execution import budget
from orchestrator.execution.budget import END_S, GRACE_S, Budget
from orchestrator.execution.stopping import StopRequest
from tests.helpers.experiments import sweep
from tests.orchestrator.test_stopping import LONG

BUSY_S = 60.0
"""What a busy machine may need beyond, to end so many processes; the training would take an hour."""


@pytest.mark.parametrize("text", ["20", "2 days", "usd20", "0h", "-1h", "20core-hours", ""])
def test_what_is_no_budget_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="such as 2h, 90m or 20usd") as caught:
        Budget(text)
    assert len(str(caught.value).splitlines()) == 1


class Clock:
    """A clock that tests move."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(budget.time, "monotonic", lambda: self.now)

    def used_up_after(self, watched: Budget, step_s: float) -> float:
        """Seconds until it is, looked at every ``step_s``."""
        begun = self.now
        while not watched.is_used_up():
            self.now += step_s
        return self.now - begun


def test_hours_end_early_enough_for_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, before = Clock(monkeypatch), Budget("2h")
    used_s = before._used_s
    assert clock.used_up_after(before, 1.0) == pytest.approx(7200 - used_s - GRACE_S - END_S, abs=2)
    assert before.grace_s == GRACE_S
    short = Budget(f"{int(used_s) + 40}s")
    assert clock.used_up_after(short, 1.0) <= 40 and short.grace_s < 0.25 * (used_s + 40)


def test_dollars_are_those_of_the_nodes_that_are_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    labels = [{"instance-type": "g5.2xlarge"}, {"usd-per-hour": "1.788"}]
    monkeypatch.setattr(budget, "_nodes", lambda: [{"Labels": one} for one in labels])
    assert clock.used_up_after(Budget("3usd"), 5.0) == pytest.approx(3600 - GRACE_S - END_S, abs=6)
    labels.append({"usd-per-hour": "3.0"})
    assert clock.used_up_after(Budget("6$"), 5.0) == pytest.approx(3600 - GRACE_S - END_S, abs=6)
    labels.append({})
    assert clock.used_up_after(Budget("9 usd"), 5.0) == pytest.approx(3600 - GRACE_S - END_S, abs=6), "the dearest"


def test_a_request_to_stop_comes_with_the_end_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    stop = StopRequest(Budget("10h"))
    assert not stop.requested
    clock.now += 36_000
    assert stop.requested and not stop.overdue
    with pytest.raises(BudgetSpent, match="before 10 h are used up: the same command with a larger --budget") as caught:
        stop.check()
    assert caught.value.status == 3
    clock.now += GRACE_S + 1
    assert stop.overdue


def test_a_sweep_ends_with_its_budget_and_a_status_of_its_own(tiny: Callable[..., Path], tmp_path: Path) -> None:
    path, storage = tiny(**LONG), tmp_path / "runs"
    begun = time.monotonic()
    done = sweep(path, "--storage", storage, "--address", "local", "--budget", "30s")
    assert done.returncode == 3, done.stdout + done.stderr
    assert time.monotonic() - begun < 30 + BUSY_S, done.stdout
    assert "stopped before 30 s are used up: the same command with a larger --budget continues" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    dollars = sweep(path, "--storage", storage, "--address", "local", "--budget", "20usd")
    assert dollars.returncode == 2 and "the price of" in dollars.stderr
