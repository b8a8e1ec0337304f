"""Tables written to Parquet, CSV and JSONL files, each appearing whole or not at all.

A file is written beside its target under a temporary name, synced and renamed, so neither a reader
nor a crash ever meets half of one. What a killed process has left under such a name goes with the
next export into that folder. Parquet keeps every type. CSV and JSONL have fewer words:
datetimes are ISO text in UTC, bytes base64, and both come back through the table's schema; inside
lists and objects they are livedb's tags. In CSV a null is nothing at all and an empty string is
`""`; lists and objects are JSON text. A text is written as it is, also one that a spreadsheet would
take for a formula.

The lines of CSV and JSONL are made by a DuckDB of our own, a batch at a time. Column names appear
only as text, so that names that SQL would confuse (`a` and `A`, the empty one) stay what they are.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.parquet

from livedb import text
from livedb.errors import LoadError
from livedb.interchange.arrow import json_field
from livedb.store.arrow_types import is_bytes
from livedb.store.connection import quote_text, scratch_connection
from livedb.store.marks import has_mark
from livedb.store.packed import packed_texts
from livedb.store.sql import RowStream
from livedb.values import Value
from livedb.wording import counted

Format: TypeAlias = Literal["parquet", "csv", "jsonl"]

_BATCH_ROWS = 1 << 16
"""Rows whose lines are made at once."""

_GROUP_ROWS, _GROUP_BYTES = 1 << 20, 64 << 20
"""Rows and bytes of a stream that are held until they are written."""

_MOMENT = "strftime({0}, '%Y-%m-%dT%H:%M:%S.%f{1}')"
_JSON_FLOAT = """CASE WHEN isfinite({0}) THEN to_json({0}) WHEN isnan({0}) THEN '"NaN"'::JSON
WHEN {0} > 0 THEN '"Infinity"'::JSON WHEN {0} < 0 THEN '"-Infinity"'::JSON END"""
_CSV_TEXT = """CASE WHEN {0} = '' OR regexp_matches({0}, '[",\\r\\n]|^\\s|\\s$')
THEN '"' || replace({0}, '"', '""') || '"' ELSE {0} END"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export wrote: where, as of which commit (None: no commit's), how many rows."""

    path: Path
    number: int | None
    rows: int

    def __repr__(self) -> str:
        commit = "" if self.number is None else f" (commit {self.number})"
        return f"wrote {counted(self.rows, 'row')} to {str(self.path)!r}{commit}"


def export(
    rows: pa.Table | RowStream,
    path: str | PathLike[str],
    *,
    format: Format | None = None,  # noqa: A002 - the word users know
    number: int | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Write rows to a file.

    Args:
        rows: a stream's are written as they come, so they need not fit into memory.
        format: what to write; None: what the ending of `path` says.
        number: the commit that they are of.

    Raises:
        LoadError: the target exists (and not `overwrite`), or cannot be written; what was there
            before is there still.
    """
    target = Path(path).expanduser()
    chosen = format or format_of(target)
    with published(target, overwrite=overwrite) as file:
        count = write_rows(rows, file, format=chosen)
    return ExportResult(path=target, number=number, rows=count)


def write_rows(rows: pa.Table | RowStream, file: BinaryIO, *, format: Format) -> int:  # noqa: A002
    """Write rows to an open file, such as stdout; returns how many."""
    groups = iter((rows,)) if isinstance(rows, pa.Table) else _groups(rows)
    counted = _Counted(groups)
    _WRITERS[format](rows.schema, counted, file)
    return counted.rows


class _Counted:
    """Tables, and how many rows were in those that were taken."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self.rows = 0

    def __iter__(self) -> Iterator[pa.Table]:
        for table in self._tables:
            self.rows += table.num_rows
            yield table


def _groups(rows: RowStream) -> Iterator[pa.Table]:
    """The rows of a stream in tables that are worth a row group of Parquet."""
    batches: list[pa.RecordBatch] = []
    held_rows = held_bytes = 0
    for batch in rows.batches:
        batches.append(batch)
        held_rows += batch.num_rows
        held_bytes += batch.nbytes
        if held_rows >= _GROUP_ROWS or held_bytes >= _GROUP_BYTES:
            yield pa.Table.from_batches(batches, rows.schema)
            batches, held_rows, held_bytes = [], 0, 0
    if batches:
        yield pa.Table.from_batches(batches, rows.schema)


def format_of(target: Path) -> Format:
    """The format that a path's ending says.

    Raises:
        LoadError: it says none.
    """
    found = _SUFFIXES.get(target.suffix.lower())
    if found is None:
        endings = ", ".join(_SUFFIXES)
        raise LoadError(f"{str(target)!r}: the name of an export ends with one of {endings}.")
    return found


_SUFFIXES: dict[str, Format] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}


