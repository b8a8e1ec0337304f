"""Convex's snapshot zip, written: see `snapshot_zip`, which reads it, for what lies in one."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from livedb.functions.storage import Content, contents_lost
from livedb.interchange.exports import published
from livedb.interchange.rows import BLOCK_ROWS
from livedb.interchange.snapshot_zip import UNIFORM
from livedb.protocol.convex_json import to_wire
from livedb.schema.tables import FILES_TABLE, STORAGE_TABLE
from livedb.store.connection import quote
from livedb.text import decode_fields
from livedb.values import UNSET, Int64, Value

if TYPE_CHECKING:
    from livedb.store.snapshot import SqlSnapshot

_PAGE_ROWS = 1 << 14
"""Rows of a table that an export holds at once."""
_LEVEL = 3
"""Of compression: half the time of the usual 6 for a tenth more bytes, most of which are ids."""
_README = """# A snapshot of a livedb workspace

Each folder is a table, each line of its documents.jsonl a document. The format is that of Convex's
snapshot exports: `livedb import` and `npx convex import` read it.
"""

ReadContent = Callable[[Content, Callable[[memoryview], object]], str | None]
"""Hands out a content piece by piece, and says what was wrong with it; None when nothing was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotExport:
    """What was written: where, as of which commit, how many rows of each table."""

    path: Path
    number: int
    rows: Mapping[str, int]


def write_snapshot(
    snapshot: SqlSnapshot,
    tables: Mapping[str, int],
    path: str | PathLike[str],
    *,
    contents: ReadContent | None = None,
    overwrite: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> SnapshotExport:
    """Write tables as a snapshot zip, which appears whole or not at all.

    Args:
        snapshot: the commit to write.
        tables: the numbers of the tables by name.
        contents: reads the contents of files, none of which is removed meanwhile; None leaves the
            files out.
        progress: told the table and its rows written so far.

    Raises:
        LoadError: the target exists (and not `overwrite`), or cannot be written.
        DamagedError: the content of a file is lost.
    Cost: 10 us per document of 6 fields; memory for `_PAGE_ROWS` documents.
    """
    target = Path(path).expanduser()
    rows = {}
    with (
        published(target, overwrite=overwrite) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive,
    ):
        _write_lines(archive, "README.md", [_README.encode()])
        numbered = sorted(tables.items(), key=lambda each: each[1])
        listing = [_line({"name": name, "id": number}) for name, number in numbered]
        _write_lines(archive, "_tables/documents.jsonl", listing)
        for name in sorted(tables):
            lines = _iter_documents(snapshot, name, progress)
            rows[name] = _write_lines(archive, f"{name}/documents.jsonl", lines)
            schema = [_line(UNIFORM)]
            _write_lines(archive, f"{name}/generated_schema.jsonl", schema)
        if contents is not None:
            _write_files(archive, snapshot, contents, progress)
    return SnapshotExport(path=target, number=snapshot.number, rows=rows)


def _write_files(
    archive: zipfile.ZipFile,
    snapshot: SqlSnapshot,
    read: ReadContent,
    progress: Callable[[str, int], None] | None,
) -> None:
    """Write the files of a workspace, if it has some.

    Raises:
        DamagedError: contents are not what was stored; all of them are named.
    """
    lines = list(_iter_documents(snapshot, STORAGE_TABLE, progress))
    if not lines:
        return
    _write_lines(archive, f"{STORAGE_TABLE}/documents.jsonl", lines)
    _write_lines(archive, f"{STORAGE_TABLE}/generated_schema.jsonl", [_line(UNIFORM)])
    damaged = []
    for file, content in _contents(snapshot):
        # As it is: most of it is pictures and the like, which are compressed already.
        member = zipfile.ZipInfo(f"{STORAGE_TABLE}/{file}")
        with archive.open(member, "w", force_zip64=True) as stream:
            wrong = read(content, stream.write)
        if wrong is not None:
            damaged.append((file, wrong))
    if damaged:
        raise contents_lost(damaged, "Nothing was exported.")


def _contents(snapshot: SqlSnapshot) -> Iterator[tuple[str, Content]]:
    """The files of a workspace, by their ids."""
    described = {}
    for row in snapshot.query(f"select _id, _doc from data.{quote(STORAGE_TABLE)}").to_pylist():  # noqa: S608  # quoted
        described[row["_id"]] = decode_fields(row["_doc"])
    for row in snapshot.query(f"select _doc from data.{quote(FILES_TABLE)}").to_pylist():  # noqa: S608  # quoted
        named = decode_fields(row["_doc"])
        file = str(named["file"])
        says = described[file]
        yield file, Content(str(named["name"]), str(says["sha256"]), int(says["size"]))


def _write_lines(archive: zipfile.ZipFile, name: str, lines: Iterable[bytes]) -> int:
    count = 0
    every = iter(lines)
    with archive.open(name, "w", force_zip64=True) as stream:
        # A write for each line costs as much as making it.
        while block := list(islice(every, BLOCK_ROWS)):
            stream.write(b"".join(block))
            count += len(block)
    return count


def _iter_documents(
    snapshot: SqlSnapshot, name: str, progress: Callable[[str, int], None] | None
) -> Iterator[bytes]:
    """The lines of a table, a page at a time."""
    from_table = f"from data.{quote(name)}"
    known = snapshot.query("select 1 from meta.tables where name = ?", [name])
    if not known.num_rows:
        return  # made, and nothing was ever folded into it
    last = snapshot.query(f"select max(rowid) {from_table}").column(0)[0].as_py()
    written = 0
    for start in range(0, -1 if last is None else last + 1, _PAGE_ROWS):
        page = snapshot.query(
            f"select _id, _creationTime, _doc {from_table} "
            f"where rowid between {start} and {start + _PAGE_ROWS - 1}"
        )
        columns = (page.column(each).to_pylist() for each in ("_id", "_creationTime", "_doc"))
        for document_id, time, text in zip(*columns, strict=True):
            fields = {each: _to_uniform(value) for each, value in decode_fields(text).items()}
            yield _line({**fields, "_creationTime": time, "_id": document_id})
        written += page.num_rows
        if progress is not None:
            progress(name, written)


def _line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _to_uniform(value: Value) -> Any:
    """The uniform form of a value: `to_wire`, but for int64 and -0.0, which JSON can write."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is Int64:
        return int(value)
    if kind is int:
        return float(value)
    if kind is float and value - value == 0.0:
        return value
    if kind is list:
        return [_to_uniform(each) for each in value]
    if isinstance(value, dict):
        return {name: _to_uniform(each) for name, each in value.items() if each is not UNSET}
    return to_wire(value)
