"""How a reader of a table wants its rows: sorted, filtered, searched. No comm, no thread.

A view of a page carries an *arrangement*; what it shows is another `RowState` over the same rows,
so that windows, keys and patches are made of it as of any other. Rows stay in the kernel: an
arrangement is a list of row numbers, kept while the rows are the same, and made again with them.

What a filter may say, by what its column holds:

    any          null, !null          is missing, or is not
                 =x  !=x              is x, or is not
    numbers      x  <x  <=x  >x  >=x  compared with a number
                 x..y                 from x to y, both included; either may be left out
    instants     the same with 2026, 2026-03, 2026-03-01, 2026-03-01 14:30:
                                      all of that year, month, day, minute
    booleans     true, false
    all others   x                    holds x, in letters of either case

A text that says nothing yet, such as `>`, leaves all rows in; what is no number of a column of
numbers is looked for in the numbers as they are drawn.
"""

from __future__ import annotations

import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from livedb.notebook.cells import Column, columns_of, drawn_texts
from livedb.notebook.rows import RowState

SORTS_MAX = 8
FILTERS_MAX = 100
TEXT_CHARACTERS_MAX = 200
"""Of a filter or a search."""

ARRANGED_MAX = 4
"""Arrangements of a table that are kept: those of a few views."""


class Sort(NamedTuple):
    """One key of an order, by the position of its column. Missing values come last, either way."""

    column: int
    is_descending: bool


class Filter(NamedTuple):
    """What the values of a column must be, as its reader wrote it."""

    column: int
    text: str


class Arrangement(NamedTuple):
    """What a view wants; a position beyond the columns there are asks for nothing.

    Attributes:
        sorts: the most important first; rows that are equal by all of them stay in their order.
        filters: all of which must hold.
        search: a text that some cell of a row holds, in letters of either case.
    """

    sorts: tuple[Sort, ...] = ()
    filters: tuple[Filter, ...] = ()
    search: str = ""


PLAIN = Arrangement()
"""All rows, as they come."""


def read_arrangement(content: Any) -> Arrangement:
    """An arrangement as a page says it: `{"sorts": [[0, true]], "filters": [[1, "x"]], ...}`.

    Raises: ValueError, TypeError: it says it wrongly.
    """
    if content is None:
        return PLAIN
    if not isinstance(content, dict):
        raise TypeError("an arrangement must be an object")
    sorts = _pairs(content.get("sorts", []), bool, SORTS_MAX)
    filters = _pairs(content.get("filters", []), str, FILTERS_MAX)
    search = _short(content.get("search", ""))
    return Arrangement(
        tuple(Sort(column, is_descending) for column, is_descending in sorts),
        tuple(Filter(column, _short(text).strip()) for column, text in filters),
        search.strip(),
    )


def _pairs(given: Any, second: type, most: int) -> list[tuple[int, Any]]:
    if not isinstance(given, list) or len(given) > most:
        raise ValueError(f"an arrangement has at most {most} sorts or filters, in a list")
    for each in given:
        is_pair = isinstance(each, list) and len(each) == 2
        if not is_pair or type(each[0]) is not int or each[0] < 0 or type(each[1]) is not second:
            raise ValueError(f"{each!r:.100} is no sort or filter: a column and what is wanted")
    return [(column, wanted) for column, wanted in given]


def _short(text: Any) -> str:
    if not isinstance(text, str) or len(text) > TEXT_CHARACTERS_MAX:
        raise ValueError(f"a filter or search is text of at most {TEXT_CHARACTERS_MAX} characters")
    return text