@contextmanager
def published(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write to, which is `target` at the end; after any failure nothing has happened."""
    if os.path.isdir(target):  # noqa: PTH112 - Path.is_dir raises on names that cannot be
        raise LoadError(f"{str(target)!r} is a folder; name a file to export to.")
    if not os.path.isdir(target.parent):  # noqa: PTH112 - the same
        raise LoadError(
            f"{str(target)!r} cannot be written: there is no folder {str(target.parent)!r}; make "
            f"it first."
        )
    if not overwrite and os.path.lexists(target):
        raise _exists(target)
    marks = f"{os.getpid()}-{threading.get_ident()}"
    temporary = target.with_name(f".livedb-{socket.gethostname()}-{marks}.part")
    try:
        with suppress(OSError):  # a folder that may be written to and not listed
            _remove_abandoned(target.parent)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(target)
        else:
            # Renaming would replace what another writer has put there meanwhile.
            os.link(temporary, target)
    except FileExistsError:
        raise _exists(target) from None
    except (OSError, duckdb.Error, pa.ArrowException) as error:
        # Of an OSError only what happened: the file it names is our temporary one.
        why = getattr(error, "strerror", None) or error
        raise LoadError(f"{str(target)!r} cannot be written: {why}") from error
    finally:
        with suppress(OSError):  # not even a name that can be
            temporary.unlink()


_TEMPORARY = re.compile(r"\.livedb-(.+)-(\d+)-\d+\.part")


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine were writing when they were killed."""
    if os.name != "posix":
        return  # elsewhere `os.kill` does not ask, it kills
    for name in os.listdir(folder):  # noqa: PTH208 - names are all that is wanted
        found = _TEMPORARY.fullmatch(name)
        if found and found[1] == socket.gethostname() and not _is_alive(int(found[2])):
            (folder / name).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's, or no number of a process
        return True
    return True


def _exists(target: Path) -> LoadError:
    return LoadError(
        f"{str(target)!r} exists; pass overwrite=True to replace it.", code="FileExists"
    )


# --- formats --------------------------------------------------------------------------------------


def _write_parquet(schema: pa.Schema, tables: Iterable[pa.Table], file: BinaryIO) -> None:
    with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def _write_csv(schema: pa.Schema, tables: Iterable[pa.Table], file: BinaryIO) -> None:
    if len(schema):
        file.write((",".join(map(_csv_name, schema.names)) + "\n").encode())
    for table in tables:
        _write_lines(table, _csv_line, file)


def _csv_line(fields: list[pa.Field[Any]]) -> str:
    cells = ", ',', ".join(_csv_cell(field) for field in fields)
    return f"concat({cells}, chr(10))"


def _write_jsonl(schema: pa.Schema, tables: Iterable[pa.Table], file: BinaryIO) -> None:
    names = [quote_text(name) for name in schema.names]
    for table in tables:
        _write_lines(table, lambda fields: _json_line(names, fields), file)


def _json_line(names: list[str], fields: list[pa.Field[Any]]) -> str:
    values = map(_json_value, fields)
    members = ", ".join(f"{name}, {value}" for name, value in zip(names, values, strict=True))
    return f"json_object({members})::VARCHAR || chr(10)"


_WRITERS: dict[Format, Callable[[pa.Schema, Iterable[pa.Table], BinaryIO], None]] = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "jsonl": _write_jsonl,
}


def _write_lines(
    table: pa.Table, line: Callable[[list[pa.Field[Any]]], str], file: BinaryIO
) -> None:
    """Write the text that the SQL of `line` makes of each row; its columns are c0, c1, ..."""
    if not table.num_columns:
        return
    source = _flat(table)
    source = source.rename_columns([f"c{position}" for position in range(source.num_columns)])
    with scratch_connection() as connection:
        connection.register("source", source)
        query = f"SELECT {line(list(source.schema))} FROM source"  # noqa: S608 - names are ours
        with connection.sql(query).to_arrow_reader(_BATCH_ROWS) as lines:
            file.writelines(packed_texts(batch.column(0))[0].data for batch in lines)


def _flat(table: pa.Table) -> pa.Table:
    """`table` with lists, structs and maps as JSON text; the other columns as they are."""
    for position, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            column = pa.array(map(_json_text, table.column(position).to_pylist()), pa.string())
            table = table.set_column(position, json_field(field.name), column)
    return table


def _json_text(value: Value) -> str | None:
    return None if value is None else text.encode_value(value).decode()


def _csv_name(name: str) -> str:
    is_plain = name and name == name.strip() and not set(name) & set('",\r\n')
    return name if is_plain else '"' + name.replace('"', '""') + '"'


def _csv_cell(field: pa.Field[Any]) -> str:
    cell = _plain_text(field)
    return cell if pa.types.is_primitive(field.type) else _CSV_TEXT.format(cell)


def _json_value(field: pa.Field[Any]) -> str:
    if has_mark(field, "json"):
        return f"{field.name}::JSON"
    if pa.types.is_floating(field.type):
        return _JSON_FLOAT.format(field.name)
    if pa.types.is_temporal(field.type) or is_bytes(field.type):
        return _plain_text(field)
    return field.name


def _plain_text(field: pa.Field[Any]) -> str:
    """The SQL of a value's text."""
    if is_bytes(field.type):
        return f"base64({field.name}::BLOB)"
    if pa.types.is_timestamp(field.type):
        return _MOMENT.format(field.name, "" if field.type.tz is None else "Z")
    return f"{field.name}::VARCHAR"
