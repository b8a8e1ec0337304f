"""Convex's snapshot zip, read: all tables of a workspace at one commit, as lines of JSON.

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
older exports have there instead of "uniform", `snapshot_shapes` reads; `snapshot_export` writes it.

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from os import PathLike
from pathlib import Path
from typing import IO, Any, Self

import msgspec
import pyarrow as pa

from livedb.errors import InvalidIdError, InvalidValueError, LoadError
from livedb.functions.storage import checked_content_type
from livedb.ids import FIRST_TABLE_NUMBER, table_number_of
from livedb.interchange.arrow import FieldType, fields_of
from livedb.interchange.rows import BLOCK_ROWS, ReadText, RowColumns, Taken
from livedb.interchange.snapshot_members import Members, check_directory
from livedb.interchange.snapshot_shapes import Shape, parse_shape, read_value
from livedb.interchange.sources import Source
from livedb.limits import DOCUMENT_BYTES_MAX, TABLE_NUMBER_MAX
from livedb.protocol.convex_json import from_wire
from livedb.schema.tables import STORAGE_TABLE, TableDefinition
from livedb.values import Int64, Value
from livedb.wording import counted

HINTS_BYTES_MAX = 256 << 20
"""Bytes of a `generated_schema.jsonl` with a line per document, which is held in memory."""

_BUFFER_BYTES = 1 << 18
_LINE_BYTES_MAX = 16 * DOCUMENT_BYTES_MAX
_SHA256_HEX = 64
UNIFORM = "uniform"
"""Of a table whose values are in the uniform form."""


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
        if shape == UNIFORM:
            return _from_uniform_fields
        if not isinstance(shape, str):
            raise LoadError(f"{place}: text is expected, {UNIFORM!r} or a shape")
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
