"""The store's files as datasets, rows that are not read yet.

Apart from the store itself, which is asked for what it has far more often than read: pyarrow's datasets import pandas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

REPEATED = ("run", "role", "metric")
"""Text columns of which a file has few values in many rows. Read as numbers of a dictionary they take a twentieth of
the time."""
CHECKED = ds.ParquetFileFormat(
    read_options=ds.ParquetReadOptions(dictionary_columns=REPEATED),
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True),
)
"""Parquet whose pages are compared with their checksums, where they have some, when they are read."""


def unmerged(schema: pa.Schema, listed: Sequence[fs.FileInfo], files: fs.FileSystem) -> ds.Dataset:
    """Rows of the files `listed`, where they are, in the columns of `schema`."""
    return ds.FileSystemDataset([CHECKED.make_fragment(info.path, files) for info in listed], schema, CHECKED)


def measured_by(experiments: Sequence[str], stored: Mapping[str, ds.Dataset | pa.Table]) -> dict[str, pa.Table]:
    """What the runs of some experiments measured, of the tables that hold it."""
    asked = stored["experiments"]
    if isinstance(asked, pa.Table):  # none at all
        return {}
    runs = (
        asked.to_table(columns=["run"], filter=ds.field("experiment").isin(experiments)).column("run").cast(pa.string())
    )
    measured = {name: stored[name] for name in ("episodes", "curves", "trajectories")}
    return {name: _of_runs(rows, runs) for name, rows in measured.items() if isinstance(rows, ds.Dataset)}


def _of_runs(rows: ds.FileSystemDataset, runs: pa.ChunkedArray) -> pa.Table:
    """The rows of some runs. Of files without any of them, which are most, only the names of the runs are read."""
    wanted = set(runs.to_pylist())

    def has_some(fragment: ds.Fragment) -> bool:
        names = fragment.to_table(columns=["run"]).column("run").chunks
        return any(not wanted.isdisjoint(chunk.dictionary.to_pylist()) for chunk in names)

    found = ds.FileSystemDataset(list(filter(has_some, rows.get_fragments())), rows.schema, rows.format)
    return found.to_table(filter=ds.field("run").isin(runs.combine_chunks()))
