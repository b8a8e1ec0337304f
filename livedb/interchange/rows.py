"""Python rows (dicts, lines of JSON) as Arrow columns, exactly.

A column whose values are all of one primitive type has that Arrow type; any other is JSON text in
livedb's text form. A row that lacks a field is told apart from one that holds null by a marked
column beside the values; see `livedb.store.marks`.

Rows are taken apart in blocks, and each column of a block becomes an Arrow array at once: a block's
dicts and values stay in the processor's cache between the passes over them, which costs half of
passes over all rows. What a column *is* can only be said after the last block; a block that turned
out narrower than its column (an int among floats, a number among texts) is then converted again,
from its array, which holds its values exactly.

Types are told by `type(value)`, never by what Arrow would accept: it takes True for the int 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from operator import attrgetter, itemgetter
from types import NoneType
from typing import Any, TypeAlias

import pyarrow as pa

from livedb import text
from livedb.canonical import canonical
from livedb.errors import InvalidValueError, LoadError
from livedb.interchange.arrow import DATETIME, FieldType, json_field
from livedb.interchange.moments import in_zone
from livedb.limits import DOCUMENT_NESTING_MAX, OBJECT_FIELDS_MAX
from livedb.store.marks import absent_field, marked
from livedb.values import UNSET, Document, Int64, Missing, Value

BLOCK_ROWS = 4096
"""Rows taken apart at once; of 256 to 65,536 the fastest."""

ReadText: TypeAlias = Callable[[Value], Value]
"""Makes of a value of a text format the value it stands for; raises ValueError where none is."""

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
"""Types that Arrow takes as they are; all else passes `canonical`, datetimes unless in UTC."""

_PLAIN_DICTS = (dict, Document)
_NUMBERS = frozenset({int, float})


def rows_to_table(
    rows: Iterable[Mapping[str, Value]],
    fields: Mapping[str, FieldType] | None = None,
    *,
    tz: str | None = None,
) -> pa.Table:
    """Dicts as a table with one column per name, and marks for what is absent.

    Args:
        rows: read once, a block at a time.
        fields: the types of the table's fields; a float field may hold ints too.
        tz: the zone of naive datetimes.

    Raises:
        LoadError: a row is no dict, or a value cannot be stored.
    Cost: about 0.1 us per value.
    """
    columns = RowColumns(fields or {}, tz=tz)
    taken = [columns.take(block) for block in iter_blocks(rows)]
    return pa.Table.from_batches(columns.batches(taken), columns.schema())


def iter_blocks(rows: Iterable[Value]) -> Iterator[list[Value]]:
    """`rows` in lists of `BLOCK_ROWS`."""
    left = iter(rows)
    while block := list(islice(left, BLOCK_ROWS)):
        yield block


def object_column(
    name: str, values: list[Value], kind: FieldType | None, *, tz: str | None
) -> tuple[pa.Field[Any], pa.Array[Any]]:
    """One column of Python objects, such as pandas keeps."""
    piece = _piece(name, values, kind, tz=tz, first_row=0)
    return _field(name, piece.kinds, kind), piece.values


def check_is_text(name: str) -> None:
    """Refuse a field name that no Arrow column can have; what a field may be called, loads say.

    Raises:
        LoadError: it has a lone surrogate.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise LoadError(
            f"The field name {name!r} has a lone surrogate, so it is no text; rename it."
        ) from None


