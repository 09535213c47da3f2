"""Errors that callers are expected to tell apart from bugs."""


class Diverged(RuntimeError):
    """Training met a loss or a weight that is NaN or infinite.

    The message says what diverged and after how many updates or epochs. A checkpoint is never written from such a
    state, so the last checkpoint on disk is still finite.
    """
