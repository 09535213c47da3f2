"""Commands that watch the sweeps of a storage: ``hypogen status``, ``failed``, ``cost`` and ``cancel``.

They read the storage's tables and locks, so they need no Ray, and work while sweeps run, here or on a cluster.
Exit status: 0, or 2 when what was given makes no sense.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.sweep import STORAGE_DEFAULT, place_of

if TYPE_CHECKING:
    from orchestrator.artifacts.lock import Owner

Storage = Annotated[
    str | None,
    typer.Option(help=f"Folder or s3://… to look at. {STORAGE_DEFAULT}"),
]
STATUS = """
    WITH failures AS (
        SELECT DISTINCT unnest(runs) AS run FROM provenance WHERE status = 'failed'
    ),
    spent AS (SELECT artifact, sum(seconds) AS seconds FROM provenance GROUP BY ALL)
    SELECT experiment, count(*) AS runs, count(runs.run) AS stored,
        count(*) FILTER (runs.run IS NULL AND experiments.run IN (SELECT run FROM failures)) AS failed,
        count(*) FILTER (runs.run IS NULL AND experiments.run NOT IN (SELECT run FROM failures)) AS waiting,
        round(sum(seconds) / 3600, 2) AS training_hours
    FROM experiments LEFT JOIN runs USING (run) LEFT JOIN spent USING (artifact)
    GROUP BY experiment ORDER BY experiment
"""
FAILED = """
    SELECT label, kind, artifact, started, host, len(runs) AS runs, error
    FROM provenance WHERE status = 'failed' ORDER BY started, artifact
"""
COST = """
    SELECT kind, CASE WHEN device LIKE 'cpu%' THEN 'cpu' ELSE device END AS device, count(*) AS artifacts,
        round(sum(seconds) / 3600, 2) AS hours
    FROM provenance GROUP BY ALL ORDER BY ALL
"""
AGAIN_S = 1.0
"""Time between the two signals that end a sweep at once."""
_FORM: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}
status, failed, cost, cancel = (typer.Typer(**_FORM) for _ in range(4))


@dataclass(frozen=True)
class Driver:
    """A process of this host that runs a sweep.

    Attributes:
        storage: Its storage: an absolute path, or a URL.
    """

    pid: int
    command: str
    storage: str


@status.command()
def show_status(storage: Storage = None) -> None:
    """Runs of each experiment that are stored, have failed or wait; what is being made now, and by which sweeps."""
    with _plain_errors():
        place = _place(storage)
        _print_rows(_rows(place, STATUS), "no sweep has begun here")
        for kind, key, owner in owners(place):
            age = (time.time() - owner.since) / 60
            still = ", but has shown no life for a minute" if owner.stands_still else ""
            print(f"in the making: {kind} {key}, for {age:.0f} min by pid {owner.pid} on {owner.host}{still}")
        for driver in drivers(place):
            print(f"sweep: pid {driver.pid} on this host: {driver.command}")


@failed.command()
def show_failed(
    storage: Storage = None, full: Annotated[bool, typer.Option("--full", help="Whole tracebacks.")] = False
) -> None:
    """What failed, which runs wait for it, and why. A failure is forgotten when a sweep makes the artifact."""
    with _plain_errors():
        rows = _rows(_place(storage), FAILED)
        for row in rows:
            lines = str(row["error"] or "?").strip().splitlines()
            print(f"{row['label'] or row['kind']} ({row['artifact']}): {row['runs'] or 0} runs wait for it")
            print(f"  on {row['host']}, begun {row['started']:%Y-%m-%d %H:%M}")
            print("".join(f"  {line}\n" for line in (lines if full else lines[-1:])), end="")
        if not rows:
            print("nothing has failed")


@cost.command()
def show_cost(
    storage: Storage = None,
    prices: Annotated[
        Path | None, typer.Option(help="YAML with a price per device, in dollars an hour: {cpu: 0.05, cuda: 1.2}.")
    ] = None,
) -> None:
    """Hours of work behind all that is stored, by kind and device, and what they cost at given prices.

    Hours are those of one process: a core of a CPU, or a share of a GPU.
    """
    with _plain_errors():
        known = {} if prices is None else _prices(prices)
        rows = _rows(_place(storage), COST)
        for row in rows:
            if known:
                name = next((name for name in known if str(row["device"]).startswith(name)), None)
                row["usd"] = None if name is None else round(known[name] * row["hours"], 2)
        if rows:
            total = {"kind": "all", "artifacts": sum(row["artifacts"] for row in rows)}
            for name in ("hours", *(["usd"] if known else [])):
                total[name] = round(sum(row[name] or 0.0 for row in rows), 2)
            rows.append(total)
        _print_rows(rows, "nothing is stored here")


@cancel.command()
def stop_sweeps(
    storage: Storage = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for checkpoints.")] = False,
) -> None:
    """Ask this host's sweeps of a storage to end: their trainings leave checkpoints, the same command goes on later."""
    with _plain_errors():
        found = drivers(_place(storage))
        for driver in found:
            os.kill(driver.pid, signal.SIGTERM)
            if now:
                time.sleep(AGAIN_S)  # signals that wait for one another are one
                with suppress(ProcessLookupError):
                    os.kill(driver.pid, signal.SIGTERM)
            print(f"asked pid {driver.pid} to end{' at once' if now else ''}: {driver.command}")
        if not found:
            print("no sweep of this storage runs on this host; one that was submitted ends by its command with --stop")


