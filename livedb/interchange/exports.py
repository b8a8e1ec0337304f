"""Tables written to Parquet, CSV and JSONL files, each appearing whole or not at all.

A file is written beside its target under a temporary name and renamed, so neither a reader nor a
crash ever meets half of one. Parquet keeps every type. CSV and JSONL have fewer words: datetimes
are ISO text in UTC, bytes base64, and both come back through the table's schema; inside lists and
objects they are livedb's tags. In CSV a null is nothing at all and an empty string is `""`; lists
and objects are JSON text.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet

from livedb import text
from livedb.errors import LoadError
from livedb.interchange.arrow import json_field
from livedb.store.connection import scratch_connection
from livedb.store.marks import has_mark, quoted, sql_text
from livedb.values import Value

_COPY = "COPY (SELECT {columns} FROM source) TO {path} ({options}, timestampformat {iso})"
_ISO = "%Y-%m-%dT%H:%M:%S.%fZ"
_JSON_FLOAT = """CASE WHEN isfinite({0}) THEN to_json({0}) WHEN isnan({0}) THEN '"NaN"'::JSON
WHEN {0} > 0 THEN '"Infinity"'::JSON WHEN {0} < 0 THEN '"-Infinity"'::JSON END"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export wrote: where, as of which commit (None: no commit's), how many rows."""

    path: Path
    number: int | None
    rows: int

    def __repr__(self) -> str:
        commit = "" if self.number is None else f" (commit {self.number})"
        return f"wrote {self.rows:,} rows to {str(self.path)!r}{commit}"


def to_parquet(
    table: pa.Table,
    path: str | PathLike[str],
    *,
    number: int | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Write `table` as Parquet.

    Raises:
        LoadError: the target exists (and not `overwrite`), or cannot be written.
    """

    def write(temporary: Path) -> None:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")

    return _publish(table, path, number, write, overwrite=overwrite)


def to_csv(
    table: pa.Table,
    path: str | PathLike[str],
    *,
    number: int | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Write `table` as CSV with a header row. Raises as `to_parquet`."""
    return _publish(
        table,
        path,
        number,
        lambda temporary: _copy(table, temporary, "format csv, header", _csv_column),
        overwrite=overwrite,
    )


def to_jsonl(
    table: pa.Table,
    path: str | PathLike[str],
    *,
    number: int | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Write `table` as one JSON object a line. Raises as `to_parquet`."""
    return _publish(
        table,
        path,
        number,
        lambda temporary: _copy(table, temporary, "format json", _json_column),
        overwrite=overwrite,
    )


def export(
    table: pa.Table,
    path: str | PathLike[str],
    *,
    number: int | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Write `table` in the format that the ending of `path` names. Raises as `to_parquet`."""
    write = _FORMATS.get(Path(path).suffix.lower())
    if write is None:
        endings = ", ".join(_FORMATS)
        raise LoadError(f"{str(path)!r}: the name of an export ends with one of {endings}.")
    return write(table, path, number=number, overwrite=overwrite)


_FORMATS: dict[str, Callable[..., ExportResult]] = {
    ".parquet": to_parquet,
    ".csv": to_csv,
    ".jsonl": to_jsonl,
}


def _publish(
    table: pa.Table,
    path: str | PathLike[str],
    number: int | None,
    write: Callable[[Path], None],
    *,
    overwrite: bool,
) -> ExportResult:
    target = Path(path)
    if target.is_dir():
        raise LoadError(f"{target} is a folder; name a file to export to.")
    if not overwrite and target.exists():
        raise LoadError(f"{target} exists; pass overwrite=True to replace it.", code="FileExists")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        write(temporary)
        temporary.replace(target)
    except (OSError, duckdb.Error, pa.ArrowException) as error:
        raise LoadError(f"{target} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return ExportResult(path=target, number=number, rows=table.num_rows)


def _copy(
    table: pa.Table, temporary: Path, options: str, column: Callable[[pa.Field[Any]], str]
) -> None:
    """Let a DuckDB of our own write the file; `column` gives the SQL of one field."""
    if not table.num_columns:
        temporary.touch()
        return
    source = _flat(table)
    columns = [f"{column(field)} AS {quoted(field.name)}" for field in source.schema]
    with scratch_connection() as connection:
        connection.register("source", source)
        connection.execute(
            _COPY.format(
                columns=", ".join(columns),
                path=sql_text(str(temporary)),
                options=options,
                iso=sql_text(_ISO),
            )
        )


def _csv_column(field: pa.Field[Any]) -> str:
    name = quoted(field.name)
    return f"base64({name}::BLOB)" if _is_bytes(field.type) else name


def _json_column(field: pa.Field[Any]) -> str:
    name = quoted(field.name)
    if has_mark(field, "json"):
        return f"{name}::JSON"
    if _is_bytes(field.type):
        return f"base64({name}::BLOB)"
    if pa.types.is_floating(field.type):
        return _JSON_FLOAT.format(name)
    return name


def _flat(table: pa.Table) -> pa.Table:
    """`table` with lists, structs and maps as JSON text; the other columns as they are."""
    for position, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            column = pa.array(map(_json_text, table.column(position).to_pylist()), pa.string())
            table = table.set_column(position, json_field(field.name), column)
    return table


def _json_text(value: Value) -> str | None:
    return None if value is None else text.encode_value(value).decode()


def _is_bytes(arrow: pa.DataType) -> bool:
    is_ = pa.types
    return bool(
        is_.is_binary(arrow)
        or is_.is_large_binary(arrow)
        or is_.is_binary_view(arrow)
        or is_.is_fixed_size_binary(arrow)
    )
