"""Errors that callers are expected to tell apart from bugs, and the remedy for a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Diverged(RuntimeError):
    """Training met a loss or a weight that is NaN or infinite.

    The message says what diverged and after how many updates or epochs. A checkpoint is never written from such a
    state, so the last checkpoint on disk is still finite.
    """


class Stopped(Exception):
    """A training was asked to stop; the same call continues from its checkpoint, where it was given a place for one."""


class MissingPackage(ImportError):
    """Something was asked for that takes a package of an extra which is not installed; the message is the remedy."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy for a misspelt ``word``: the nearest known one, and all of them."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}Known: {', '.join(names) or 'none'}."
