"""What the head of a column tells of it: missing values, a histogram, its commonest values. Pure.

A profile is data for a page: counts, and texts that are also filters, so that a click on a bar
finds exactly the rows that the bar counted. That is so by construction: a bar's edge is a text,
read by the very function that reads it in a filter (`livedb.notebook.filters`), and counted by the
same comparison.

Numbers and instants have a histogram with round edges, everything else that Arrow can count has its
commonest values. Nested values and very long columns have only their missing values counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import MAXYEAR, UTC, datetime, timedelta
from decimal import Context, Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from livedb.notebook.cells import Column, cut, text_of_cell
from livedb.notebook.filters import TEXT_CHARACTERS_MAX, Comparable, comparable_of, compared

BARS_MAX = 20
"""Bars of a histogram; round edges make it these or fewer."""

VALUES_MAX = 6
"""Commonest values that are told apart."""

VALUE_CHARACTERS_MAX = 60
"""Of a value's text in a head."""

COUNTED_BYTES_MAX = 256 * 1024 * 1024
"""Bytes of a column whose values are counted; of a larger one only what is missing."""

Profile = dict[str, Any]
"""As a page reads it (`widgets/src/model/profiles.ts`)."""


def profile_of(array: Any, column: Column, *, is_key: bool = False) -> Profile:
    """The profile of one column.

    Cost: for a million values 20 passes of Arrow over numbers (15 ms), one hash table of anything
    else (10 ms for few values, 0.4 s when all differ). The interpreter lock is free meanwhile.
    """
    profile: Profile = {"name": cut(column.name), "count": len(array), "nulls": array.null_count}
    if is_key:
        return profile | {"distinct": len(array)}
    if column.kind != "boolean" and (values := comparable_of(array, column)) is not None:
        return profile | _histogram(array, column, values)
    return profile | _commonest(array, column)


def found_of(profile: Profile, array: Any, column: Column) -> Profile:
    """The same profile with what of it is among the values of `array`: those a filter leaves."""
    found: Profile = {"count": len(array), "nulls": array.null_count}
    if "edges" in profile:
        values = comparable_of(array, column)
        assert values is not None, "it has a histogram"
        found["bars"] = _bars(values, profile["edges"])
    elif "values" in profile:
        found["bars"] = _counts_of(array, profile["told"])
    return for_page(profile) | {"found": found}


def for_page(profile: Profile) -> Profile:
    """The profile without what only this module needs of it."""
    return {name: value for name, value in profile.items() if name != "told"}


# -- histograms ------------------------------------------------------------------------------------


def _histogram(array: Any, column: Column, values: Comparable) -> Profile:
    low, high = _extent(values.values)
    if low is None:
        return {}
    edges = _instant_edges(low, high) if column.kind == "datetime" else _edges(low, high, column)
    if edges is None:
        return {}
    least, most = (_drawn(array, column, each) for each in (low, high))
    return {"edges": edges, "bars": _bars(values, edges), "low": least, "high": most}


def _extent(values: Any) -> tuple[Any, Any]:
    """The least and the greatest finite value; None when there is none."""
    if pa.types.is_floating(values.type):
        values = pc.filter(values, pc.is_finite(values))
    extent: Any = pc.min_max(values).as_py()
    return extent["min"], extent["max"]


def _drawn(array: Any, column: Column, value: Any) -> str:
    if column.kind != "datetime":
        return text_of_cell(value, column.kind).text
    if not pa.types.is_timestamp(array.type):
        return text_of_cell(value / 1000, "datetime").text
    return text_of_cell(_EPOCH + timedelta(microseconds=value), "datetime").text


def _bars(values: Comparable, edges: list[str]) -> list[int]:
    """How many values lie between each edge and the next; a NaN is below none."""
    below = []
    for edge in edges:
        interval = values.interval(edge)
        assert interval is not None, "an edge is a filter's text"
        below.append(pc.sum(compared(values.values, "<", interval)).as_py() or 0)
    return [high - low for low, high in pairwise(below)]


_EXACT = Context(prec=400)
"""Enough for the step of a histogram from 1e-300 to 1e300."""


def _edges(low: Any, high: Any, column: Column) -> list[str]:
    """Multiples of 1, 2 or 5 times a power of ten, from below `low` to above `high`."""
    least, most = Decimal(low), Decimal(high)
    span = _EXACT.subtract(most, least)
    if column.kind == "integer":
        step = max(_round_step(span), Decimal(1))
    else:
        # Bars that are no wider than two doubles are apart would count nothing.
        apart = Decimal(max(math.ulp(low), math.ulp(high)))
        step = _round_step(max(span, _EXACT.multiply(apart, Decimal(2 * BARS_MAX))))
        step = step if span else max(step, Decimal(1))
    first = _floor(_EXACT.divide(least, step))
    last = _floor(_EXACT.divide(most, step)) + 1
    if column.kind != "integer" and float(_EXACT.multiply(step, Decimal(last))) <= high:
        last += 1  # as a double that edge was the greatest value itself
    return [_plain(_EXACT.multiply(step, Decimal(at))) for at in range(first, last + 1)]


