"""Errors that a user can act on: each names what is wrong, where, and the remedy."""

import signal


class UserError(Exception):
    """Something the user gave cannot be used: printed, exit status 2, before anything is written."""


class ConfigError(UserError):
    """An experiment file, or a ``--set``, that does not make sense."""


class Damaged(Exception):
    """A stored artifact is not as it was written. Whoever meets it sets it aside, and a sweep makes it again."""

    def __init__(self, kind: str, key: str, reason: str) -> None:
        super().__init__(kind, key, reason)
        self.kind, self.key, self.reason = kind, key, reason

    def __str__(self) -> str:
        return f"{self.kind} {self.key} is damaged: {self.reason}"


class SweepFailed(Exception):
    """Something that was asked for could not be made. The command prints it and exits with status 1."""


class RayLost(SweepFailed):
    """No node of Ray is left. Where it is a private Ray the command begins again; a cluster has lost its head."""


class Interrupted(BaseException):
    """A signal asked the sweep to end. The command says how to go on and exits with 128 and the signal's number.

    As KeyboardInterrupt it is no Exception: whatever code the signal arrives in must not take it for an error of its.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}: the same command continues from what is done")
        self.status = 128 + number


class BudgetSpent(Interrupted):
    """What ``--budget`` allows is nearly used up. The command exits with status 3."""

    def __init__(self, budget: str) -> None:
        BaseException.__init__(
            self, f"stopped before {budget} are used up: the same command with a larger --budget continues"
        )
        self.status = 3
