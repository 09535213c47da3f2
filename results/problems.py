"""The one error that everything here raises for a mistake of the caller."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ResultsError(Exception):
    """A plain message for a person: what is wrong, and what to do about it."""


def unknown(what: str, name: str, known: Iterable[str]) -> ResultsError:
    """The error for a `name` that is none of `known`, with the nearest of them."""
    names = list(known)
    close = get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ResultsError(f"unknown {what} {name!r}.{hint} Known: {', '.join(names) or 'none'}")
