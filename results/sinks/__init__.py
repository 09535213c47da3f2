"""Sinks: copies of what was measured in tools that people watch runs with. The tables stay the truth.

    sink = open_sink("tensorboard", "boards")
    sent, there = send(open_results("runs"), sink)

A sink is a module here and an entry in `SINKS`. Its library is optional, and imported when the sink is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from results.problems import ResultsError, unknown
from results.result_store import ResultStore
from results.sinks.sent_runs import headings, sent_runs
from results.sinks.sink import Sink
from results.snapshot import Snapshot


@dataclass(frozen=True)
class SinkEntry:
    """A sink by name: the class in a module here, the `package` that it imports, and the `extra` that installs it."""

    module: str
    of: str
    package: str
    extra: str


SINKS = {
    "tensorboard": SinkEntry("results.sinks.tensorboard_sink", "TensorBoardSink", "tensorboard", "sinks"),
    "mlflow": SinkEntry("results.sinks.mlflow_sink", "MlflowSink", "mlflow", "sinks"),
    "trackio": SinkEntry("results.sinks.trackio_sink", "TrackioSink", "trackio", "trackio"),
}


def check_sink(name: str) -> None:
    """Raise ResultsError, with the remedy, for an unknown sink and for one whose library is not installed."""
    if name not in SINKS:
        raise unknown("sink", name, SINKS)
    entry = SINKS[name]
    if find_spec(entry.package) is None:
        raise ResultsError(f"{name} takes the package {entry.package}: pip install 'hypogen[{entry.extra}]'")


def open_sink(name: str, place: str) -> Sink:
    """The sink `name` at a place of its own kind. Raises ResultsError as `check_sink`, and for an impossible place."""
    check_sink(name)
    kind = cast("Callable[[str], Sink]", getattr(import_module(SINKS[name].module), SINKS[name].of))
    try:
        return kind(place)
    except ResultsError:
        raise
    except Exception as error:
        raise _trouble(place, error) from error


def send(store: ResultStore, sink: Sink, experiment: str | None = None) -> tuple[int, int]:
    """Add every run that is not there yet, once for each experiment that asks for it: how many were sent, were there.

    Raises ResultsError for an unknown experiment, and in one line for whatever the sink's library raises; what was sent
    before stays.
    """
    with Snapshot(store) as seen:
        asked = headings(seen, experiment)
        try:
            lacking = [heading for heading in asked if not sink.has(heading)]
            for run in sent_runs(seen, lacking):
                sink.add(run)
        except ResultsError:
            raise
        except Exception as error:
            raise _trouble(sink.place, error) from error
    return len(lacking), len(asked) - len(lacking)


def _trouble(place: str, error: Exception) -> ResultsError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ResultsError(f"cannot send to {place}: {lines[0]}")
