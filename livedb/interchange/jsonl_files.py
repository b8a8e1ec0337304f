"""JSON Lines, one object a line, in bounded batches.

A file is read twice: once to see what its columns are, once for the rows. So memory stays flat, and
a column's type follows from all rows and not from the first ones.

`3` is an int and `3.0` a float; livedb's tags (`livedb.text`) are understood. Where the table's
schema names a type that JSON has no word for, text stands for it: ISO datetimes, base64, "NaN".
"""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa

from livedb import text
from livedb.errors import InvalidValueError, LoadError
from livedb.interchange.arrow import FieldType
from livedb.interchange.rows import BLOCK_ROWS, ReadText, RowColumns, Taken
from livedb.limits import DOCUMENT_BYTES_MAX
from livedb.values import Int64, Value

_LINE_BYTES_MAX = 16 * DOCUMENT_BYTES_MAX
"""A longer line cannot be a document, however much of it is white space and escapes."""

_decode = msgspec.json.Decoder().decode


class JsonLines:
    """The rows of JSONL files.

    Attributes:
        schema: their columns, marked as `livedb.store.marks` says.
        rows: how many there are.

    Raises:
        LoadError: a line is no JSON object, or holds what livedb has no value for.
    """

    def __init__(
        self, paths: Sequence[Path], fields: Mapping[str, FieldType], *, tz: str | None
    ) -> None:
        self._paths = paths
        self._fields = fields
        self._tz = tz
        self._columns = self._new_columns()
        for _ in self._taken(self._columns):
            pass
        self.schema = self._columns.schema()
        self.rows = self._columns.rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, a block at a time."""
        return self._columns.batches(self._taken(self._new_columns()))

    def _new_columns(self) -> RowColumns:
        readers = {name: _READ[kind] for name, kind in self._fields.items() if kind in _READ}
        return RowColumns(self._fields, tz=self._tz, readers=readers)

    def _taken(self, columns: RowColumns) -> Iterator[Taken]:
        for path in self._paths:
            for block in _iter_blocks(path):
                yield columns.take(block)


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked if its name ends in `.gz`."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def from_base64(value: Value) -> Value:
    """Bytes of text that stands for them; other values as they are. Raises: ValueError."""
    if type(value) is not str:
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError(f"{value[:40]!r} is not base64") from None


def _iter_blocks(path: Path) -> Iterator[list[Value]]:
    rows: list[Value] = []
    with open_bytes(path) as stream:
        for number, line in enumerate(_iter_lines(path, stream), 1):
            if line.isspace():
                continue
            rows.append(_row(path, number, line))
            if len(rows) == BLOCK_ROWS:
                yield rows
                rows = []
    if rows:
        yield rows


def _iter_lines(path: Path, stream: BinaryIO) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(_LINE_BYTES_MAX):
        number += 1
        if len(line) == _LINE_BYTES_MAX:
            raise LoadError(
                f"{str(path)!r}, line {number}: a line of more than {_LINE_BYTES_MAX >> 20} MiB "
                f"cannot be a document. Is there one object on each line?"
            )
        yield line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _row(path: Path, number: int, line: bytes) -> Value:
    try:
        # Without a name that starts with `$` there is no tag to look for.
        row = text.decode_value(line) if b'"$' in line else _decode(line)
    except RecursionError:
        raise LoadError(f"{str(path)!r}, line {number}: the value is nested too deeply.") from None
    except (ValueError, TypeError, LookupError, InvalidValueError) as error:
        raise LoadError(f"{str(path)!r}, line {number}: {error}") from error
    if type(row) is not dict:
        raise LoadError(
            f"{str(path)!r}, line {number}: an object is expected, not {type(row).__name__}."
        )
    return row


def _from_iso(value: Value) -> Value:
    return datetime.fromisoformat(value) if type(value) is str else value


_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_READ: dict[FieldType, ReadText] = {
    "bytes": from_base64,
    "datetime": _from_iso,
    "float": lambda value: _WORDS.get(value, value) if type(value) is str else value,
    "int64": lambda value: Int64(value) if type(value) is int else value,
}
"""How text stands for what JSON has no word for, by the type of the field."""
