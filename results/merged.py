"""Merged copies: what thousands of small files hold, kept as a few larger ones, which are read much faster.

The files of a table, oldest first, are cut into pieces. Where a cut lies is told by the names beside it, so that files
that come, change or go leave most pieces as they were. A copy is named by the columns and by the name, size and time of
each file of its piece, so none is ever out of date, and by a checksum of its own. A copy that is missing or damaged is
made again from the files.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from results.datasets import CHECKED, REPEATED
from results.remote import is_settled

LEAST = 100
"""Files in a piece at least; fewer are read one by one."""
MORE = 400
"""Files that a piece has beyond that on average."""


def merged(
    schema: pa.Schema, listed: Sequence[fs.FileInfo], folder: Path, fetch: Callable[[Sequence[fs.FileInfo]], list[str]]
) -> ds.Dataset:
    """Rows of the files `listed`, in the columns of `schema`, with the help of copies in `folder`; `REPEATED` ones are
    dictionaries.

    `fetch` gives the local paths of some of the files, in their order, with the times of the originals. Copies of which
    the files have changed are removed.
    """
    copies = {path.name.partition("-")[0]: path for path in folder.glob("*")}
    contents: list[bytes] = []
    loose: list[fs.FileInfo] = []
    for piece in _pieces(listed):
        name = _name(schema, piece)
        content = _read(copies.pop(name)) if name in copies else None
        if content is None and (content := _merge(schema, piece, fetch)) is not None:
            _write(folder / f"{name}-{_checksum(content)}", content)
        if content is None:
            loose += piece
        else:
            contents.append(content)
    for outdated in copies.values():
        with suppress(OSError):
            outdated.unlink()
    fragments = [CHECKED.make_fragment(pa.py_buffer(content)) for content in contents]
    local = fs.LocalFileSystem()
    fragments += [CHECKED.make_fragment(path, local) for path in fetch(sorted(loose, key=lambda info: info.path))]
    return ds.FileSystemDataset(fragments, _coded(schema), CHECKED)


def _coded(schema: pa.Schema) -> pa.Schema:
    for number, field in enumerate(schema):
        if field.name in REPEATED:
            schema = schema.set(number, field.with_type(pa.dictionary(pa.int32(), field.type)))
    return schema


def _pieces(listed: Sequence[fs.FileInfo]) -> Iterator[list[fs.FileInfo]]:
    piece: list[fs.FileInfo] = []
    for info in sorted(listed, key=lambda info: (info.mtime_ns, info.path)):
        piece.append(info)
        if len(piece) >= LEAST and zlib.crc32(info.base_name.encode()) % MORE == 0:
            yield piece
            piece = []
    if piece:
        yield piece


def _name(schema: pa.Schema, piece: Sequence[fs.FileInfo]) -> str:
    columns = [(field.name, str(field.type)) for field in schema]
    files = [(info.base_name, info.size, info.mtime_ns) for info in piece]
    return _checksum(repr((columns, files)).encode())


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _read(path: Path) -> bytes | None:
    """A copy, if it is as it was written."""
    with suppress(OSError):
        content = path.read_bytes()
        return content if path.name.endswith(_checksum(content)) else None
    return None


def _merge(
    schema: pa.Schema, piece: Sequence[fs.FileInfo], fetch: Callable[[Sequence[fs.FileInfo]], list[str]]
) -> bytes | None:
    """A piece as one file; None where it is not worth it, may still change, or has a file that cannot be read."""
    if len(piece) < LEAST or not is_settled(piece[-1]):
        return None
    local, paths, sink = fs.LocalFileSystem(), fetch(piece), pa.BufferOutputStream()
    try:
        table = ds.dataset(paths, schema=_coded(schema), filesystem=local, format=CHECKED).to_table()
    except (OSError, pa.ArrowException):
        return None  # whoever asks for these rows is told
    found = [(info.size, info.mtime_ns) for info in local.get_file_info(paths)]
    if found != [(info.size, info.mtime_ns) for info in piece]:
        return None  # another file by now
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _write(path: Path, content: bytes) -> None:
    """Keep a copy, where it can be written."""
    partial = path.with_name(f".{uuid4().hex}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
