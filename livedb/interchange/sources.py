"""Whatever holds rows - files, Arrow, frames, dicts - as one stream of Arrow record batches.

What is decided here is what the data *are*: which columns, which moments, which gaps. Whether they
fit a table is decided by `livedb.store.loads`, which takes the stream. Nothing is guessed: a time
without a zone, a named index, a repeated column name or a column that holds Python objects of
several kinds without a livedb type is refused, with the words that settle it. Nothing is `str()`ed.

A row that lacks a field (a dict without the key) is told apart from one that holds null, by a
marked column beside the values; see `livedb.store.marks`.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from glob import glob
from itertools import chain
from operator import itemgetter
from os import PathLike, fspath
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO, Literal, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

from livedb import text
from livedb.errors import InvalidValueError, LoadError
from livedb.interchange.arrow import DATETIME, FieldType, field_arrow_type, json_field
from livedb.limits import DOCUMENT_NESTING_MAX
from livedb.store.marks import absent_field, marked
from livedb.values import UNSET, Document, Int64, Missing, Value, canonical

NanRule: TypeAlias = Literal["null", "keep"]
IndexRule: TypeAlias = Literal["column", "drop"]
Format: TypeAlias = Literal["parquet", "csv", "jsonl"]

BATCH_ROWS = 1 << 17
"""Rows of one record batch made here; also the rows of a row group DuckDB reads at once."""

_SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_SYSTEM_FIELDS = frozenset({"_id", "_creationTime"})
_NUMBER = re.compile(r"[-+]?\d[\d.,eE+-]*")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows ready to be loaded.

    Attributes:
        schema: the columns of every batch, marked as `livedb.store.marks` says.
        reader: opens the stream; a source over an iterator can be read once only.
        rows: how many there are, None when that is not known before reading.
    """

    schema: pa.Schema
    reader: Callable[[], pa.RecordBatchReader]
    rows: int | None


