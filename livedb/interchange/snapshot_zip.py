"""Convex's snapshot zip, both ways: all tables of a workspace at one commit, as lines of JSON.

    README.md                       for whoever opens it by hand
    _tables/documents.jsonl         {"name": .., "id": table number}, one line per table
    <table>/documents.jsonl         one document per line, with `_id` and `_creationTime`
    <table>/generated_schema.jsonl  "uniform": how values are written
    _storage/documents.jsonl        one file per line: `sha256`, `size` and `contentType`
    _storage/<id>                   the content of each; other writers put an ending behind the id

In the uniform form a JSON integer is an int64, a number with a point or an exponent a float64, and
`{"$float": ..}` and `{"$bytes": ..}` hold what JSON cannot. So an `int` of livedb travels as the
float that it is to Convex, and a datetime as its milliseconds; a table's schema turns both back.
Without `generated_schema.jsonl` every number is a float64 and an int64 is `{"$integer": ..}`. What
older exports have there instead of "uniform", `snapshot_shapes` reads.

What is read comes from anywhere: nothing is unpacked to disk, no name becomes a path, and counts,
sizes and the ratio of compression have bounds.

Source: Convex's exports, format as of 2026; features.md 16.
"""

from __future__ import annotations

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import msgspec
import pyarrow as pa

from livedb.errors import InvalidIdError, InvalidValueError, LoadError
from livedb.functions.storage import Content, checked_content_type, contents_lost
from livedb.ids import FIRST_TABLE_NUMBER, table_number_of
from livedb.interchange.arrow import FieldType, fields_of
from livedb.interchange.exports import published
from livedb.interchange.rows import BLOCK_ROWS, ReadText, RowColumns, Taken
from livedb.interchange.snapshot_members import Members, check_directory
from livedb.interchange.snapshot_shapes import Shape, parse_shape, read_value
from livedb.interchange.sources import Source
from livedb.limits import DOCUMENT_BYTES_MAX, TABLE_NUMBER_MAX
from livedb.protocol.convex_json import from_wire, to_wire
from livedb.schema.tables import FILES_TABLE, STORAGE_TABLE, TableDefinition
from livedb.store.connection import quote
from livedb.text import decode_fields
from livedb.values import UNSET, Int64, Value
from livedb.wording import counted

if TYPE_CHECKING:
    from livedb.store.snapshot import SqlSnapshot

HINTS_BYTES_MAX = 256 << 20
"""Bytes of a `generated_schema.jsonl` with a line per document, which is held in memory."""

_BUFFER_BYTES = 1 << 18
_LINE_BYTES_MAX = 16 * DOCUMENT_BYTES_MAX
_PAGE_ROWS = 1 << 14
"""Rows of a table that an export holds at once."""
_SHA256_HEX = 64
_UNIFORM = "uniform"
_LEVEL = 3
"""Of compression: half the time of the usual 6 for a tenth more bytes, most of which are ids."""
_README = """# A snapshot of a livedb workspace

Each folder is a table, each line of its documents.jsonl a document. The format is that of Convex's
snapshot exports: `livedb import` and `npx convex import` read it.
"""


# --- writing --------------------------------------------------------------------------------------


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
            schema = [_line(_UNIFORM)]
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
    _write_lines(archive, f"{STORAGE_TABLE}/generated_schema.jsonl", [_line(_UNIFORM)])
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


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTable:
    """One table of a snapshot.

    Attributes:
        number: the table number of its ids; None when nothing says it.
        has_ids: whether its documents have ids.
        source: opens its documents, read by the types of the table they are for.
    """

    name: str
    number: int | None
    has_ids: bool
    source: Callable[[TableDefinition | None], Source]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """One file of a snapshot.

    Attributes:
        fields: its document, `_id` and `_creationTime` included.
        open: opens its content.
    """

    fields: Mapping[str, Value]
    open: Callable[[], IO[bytes]]


