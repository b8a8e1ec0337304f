"""Whatever holds rows - files, Arrow, frames, dicts - as one stream of Arrow record batches.

What is decided here is what the data *are*: which columns, which moments, which gaps. Whether they
fit a table is decided by `livedb.store.loads`, which takes the stream. Nothing is guessed: a time
without a zone, a named index, a repeated column name or a column that holds Python objects of
several kinds without a livedb type is refused, with the words that settle it. Nothing is `str()`ed.

A row that lacks a field (a dict without the key) is told apart from one that holds null, by a
marked column beside the values; see `livedb.store.marks`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import glob
from io import IOBase
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from livedb.errors import LoadError
from livedb.interchange.arrow import FieldType
from livedb.interchange.csv_files import CsvRows
from livedb.interchange.jsonl_files import JsonLines
from livedb.interchange.moments import check_zone, in_zone, no_zone
from livedb.interchange.parquet_files import ParquetRows
from livedb.interchange.rows import check_is_text, object_column, rows_to_table
from livedb.store.marks import absent_name

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
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SYSTEM_FIELDS = frozenset({"_id", "_creationTime"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows ready to be loaded.

    Attributes:
        schema: the columns of every batch, marked as `livedb.store.marks` says.
        reader: opens the stream; a source over an iterator can be read once only.
        rows: how many there are, None when that is not known before reading.
        is_repeatable: whether the stream can be opened again.
    """

    schema: pa.Schema
    reader: Callable[[], pa.RecordBatchReader]
    rows: int | None
    is_repeatable: bool = True


