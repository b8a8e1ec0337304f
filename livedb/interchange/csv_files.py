"""CSV with a header row, in bounded batches.

Every cell is read as text, then each column becomes what its field is. So the cell that does not
fit can be named, and one rule decides all columns: a text is a number, a datetime or a boolean
only if nothing of it is lost. A field that the schema of the table names has its type from there.
Any other column has the first of these types that *all* its cells are, found by reading the files
once before the rows are read:

    int  float  boolean  date  datetime  text

`007`, `+1`, 2^53 + 1 and 1e400 are texts, since as numbers they would not come back. An empty cell
is null and a quoted empty one (`""`) the empty text; `null_values` names further texts for null. In
a column of texts only unquoted cells stand for null, in any other quoted ones do too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from livedb.errors import LoadError
from livedb.interchange.arrow import DATETIME, FieldType, json_field
from livedb.interchange.jsonl_files import from_base64, open_bytes
from livedb.interchange.moments import in_zone, no_zone
from livedb.limits import DOCUMENT_BYTES_MAX, INT_SAFE_MAX
from livedb.store.marks import marked

_BLOCK_BYTES = 8 * DOCUMENT_BYTES_MAX
"""Bytes of a file parsed at once. A row must fit in; one that does not is no document either."""

_NOTHING = pa.nulls(1, pa.string())[0]

CellType: TypeAlias = Literal[
    "int", "float", "boolean", "date", "datetime", "text", "int64", "bytes", "json", "null"
]

_NUMBER = re.compile(r"[-+]?\d[\d.,eE+-]*")

_FIELD_CELLS: Mapping[FieldType, CellType] = {
    "id": "text",
    "string": "text",
    "boolean": "boolean",
    "int": "int",
    "int64": "int64",
    "float": "float",
    "datetime": "datetime",
    "bytes": "bytes",
    "list": "json",
    "object": "json",
    "json": "json",
    "any": "json",
}

_ARROW: Mapping[CellType, pa.DataType] = {
    "int": pa.int64(),
    "int64": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": DATETIME,
    "text": pa.string(),
    "bytes": pa.binary(),
    "json": pa.string(),
    "null": pa.null(),
}


class CsvRows:
    """The rows of CSV files that have the same columns.

    Attributes:
        schema: their columns, marked as `livedb.store.marks` says.
        rows: how many there are, None when that is not known before reading.

    Raises:
        LoadError: a file has no header, or other columns, or is no CSV.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        fields: Mapping[str, FieldType],
        *,
        tz: str | None,
        null_values: Sequence[str],
    ) -> None:
        self._paths = paths
        self._tz = tz
        self._null_values = null_values
        self._names = _shared_header(paths)
        self.rows: int | None = None
        self._cells: dict[str, CellType] = {
            name: _FIELD_CELLS[fields[name]] for name in self._names if name in fields
        }
        unknown = [name for name in self._names if name not in fields]
        if unknown:
            self._infer(unknown)
        self.schema = pa.schema([_field(name, self._cells[name]) for name in self._names])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, a block at a time."""
        first_row = 0
        for batch in self._texts():
            columns = [self._converted(batch.column(name), name, first_row) for name in self._names]
            first_row += batch.num_rows
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _infer(self, names: Sequence[str]) -> None:
        left = {name: set(_INFERRED) for name in names}
        has_values = dict.fromkeys(names, False)
        self.rows = 0
        for batch in self._texts():
            self.rows += batch.num_rows
            for name in names:
                column = self._without_nulls(batch.column(name))
                if column.null_count < len(column):
                    has_values[name] = True
                    left[name] &= _types_of(column, left[name], self._tz)
        for name in names:
            found: CellType = next(each for each in _INFERRED if each in left[name])
            self._cells[name] = found if has_values[name] else "null"

    def _texts(self) -> Iterator[pa.RecordBatch]:
        for path in self._paths:
            try:
                yield from _open_texts(path, self._names, self._null_values)
            except pa.ArrowInvalid as error:
                raise LoadError(f"{str(path)!r}: {error}") from error

    def _converted(self, column: pa.Array[Any], name: str, first_row: int) -> pa.Array[Any]:
        cells = self._cells[name]
        if cells == "text":
            return column
        column = self._without_nulls(column)
        if column.null_count == len(column):
            return pa.nulls(len(column)).cast(_ARROW[cells])
        try:
            return _convert(column, cells, name, self._tz)
        except (pa.ArrowInvalid, ValueError):
            position = self._first_misfit(column, name)
        if cells == "datetime" and self._tz is None and _is_naive(column[position].as_py()):
            raise no_zone(name)
        found = column[position].as_py()[:60]
        raise LoadError(
            f"Column {name!r}, row {first_row + position}: {found!r} is no {_WORDS[cells]}. If "
            f"such a cell stands for null, pass null_values=[{found!r}]."
        )

    def _without_nulls(self, column: pa.Array[Any]) -> pa.Array[Any]:
        if not self._null_values:
            return column
        words = pa.array(self._null_values, pa.string())
        found: pa.Array[Any] = pc.if_else(pc.is_in(column, words), _NOTHING, column)
        return found

    def _first_misfit(self, column: pa.Array[Any], name: str) -> int:
        """The position of the first cell that cannot be converted; by halves."""
        low, high = 0, len(column)
        while high - low > 1:
            middle = (low + high) // 2
            try:
                _convert(column.slice(low, middle - low), self._cells[name], name, self._tz)
                low = middle
            except (pa.ArrowInvalid, ValueError):
                high = middle
        return low


# --- reading --------------------------------------------------------------------------------------


def _shared_header(paths: Sequence[Path]) -> list[str]:
    names = _header(paths[0])
    for path in paths[1:]:
        if (others := _header(path)) != names:
            raise LoadError(
                f"{str(path)!r} has the columns {', '.join(others)}, and {str(paths[0])!r} has "
                f"{', '.join(names)}; load files with the same columns."
            )
    return names


def _header(path: Path) -> list[str]:
    """The names in the first row. Raises: LoadError when they cannot be names."""
    try:
        with open_bytes(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as lines:
            names = next(csv.reader(lines), [])
    except (ValueError, csv.Error) as error:
        raise LoadError(f"{str(path)!r} is no CSV in UTF-8: {error}") from error
    for name in names or [""]:
        if not name or _NUMBER.fullmatch(name):
            raise LoadError(
                f"{str(path)!r} has no header row: its first row holds {name!r}, "
                f"which is no column name."
            )
    for name in names:
        if names.count(name) > 1:
            raise LoadError(f"{str(path)!r}: two columns are named {name!r}; rename one of them.")
    return names


def _open_texts(
    path: Path, names: Sequence[str], null_values: Sequence[str]
) -> pa.RecordBatchReader:
    return pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(
            newlines_in_values=True, ignore_empty_lines=len(names) > 1
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=["", *null_values],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


# --- what the cells of a column are ---------------------------------------------------------------

_INFERRED: tuple[CellType, ...] = ("int", "float", "boolean", "date", "datetime", "text")
"""In order of preference. A column of ints is one of floats too, one of dates also of datetimes."""

_WHOLE = r"^(-?[1-9][0-9]{0,15}|0)$"
_REAL = r"^-?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?$"
_NOT_FINITE = r"^(-?[iI]nf(inity)?|-?[nN]a[nN])$"
_TRUTH = r"^(true|false|True|False|TRUE|FALSE)$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}"
_ZONE = r"[0-9]{2}:[0-9]{2}.*(Z|[-+][0-9]{2}(:?[0-9]{2})?)$"


def _types_of(column: pa.Array[Any], candidates: set[CellType], tz: str | None) -> set[CellType]:
    """Of `candidates`, the types that every cell of a batch is."""
    return {each for each in candidates if each == "text" or _are(column, each, tz)}


def _are(column: pa.Array[Any], cells: CellType, tz: str | None) -> bool:
    column = pc.ascii_trim_whitespace(column)
    if not pc.all(_looks_like(column, cells)).as_py():
        return False
    try:
        values = _convert(column, cells, "", tz or "UTC")
    except (pa.ArrowInvalid, LoadError):
        return False
    if cells == "int":
        return bool(pc.all(pc.less_equal(pc.abs(values), pa.scalar(INT_SAFE_MAX))).as_py())
    return cells != "float" or _is_exact(column, values)


def _looks_like(column: pa.Array[Any], cells: CellType) -> pa.Array[Any]:
    if cells == "float":
        return _matches(column, f"{_REAL}|{_NOT_FINITE}")
    if cells == "datetime":
        return _matches(column, f"{_TIME}|{_DATE}")
    return _matches(column, {"int": _WHOLE, "boolean": _TRUTH, "date": _DATE}[cells])


def _is_exact(texts: pa.Array[Any], values: pa.Array[Any]) -> bool:
    """Whether floats say what their texts say: no infinity of 1e400, no whole number rounded."""
    is_lost = pc.or_(
        pc.and_(pc.is_inf(values), pc.invert(_matches(texts, _NOT_FINITE))),
        pc.and_(
            pc.greater(pc.abs(values), pa.scalar(float(INT_SAFE_MAX))), _matches(texts, "^[-0-9]+$")
        ),
    )
    return not pc.any(is_lost).as_py()


def _matches(column: pa.Array[Any], pattern: str) -> pa.Array[Any]:
    found: pa.Array[Any] = pc.match_substring_regex(column, pattern)
    return found


def _is_naive(cell: str) -> bool:
    return re.search(_TIME, cell) is not None and re.search(_ZONE, cell) is None


# --- conversions ----------------------------------------------------------------------------------

_WORDS: Mapping[CellType, str] = {
    "int": "whole number",
    "int64": "whole number of 64 bits",
    "float": "number",
    "boolean": "boolean",
    "date": "date",
    "datetime": "datetime",
    "bytes": "base64",
    "null": "null",
}


def _field(name: str, cells: CellType) -> pa.Field[Any]:
    if cells == "json":
        return json_field(name)
    field = pa.field(name, _ARROW[cells])
    return marked(field, "int64") if cells == "int64" else field


def _convert(column: pa.Array[Any], cells: CellType, name: str, tz: str | None) -> pa.Array[Any]:
    """Texts as values. Raises: pa.ArrowInvalid, ValueError where one cannot be."""
    match cells:
        case "text" | "json":
            return column
        case "bytes":
            return pa.array(
                [None if each is None else from_base64(each) for each in column.to_pylist()],
                pa.binary(),
            )
        case "datetime":
            return _moments(column, name, tz)
    return pc.ascii_trim_whitespace(column).cast(_ARROW[cells])


def _moments(column: pa.Array[Any], name: str, tz: str | None) -> pa.Array[Any]:
    """Texts as moments, each by what it is: a date (its midnight in UTC), with a zone, or naive."""
    texts = pc.ascii_trim_whitespace(column)
    is_date, has_zone = _matches(texts, _DATE), _matches(texts, _ZONE)
    dates = pc.if_else(is_date, texts, _NOTHING).cast(pa.timestamp("us"))
    zoned = pc.if_else(has_zone, texts, _NOTHING).cast(DATETIME)
    naive = pc.if_else(pc.or_(is_date, has_zone), _NOTHING, texts).cast(pa.timestamp("us"))
    moments = [dates.cast(pa.int64()).cast(DATETIME), zoned]
    if naive.null_count < len(naive):
        if tz is None:
            raise no_zone(name)
        moments.append(in_zone(naive, name, tz).cast(DATETIME))
    return pc.coalesce(*moments)
