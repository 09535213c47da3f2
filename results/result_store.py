"""The Parquet store: one file per writer, written whole or not at all; DuckDB only reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from results.problems import ResultsError, unknown
from results.rows import Row, to_table
from results.schema import DIMENSIONS, TABLES, TableSchema

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")
_SUFFIX = ".parquet"
_CHECKED = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)
"""Parquet whose pages are compared with their checksums, where they have some, when they are read."""


class ResultStore:
    """Tables under `root`, a folder or a URL such as s3://bucket/runs/results: `<root>/<table>/<key>.parquet`."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self._files, self._base = _filesystem(self.root)

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
        try:
            present = self._read(path)
        except ResultsError:
            if not (replace or not schema.deterministic):
                raise
            present = None  # whatever is there cannot be read, and gives way
        if present is not None and _holds(present, schema, content):
            return
        if present is not None and schema.deterministic and not replace:
            raise ResultsError(f"table {table} already holds other rows under {key!r} in {self.root}")
        self._publish(path, content)

    def keys(self, table: str) -> list[str]:
        """Names of the files of `table`, sorted; empty for a store that does not exist yet."""
        selector = fs.FileSelector(f"{self._base}/{_schema(table).name}", allow_not_found=True)
        names = [info.base_name for info in self._files.get_file_info(selector) if info.type == fs.FileType.File]
        whole = [name for name in names if name.endswith(_SUFFIX) and not name.startswith(".")]
        return sorted(name.removesuffix(_SUFFIX) for name in whole)

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
        paths = [self._path(schema, key) for key in self.keys(table)]
        if not paths:
            return schema.arrow.empty_table()
        return ds.dataset(paths, schema=schema.arrow, filesystem=self._files, format=_CHECKED)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection that can only read: the store's tables, the paper's numbers, and the macros.

        `methods` and `benchmarks` are views there, which describe every name in `runs` and in the paper. Use the
        connection as a context manager, or close it. It sees the files that were there when it was made.
        """
        from results.database import connect
        from results.paper_tables import paper, paper_benchmarks, paper_methods

        described = {table.name for table in DIMENSIONS}
        names = {name: f"stored_{name}" if name in described else name for name in TABLES}
        of_paper = {"paper": paper(), "paper_methods": paper_methods(), "paper_benchmarks": paper_benchmarks()}
        return connect({**of_paper, **{view: self.dataset(name) for name, view in names.items()}})

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
                "`python -m orchestrator.store check --repair` sets it aside"
            ) from error

    def _publish(self, path: str, content: bytes) -> None:
        folder, name = path.rsplit("/", 1)
        temporary = f"{folder}/.{name}.{uuid4().hex}"
        try:
            self._files.create_dir(folder, recursive=True)
            with self._files.open_output_stream(temporary) as stream:
                stream.write(content)
            self._files.move(temporary, path)
        except OSError as error:
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
        files, base = fs.FileSystem.from_uri(root)
    except (pa.ArrowInvalid, OSError) as error:
        raise ResultsError(f"cannot open storage {root}: {error}") from error
    return files, base.rstrip("/")


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
