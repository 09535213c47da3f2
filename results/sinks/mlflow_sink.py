"""MLflow: an experiment per experiment, a run per run, on a tracking server or in a folder of this machine."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from results.sinks.sink import Heading, SentRun

_KEY = "hypogen.run"
"""Tag with the run's key in our tables."""
_METRICS, _PARAMETERS = 1000, 100
"""How many MLflow takes at once."""
_LONGEST = 6000
"""Characters of a parameter's value at most."""


class MlflowSink:
    """`place`: a URL (http://…, sqlite:///…), or a folder, in which `mlflow.db` then lies."""

    def __init__(self, place: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # what is sent goes to `place` alone
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self.place = place
        self._artifacts: str | None = None
        if "://" not in place:
            folder = Path(place).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            self._artifacts = (folder / "artifacts").as_uri()  # else MLflow makes a folder wherever it runs
            place = f"sqlite:///{folder}/mlflow.db"
        self._client = MlflowClient(place)
        self._there: dict[str, set[str]] = {}

    def has(self, run: Heading) -> bool:
        """Whether the run is there and finished; a run that was broken off is removed."""
        if run.experiment not in self._there:
            self._there[run.experiment] = self._finished(self._experiment(run.experiment))
        return run.key in self._there[run.experiment]

    def add(self, run: SentRun) -> None:
        """Create a run, fill it, and only then call it finished."""
        from mlflow.entities import Metric, Param

        began = int(run.started.timestamp() * 1000)
        ended = began + int(run.seconds * 1000)
        made = self._client.create_run(
            self._experiment(run.experiment), start_time=began, tags={_KEY: run.key}, run_name=run.name
        )
        parameters = [Param(_allowed(name), str(value)[:_LONGEST]) for name, value in run.settings.items()]
        metrics = [
            Metric(_allowed(name), value, began, step) for name, points in run.curves.items() for step, value in points
        ]
        metrics += [Metric(_allowed(name), value, ended, run.last_step) for name, value in run.final.items()]
        for first in range(0, len(parameters), _PARAMETERS):
            self._client.log_batch(made.info.run_id, params=parameters[first : first + _PARAMETERS])
        for first in range(0, len(metrics), _METRICS):
            self._client.log_batch(made.info.run_id, metrics=metrics[first : first + _METRICS])
        self._client.set_terminated(made.info.run_id, "FINISHED", ended)
        self._there.setdefault(run.experiment, set()).add(run.key)

    def _experiment(self, name: str) -> str:
        """Id of the experiment, made where there is none."""
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name, self._artifacts)

    def _finished(self, experiment: str) -> set[str]:
        """Keys of the runs that are there; what a killed process left unfinished is deleted."""
        keys, token = set(), None
        while True:
            page = self._client.search_runs([experiment], f"tags.`{_KEY}` != ''", page_token=token)
            for run in page:
                if run.info.status == "FINISHED":
                    keys.add(run.data.tags[_KEY])
                else:
                    self._client.delete_run(run.info.run_id)
            if not (token := page.token):
                return keys


def _allowed(name: str) -> str:
    """The name in the characters that MLflow takes: `return@selected` becomes `return/selected`."""
    return re.sub(r"[^\w. :/-]", "/", name)