def open_source(
    source: object,
    *,
    nan: NanRule | None = None,
    tz: str | None = None,
    index: IndexRule | None = None,
    format: Format | None = None,  # noqa: A002 - the word users know from pandas and DuckDB
    fields: Mapping[str, FieldType] | None = None,
) -> Source:
    """`source` as a stream of record batches.

    Args:
        source: a path or paths (Parquet, CSV, JSONL; `*` as in a shell), a pyarrow Table,
            RecordBatch, RecordBatchReader or Dataset, a pandas or polars frame, anything with
            `__arrow_c_stream__`, or dicts.
        nan: whether NaN of a float column becomes null ("null": the default for columns that numpy
            holds, in pandas) or stays NaN ("keep": the default elsewhere).
        tz: the zone of datetimes that have none, such as "America/New_York"; without it such a
            column is refused.
        index: what to do with a named pandas index.
        format: the kind of file, when its name does not say.
        fields: the types of the fields, which say how text formats are read.

    Raises:
        LoadError: the source cannot be read, or is not clear about its rows.
    """
    if nan not in (None, "null", "keep"):
        raise LoadError(f'nan is "null" or "keep", not {nan!r}.')
    rules = _Rules(nan=nan, tz=tz, index=index, format=format, fields=dict(fields or {}))
    try:
        opened = _open(source, rules)
        _check_names(opened.schema.names)
        _check_types(opened.schema)
        return _with_moments(_without_nan(opened, rules), rules)
    except (pa.ArrowException, OSError) as error:
        raise LoadError(f"The source cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    nan: NanRule | None
    tz: str | None
    index: IndexRule | None
    format: Format | None
    fields: dict[str, FieldType]


def _open(source: object, rules: _Rules) -> Source:
    if isinstance(source, str | PathLike):
        return _open_paths(_expand(source), rules)
    if isinstance(source, pa.RecordBatchReader):
        return Source(schema=source.schema, reader=lambda: source, rows=None)
    if isinstance(source, pa.dataset.Dataset):
        return Source(
            schema=source.schema,
            reader=lambda: source.scanner(batch_size=BATCH_ROWS).to_reader(),
            rows=source.count_rows(),
        )
    if _is_from(source, "pandas", "DataFrame"):
        return _open_table(_pandas_table(source, rules))
    if _is_from(source, "polars", "LazyFrame"):
        return _open(source.collect(), rules)  # type: ignore[attr-defined]
    if hasattr(source, "__arrow_c_stream__"):
        return _open_table(pa.table(source))
    if isinstance(source, pa.RecordBatch):
        return _open_table(pa.Table.from_batches([source]))
    return _open_iterable(source, rules)


def _open_iterable(source: object, rules: _Rules) -> Source:
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise LoadError(
            f"Cannot load a {type(source).__name__}: give a path, a frame, an Arrow table "
            f"or a list of dicts."
        )
    rows = source if isinstance(source, list) else list(source)
    if rows and all(isinstance(each, str | PathLike) for each in rows):
        return _open_paths([path for each in rows for path in _expand(each)], rules)
    return _open_table(rows_to_table(rows, rules.fields))


def _open_table(table: pa.Table) -> Source:
    return Source(
        schema=table.schema,
        reader=lambda: table.to_reader(max_chunksize=BATCH_ROWS),
        rows=table.num_rows,
    )


def _is_from(value: object, package: str, name: str) -> bool:
    """Whether `value` is a `package`.`name`, without importing the package."""
    return any(
        each.__name__ == name and each.__module__.split(".")[0] == package
        for each in type(value).__mro__
    )


# --- names and moments ----------------------------------------------------------------------------


def _check_names(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise LoadError(f"Two columns are named {name!r}; rename one of them.")
        seen.add(name)
    for name in names:
        if name.startswith("_") and name not in _SYSTEM_FIELDS:
            raise LoadError(
                f"The column name {name!r} starts with '_', which is kept for system fields; "
                f"rename it."
            )


def _check_types(schema: pa.Schema) -> None:
    """Refuse columns whose values livedb has no type for."""
    is_ = pa.types
    for column in schema:
        arrow = column.type
        is_foreign = isinstance(arrow, pa.BaseExtensionType) and not isinstance(arrow, pa.JsonType)
        if is_foreign or is_.is_duration(arrow) or is_.is_interval(arrow) or is_.is_time(arrow):
            raise LoadError(
                f"Column {column.name!r} is of type {arrow}, which has no livedb type; convert it, "
                f"a duration to a number of seconds for example."
            )


def _without_nan(source: Source, rules: _Rules) -> Source:
    if rules.nan != "null":
        return source
    floats = [i for i, each in enumerate(source.schema) if pa.types.is_floating(each.type)]

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        for position in floats:
            column = batch.column(position)
            clean = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
            batch = batch.set_column(position, batch.schema.field(position), clean)
        return batch

    return _mapped(source, source.schema, convert) if floats else source


def _with_moments(source: Source, rules: _Rules) -> Source:
    """Every datetime column with its zone: naive ones are given `tz`, or refused."""
    naive = {
        position: field.with_type(pa.timestamp(field.type.unit, rules.tz))
        for position, field in enumerate(source.schema)
        if pa.types.is_timestamp(field.type) and field.type.tz is None
    }
    if not naive:
        return source
    if rules.tz is None:
        name = source.schema.field(min(naive)).name
        raise LoadError(
            f"Column {name!r} holds datetimes without a time zone; say which one they are in, "
            f'such as tz="America/New_York" or tz="UTC".'
        )
    schema = source.schema
    for position, field in naive.items():
        schema = schema.set(position, field)

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = list(batch.columns)
        for position, field in naive.items():
            columns[position] = _assume_zone(columns[position], field.name, rules.tz or "UTC")
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    return _mapped(source, schema, convert)


def _assume_zone(column: pa.Array[Any], name: str, tz: str) -> pa.Array[Any]:
    try:
        moments: pa.Array[Any] = pc.call_function(
            "assume_timezone", [column], pc.AssumeTimezoneOptions(tz)
        )
    except pa.ArrowInvalid as error:
        raise LoadError(f"Column {name!r} in zone {tz!r}: {error}") from error
    return moments


def _mapped(
    source: Source, schema: pa.Schema, convert: Callable[[pa.RecordBatch], pa.RecordBatch]
) -> Source:
    def reader() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(schema, map(convert, source.reader()))

    return Source(schema=schema, reader=reader, rows=source.rows)


# --- files ----------------------------------------------------------------------------------------


def _expand(path: str | PathLike[str]) -> list[Path]:
    """The files a path names; `*` and `**` as in a shell, unless a file has that very name."""
    plain = Path(fspath(path)).expanduser()
    if plain.exists():
        return sorted(plain.glob("**/*.parquet")) if plain.is_dir() else [plain]
    # Path.glob takes no absolute pattern.
    found = [Path(each) for each in sorted(glob(str(plain), recursive=True))]  # noqa: PTH207
    if not found:
        raise LoadError(f"There is no file {str(plain)!r}.")
    return found


def _open_paths(paths: list[Path], rules: _Rules) -> Source:
    formats = {rules.format or _format_of(path) for path in paths}
    match formats.pop() if len(formats) == 1 else None:
        case "parquet":
            return _open_parquet(paths)
        case "csv":
            return _open_table(pa.concat_tables([_read_csv(path, rules) for path in paths]))
        case "jsonl":
            rows = [row for path in paths for row in _iter_jsonl(path, rules.fields)]
            return _open_table(rows_to_table(rows, rules.fields))
    raise LoadError("Load files of one kind at a time, and at least one.")


def _format_of(path: Path) -> Format:
    name = path.name.lower().removesuffix(".gz")
    found = _SUFFIXES.get(Path(name).suffix)
    if found is None:
        raise LoadError(
            f"{str(path)!r}: the name does not say what kind of file it is; pass "
            f'format="parquet", "csv" or "jsonl".'
        )
    return found


def _open_parquet(paths: list[Path]) -> Source:
    """Parquet through a dataset: read in parallel, a batch at a time, marks kept."""
    dataset = pa.dataset.dataset([str(path) for path in paths], format="parquet")
    # The metadata of the first file are Arrow's own; field marks survive in them.
    return Source(
        schema=dataset.schema,
        reader=lambda: dataset.scanner(batch_size=BATCH_ROWS).to_reader(),
        rows=dataset.count_rows(),
    )


def _read_csv(path: Path, rules: _Rules) -> pa.Table:
    """A CSV file with a header row; `fields` decide the types, the rest is inferred by value."""
    names = _csv_header(path)
    _check_names(names)
    known = {name: rules.fields[name] for name in names if name in rules.fields}
    is_naive = rules.tz is not None
    types = {name: _csv_type(kind, is_naive=is_naive) for name, kind in known.items()}
    try:
        table = pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(
                newlines_in_values=True, ignore_empty_lines=len(names) > 1
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise LoadError(f"{str(path)!r}: {error}") from error
    for position, name in enumerate(names):
        table = _read_words(table, position, known.get(name))
    return table


def _csv_header(path: Path) -> list[str]:
    """The names in the first row. Raises: LoadError when they cannot be names."""
    with _open_text(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as lines:
        names = next(csv.reader(lines), [])
    for name in names or [""]:
        if not name or _NUMBER.fullmatch(name):
            raise LoadError(
                f"{str(path)!r} has no header row: its first row holds {name!r}, "
                f"which is no column name."
            )
    return names


def _csv_type(kind: FieldType, *, is_naive: bool) -> pa.DataType:
    if kind == "datetime":
        return pa.timestamp("us") if is_naive else DATETIME
    return pa.string() if kind == "bytes" else field_arrow_type(kind)


def _read_words(table: pa.Table, position: int, kind: FieldType | None) -> pa.Table:
    """A column of text whose field is bytes (base64) or has no CSV type of its own (JSON)."""
    name = table.schema.field(position).name
    if kind == "bytes":
        values = [
            None if each is None else _from_base64(each, name)
            for each in table.column(position).to_pylist()
        ]
        return table.set_column(position, name, pa.array(values, pa.binary()))
    if kind in ("list", "object", "json", "any"):
        return table.set_column(position, json_field(name), table.column(position))
    if kind == "int64":
        return table.set_column(
            position, marked(table.schema.field(position), "int64"), table.column(position)
        )
    return table


def _iter_jsonl(path: Path, fields: Mapping[str, FieldType]) -> Iterator[dict[str, Value]]:
    words = {name: _READ[kind] for name, kind in fields.items() if kind in _READ}
    with _open_text(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    yield _json_row(line, words)
                except (msgspec.DecodeError, InvalidValueError, ValueError) as error:
                    raise LoadError(f"{str(path)!r}, line {number}: {error}") from error


def _open_text(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _json_row(line: bytes, words: Mapping[str, Callable[[Value, str], Value]]) -> dict[str, Value]:
    row = text.decode_value(line) if b'"$' in line else msgspec.json.decode(line)
    if type(row) is not dict:
        raise ValueError(f"an object is expected, not {type(row).__name__}")
    for name, read in words.items():
        if row.get(name) is not None:
            row[name] = read(row[name], name)
    return row


def _from_base64(value: Value, name: str) -> Value:
    if type(value) is not str:
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise LoadError(f"Column {name!r}: {value[:40]!r} is not base64") from error


def _from_iso(value: Value, name: str) -> Value:
    if type(value) is not str:
        return value
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise LoadError(f"Column {name!r}: the datetime {value!r} has no time zone")
    return moment


_READ: dict[FieldType, Callable[[Value, str], Value]] = {
    "bytes": _from_base64,
    "datetime": _from_iso,
    "float": lambda value, _: _WORDS.get(value, value) if type(value) is str else value,
    "int64": lambda value, _: Int64(value) if type(value) is int else value,
}
"""How text stands for what JSON has no word for, by the type of the field."""


# --- Python rows ----------------------------------------------------------------------------------

_ARROW: dict[type, pa.DataType] = {
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    bytes: pa.binary(),
    Int64: pa.int64(),
    datetime: DATETIME,
}
_EXACT = _ARROW.keys() - {datetime}
"""Types that Arrow takes as they are; all else, datetimes for their zone, passes `canonical`."""


def rows_to_table(
    rows: Sequence[Mapping[str, Value]], fields: Mapping[str, FieldType] | None = None
) -> pa.Table:
    """Dicts as a table with one column per name, and marks for what is absent.

    A column whose values are all of one primitive type has that Arrow type; any other is JSON text
    in livedb's text form.

    Raises:
        LoadError: a row is no dict, or a value cannot be stored.
    Cost: about 0.1 us per value.
    """
    columns: list[pa.Array[Any]] = []
    schema: list[pa.Field[Any]] = []
    for name in _row_names(rows):
        values, absent = _row_values(rows, name)
        field, column = _typed_column(name, values, (fields or {}).get(name))
        columns.append(column)
        schema.append(field)
        if absent is not None:
            columns.append(absent)
            schema.append(absent_field(name))
    return pa.table(columns, schema=pa.schema(schema)) if schema else _table_of_nothing(len(rows))


def _table_of_nothing(count: int) -> pa.Table:
    """`count` empty documents: a table needs some column to have rows."""
    field = absent_field("")
    return pa.table([pa.array([True] * count, pa.bool_())], schema=pa.schema([field]))


def _row_names(rows: Sequence[Mapping[str, Value]]) -> list[str]:
    if not all(type(row) is dict or type(row) is Document for row in rows):
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise LoadError(f"Row {number} is a {type(row).__name__}, not a dict.")
    # Most sources have few sets of names; taking names one by one costs six times as much.
    names = dict.fromkeys(chain.from_iterable(dict.fromkeys(map(tuple, rows))))
    for name in names:
        if not isinstance(name, str):
            raise LoadError(f"The field name {name!r} is not a str.")
    return list(names)


def _row_values(
    rows: Sequence[Mapping[str, Value]], name: str
) -> tuple[list[Value], pa.Array[Any] | None]:
    """The values of one field, None where absent, and where that is (None: nowhere)."""
    try:
        values = list(map(itemgetter(name), rows))
    except KeyError:
        values = [row.get(name, UNSET) for row in rows]
    if Missing not in set(map(type, values)):
        return values, None
    absent = [value is UNSET for value in values]
    return [None if value is UNSET else value for value in values], pa.array(absent, pa.bool_())


def _typed_column(
    name: str, values: list[Value], kind: FieldType | None
) -> tuple[pa.Field[Any], pa.Array[Any]]:
    """One column of Python values: a primitive Arrow type, or JSON text."""
    types = set(map(type, values)) - {NoneType}
    if not types <= _EXACT:
        values = _canonical_values(name, values)
        types = set(map(type, values)) - {NoneType}
    if not types:
        return pa.field(name, pa.null()), pa.nulls(len(values))
    if types == {int, float} and kind == "float":
        types = {float}
    if len(types) == 1 and (arrow := _ARROW.get(next(iter(types)))) is not None:
        field = pa.field(name, arrow)
        column = _arrow_column(name, values, arrow)
        return (marked(field, "int64") if types == {Int64} else field), column
    checked = _canonical_values(name, values) if types <= _EXACT else values
    texts = [None if each is None else text.encode_value(each).decode() for each in checked]
    return json_field(name), pa.array(texts, pa.string())


def _arrow_column(name: str, values: list[Value], arrow: pa.DataType) -> pa.Array[Any]:
    try:
        return pa.array(values, arrow, from_pandas=False)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        _canonical_values(name, values)  # names the row and says it better
        raise


def _canonical_values(name: str, values: list[Value]) -> list[Value]:
    result: list[Value] = []
    try:
        for value in values:
            result.append(canonical(value, nesting_max=DOCUMENT_NESTING_MAX - 1))  # noqa: PERF401
    except InvalidValueError as error:
        raise LoadError(
            f"Column {name!r}, row {len(result)}: {error.message}", code=error.code
        ) from error
    return result


# --- pandas ---------------------------------------------------------------------------------------


def _pandas_table(frame: Any, rules: _Rules) -> pa.Table:
    """A DataFrame's columns as Arrow, each by its own dtype."""
    frame = _with_index(frame, rules.index)
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            raise LoadError(f"The column name {name!r} is a {type(name).__name__}, not a str.")
    _check_names(names)
    columns = [_pandas_column(name, frame.iloc[:, i], rules) for i, name in enumerate(names)]
    schema = pa.schema([field for field, _ in columns])
    return pa.table([column for _, column in columns], schema=schema)


def _with_index(frame: Any, rule: IndexRule | None) -> Any:
    """`frame` with its index as a column, or without; a named one must be decided."""
    if rule not in (None, "column", "drop"):
        raise LoadError(f'index is "column" or "drop", not {rule!r}.')
    names = [name for name in frame.index.names if name is not None]
    if rule == "column":
        return frame.reset_index()
    if names and rule is None:
        raise LoadError(
            f'The frame\'s index is named {", ".join(map(repr, names))}; pass index="column" to '
            f'load it as a column, or index="drop" to leave it out.'
        )
    return frame


def _pandas_column(name: str, series: Any, rules: _Rules) -> tuple[pa.Field[Any], pa.Array[Any]]:
    dtype = series.dtype
    is_numpy = type(dtype).__module__.split(".")[0] == "numpy"
    is_null = rules.nan != "keep"
    if is_numpy and dtype.kind == "O":
        values = list(series.array)
        if is_null:
            values = [
                None if isinstance(each, float) and math.isnan(each) else each for each in values
            ]
        return _typed_column(name, values, rules.fields.get(name))
    try:
        if is_numpy:
            column = pa.array(series.to_numpy(), from_pandas=is_null)
        else:
            column = pa.array(series.array)
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        raise LoadError(
            f"Column {name!r} has the dtype {dtype}, which has no livedb type: {error}"
        ) from error
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return pa.field(name, column.type), column
