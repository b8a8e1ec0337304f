"""From Arrow rows to what a page can draw: column kinds, rows as bytes, a cell as text.

The page gets few Arrow types: booleans, 64-bit integers, doubles, timestamps and text. Everything
else becomes text here, where Python's exact values are at hand, and long text is cut, so that one
cell of a megabyte costs the page a kilobyte. `text_of_cell` is the same drawing for static HTML;
`widgets/test/cells.json` keeps it and the page's in agreement.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from livedb.notebook.figures import figures_of
from livedb.notebook.formats import NO_FORMATS, ColumnFormat
from livedb.store.arrow_types import is_bytes

CELL_CHARACTERS_MAX = 1_000
"""Characters of a cell that travel to a page; the rest is replaced by an ellipsis."""

CELL_BYTES_MAX = 32
"""Bytes of a binary value that are shown, in hexadecimal."""

JSON_CELLS_MAX = 100
"""Values that travel as JSON; more go as Arrow."""

Kind = Literal[
    "integer", "float", "number", "boolean", "datetime", "id", "text", "json", "bytes", "name"
]
"""How a column is drawn. `number` is text that is a number (a decimal); `name` heads a record."""

NUMERIC_KINDS: frozenset[Kind] = frozenset({"integer", "float", "number"})


class Column(NamedTuple):
    """A column as the page knows it; its Arrow column is named by position, as names may repeat."""

    name: str
    kind: Kind
    format: ColumnFormat | None = None


def columns_of(
    schema: pa.Schema, fields: Mapping[str, str], formats: Mapping[str, ColumnFormat] = NO_FORMATS
) -> list[Column]:
    """How each column of `schema` is drawn; the field type says more than the Arrow type."""
    return [
        Column(each.name, _kind_of(each, fields.get(each.name)), formats.get(each.name))
        for each in schema
    ]


def _kind_of(column: Any, field_type: str | None) -> Kind:
    if column.name == "_creationTime" and pa.types.is_floating(column.type):
        return "datetime"  # Convex's float milliseconds
    if field_type == "id" or column.name == "_id":
        return "id"
    if field_type in {"json", "list", "object"}:
        return "json"
    return "name" if field_type == "name" else _kind_of_type(column.type)


def _kind_of_type(data_type: pa.DataType) -> Kind:
    is_ = pa.types
    if is_.is_dictionary(data_type):
        return _kind_of_type(data_type.value_type)
    tests: tuple[tuple[Any, Kind], ...] = (
        (is_.is_boolean, "boolean"),
        (is_.is_integer, "integer"),
        (is_.is_floating, "float"),
        (is_.is_decimal, "number"),
        (is_.is_timestamp, "datetime"),
        (is_.is_nested, "json"),
        (is_bytes, "bytes"),
    )
    return next((kind for test, kind in tests if test(data_type)), "text")


def plain_rows(window: pa.Table, columns: Sequence[Column]) -> pa.RecordBatch:
    """The rows as a page holds them: columns "0", "1", ... by position, in types that it decodes.

    Behind them come the figures of columns that have some, as "figures0", ....
    """
    arrays = {
        str(at): _plain(each.combine_chunks(), column)
        for at, (each, column) in enumerate(zip(window.columns, columns, strict=True))
    }
    for at, column in enumerate(columns):
        look = None if column.format is None else column.format.look
        figures = figures_of(window.column(at), look)
        if figures is not None:
            arrays[f"figures{at}"] = figures
    return pa.record_batch(list(arrays.values()), names=list(arrays))


def encode_rows(rows: pa.RecordBatch) -> bytes:
    """Plain rows as an Arrow IPC stream of one batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_batch(rows)
    return bytes(sink.getvalue())


