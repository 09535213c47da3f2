"""ContentIndex: contents of a kind's artifacts in one table, to find the one that is nearest to a content.

    <storage>/index/<kind>.parquet      a row per artifact: its key, and every leaf of its content as JSON

It is a copy of what the manifests say. A sweep adds what it made; whatever else is missing, or all of it where the
table is gone or damaged, is read from the manifests. Rows stay when their artifact goes.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.artifacts.artifact import Artifact, Json
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.manifest import Manifest
from orchestrator.exceptions import Damaged

KEY = "@key"
"""Column with the key; no leaf has such a name."""
READERS = 16
"""Manifests that are read at once: on a bucket each is a request."""

Leaves = dict[str, str]
"""Values of a content as JSON, by their path, such as ``training.epochs``. Lists are values."""


def leaves(content: Mapping[str, Json], prefix: str = "") -> Leaves:
    """The leaves of a content."""
    found: Leaves = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            found.update(leaves(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = json.dumps(value)
    return found


def record(store: Store, made: Iterable[Artifact]) -> None:
    """Add artifacts that were made just now to the indices of their kinds."""
    kinds: dict[str, list[Artifact]] = defaultdict(list)
    for artifact in made:
        kinds[artifact.kind].append(artifact)
    for kind, artifacts in kinds.items():
        ContentIndex(store, kind).add(artifacts)


class ContentIndex:
    """Contents of the artifacts of one kind, those of the past included."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store, self._kind = store, kind
        self._path = f"{store.root}/index/{kind}.parquet"
        self._table = self._read()

    def __contains__(self, key: str) -> bool:
        """Whether an artifact was ever seen."""
        return bool(pc.index(self._table.column(KEY), key).as_py() >= 0)

    def nearest(self, wanted: Leaves) -> str | None:
        """Key of the artifact in the store with the fewest leaves that differ; None where there is none."""
        if not len(self._rows):
            return None
        differing = np.zeros(len(self._rows), dtype=np.int32)
        for name, (codes, texts) in self._columns.items():
            code = pc.index(texts, wanted[name]).as_py() if name in wanted else len(texts)
            differing += codes != code
        return str(self._table.column(KEY)[int(self._rows[differing.argmin()])])

    def add(self, artifacts: Iterable[Artifact]) -> None:
        """Add artifacts that were made just now."""
        known = set(self._table.column(KEY).to_pylist())
        self._append({KEY: made.key, **leaves(made.content())} for made in artifacts if made.key not in known)

    @cached_property
    def _rows(self) -> npt.NDArray[np.intp]:
        """Rows of the table whose artifacts are in the store; what it lacks of them is added first."""
        there = self._store.keys(self._kind)
        unknown = sorted(there.difference(self._table.column(KEY).to_pylist()))
        with ThreadPoolExecutor(READERS) as pool:
            self._append(row for row in pool.map(self._row, unknown) if row is not None)
        return np.flatnonzero(pc.is_in(self._table.column(KEY), pa.array(list(there), pa.string())).to_numpy())

    @cached_property
    def _columns(self) -> dict[str, tuple[npt.NDArray[np.int32], pa.Array]]:
        """Per leaf that is not the same everywhere: number of its value [rows], and the values; absent comes last."""
        columns = {}
        for name in self._table.column_names:
            if name != KEY:
                column = self._table.column(name).unify_dictionaries().combine_chunks()
                codes = column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)[self._rows]
                if (codes != codes[0]).any():
                    columns[name] = codes, column.dictionary
        return columns

    def _row(self, key: str) -> Leaves | None:
        with contextlib.suppress(Damaged, FileNotFoundError):  # whoever needs it will say so
            return {KEY: key, **leaves(Manifest.load(self._store, self._kind, key).payload)}
        return None

    def _read(self) -> pa.Table:
        try:
            with self._store.fs.open_input_file(self._path) as file:
                names = pq.read_schema(file).names
                return pq.read_table(file, read_dictionary=[name for name in names if name != KEY])
        except (OSError, pa.ArrowException):
            return pa.table({KEY: pa.array([], pa.string())})

    def _append(self, rows: Iterable[Leaves]) -> None:
        """Add rows, and write the table if there are any."""
        new = list(rows)
        if not new:
            return
        names = dict.fromkeys(name for row in new for name in row if name != KEY)
        columns = {name: pa.array([row.get(name) for row in new], pa.string()).dictionary_encode() for name in names}
        added = pa.table({KEY: pa.array([row[KEY] for row in new], pa.string()), **columns})
        self._table = pa.concat_tables([self._table, added], promote_options="default")
        self._write()

    def _write(self) -> None:
        """Replace the table at once; of two writers the last wins, and the other's rows are read again one day."""
        fs, target = self._store.fs, f"{self._path}.{uuid4().hex}" if self._store.local else self._path
        fs.create_dir(self._path.rpartition("/")[0], recursive=True)
        with fs.open_output_stream(target) as stream:
            pq.write_table(self._table, stream, compression="zstd")
        if target != self._path:
            fs.move(target, self._path)