class RowColumns:
    """The columns of rows that come in blocks.

    `take` every block, then `schema` and `batch` say what they are together. Rows that can be read
    again are taken twice, so that they need not be kept.
    """

    def __init__(
        self,
        fields: Mapping[str, FieldType],
        *,
        tz: str | None = None,
        readers: Mapping[str, ReadText] | None = None,
    ) -> None:
        """Columns not yet known.

        Args:
            readers: per name, how a text format's values are read.
        """
        self._fields = fields
        self._tz = tz
        self._readers = readers or {}
        self._kinds: dict[str, set[type]] = {}
        self._gaps: set[str] = set()
        self.rows = 0

    def take(self, block: list[Value]) -> Taken:
        """Take a block apart.

        Raises:
            LoadError: names the row, and the column where there is one.
        """
        rows = _as_dicts(block, self.rows)
        pieces: dict[str, _Piece] = {}
        for name, values in self._values(rows).items():
            piece = pieces[name] = _piece(
                name,
                values,
                self._fields.get(name),
                tz=self._tz,
                first_row=self.rows,
                read=self._readers.get(name),
            )
            self._kinds[name] |= piece.kinds
            if piece.absent is not None:
                self._gaps.add(name)
        self._gaps.update(self._kinds.keys() - pieces.keys())
        taken = Taken(first_row=self.rows, rows=len(rows), pieces=pieces)
        self.rows += len(rows)
        return taken

    def schema(self) -> pa.Schema:
        """One column per name, each with its gaps beside it; in order of first appearance."""
        fields = []
        for name, kinds in self._kinds.items():
            fields.append(_field(name, kinds, self._fields.get(name)))
            if name in self._gaps:
                fields.append(absent_field(name))
        # Rows without any field are documents too, and a table needs some column to have rows.
        return pa.schema(fields or [absent_field("")])

    def batches(self, blocks: Iterable[Taken]) -> Iterator[pa.RecordBatch]:
        """The blocks with the columns of `schema`.

        Raises:
            LoadError: a block holds what no block did before `schema` was known.
        """
        schema = self.schema()
        kinds = {name: frozenset(found) for name, found in self._kinds.items()}
        for taken in blocks:
            if not all(
                piece.kinds <= kinds.get(name, frozenset()) for name, piece in taken.pieces.items()
            ):
                raise LoadError("The source changed while it was read.")
            yield pa.RecordBatch.from_arrays(self._arrays(taken, kinds), schema=schema)

    def _arrays(self, taken: Taken, kinds: Mapping[str, frozenset[type]]) -> list[pa.Array[Any]]:
        arrays: list[pa.Array[Any]] = []
        for name, found in kinds.items():
            piece = taken.pieces.get(name) or _missing_piece(taken.rows)
            kind = self._fields.get(name)
            arrays.append(_widened(name, piece, found, kind, first_row=taken.first_row))
            if name in self._gaps:
                absent = piece.absent
                arrays.append(_repeated(taken.rows, False) if absent is None else absent)
        return arrays or [_repeated(taken.rows, True)]

    def _values(self, rows: list[dict[str, Value]]) -> dict[str, list[Value]]:
        """The values of each field, UNSET where a row lacks it."""
        if self._kinds and set(map(len, rows)) == {len(self._kinds)}:
            # As many fields as there are names, and each of the names: then no other field.
            with suppress(KeyError):
                return {name: list(map(itemgetter(name), rows)) for name in self._kinds}
        # Most sources have few sets of names; taking names one by one costs six times as much.
        names = dict.fromkeys(chain.from_iterable(dict.fromkeys(map(tuple, rows))))
        for name in names:
            if name not in self._kinds:
                self._add_name(name)
        return {name: _values_of(rows, name) for name in names}

    def _add_name(self, name: object) -> None:
        if not isinstance(name, str):
            raise LoadError(f"The field name {name!r} is not a str.")
        check_is_text(name)
        if len(self._kinds) == OBJECT_FIELDS_MAX:
            raise LoadError(
                f"The rows have more than {OBJECT_FIELDS_MAX:,} different fields, the most that "
                f"a document may have; keep what is not one field per row in an object or a list."
            )
        self._kinds[name] = set()
        if self.rows:
            self._gaps.add(name)


@dataclass(frozen=True, slots=True)
class Taken:
    """A block taken apart."""

    first_row: int
    rows: int
    pieces: Mapping[str, _Piece]


@dataclass(frozen=True, slots=True)
class _Piece:
    """One column of one block.

    Attributes:
        kinds: the canonical types of its values, None left out.
        values: of the Arrow type of these kinds.
        absent: the rows that lack the field; None when all have it.
    """

    kinds: frozenset[type]
    values: pa.Array[Any]
    absent: pa.Array[Any] | None = None


def _as_dicts(block: list[Value], first_row: int) -> list[dict[str, Value]]:
    if set(map(type, block)).issubset(_PLAIN_DICTS):
        return block
    for position, row in enumerate(block):
        if not isinstance(row, Mapping):
            raise LoadError(f"Row {first_row + position} is a {type(row).__name__}, not a dict.")
    # A defaultdict would answer for fields it lacks, and keep the answer.
    return [row if type(row) in _PLAIN_DICTS else dict(row.items()) for row in block]


def _values_of(rows: list[dict[str, Value]], name: str) -> list[Value]:
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name, UNSET) for row in rows]


def _piece(
    name: str,
    values: list[Value],
    kind: FieldType | None,
    *,
    tz: str | None,
    first_row: int,
    read: ReadText | None = None,
) -> _Piece:
    kinds = set(map(type, values))
    absent = None
    if Missing in kinds:
        absent = pa.array([value is UNSET for value in values], pa.bool_())
        values = [None if value is UNSET else value for value in values]
        kinds.remove(Missing)
    if read is not None:
        values = _read_values(name, values, read, first_row)
        kinds = set(map(type, values))
    kinds.discard(NoneType)
    if not kinds <= _EXACT and not _are_in_utc(kinds, values):
        values = _canonical_values(name, _localized(name, kinds, values, tz), first_row)
        kinds = set(map(type, values)) - {NoneType}
    arrow = _arrow_of(kinds, kind)
    if arrow is None:
        column = _texts(_canonical_values(name, values, first_row) if kinds <= _EXACT else values)
    else:
        column = _array(name, values, arrow, first_row)
    return _Piece(frozenset(kinds), column, absent)


