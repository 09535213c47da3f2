"""trackio: a project per experiment, a run per run, in a folder of this machine."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

from results.problems import ResultsError
from results.sinks.sink import Heading, SentRun


class TrackioSink:
    """A folder for `TRACKIO_DIR=PLACE trackio show`. Raises ResultsError for a URL."""

    def __init__(self, place: str) -> None:
        if "://" in place:
            raise ResultsError(f"trackio takes a folder of this machine, not {place}: share it with `trackio sync`")
        os.environ["TRACKIO_DIR"] = str(Path(place).absolute())  # read when it is imported
        from trackio.sqlite_storage import SQLiteStorage

        self.place = place
        self._storage = SQLiteStorage
        self._there: dict[str, set[str]] = {}

    def has(self, run: Heading) -> bool:
        if run.experiment not in self._there:
            self._there[run.experiment] = set(self._storage.get_runs(run.experiment))
        return run.name in self._there[run.experiment]

    def add(self, run: SentRun) -> None:
        """Write the run in one transaction."""
        steps: dict[int, dict[str, float]] = defaultdict(dict)
        for metric, points in run.curves.items():
            for step, value in points:
                steps[step][metric] = value
        steps[run.last_step].update(run.final)
        order = sorted(steps)
        share = [step / run.last_step if run.last_step else 1.0 for step in order]
        times = [(run.started + timedelta(seconds=run.seconds * part)).isoformat() for part in share]
        config = {**run.settings, "_Group": str(run.settings["benchmark"])}
        rows = [steps[step] for step in order]
        self._storage.bulk_log(run.experiment, run.name, rows, steps=order, timestamps=times, config=config)
        self._there.setdefault(run.experiment, set()).add(run.name)