def json_rows(rows: pa.RecordBatch, columns: Sequence[Column]) -> list[list[Any]] | None:
    """A few plain rows as JSON, a list of columns; None where Arrow takes them better.

    The frame of an Arrow batch is 60 bytes a column, which is more than one row's values.
    """
    has_figures = rows.num_columns > len(columns)
    if has_figures or rows.num_rows * rows.num_columns > JSON_CELLS_MAX:
        return None
    return [[_json_cell(value) for value in column.to_pylist()] for column in rows.columns]


def _json_cell(value: Any) -> Any:
    """A plain value as JSON has it; what a double would not hold exactly, as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if type(value) is int and abs(value) >= 2**53:
        return str(value)
    return value


def changed_rows(old: pa.RecordBatch, new: pa.RecordBatch) -> Sequence[bool]:
    """Which rows differ, to the last bit, of two batches of as many plain rows in one schema."""
    changed = None
    for before, after in zip(old.columns, new.columns, strict=True):
        if not before.equals(after):
            differs = _differing(before, after)
            changed = differs if changed is None else pc.or_(changed, differs)
    return [False] * new.num_rows if changed is None else changed.to_pylist()


def _differing(before: Any, after: Any) -> Any:
    if pa.types.is_nested(before.type):
        pairs = zip(before.to_pylist(), after.to_pylist(), strict=True)
        return pa.array([some != others for some, others in pairs])
    if pa.types.is_floating(before.type):  # NaN is no news, and -0.0 is not 0.0
        before, after = before.view(pa.int64()), after.view(pa.int64())
    values = pc.fill_null(pc.not_equal(before, after), False)
    return pc.or_(values, pc.xor(pc.is_null(before), pc.is_null(after)))


def _plain(array: Any, column: Column) -> Any:
    """The Arrow `array` in one of the types that a page decodes."""
    if isinstance(array, pa.ChunkedArray):  # combine_chunks of no chunks keeps the chunked form
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    match column.kind:
        case "datetime":
            return _microseconds(array)
        case "integer":
            return array if pa.types.is_uint64(array.type) else array.cast(pa.int64())
        case "float":
            return array.cast(pa.float64())
        case "boolean":
            return array
        case "id" | "text" | "name" if pa.types.is_string(array.type):
            return _cut(array)
        case _:
            return pa.array(_texts(array, column.kind), pa.string())


def _microseconds(array: Any) -> Any:
    """Instants as whole microseconds since the epoch; None where the milliseconds are no number."""
    if not pa.types.is_timestamp(array.type):
        return pa.array(map(_microseconds_of_ms, array.to_pylist()), pa.int64())
    return array.cast(pa.timestamp("us", tz=array.type.tz), safe=False).cast(pa.int64())


def _microseconds_of_ms(value: float | None) -> int | None:
    return round(value * 1000) if value is not None and abs(value) < 8.64e15 else None


def _cut(array: Any) -> Any:
    if array.nbytes <= CELL_CHARACTERS_MAX:  # the most frequent case, and the quickest to see
        return array
    if (pc.max(pc.binary_length(array)).as_py() or 0) <= CELL_CHARACTERS_MAX:
        return array
    return pa.array(
        [None if each is None else cut(each) for each in array.to_pylist()], pa.string()
    )


def cut(text: str, length_max: int = CELL_CHARACTERS_MAX) -> str:
    """`text`, or its beginning and an ellipsis when it is longer than `length_max` characters."""
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def _texts(array: Any, kind: Kind) -> list[str | None]:
    values = array.to_pylist()
    return [None if each is None else cut(_text(each, kind)) for each in values]


def _text(value: Any, kind: Kind) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _hexadecimal(value)
    return json_text(value) if kind == "json" else str(value)


def _hexadecimal(data: bytes) -> str:
    more = f"… ({len(data):,} bytes)" if len(data) > CELL_BYTES_MAX else ""
    return "0x" + data[:CELL_BYTES_MAX].hex() + more


def json_text(value: Any) -> str:
    """`value` as JSON that a person reads: no escapes, and text for what JSON does not know."""
    return json.dumps(value, ensure_ascii=False, default=_json_default)


def _json_default(value: Any) -> str:
    return _hexadecimal(value) if isinstance(value, bytes) else str(value)


def drawn_texts(array: Any, column: Column) -> Any:
    """The values of an Arrow array as texts to look in: as drawn, but whole where they can be.

    Cost: a pass of Arrow for texts, numbers and instants; Python for each value of anything else.
    """
    is_ = pa.types
    if is_.is_string(array.type) or is_.is_large_string(array.type):
        return array
    if column.kind == "datetime":
        instants = _microseconds(array).cast(pa.timestamp("us"))
        return pc.utf8_rtrim(pc.utf8_rtrim(instants.cast(pa.string()), "0"), ".")
    if is_.is_integer(array.type) or is_.is_floating(array.type) or is_.is_boolean(array.type):
        return array.cast(pa.string())
    return pa.array(_texts(array, column.kind), pa.string())


class CellText(NamedTuple):
    """A cell as drawn: `dim` marks what is not a value's own text (null, NaN, empty)."""

    text: str
    title: str = ""
    dim: bool = False