def open_source(
    source: object,
    *,
    nan: NanRule | None = None,
    tz: str | None = None,
    index: IndexRule | None = None,
    format: Format | None = None,  # noqa: A002 - the word users know from pandas and DuckDB
    null_values: str | Sequence[str] = (),
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
        null_values: what stands for null in a CSV file besides nothing at all, such as "NA".
        fields: the types of the fields, which say how text formats are read.

    Raises:
        LoadError: the source cannot be read, or is not clear about its rows.
    """
    if nan not in (None, "null", "keep"):
        raise LoadError(f'nan is "null" or "keep", not {nan!r}.')
    if format not in (None, "parquet", "csv", "jsonl"):
        raise LoadError(f'format is "parquet", "csv" or "jsonl", not {format!r}.')
    if tz is not None:
        check_zone(tz)
    words = (null_values,) if isinstance(null_values, str) else tuple(null_values)
    if not all(isinstance(word, str) for word in words):
        raise LoadError(f'null_values are texts, such as "NA", not {words!r}.')
    rules = _Rules(
        nan=nan,
        tz=tz,
        index=index,
        format=format,
        null_values=words,
        fields=dict(fields or {}),
    )
    try:
        opened = _open(source, rules)
        _check_names(opened.schema.names)
        _check_types(opened.schema)
        return _with_moments(_without_nan(_without_dictionaries(opened), rules), rules)
    except (pa.ArrowException, OSError) as error:
        raise LoadError(f"The source cannot be read: {error}") from error


def source_of_stream(file: IOBase) -> Source:
    """The rows of an Arrow stream that came over a network, from the file they were kept in.

    Raises:
        LoadError: it is no Arrow stream, or one that is cut.
    """

    def reader() -> pa.RecordBatchReader:
        file.seek(0)
        return pa.ipc.open_stream(file)

    try:
        schema = reader().schema
    except (pa.ArrowException, OSError) as error:
        raise LoadError(f"The rows that arrived cannot be read: {error}") from error
    return Source(schema=schema, reader=reader, rows=None)


def without_system_fields(source: Source) -> Source:
    """`source` without its `_id` and `_creationTime`, if it has them."""
    kept = [
        position
        for position, field in enumerate(source.schema)
        if (absent_name(field) or field.name) not in _SYSTEM_FIELDS
    ]
    if len(kept) == len(source.schema):
        return source
    schema = pa.schema([source.schema.field(each) for each in kept])
    return _mapped(source, schema, lambda batch: batch.select(kept))


def first_id(source: Source) -> str | None:
    """The `_id` of the first row; None without rows or ids, or if it is no text.

    A source that can be read once only is not looked into.
    """
    if "_id" not in source.schema.names or not source.is_repeatable:
        return None
    for batch in source.reader():
        if batch.num_rows:
            found = batch.column("_id")[0].as_py()
            return found if isinstance(found, str) else None
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    nan: NanRule | None
    tz: str | None
    index: IndexRule | None
    format: Format | None
    null_values: tuple[str, ...]
    fields: dict[str, FieldType]


def _open(source: object, rules: _Rules) -> Source:
    if isinstance(source, str | PathLike):
        return _open_paths(_expand(source), rules)
    return _open_columns(source, rules) or _open_iterable(source, rules)


def _open_columns(source: object, rules: _Rules) -> Source | None:
    """What holds columns already; None when `source` does not."""
    if isinstance(source, pa.RecordBatchReader):
        opened = Source(schema=source.schema, reader=lambda: source, rows=None, is_repeatable=False)
    elif isinstance(source, pa.dataset.Dataset):
        opened = Source(
            schema=source.schema,
            reader=lambda: source.scanner(batch_size=BATCH_ROWS).to_reader(),
            rows=source.count_rows(),
        )
    elif _is_from(source, "pandas", "DataFrame"):
        opened = _open_table(_pandas_table(source, rules))
    elif _is_from(source, "polars", "LazyFrame"):
        opened = _open_table(_polars_table(source.collect(), rules))  # type: ignore[attr-defined]
    elif _is_from(source, "polars", "DataFrame"):
        opened = _open_table(_polars_table(source, rules))
    elif hasattr(source, "__arrow_c_stream__"):
        opened = _open_table(_stream_table(source))
    elif isinstance(source, pa.RecordBatch):
        opened = _open_table(pa.Table.from_batches([source]))
    elif isinstance(source, pa.Array):
        raise _one_column(source)
    else:
        return None
    _refuse_null_values(rules)
    return opened


def _stream_table(source: Any) -> pa.Table:
    try:
        return pa.table(source)
    except pa.ArrowInvalid as error:
        if not any(each.__name__ in ("Series", "ChunkedArray") for each in type(source).__mro__):
            raise
        raise _one_column(source) from error


def _one_column(source: object) -> LoadError:
    return LoadError(
        f"A source of type {type(source).__name__} is one column without a table: give a "
        f'frame, such as series.to_frame("name"), or pa.table({{"name": column}}).'
    )


def _open_iterable(source: object, rules: _Rules) -> Source:
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise LoadError(
            f"A source of type {type(source).__name__} cannot be loaded: give a path, a frame, an "
            f"Arrow table or a list of dicts."
        )
    rows = iter(source)
    first = next(rows, None)
    if isinstance(first, str | PathLike):
        return _open_paths([path for each in (first, *rows) for path in _expand(each)], rules)
    _refuse_null_values(rules)
    given = source if first is None else chain([first], rows)
    return _open_table(rows_to_table(given, rules.fields, tz=rules.tz))


def _refuse_null_values(rules: _Rules) -> None:
    if rules.null_values:
        raise LoadError("null_values is for CSV files; every other source has a null of its own.")


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
        check_is_text(name)
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
        foreign = _extension_of(column)
        if foreign or is_.is_duration(arrow) or is_.is_interval(arrow) or is_.is_time(arrow):
            raise LoadError(
                f"Column {column.name!r} is of type {foreign or arrow}, which has no livedb type; "
                f"convert it, a duration to a number of seconds for example."
            )


def _extension_of(column: pa.Field[Any]) -> str:
    """The extension type of a column, unless it is JSON; empty when it is of a plain type.

    Arrow shows an extension that nobody registered as what it is made of, which says nothing of
    what it means; only the metadata tell.
    """
    if isinstance(column.type, pa.BaseExtensionType):
        return "" if isinstance(column.type, pa.JsonType) else str(column.type)
    return (column.metadata or {}).get(b"ARROW:extension:name", b"").decode(errors="replace")


def _without_dictionaries(source: Source) -> Source:
    """Categories as the values that they are."""
    plain = {
        position: field.with_type(_plain_type(field.type))
        for position, field in enumerate(source.schema)
        if pa.types.is_dictionary(field.type)
    }
    if not plain:
        return source
    schema = source.schema
    for position, field in plain.items():
        schema = schema.set(position, field)

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = list(batch.columns)
        for position, field in plain.items():
            column: Any = columns[position]
            columns[position] = column.dictionary.cast(field.type).take(column.indices)
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    return _mapped(source, schema, convert)


def _plain_type(dictionary: pa.DictionaryType[Any, Any, Any]) -> pa.DataType:
    # Arrow cannot take from a view, which is what polars' categories are.
    found = dictionary.value_type
    return pa.large_string() if pa.types.is_string_view(found) else found


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
        raise no_zone(source.schema.field(min(naive)).name)
    schema = source.schema
    for position, field in naive.items():
        schema = schema.set(position, field)

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = list(batch.columns)
        for position, field in naive.items():
            columns[position] = in_zone(columns[position], field.name, rules.tz or "UTC")
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    return _mapped(source, schema, convert)


def _mapped(
    source: Source, schema: pa.Schema, convert: Callable[[pa.RecordBatch], pa.RecordBatch]
) -> Source:
    def reader() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(schema, map(convert, source.reader()))

    return replace(source, schema=schema, reader=reader)


# --- files ----------------------------------------------------------------------------------------


def _expand(path: str | PathLike[str]) -> list[Path]:
    """The files a path names; `*` and `**` as in a shell, unless a file has that very name."""
    if _URL.match(fspath(path)):
        raise LoadError(
            f"{fspath(path)!r} is a URL, and livedb reads files of this machine: download it, or "
            f"load the frame that pandas or polars reads from it."
        )
    plain = Path(fspath(path)).expanduser()
    if plain.is_dir():
        inside = sorted(plain.glob("**/*.parquet"))
        if not inside:
            raise LoadError(f"The folder {str(plain)!r} holds no Parquet file (*.parquet).")
        return inside
    if plain.exists():
        return [plain]
    # Path.glob takes no absolute pattern.
    found = [Path(each) for each in sorted(glob(str(plain), recursive=True))]  # noqa: PTH207
    if not found:
        raise LoadError(f"There is no file {str(plain)!r}.")
    return found


def _open_paths(paths: list[Path], rules: _Rules) -> Source:
    for path in paths:
        if not path.is_file():
            # Opening a pipe would wait for a writer, and a device may have no end.
            raise LoadError(
                f"{str(path)!r} is no regular file, and a source is read more than once; write "
                f"what it gives to a file first."
            )
    formats = {rules.format or _format_of(path) for path in paths}
    if formats != {"csv"}:
        _refuse_null_values(rules)
    match formats.pop() if len(formats) == 1 else None:
        case "parquet":
            files = ParquetRows(paths, batch_rows=BATCH_ROWS)
            return _streamed(files.schema, files.batches, files.rows)
        case "csv":
            csv = CsvRows(paths, rules.fields, tz=rules.tz, null_values=rules.null_values)
            return _streamed(csv.schema, csv.batches, csv.rows)
        case "jsonl":
            lines = JsonLines(paths, rules.fields, tz=rules.tz)
            return _streamed(lines.schema, lines.batches, lines.rows)
    kinds = ", ".join(sorted({rules.format or _format_of(path) for path in paths}))
    raise LoadError(f"The files are of several kinds ({kinds}); load those of one at a time.")


def _streamed(
    schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]], rows: int | None
) -> Source:
    return Source(
        schema=schema,
        reader=lambda: pa.RecordBatchReader.from_batches(schema, batches()),
        rows=rows,
    )


def _format_of(path: Path) -> Format:
    name = path.name.lower().removesuffix(".gz")
    found = _SUFFIXES.get(Path(name).suffix)
    if found is None:
        raise LoadError(
            f"{str(path)!r}: the name does not say what kind of file it is; pass "
            f'format="parquet", "csv" or "jsonl".'
        )
    return found


# --- pandas ---------------------------------------------------------------------------------------


def _pandas_table(frame: Any, rules: _Rules) -> pa.Table:
    """A DataFrame's columns as Arrow, each by its own dtype."""
    frame = _with_index(frame, rules.index)
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            raise LoadError(
                f"The column name {name!r} is no str but of type {type(name).__name__}."
            )
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
        return object_column(name, values, rules.fields.get(name), tz=rules.tz)
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


# --- polars ---------------------------------------------------------------------------------------


def _polars_table(frame: Any, rules: _Rules) -> pa.Table:
    """A polars frame's columns; its Python objects as what they are, not as their addresses."""
    objects = [name for name, dtype in frame.schema.items() if str(dtype) == "Object"]
    table = pa.table(frame.drop(objects))
    for name in objects:
        field, column = object_column(
            name, frame[name].to_list(), rules.fields.get(name), tz=rules.tz
        )
        table = table.add_column(frame.columns.index(name), field, column)
    return table