def drivers(place: str) -> list[Driver]:
    """Sweeps of this user on this host with that storage."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, IndexError):
            words = process.cmdline()
            if process.uids().real == os.getuid() and is_sweep(words):
                given = place_of(_option(words, "--storage"), process.environ())
                if _absolute(given, Path(process.cwd())) == place:
                    found.append(Driver(process.pid, " ".join(words), place))
    return found


def owners(place: str) -> Iterator[tuple[str, str, Owner]]:
    """Kind, key and maker of every artifact that is being made. Object storage has no locks."""
    from orchestrator.artifacts.lock import owner_of

    for path in sorted(Path(place, "locks").glob("*-*")) if "://" not in place else ():
        owner = owner_of(path)
        if owner is not None:
            kind, _, key = path.name.rpartition("-")
            yield kind, key, owner


def is_sweep(words: Sequence[str]) -> bool:
    """Whether a process is a sweep itself, and no wrapper such as `timeout`, which would pass signals on to one."""
    if not words or not Path(words[0]).name.startswith("python"):
        return False
    rest = [word for word in words[1:] if word not in ("-u", "-O")]
    if rest[:1] == ["-m"]:
        return rest[1:2] == ["orchestrator.sweep"] or rest[1:3] == ["orchestrator.command", "sweep"]
    return bool(rest) and Path(rest[0]).name == "hypogen" and rest[1:2] == ["sweep"]


def _option(words: Sequence[str], name: str) -> str | None:
    for position, word in enumerate(words):
        if word == name:
            return words[position + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def _place(storage: str | None) -> str:
    return _absolute(place_of(storage, os.environ), Path.cwd())


def _absolute(storage: str, folder: Path) -> str:
    return storage.rstrip("/") if "://" in storage else str((folder / storage).resolve())


def _rows(place: str, sql: str) -> list[dict[str, Any]]:
    from results.result_store import open_results

    return open_results(place).table(sql).to_pylist()


def _print_rows(rows: Sequence[dict[str, Any]], otherwise: str) -> None:
    from results.formats import Grid, formatted

    if not rows:
        print(otherwise)
        return
    columns = list(rows[0])
    print(formatted(Grid(columns, [[row.get(column) for column in columns] for row in rows]), "text"))


def _prices(path: Path) -> dict[str, float]:
    import yaml

    from orchestrator.exceptions import UserError

    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict) or not all(
        isinstance(price, int | float) and price >= 0 for price in found.values()
    ):
        raise UserError(f"{path}: give dollars per hour by device, such as {{cpu: 0.05, cuda: 1.2}}")
    return {str(name): float(price) for name, price in found.items()}


@contextmanager
def _plain_errors() -> Iterator[None]:
    from orchestrator.exceptions import UserError
    from results.problems import ResultsError

    try:
        yield
    except (UserError, ResultsError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