def text_of_cell(value: Any, kind: Kind) -> CellText:
    """How a value as Arrow's `to_pylist` gives it is drawn, exactly as the page draws it."""
    if value is None:
        return CellText("null", dim=True)
    match kind:
        case "float":
            return _text_of_float(value)
        case "boolean":
            return CellText("true" if value else "false", dim=not value)
        case "datetime":
            return _text_of_instant(value)
        case "id":
            return _text_of_id(str(value))
    text = _text(value, kind)
    return CellText(visible(cut(text))) if text else CellText('""', "empty text", dim=True)


def visible(text: str) -> str:
    """`text` on one line; what breaks lines, turns around or is not to be seen has a sign."""
    return text.translate(_CONTROL_SIGNS)


_CONTROL_SIGNS = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x0A: 0x23CE, 0x7F: 0x2421}
    | dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0x2194)  # directions: ↔
    | dict.fromkeys([0x200B, 0x2060, 0xFEFF], 0xB7)  # of no width: ·
)


def _text_of_float(value: float) -> CellText:
    if math.isnan(value):
        return CellText("NaN", dim=True)
    if math.isinf(value):
        return CellText("∞" if value > 0 else "-∞")
    exact = _exact(value)
    short = exact if len(exact) <= 12 else _exact(float(f"{value:.8g}"))
    return CellText(short, "" if short == exact else exact)


def _exact(value: float) -> str:
    """The shortest digits that are `value`, as Python writes them but without ".0"."""
    return repr(value).removesuffix(".0")


def _text_of_id(text: str) -> CellText:
    return (
        CellText(visible(text))
        if len(text) <= 12
        else CellText(f"{visible(text[:3])}…{visible(text[-6:])}", cut(text))
    )


def _text_of_instant(value: datetime | float) -> CellText:
    """Milliseconds at most; the title has the rest."""
    if isinstance(value, datetime):
        seconds = value.replace(microsecond=0, tzinfo=None).isoformat()
        fraction = f"{value.microsecond:06}".rstrip("0")
        title = _with_fraction(seconds, fraction) + ("+00:00" if value.tzinfo else "")
        milliseconds = f"{value.microsecond // 1000:03}" if value.microsecond >= 1000 else ""
        return CellText(_with_fraction(seconds.replace("T", " "), milliseconds), title)
    microseconds = _microseconds_of_ms(value)
    if microseconds is None:
        return text_of_cell(None, "datetime")
    try:
        return _text_of_instant(_EPOCH + timedelta(microseconds=microseconds))
    except OverflowError:  # before year 1 or after 9999
        return CellText(f"{microseconds} µs")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _with_fraction(seconds: str, fraction: str) -> str:
    return f"{seconds}.{fraction}" if fraction else seconds