def _round_step(span: Decimal) -> Decimal:
    if not span:
        return Decimal(1)
    power = Decimal(1).scaleb(math.floor((span / (BARS_MAX - 1)).log10()))
    return next(power * times for times in (1, 2, 5, 10) if span <= power * times * (BARS_MAX - 1))


def _floor(value: Decimal) -> int:
    whole = int(value)
    return whole - 1 if whole > value else whole


def _plain(value: Decimal) -> str:
    """Digits that a reader and `float` both read."""
    if not value:
        return "0"
    value = value.normalize(_EXACT)
    return f"{value:f}" if -6 <= value.adjusted() < 16 else f"{value:e}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_US = 1_000_000
_UNITS = tuple(
    (seconds * _SECOND_US, written)
    for steps, unit, written in (
        ((1, 2, 5, 10, 15, 30), 1, "%Y-%m-%d %H:%M:%S"),
        ((1, 2, 5, 10, 15, 30), 60, "%Y-%m-%d %H:%M"),
        ((1, 2, 3, 6, 12), 3600, "%Y-%m-%d %H:%M"),
        ((1, 2, 5, 10), 86400, "%Y-%m-%d"),
    )
    for seconds in (step * unit for step in steps)
)
_MONTHS = (1, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400, 6000, 12000)


def _instant_edges(low_us: float, high_us: float) -> list[str] | None:
    """Round instants around the interval; None beyond the years that a filter can say."""
    low_us, high_us = math.floor(low_us), math.ceil(high_us)
    for step_us, written in _UNITS:
        first, last = low_us // step_us, high_us // step_us + 1
        if last - first <= BARS_MAX:
            return _written((at * step_us for at in range(first, last + 1)), written)
    try:
        low, high = (_EPOCH + timedelta(microseconds=each) for each in (low_us, high_us))
    except OverflowError:
        return None
    months = [each.year * 12 + each.month - 1 for each in (low, high)]
    for step in _MONTHS:
        first, last = months[0] // step, months[1] // step + 1
        if last - first <= BARS_MAX:
            return _months([at * step for at in range(first, last + 1)], step)
    return None


def _written(edges_us: Iterator[int], written: str) -> list[str] | None:
    try:
        instants = [_EPOCH + timedelta(microseconds=each) for each in edges_us]
    except OverflowError:
        return None
    # `strftime` does not fill years up to four digits everywhere.
    return [each.strftime(written.replace("%Y", f"{each.year:04}")) for each in instants]


def _months(months: list[int], step: int) -> list[str] | None:
    years = [divmod(max(each, 12), 12) for each in months]
    if years[-1][0] > MAXYEAR:
        return None
    is_whole = step % 12 == 0
    return [f"{year:04}" if is_whole else f"{year:04}-{month + 1:02}" for year, month in years]


# -- commonest values ------------------------------------------------------------------------------


def _commonest(array: Any, column: Column) -> Profile:
    if pa.types.is_nested(array.type) or array.nbytes > COUNTED_BYTES_MAX:
        return {}
    values, counts = _counted(array)
    profile: Profile = {"distinct": len(values)}
    if len(values) > 1 and pc.max(counts).as_py() == 1:
        return profile  # each is another: no one is worth naming
    # Equal counts in the order of their values, so that bars do not change places.
    ordered: Any = pa.table([values, counts], names=["value", "count"])
    keys: Any = [("value", "descending")] if column.kind == "boolean" else _BY_COUNT
    ordered = ordered.take(pc.select_k_unstable(ordered, VALUES_MAX, keys))
    told, known = ordered["value"].to_pylist(), ordered["count"].to_pylist()
    named = [[*_named(value, column), count] for value, count in zip(told, known, strict=True)]
    return profile | {"values": named, "told": told}


_BY_COUNT = [("count", "descending"), ("value", "ascending")]


def _counted(array: Any) -> tuple[Any, Any]:
    """The different values, and how often each is there."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_string_view(array.type):  # Arrow has no functions for it
        array = array.cast(pa.string())
    counted = pc.value_counts(array.drop_null())
    return counted.field("values"), counted.field("counts")


def _counts_of(array: Any, told: list[Any]) -> list[int]:
    values, counts = _counted(array)
    at = pc.index_in(pa.array(told, values.type), value_set=values)
    return [each or 0 for each in counts.take(at).to_pylist()]


def _named(value: Any, column: Column) -> tuple[str, str | None]:
    """A value as drawn, and the filter that finds it; None when no filter says just this."""
    drawn = cut(text_of_cell(value, column.kind).text, VALUE_CHARACTERS_MAX)
    if column.kind == "boolean":
        return drawn, "true" if value else "false"
    said = value if isinstance(value, str) else str(value)
    is_sayable = said and said == said.strip() and len(said) < TEXT_CHARACTERS_MAX
    return drawn, f"={said}" if is_sayable and column.kind != "bytes" else None
