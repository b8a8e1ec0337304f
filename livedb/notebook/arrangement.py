"""How a reader of a table wants its rows: sorted, filtered, searched. No comm, no thread.

A view of a page carries an *arrangement*; what it shows is another `RowState` over the same rows,
so that windows, keys and patches are made of it as of any other. Rows stay in the kernel: an
arrangement is a list of row numbers, kept while the rows are the same, and made again with them.

What a filter may say is in `livedb.notebook.filters`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from livedb.notebook.cells import Column, columns_of, drawn_texts
from livedb.notebook.filters import TEXT_CHARACTERS_MAX, holds, mask_of, may_hold
from livedb.notebook.rows import RowState

SORTS_MAX = 8
FILTERS_MAX = 100

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
        numbers = self.row_numbers(state, table, arrangement)
        if numbers is None:
            return state
        return replace(
            state,
            row_count=len(numbers),
            window=lambda start, stop: table.take(numbers.slice(start, max(stop - start, 0))),
        )

    def row_numbers(self, state: RowState, table: pa.Table, arrangement: Arrangement) -> Any:
        """Which rows of `table`, all those of `state`, in which order; None: all, as they come."""
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
        return made.numbers


@dataclass(frozen=True, slots=True)
class _Made:
    """The row numbers of an arrangement; None for all in their order."""

    table: pa.Table
    numbers: Any

    def is_of(self, table: pa.Table) -> bool:
        """Whether `table` has the very rows, in the same memory, which is held by this object."""
        return table is self.table or (
            table.schema == self.table.schema and places_of(table) == places_of(self.table)
        )


def places_of(table: pa.Table) -> list[tuple[int, int, tuple[int, ...]]]:
    """Where in memory the rows of `table` lie; while they are held, others lie elsewhere."""
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
        and (mask := mask_of(whole_column(table, column), columns[column], text)) is not None
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
        [_sortable(whole_column(table, column), columns[column]) for column, _ in sorts],
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


def whole_column(table: pa.Table, column: int) -> Any:
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


def _search_mask(table: pa.Table, columns: list[Column], text: str) -> Any:
    found: Any = pa.array([False] * table.num_rows, pa.bool_())
    folded = text.casefold()
    for at, column in enumerate(columns):
        array = whole_column(table, at)
        if may_hold(array.type, column, folded):
            held = holds(drawn_texts(array, column), text)
            found = pc.or_(found, pc.fill_null(held, False))
    return found
