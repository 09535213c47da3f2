"""The Parquet store: one file per writer, written whole or not at all; DuckDB only reads it."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from results.problems import ResultsError, unknown
from results.remote import SETTLED_S, Mirror, is_settled, open_remote, private_cache
from results.rows import Row, to_table
from results.schema import DIMENSIONS, PROVENANCE, TABLES, TableSchema

if TYPE_CHECKING:  # who asks what is there needs none of these, and pyarrow's datasets import pandas
    import duckdb
    import pandas as pd
    import pyarrow.dataset as ds

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")
_SUFFIX = ".parquet"
RACES = 5
"""How often a folder is listed again that was being made when it was listed."""
_MERGED = ".merged"
"""Folder of merged copies, which may be deleted at any time: in the store, or in the mirror of a remote one."""


class ResultStore:
    """Tables under `root`, a folder or a URL such as s3://bucket/runs/results: `<root>/<table>/<key>.parquet`."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self._files, self._base = _filesystem(self.root)
        self._mirror = (
            None if isinstance(self._files, fs.LocalFileSystem) else _mirror(self.root, self._files, self._base)
        )
        self._described: dict[str, dict[str, fs.FileInfo]] = {}

    def write(self, table: str, key: str, rows: Sequence[Row] | pa.Table, *, replace: bool = False) -> None:
        """Store `rows` as the file `key` of `table`. Readers never see half of it, even if the writer is killed.

        The same rows again, in any order, are no error and touch nothing. Other rows under a key that is taken raise
        ResultsError, unless `replace`. In a table that is not `deterministic` (`provenance`, whose clocks differ each
        time, `methods`, `benchmarks`) the last writer wins.
        Raises ResultsError also for rows that do not fit the schema, and for an impossible key or table name.
        """
        schema = _schema(table)
        path = self._path(schema, key)
        content = _encode(to_table(schema, rows))
        gives_way = replace or not schema.deterministic
        present = self._present(path, gives_way)
        if present is not None and _holds(present, schema, content):
            return
        if present is not None and not gives_way:
            raise ResultsError(f"table {table} already holds other rows under {key!r} in {self.root}")
        self._publish(path, content)

    def _present(self, path: str, gives_way: bool) -> pa.Table | None:
        """What a file holds, if anything; of what would give way, only that which costs nothing to read."""
        if not gives_way:
            return self._read(path)
        with suppress(ResultsError):  # whatever is there cannot be read, and gives way
            if self._mirror is None:
                return self._read(path)
            copy = self._mirror.copy_of(path)
            if copy.exists() and self._mirror.has(self._info(path)):
                return pq.read_table(copy)
        return None

    def _info(self, path: str) -> fs.FileInfo:
        """What a remote file looks like. Names are described one after the other: these files are listed once."""
        table = path.split("/")[-2]
        if TABLES[table] not in DIMENSIONS:
            return self._files.get_file_info(path)
        if table not in self._described:
            self._described[table] = {info.path: info for info in self._list(table)[table]}
        return self._described[table].get(path, fs.FileInfo(path))

    def keys(self, table: str) -> list[str]:
        """Names of the files of `table`, sorted; empty for a store that does not exist yet."""
        return [info.base_name.removesuffix(_SUFFIX) for info in self._list(_schema(table).name)[table]]

    def _list(self, folder: str = "") -> dict[str, list[fs.FileInfo]]:
        """Files of each table, sorted, below a folder of the store: one listing."""
        selector = fs.FileSelector(f"{self._base}/{folder}".rstrip("/"), recursive=True, allow_not_found=True)
        found: dict[str, list[fs.FileInfo]] = {table: [] for table in TABLES}
        for info in sorted(self._infos(selector), key=lambda info: info.path):
            parent, _, name = info.path.removeprefix(f"{self._base}/").rpartition("/")
            whole = info.type == fs.FileType.File and name.endswith(_SUFFIX) and not name.startswith(".")
            if whole and parent in found:
                found[parent].append(info)
        return found

    def _infos(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        """What is below a folder; pyarrow trips over one that a writer makes at this very moment."""
        for _ in range(RACES):
            with suppress(FileNotFoundError):
                return self._files.get_file_info(selector)
        return self._files.get_file_info(selector)

    def digest(self) -> str:
        """What all files look like, by name, size and time: one listing, and nothing is read."""
        seen = [(info.path, info.size, info.mtime_ns) for infos in self._list_settled().values() for info in infos]
        return hashlib.sha256(repr(seen).encode()).hexdigest()

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """Table, key and trouble of every file that cannot be read as it was written; every page is read."""
        for table in TABLES:
            for key in self.keys(table):
                reason = self._trouble(TABLES[table], key)
                if reason is not None:
                    yield table, key, reason

    def _trouble(self, schema: TableSchema, key: str) -> str | None:
        """One line on what is wrong with a file, if anything is."""
        try:
            content = self._read(self._path(schema, key))
            to_table(schema, [] if content is None else content.to_pylist())
        except (ResultsError, pa.ArrowException, ValueError) as error:
            return str(error.__cause__ or error).splitlines()[0]
        return None

    def set_aside(self, table: str, key: str, folder: str) -> str:
        """Move a file into another folder of the same file system; where it is now."""
        target = f"{folder}/{table}/{key}{_SUFFIX}"
        self._files.create_dir(target.rpartition("/")[0], recursive=True)
        self._files.move(self._path(_schema(table), key), target)
        return target

    def dataset(self, table: str) -> ds.Dataset | pa.Table:
        """All rows of `table`, not yet read; an empty table where there are none. Columns added since are null."""
        schema = _schema(table)
        return self._datasets(self._list(schema.name))[table]

    def _datasets(self, listed: dict[str, list[fs.FileInfo]]) -> dict[str, ds.Dataset | pa.Table]:
        """Rows of the files of each table. Remote ones are read from copies; provenance, seldom asked for, there."""
        from results.datasets import unmerged
        from results.merged import merged

        folder = self._mirror.copy_of(self._base) if self._mirror is not None else Path(self._base)
        found: dict[str, ds.Dataset | pa.Table] = {}
        for table, infos in listed.items():
            schema = TABLES[table].arrow
            if not infos:
                found[table] = schema.empty_table()
            elif table == PROVENANCE.name:
                found[table] = unmerged(schema, infos, self._files)
            else:
                found[table] = merged(schema, infos, folder / _MERGED / table, self._local)
        return found

    def _local(self, infos: Sequence[fs.FileInfo]) -> list[str]:
        """Where files can be read on this machine."""
        if self._mirror is None:
            return [info.path for info in infos]
        self._mirror.fetch(infos)
        return [str(self._mirror.copy_of(info.path)) for info in infos]

    def _list_settled(self) -> dict[str, list[fs.FileInfo]]:
        """All files, once the last that was written can be told from its successor, or a little later."""
        listed = self._list()
        if self._mirror is not None and not all(is_settled(info) for infos in listed.values() for info in infos):
            time.sleep(SETTLED_S)
            listed = self._list()
        return listed

    def connect(self, *experiments: str) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection that can only read: the store's tables, the paper's numbers, and the macros.

        With `experiments`, only what their runs measured is there, read once, however much there is of others.
        `methods` and `benchmarks` are views, which describe every name in `runs` and in the paper. Use the connection
        as a context manager, or close it. It sees the files that were there when it was made.
        """
        from results.database import connect
        from results.datasets import measured_by
        from results.paper_tables import paper, paper_benchmarks, paper_methods

        described = {table.name for table in DIMENSIONS}
        names = {name: f"stored_{name}" if name in described else name for name in TABLES}
        of_paper = {"paper": paper(), "paper_methods": paper_methods(), "paper_benchmarks": paper_benchmarks()}
        stored = self._datasets(self._list_settled())
        if experiments:
            stored |= measured_by(experiments, stored)
        return connect({**of_paper, **{view: stored[name] for name, view in names.items()}})

    def frame(self, sql: str, **parameters: Any) -> pd.DataFrame:
        """The answer to one query; `$name` in it stands for a parameter. Raises ResultsError, in one message."""
        return self.table(sql, **parameters).to_pandas()

    def table(self, sql: str, **parameters: Any) -> pa.Table:
        """`frame` with the types kept: integers stay integers where some are null."""
        from results.database import answer

        with self.connect() as connection:
            return answer(connection, sql, parameters)

    def is_empty(self) -> bool:
        """Whether nothing was measured: descriptions of methods and benchmarks do not count."""
        return not any(self.keys(table.name) for table in TABLES.values() if table not in DIMENSIONS)

    def _path(self, schema: TableSchema, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise ResultsError(f"{key!r} cannot name a file of results: use letters, digits and . _ = -")
        return f"{self._base}/{schema.name}/{key}{_SUFFIX}"

    def _read(self, path: str) -> pa.Table | None:
        try:
            with self._files.open_input_file(path) as file:
                return pq.read_table(file, page_checksum_verification=True)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, pa.ArrowException) as error:
            raise ResultsError(
                f"cannot read {path}: {str(error).splitlines()[0]}. If it is damaged, "
                "`hypogen store check --repair` sets it aside"
            ) from error

    def _publish(self, path: str, content: bytes) -> None:
        folder, name = path.rsplit("/", 1)
        self._described.pop(folder.rpartition("/")[2], None)
        atomic = self._mirror is not None  # an object is there once it is whole
        temporary = path if atomic else f"{folder}/.{name}.{uuid4().hex}"
        try:
            if not atomic:
                self._files.create_dir(folder, recursive=True)
            with self._files.open_output_stream(temporary) as stream:
                stream.write(content)
            if not atomic:
                self._files.move(temporary, path)
        except OSError as error:
            if not atomic:
                with suppress(OSError):
                    self._files.delete_file(temporary)
            raise ResultsError(f"cannot write results to {self.root}: {error}") from error


def open_results(storage: str) -> ResultStore:
    """The results of `storage`, the place that a sweep was given, to be read.

    Raises ResultsError where there is no such place, and where nothing has been measured in it yet.
    """
    files, base = _filesystem(storage)
    kind = files.get_file_info(base).type
    remedy = "Name another with --storage or HYPOGEN_STORAGE"
    if kind == fs.FileType.NotFound:
        raise ResultsError(f"storage {storage} does not exist. {remedy}, or run an experiment first")
    if kind != fs.FileType.Directory:
        raise ResultsError(f"storage {storage} is not a folder. {remedy}")
    store = ResultStore(f"{storage.rstrip('/')}/results")
    if store.is_empty():
        raise ResultsError(f"nothing in {store.root} yet: no run of this storage has been rolled out. {remedy}")
    return store


def _filesystem(root: str) -> tuple[fs.FileSystem, str]:
    if "://" not in root:
        return fs.LocalFileSystem(), Path(root).expanduser().absolute().as_posix()
    try:
        return open_remote(root)
    except (pa.ArrowInvalid, OSError) as error:
        raise ResultsError(f"cannot open storage {root}: {error}") from error


def _mirror(root: str, files: fs.FileSystem, base: str) -> Mirror:
    try:
        return Mirror(files, base, private_cache(root))
    except PermissionError as error:
        raise ResultsError(f"cannot open storage {root}: {error}") from error


def _schema(table: str) -> TableSchema:
    if table not in TABLES:
        raise unknown("table of results", table, TABLES)
    return TABLES[table]


def _holds(table: pa.Table, schema: TableSchema, content: bytes) -> bool:
    """Whether `table`, perhaps written by another version of pyarrow, has the rows of `content`."""
    return table.schema.equals(schema.arrow) and _encode(table.cast(schema.arrow)) == content


def _encode(table: pa.Table) -> bytes:
    """Parquet bytes, the same for the same rows: two tables are equal, NaN included, when these are."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()
