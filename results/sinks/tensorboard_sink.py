"""TensorBoard: one folder per run, `PLACE/EXPERIMENT/BENCHMARK/METHOD/…`, with scalars and hyperparameters."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from results.problems import ResultsError
from results.sinks.sink import Heading, SentRun

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

_EVENTS = "events.out.tfevents.hypogen"
"""Name of a run's one file: TensorBoard reads what has `tfevents` in its name."""


class TensorBoardSink:
    """A folder for `tensorboard --logdir`. Raises ResultsError for a URL."""

    def __init__(self, place: str) -> None:
        if "://" in place:
            raise ResultsError(f"tensorboard takes a folder of this machine, not {place}")
        self.place = place

    def has(self, run: Heading) -> bool:
        return self._file(run).exists()

    def add(self, run: SentRun) -> None:
        """Write the run's event file beside its place, then move it there."""
        content, file = _events(run), self._file(run)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{uuid4().hex}")
        partial.write_bytes(content)
        partial.replace(file)

    def _file(self, run: Heading) -> Path:
        return Path(self.place) / run.experiment / run.name / _EVENTS


def _events(run: SentRun) -> bytes:
    """Records of an event file. TensorBoard keeps float32."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    began, ended = run.started.timestamp(), run.started.timestamp() + run.seconds
    sink = io.BytesIO()
    writer = RecordWriter(sink)

    def write(step: int, summary: Summary) -> None:
        share = step / run.last_step if run.last_step else 1.0
        time = began + share * (ended - began)
        writer.write(Event(wall_time=time, step=step, summary=summary).SerializeToString())

    writer.write(Event(wall_time=began, file_version="brain.Event:2").SerializeToString())
    write(0, hparams_pb(dict(run.settings), trial_id=run.key, start_time_secs=began))
    for metric, points in {
        **run.curves,
        **{name: [(run.last_step, value)] for name, value in run.final.items()},
    }.items():
        for step, value in points:
            write(step, Summary(value=[Summary.Value(tag=metric, simple_value=value)]))
    write(run.last_step, _ended(ended))
    writer.flush()
    return sink.getvalue()


def _ended(time_s: float) -> Summary:
    """The mark by which the page of hyperparameters knows that a run is finished."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2
    from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS

    info = plugin_data_pb2.SessionEndInfo(status=STATUS_SUCCESS, end_time_secs=time_s)
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=info))
    return Summary(value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about)])
