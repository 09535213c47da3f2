"""Tables that can be printed: one .sql file per table under tables/, its first line a comment with the title.

Cheap to import: an experiment's `table` is checked before anything starts.
"""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from results.problems import unknown

_FOLDER = Path(__file__).with_name("tables")


def titles() -> dict[str, str]:
    """Title of each table by name, in the order of their numbers."""
    return {path.stem: title_of(path.read_text()) for path in sorted(_FOLDER.glob("*.sql"), key=_number)}


def check_table(name: str) -> None:
    """Raise ResultsError, with the nearest name and all known ones, unless `name` is a table that can be printed."""
    known = [path.stem for path in sorted(_FOLDER.glob("*.sql"), key=_number)]
    if name not in known:
        raise unknown("table", name, known)


def statement(name: str) -> str:
    """SQL of the table `name`, the comments at its top included. Raises ResultsError for an unknown name."""
    check_table(name)
    return (_FOLDER / f"{name}.sql").read_text()


def title_of(sql: str) -> str:
    """The first line, a comment."""
    return sql.partition("\n")[0].removeprefix("--").strip()


def scope_of(sql: str) -> list[str]:
    """The rest of the opening comment, line by line: which runs the table takes."""
    comments = takewhile(lambda line: line.startswith("--"), sql.splitlines()[1:])
    return [line.removeprefix("--").strip() for line in comments]


def _number(path: Path) -> tuple[int, str]:
    digits = "".join(filter(str.isdigit, path.stem))
    return int(digits or 0), path.stem