class Arranger:
    """The arrangements of one table; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards `_made`; held for a moment
        self._made: OrderedDict[Arrangement, _Made] = OrderedDict()

    def arranged(self, state: RowState, arrangement: Arrangement) -> RowState:
        """`state` with its rows so arranged.

        Cost: that of a sort or a pass over the columns asked for, when the rows are other ones than
        the last time; 0.1 s for a million numbers.
        """
        if arrangement == PLAIN or state.shape != "rows":
            return state
        table = state.window(0, state.row_count)
        with self._lock:
            made = self._made.get(arrangement)
        if made is None or not made.is_of(table):
            made = _Made(
                table, _numbers(table, columns_of(table.schema, state.fields), arrangement)
            )
        with self._lock:
            self._made[arrangement] = made
            self._made.move_to_end(arrangement)
            while len(self._made) > ARRANGED_MAX:
                self._made.popitem(last=False)
        numbers = made.numbers
        if numbers is None:
            return state
        return replace(
            state,
            row_count=len(numbers),
            window=lambda start, stop: table.take(numbers.slice(start, max(stop - start, 0))),
        )


@dataclass(frozen=True, slots=True)
class _Made:
    """The row numbers of an arrangement; None for all in their order."""

    table: pa.Table
    numbers: Any

    def is_of(self, table: pa.Table) -> bool:
        """Whether `table` has the very rows, in the same memory, which is held by this object."""
        return table is self.table or (
            table.schema == self.table.schema and _places(table) == _places(self.table)
        )


def _places(table: pa.Table) -> list[tuple[int, int, tuple[int, ...]]]:
    return [
        (chunk.offset, len(chunk), tuple(each.address for each in chunk.buffers() if each))
        for column in table.columns
        for chunk in column.chunks
    ]


def _numbers(table: pa.Table, columns: list[Column], arrangement: Arrangement) -> Any:
    masks = [
        mask
        for column, text in arrangement.filters
        if column < len(columns)
        and (mask := _mask(_whole(table, column), columns[column], text)) is not None
    ]
    if arrangement.search:
        masks.append(_search_mask(table, columns, arrangement.search))
    numbers = None
    if masks:
        mask = masks[0]
        for other in masks[1:]:
            mask = pc.and_(mask, other)
        numbers = pc.indices_nonzero(mask)
    sorts = [sort for sort in arrangement.sorts if sort.column < len(columns)]
    if not sorts:
        return numbers
    keys = pa.table(
        [_sortable(_whole(table, column), columns[column]) for column, _ in sorts],
        names=[str(at) for at in range(len(sorts))],
    )
    if numbers is not None:
        keys = keys.take(numbers)
    order = pc.sort_indices(
        keys,
        sort_keys=[
            (str(at), "descending" if is_descending else "ascending")
            for at, (_, is_descending) in enumerate(sorts)
        ],
    )
    return order if numbers is None else numbers.take(order)


def _whole(table: pa.Table, column: int) -> Any:
    """A column as one array, of plain values."""
    chunked = table.column(column)
    array: Any = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of no chunks
        array = pa.array([], array.type)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _sortable(array: Any, column: Column) -> Any:
    if column.kind in {"json", "bytes"} or pa.types.is_null(array.type):
        return drawn_texts(array, column)
    return array


# -- filters ---------------------------------------------------------------------------------------

_COMPARED = re.compile(r"(<=|>=|!=|<|>|=)?\s*(.*)", re.DOTALL)
_RANGE = re.compile(r"(.*?)\s*\.\.\s*(.*)", re.DOTALL)


def _mask(array: Any, column: Column, text: str) -> Any:
    """Which values are as `text` says; None when it says nothing (yet)."""
    if not text or text in {"!", "=", "!=", "<", ">", "<=", ">=", ".."}:
        return None
    if text in {"null", "!null"}:
        return pc.is_null(array) if text == "null" else pc.is_valid(array)
    values = _comparable(array, column)
    if values is not None:
        mask = _range_mask(values, text)
        if mask is not None:
            return pc.fill_null(mask, False)
    return _text_mask(array, column, text)


def _text_mask(array: Any, column: Column, text: str) -> Any:
    texts = drawn_texts(array, column)
    if text.startswith("!="):
        return pc.fill_null(pc.not_equal(texts, pa.scalar(text[2:].strip())), True)
    if text.startswith("="):
        return pc.fill_null(pc.equal(texts, pa.scalar(text[1:].strip())), False)
    return pc.fill_null(_holds(texts, text), False)


def _holds(texts: Any, text: str) -> Any:
    # Arrow takes three times as long when it has to look for either case.
    return pc.match_substring(texts, text, ignore_case=text.lower() != text.upper())


class _Comparable(NamedTuple):
    """Values with an order, and the interval [low, high) that a text means among them.

    A number is an interval of nothing but itself: `high` is None.
    """

    values: Any
    interval: Callable[[str], tuple[Any, Any] | None]


def _comparable(array: Any, column: Column) -> _Comparable | None:
    match column.kind:
        case "integer" | "float" | "number":
            return _Comparable(array, _number)
        case "datetime":
            return _Comparable(_microseconds(array), _instants)
        case "boolean":
            return _Comparable(pc.cast(array, pa.int8()), _truth)
        case _:
            return None


def _range_mask(comparable: _Comparable, text: str) -> Any:
    values, interval = comparable
    found = _RANGE.fullmatch(text)
    if found is not None:
        ends = [interval(end) if end else None for end in found.groups()]
        if any(end is None and given for end, given in zip(ends, found.groups(), strict=True)):
            return None
        low, high = ends
        return _both(
            _compared(values, ">=", low) if low else None,
            _compared(values, "<=", high) if high else None,
        )
    compared = _COMPARED.fullmatch(text)
    assert compared is not None, "it takes any text"
    sign, rest = compared.groups()
    wanted = interval(rest)
    return None if wanted is None else _compared(values, sign or "=", wanted)


def _both(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return pc.and_(one, other)


def _compared(values: Any, sign: str, wanted: tuple[Any, Any]) -> Any:
    low, high = wanted
    match sign:
        case "<":
            return pc.less(values, low)
        case ">=":
            return pc.greater_equal(values, low)
        case ">":
            return pc.greater(values, low) if high is None else pc.greater_equal(values, high)
        case "<=":
            return pc.less_equal(values, low) if high is None else pc.less(values, high)
    if high is None:
        inside = pc.equal(values, low)
    else:
        inside = pc.and_(pc.greater_equal(values, low), pc.less(values, high))
    return inside if sign == "=" else pc.invert(pc.fill_null(inside, False))


def _number(text: str) -> tuple[Any, None] | None:
    plain = text.replace(",", "").replace("_", "")
    try:
        whole = int(plain)
    except ValueError:
        try:
            value = float(plain)
        except ValueError:
            return None
        return None if math.isnan(value) else (pa.scalar(value), None)
    return (pa.scalar(whole if -(2**63) <= whole < 2**63 else float(whole)), None)


def _truth(text: str) -> tuple[Any, None] | None:
    known = {"true": 1, "false": 0}
    value = known.get(text.casefold())
    return None if value is None else (pa.scalar(value, pa.int8()), None)


_INSTANT = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[ T](\d{1,2})(?::(\d{1,2})(?::(\d{1,2}))?)?)?)?)?Z?"
)
_LENGTHS = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))


def _instants(text: str) -> tuple[Any, Any] | None:
    """The instants that a text means, such as all those of a day, in microseconds."""
    found = _INSTANT.fullmatch(text)
    if found is None:
        return None
    parts = [int(part) for part in found.groups() if part is not None]
    try:
        begin = datetime(*[*parts, 1, 1][: max(3, len(parts))], tzinfo=UTC)  # type: ignore[arg-type,misc]  # pads month and day
        if len(parts) == 1:
            end = begin.replace(year=begin.year + 1)
        elif len(parts) == 2:
            end = (begin + timedelta(days=31)).replace(day=1)
        else:
            end = begin + _LENGTHS[len(parts) - 3]
    except (ValueError, OverflowError):
        return None
    return pa.scalar(_since_epoch_us(begin)), pa.scalar(_since_epoch_us(end))


def _since_epoch_us(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _microseconds(array: Any) -> Any:
    if pa.types.is_timestamp(array.type):
        zoned = pa.timestamp("us", tz=array.type.tz)
        return array.cast(zoned, safe=False).cast(pa.int64())
    return pc.multiply(array, 1000.0)  # Convex's float milliseconds


def _search_mask(table: pa.Table, columns: list[Column], text: str) -> Any:
    found: Any = pa.array([False] * table.num_rows, pa.bool_())
    folded = text.casefold()
    for at, column in enumerate(columns):
        array = _whole(table, at)
        if _may_hold(array.type, column, folded):
            held = _holds(drawn_texts(array, column), text)
            found = pc.or_(found, pc.fill_null(held, False))
    return found


_OF_INTEGERS = re.compile(r"[-0-9]+")
_OF_FLOATS = re.compile(r"[-+.0-9einfa]+")
_OF_INSTANTS = re.compile(r"[-.:0-9 ]+")


def _may_hold(data_type: pa.DataType, column: Column, folded: str) -> bool:
    """Whether a value's text may hold a text at all: most words are in no number."""
    if column.kind == "datetime":
        return _OF_INSTANTS.fullmatch(folded) is not None
    if pa.types.is_integer(data_type):
        return _OF_INTEGERS.fullmatch(folded) is not None
    if pa.types.is_floating(data_type):
        return _OF_FLOATS.fullmatch(folded) is not None
    if pa.types.is_boolean(data_type):
        return folded in "true" or folded in "false"
    return True