class SnapshotZip:
    """A snapshot zip that is read; a context manager.

    Attributes:
        files: those whose contents are in it.
        tables: what can be loaded, sorted by name.
        notes: what is in it and will not be loaded.

    Raises:
        LoadError: it is no snapshot, or holds what no snapshot does.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        with self.blaming():
            self._file = self.path.open("rb")
            try:
                check_directory(self._file)
                self._archive = zipfile.ZipFile(self._file)
                members = Members.of(self._archive.infolist(), self._file.seek(0, io.SEEK_END))
                self.notes: list[str] = members.notes
                self.tables = self._read_tables(members)
                self.files = self._read_files(members)
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._archive.close()
        self._file.close()

    @contextmanager
    def blaming(self) -> Iterator[None]:
        """What is wrong with the zip, with its name."""
        try:
            yield
        except LoadError as error:
            raise LoadError(f"{str(self.path)!r}: {error.message}", code=error.code) from error
        except OSError as error:
            why = error.strerror or str(error)
            raise LoadError(f"{str(self.path)!r} cannot be read: {why}") from error
        except (
            zipfile.BadZipFile, zlib.error, EOFError, struct.error,
            UnicodeDecodeError,  # a name that says to be UTF-8, and is not
        ) as error:  # fmt: skip
            raise LoadError(f"{str(self.path)!r} is no zip, or a damaged one: {error}") from error
        except (NotImplementedError, RuntimeError) as error:  # zipfile's, of a compression
            raise LoadError(f"{str(self.path)!r} cannot be unpacked: {error}") from error

    def _read_tables(self, members: Members) -> list[SnapshotTable]:
        numbers = self._numbers(members.tables)
        found = []
        for name, member in sorted(members.documents.items()):
            lines = _Lines(self, member, self._decoder(members.schemas.get(name)))
            first = lines.first()
            number = numbers.get(name)
            if first is not None:
                number = _number_of(name, first, number)
            has_ids = first is not None and "_id" in first
            found.append(
                SnapshotTable(name=name, number=number, has_ids=has_ids, source=lines.source)
            )
        by_number: dict[int, str] = {}
        for table in found:
            if table.number is not None and by_number.setdefault(table.number, table.name) != (
                table.name
            ):
                raise LoadError(
                    f"the tables {by_number[table.number]!r} and {table.name!r} have ids of the "
                    f"same table number, {table.number}"
                )
        return found

    def _read_files(self, members: Members) -> list[SnapshotFile]:
        decode = self._decoder(members.schemas.get(STORAGE_TABLE))
        contents = dict(members.contents)
        found = []
        lacking = 0
        for place, line in self.lines(members.files) if members.files is not None else ():
            fields = _file_fields(place, decode(_decoded(place, line)))
            member = contents.pop(str(fields["_id"]), None)
            if member is None:
                lacking += 1
            else:
                found.append(SnapshotFile(fields=fields, open=partial(self._archive.open, member)))
        if lacking:
            self.notes.append(f"left out: {counted(lacking, 'file')} whose contents are not in it")
        if contents:
            self.notes.append(
                f"left out: {counted(len(contents), 'content')} of _storage without a document"
            )
        return found

    def _numbers(self, member: zipfile.ZipInfo | None) -> dict[str, int]:
        """The table numbers that `_tables` lists."""
        numbers: dict[str, int] = {}
        for place, line in self.lines(member) if member is not None else ():
            row = _decoded(place, line)
            name, number = row.get("name"), row.get("id")
            if not isinstance(name, str) or not isinstance(number, (int, float)):
                raise LoadError(f'{place}: {{"name": .., "id": ..}} is expected')
            if not FIRST_TABLE_NUMBER <= number <= TABLE_NUMBER_MAX or number != int(number):
                raise LoadError(f"{place}: {number!r} is no number of a table")
            if numbers.setdefault(name, int(number)) != number:
                raise LoadError(f"{place}: table {name!r} has two numbers")
        return numbers

    def _decoder(self, member: zipfile.ZipInfo | None) -> Decode:
        """How the documents of a table are written, as its `generated_schema.jsonl` says."""
        lines = iter(()) if member is None else self.lines(member)
        first = next(lines, None)
        if first is None or member is None:
            return _from_wire_fields
        place, line = first
        shape = _json_of(place, line)
        if shape == _UNIFORM:
            return _from_uniform_fields
        if not isinstance(shape, str):
            raise LoadError(f"{place}: text is expected, {_UNIFORM!r} or a shape")
        if member.file_size > HINTS_BYTES_MAX:
            raise LoadError(f"{member.filename} is larger than {HINTS_BYTES_MAX >> 20} MiB")
        hints: dict[str, Any] = {}
        for each, text in lines:
            hints |= _decoded(each, text)
        try:
            return partial(_from_shape_fields, parse_shape(shape), hints)
        except LoadError as error:
            raise LoadError(f"{place}: {error.message}") from None

    def lines(self, member: zipfile.ZipInfo) -> Iterator[tuple[str, bytes]]:
        """The lines of a member that are not blank, and where each stands."""
        with self._archive.open(member) as raw:
            stream = io.BufferedReader(raw, _BUFFER_BYTES)  # type: ignore[type-var]  # it reads
            number = 0
            while line := stream.readline(_LINE_BYTES_MAX):
                number += 1
                place = f"{member.filename}, line {number}"
                if len(line) == _LINE_BYTES_MAX:
                    raise LoadError(f"{place}: a longer line than a document can be")
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.isspace():
                    yield place, line


class _FileRow(msgspec.Struct):
    """The document of a file, as a snapshot has it."""

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    sha256: str
    size: float
    content_type: str | None = msgspec.field(name="contentType", default=None)


def _file_fields(place: str, row: Mapping[str, Value]) -> dict[str, Value]:
    """The document of a file, as livedb keeps it.

    Raises:
        LoadError: it is none.
    """
    try:
        file = msgspec.convert(row, _FileRow)
        table_number_of(file.id)
        kind = checked_content_type(file.content_type)
        # Convex wrote base64 before its version 1.9.
        is_hex = len(file.sha256) == _SHA256_HEX
        digest = bytes.fromhex(file.sha256) if is_hex else base64.b64decode(file.sha256)
        size = int(file.size)
    except (ValueError, OverflowError, InvalidValueError, InvalidIdError) as error:
        raise LoadError(f"{place}: it describes no file: {error}") from None
    fields: dict[str, Value] = {"_id": file.id, "_creationTime": file.creation_time}
    fields |= {"sha256": digest.hex(), "size": size}
    return fields if kind is None else {**fields, "contentType": kind}


def _number_of(name: str, first: Mapping[str, Any], listed: int | None) -> int | None:
    """The number of a table by its first document, which must agree with `_tables`."""
    document_id = first.get("_id")
    if document_id is None:
        return listed
    try:
        number = table_number_of(document_id)
    except (InvalidIdError, TypeError, AttributeError):
        raise LoadError(f"table {name!r} has a document with the `_id` {document_id!r}") from None
    if listed not in (None, number):
        raise LoadError(
            f"table {name!r} has the number {listed} in _tables/documents.jsonl, and its ids have "
            f"{number}"
        )
    return number


# --- members --------------------------------------------------------------------------------------


# --- documents ------------------------------------------------------------------------------------


class _Lines:
    """The documents of one member."""

    def __init__(self, snapshot: SnapshotZip, member: zipfile.ZipInfo, decode: Decode) -> None:
        self._snapshot = snapshot
        self._member = member
        self._decode = decode

    def first(self) -> dict[str, Any] | None:
        """The first document as JSON; None of an empty table."""
        for place, line in self._snapshot.lines(self._member):
            return _decoded(place, line)
        return None

    def source(self, definition: TableDefinition | None) -> Source:
        """The documents for a load; read twice, so that memory stays flat.

        Raises:
            LoadError: a line is no document.
        """
        fields = {} if definition is None else fields_of(definition)
        readers = {} if definition is None else _readers(definition, fields)
        columns = RowColumns(fields, readers=readers)
        for _ in self._taken(columns):
            pass
        schema = columns.schema()

        def batches() -> Iterator[pa.RecordBatch]:
            return columns.batches(self._taken(RowColumns(fields, readers=readers)))

        return Source(
            schema=schema,
            reader=lambda: pa.RecordBatchReader.from_batches(schema, batches()),
            rows=columns.rows,
        )

    def _taken(self, columns: RowColumns) -> Iterator[Taken]:
        block: list[Value] = []
        with self._snapshot.blaming():
            for place, line in self._snapshot.lines(self._member):
                block.append(self._row(place, line))
                if len(block) == BLOCK_ROWS:
                    yield columns.take(block)
                    block = []
            if block:
                yield columns.take(block)

    def _row(self, place: str, line: bytes) -> Value:
        row = _decoded(place, line)
        try:
            return self._decode(row)
        except (InvalidValueError, RecursionError) as error:
            why = getattr(error, "message", None) or "the value is nested too deeply"
            raise LoadError(f"{place}: {why}") from error


def _decoded(place: str, line: bytes) -> dict[str, Any]:
    row = _json_of(place, line)
    if type(row) is not dict:
        raise LoadError(f"{place}: an object is expected, not {type(row).__name__}")
    return row


def _json_of(place: str, line: bytes) -> Any:
    try:
        return _decode_json(line)
    except RecursionError:
        raise LoadError(f"{place}: the value is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LoadError(f"{place}: {error}") from None


_decode_json = msgspec.json.Decoder().decode


Decode = Callable[[dict[str, Any]], dict[str, Value]]
"""The fields of a document from its JSON."""


def _from_uniform_fields(row: dict[str, Any]) -> dict[str, Value]:
    return {name: _from_uniform(value) for name, value in row.items()}


def _from_wire_fields(row: dict[str, Any]) -> dict[str, Value]:
    return {name: from_wire(value) for name, value in row.items()}


def _from_shape_fields(
    shape: Shape, hints: Mapping[str, Any], row: dict[str, Any]
) -> dict[str, Value]:
    document_id = row.get("_id")
    hint = hints.get(document_id) if isinstance(document_id, str) else None
    said = hint if isinstance(hint, dict) else {}
    return {name: read_value(value, shape.at(name), said.get(name)) for name, value in row.items()}


def _from_uniform(value: Any) -> Value:
    kind = type(value)
    if kind is int:
        if not -(1 << 63) <= value < 1 << 63:
            raise InvalidValueError(f"{value} is beyond what an int64 can hold")
        return Int64(value)
    if kind is list:
        return [_from_uniform(each) for each in value]
    if kind is dict:
        if next(iter(value), "").startswith("$"):
            return from_wire(value)
        return {name: _from_uniform(each) for name, each in value.items()}
    return value


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _to_int(value: Value) -> Value:
    """An integral number of a field that holds ints; anything else is left to be refused."""
    return int(value) if type(value) is float and value.is_integer() else value


def _to_moment(value: Value) -> Value:
    """The datetime that a number of milliseconds says; the wire has no other."""
    if type(value) is not float:
        return value
    try:
        return _EPOCH + timedelta(microseconds=round(value * 1000))
    except (OverflowError, ValueError):
        raise ValueError(f"{value!r} milliseconds are no datetime") from None


_READ: dict[FieldType, ReadText] = {"int": _to_int, "datetime": _to_moment}


def _readers(definition: TableDefinition, fields: Mapping[str, FieldType]) -> dict[str, ReadText]:
    """How the values of each field are read that the wire writes as something else."""
    readers = {name: _READ[kind] for name, kind in fields.items() if kind in _READ}
    for name, kind in fields.items():
        if kind in ("list", "object", "json"):
            readers[name] = partial(definition.fields[name].check, from_wire=True)
    return readers
