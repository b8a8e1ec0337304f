"""What a filter says of the values of a column, and which of them are so. Pure.

What a filter may say, by what its column holds:

    any          null, !null          is missing, or is not
                 =x  !=x              is x, or is not
    numbers      x  <x  <=x  >x  >=x  compared with a number
                 x..y                 from x to y, both included; either may be left out
                 x..<y                from x to y, y left out
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
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from livedb.notebook.cells import Column, drawn_texts

TEXT_CHARACTERS_MAX = 200
"""Of a filter or a search."""

_COMPARED = re.compile(r"(<=|>=|!=|<|>|=)?\s*(.*)", re.DOTALL)
_RANGE = re.compile(r"(.*?)\s*\.\.(<?)\s*(.*)", re.DOTALL)


def mask_of(array: Any, column: Column, text: str) -> Any:
    """Which values are as `text` says; None when it says nothing (yet)."""
    if not text or text in {"!", "=", "!=", "<", ">", "<=", ">=", "..", "..<"}:
        return None
    if text in {"null", "!null"}:
        return pc.is_null(array) if text == "null" else pc.is_valid(array)
    values = comparable_of(array, column)
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
    return pc.fill_null(holds(texts, text), False)


def holds(texts: Any, text: str) -> Any:
    """Which texts hold `text`, in letters of either case."""
    # Arrow takes three times as long when it has to look for either case.
    return pc.match_substring(texts, text, ignore_case=text.lower() != text.upper())


class Comparable(NamedTuple):
    """Values with an order, and the interval [low, high) that a text means among them.

    A number is an interval of nothing but itself: `high` is None.
    """

    values: Any
    interval: Callable[[str], tuple[Any, Any] | None]


def comparable_of(array: Any, column: Column) -> Comparable | None:
    """The values as ones with an order that filters know; None if they have none."""
    match column.kind:
        case "integer":
            return Comparable(array, lambda text: _whole_number(text, array.type))
        case "float" | "number":
            return Comparable(array.cast(pa.float64()), _number)
        case "datetime":
            return Comparable(_microseconds(array), _instants)
        case "boolean":
            return Comparable(pc.cast(array, pa.int8()), _truth)
        case _:
            return None


def _range_mask(comparable: Comparable, text: str) -> Any:
    values, interval = comparable
    found = _RANGE.fullmatch(text)
    if found is not None:
        first, is_open, last = found.groups()
        low, high = interval(first) if first else None, interval(last) if last else None
        if (first and low is None) or (last and high is None):
            return None
        return _both(
            compared(values, ">=", low) if low else None,
            compared(values, "<" if is_open else "<=", high) if high else None,
        )
    found = _COMPARED.fullmatch(text)
    assert found is not None, "it takes any text"
    sign, rest = found.groups()
    wanted = interval(rest)
    return None if wanted is None else compared(values, sign or "=", wanted)


def _both(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return pc.and_(one, other)


def compared(values: Any, sign: str, wanted: tuple[Any, Any]) -> Any:
    """Which values stand to the interval `wanted` as `sign` says."""
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
    try:
        value = float(text.replace(",", "").replace("_", ""))
    except ValueError:
        return None
    return None if math.isnan(value) else (pa.scalar(value), None)


_BEYOND = Decimal(10) ** 30
"""Greater than any whole number of a column."""


def _whole_number(text: str, data_type: pa.DataType) -> tuple[Any, Any] | None:
    """Among whole numbers, one with a fraction is an interval of nothing, before the next one.

    Arrow compares numbers of two types only where both are exact, so the number takes the type of
    the column, and beyond its ends that of a decimal.
    """
    try:
        value = Decimal(text.replace(",", "").replace("_", ""))
    except InvalidOperation:
        return None
    if value.is_nan():
        return None
    value = min(max(value, -_BEYOND), _BEYOND)
    whole = math.ceil(value)
    bound = _whole_scalar(whole, data_type)
    return bound, None if whole == value else bound


def _whole_scalar(whole: int, data_type: pa.DataType) -> Any:
    try:
        return pa.scalar(whole, data_type)
    except (OverflowError, pa.ArrowInvalid):
        return pa.scalar(Decimal(whole), pa.decimal128(31, 0))


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


_OF_INTEGERS = re.compile(r"[-0-9]+")
_OF_FLOATS = re.compile(r"[-+.0-9einfa]+")
_OF_INSTANTS = re.compile(r"[-.:0-9 ]+")


def may_hold(data_type: pa.DataType, column: Column, folded: str) -> bool:
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