def _read_values(name: str, values: list[Value], read: ReadText, first_row: int) -> list[Value]:
    result: list[Value] = []
    try:
        for value in values:
            result.append(None if value is None else read(value))  # noqa: PERF401
    except (ValueError, InvalidValueError) as error:
        raise LoadError(f"Column {name!r}, row {first_row + len(result)}: {error}") from error
    return result


def _missing_piece(count: int) -> _Piece:
    return _Piece(frozenset(), pa.nulls(count), _repeated(count, True))


def _are_in_utc(kinds: set[type], values: list[Value]) -> bool:
    """Whether all are datetimes of the one zone that Arrow need not convert; None is not told."""
    return kinds == {datetime} and _zones(values) == {UTC}


def _zones(values: list[Value]) -> set[Any]:
    try:
        return set(map(attrgetter("tzinfo"), values))
    except AttributeError:
        return {value.tzinfo for value in values if value is not None}


def _arrow_of(kinds: Collection[type], kind: FieldType | None) -> pa.DataType | None:
    """The Arrow type of a column of these types; None where it is JSON text."""
    if not kinds:
        return pa.null()
    if kind == "float" and _NUMBERS.issuperset(kinds) and float in kinds:
        return pa.float64()
    return _ARROW.get(next(iter(kinds))) if len(kinds) == 1 else None


def _field(name: str, kinds: Collection[type], kind: FieldType | None) -> pa.Field[Any]:
    arrow = _arrow_of(kinds, kind)
    if arrow is None:
        return json_field(name)
    field = pa.field(name, arrow)
    return marked(field, "int64") if Int64 in kinds else field


def _widened(
    name: str,
    piece: _Piece,
    kinds: Collection[type],
    kind: FieldType | None,
    *,
    first_row: int,
) -> pa.Array[Any]:
    """The values of a block as its column turned out."""
    found, wanted = _arrow_of(piece.kinds, kind), _arrow_of(kinds, kind)
    if found == wanted:
        return piece.values
    if found == pa.null():
        return pa.nulls(len(piece.values)).cast(wanted or pa.string())
    values: list[Value] = piece.values.to_pylist()
    if wanted == pa.float64():
        return _array(name, values, wanted, first_row)
    if Int64 in piece.kinds:
        values = [None if value is None else Int64(value) for value in values]
    return _texts(_canonical_values(name, values, first_row))


def _array(name: str, values: list[Value], arrow: pa.DataType, first_row: int) -> pa.Array[Any]:
    if pa.types.is_null(arrow):
        return pa.nulls(len(values))
    try:
        return pa.array(values, arrow, from_pandas=False)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        _canonical_values(name, values, first_row)  # names the row and says it better
        raise


def _texts(values: Iterable[Value]) -> pa.Array[Any]:
    texts = [None if each is None else text.encode_value(each).decode() for each in values]
    return pa.array(texts, pa.string())


def _canonical_values(name: str, values: list[Value], first_row: int) -> list[Value]:
    result: list[Value] = []
    try:
        for value in values:
            result.append(canonical(value, nesting_max=DOCUMENT_NESTING_MAX - 1))  # noqa: PERF401
    except InvalidValueError as error:
        raise LoadError(
            f"Column {name!r}, row {first_row + len(result)}: {error.message}", code=error.code
        ) from error
    return result


def _localized(name: str, kinds: set[type], values: list[Value], tz: str | None) -> list[Value]:
    """`values` with the zone `tz` for datetimes that have none."""
    if tz is None or not any(issubclass(kind, datetime) for kind in kinds):
        return values
    naive = [position for position, value in enumerate(values) if _is_naive(value)]
    times = [datetime.combine(values[each].date(), values[each].time()) for each in naive]
    moments = in_zone(pa.array(times, pa.timestamp("us")), name, tz).cast(DATETIME)
    result = list(values)
    for position, moment in zip(naive, moments.to_pylist(), strict=True):
        result[position] = moment
    return result


def _is_naive(value: Value) -> bool:
    """Whether a value is a datetime without a zone; pandas' NaT, which equals nothing, is not."""
    return (
        isinstance(value, datetime)
        and value.tzinfo is None
        and value == value  # noqa: PLR0124
        and not getattr(value, "nanosecond", 0)  # left for `canonical` to refuse
    )


def _repeated(count: int, value: bool) -> pa.Array[Any]:  # noqa: FBT001
    return pa.repeat(pa.scalar(value), count)
