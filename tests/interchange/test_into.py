"""The rules of frames into livedb, through `db.load` to the stored documents: pandas and polars."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import livedb
from livedb.canonical import canonical
from livedb.errors import LivedbError
from livedb.values import Int64, Value, same_value

NAN = float("nan")
WHEN = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)
NAIVE = datetime(2026, 7, 1, 12, 30)


def stored(frame: Any, validator: Any = None, **options: Any) -> list[Value]:
    """The values of field `x` of the documents that a frame became, "absent" where one lacks it."""
    with livedb.open() as db:
        if validator is not None:
            db.push(livedb.define_schema({"t": livedb.define_table({"x": validator})}))
        db.load("t", frame, **options)
        return [each.get("x", "absent") for each in db.backend.documents("t", limit=None)]


def check(found: list[Value], wanted: list[Value]) -> None:
    assert len(found) == len(wanted)
    assert all(map(same_value, found, map(canonical, wanted))), found


def pandas_frame(values: Any, dtype: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.Series(values, dtype=dtype)})


def polars_frame(values: Any, dtype: Any = None) -> pl.DataFrame:
    return pl.DataFrame({"x": pl.Series(values, dtype=dtype)})


PANDAS: list[tuple[Any, Any, list[Value]]] = [
    # NaN: null in what numpy holds, itself where the column knows a null of its own
    ([1.5, NAN], "float64", [1.5, None]),
    ([1.5, NAN], "float32", [1.5, None]),
    (pd.arrays.FloatingArray(np.array([NAN, 0.0]), np.array([False, True])), None, [NAN, None]),
    (pa.array([NAN, None]), pd.ArrowDtype(pa.float64()), [NAN, None]),
    # numbers and booleans
    ([1, 2], "int8", [1, 2]),
    ([1, None], "Int64", [1, None]),
    ([True, False], "bool", [True, False]),
    ([True, None], "boolean", [True, None]),
    ([1, True], object, [1, True]),
    ([Decimal("0.5"), np.int64(3), np.bool_(True)], object, [0.5, 3, True]),
    # texts and categories
    (["a", None], "str", ["a", None]),
    (["a", None], "string", ["a", None]),
    (["a", None], "category", ["a", None]),
    ([1, 2, 1], "category", [1, 2, 1]),
    (["a", pd.NA, NAN, None], object, ["a", None, None, None]),
    # moments
    ([WHEN, pd.NaT], "datetime64[ns, UTC]", [WHEN, None]),
    ([WHEN, pd.NaT], "datetime64[us, Europe/Berlin]", [WHEN, None]),
    ([pd.Timestamp(WHEN), pd.NaT, date(2026, 7, 1)], object,
     [WHEN, None, datetime(2026, 7, 1, tzinfo=UTC)]),
    # containers
    ([[1, 2.5], {"a": None}], object, [[1, 2.5], {"a": None}]),
    ([b"x", None], object, [b"x", None]),
    ([[1], None], pd.ArrowDtype(pa.list_(pa.int64())), [[1], None]),
]  # fmt: skip


@pytest.mark.parametrize("values, dtype, wanted", PANDAS)
def test_a_pandas_column_becomes(values: Any, dtype: Any, wanted: list[Value]) -> None:
    check(stored(pandas_frame(values, dtype)), wanted)


POLARS: list[tuple[Any, Any, list[Value]]] = [
    ([1.5, NAN, None], pl.Float64, [1.5, NAN, None]),
    ([1.5, NAN], pl.Float32, [1.5, NAN]),
    ([1, None], pl.Int8, [1, None]),
    ([2**53], pl.UInt64, [2**53]),
    ([True, None], pl.Boolean, [True, None]),
    (["a", None], pl.String, ["a", None]),
    (["a", None], pl.Categorical, ["a", None]),
    (["a"], pl.Enum(["a", "b"]), ["a"]),
    ([b"x", None], pl.Binary, [b"x", None]),
    ([WHEN, None], pl.Datetime("ns", "UTC"), [WHEN, None]),
    ([WHEN], pl.Datetime("ms", "Europe/Berlin"), [WHEN]),
    ([date(2026, 7, 1)], pl.Date, [datetime(2026, 7, 1, tzinfo=UTC)]),
    ([Decimal("0.5"), None], pl.Decimal(10, 2), [0.5, None]),
    ([[1, None], None], pl.List(pl.Int64), [[1, None], None]),
    ([[1.5, 2.5]], pl.Array(pl.Float64, 2), [[1.5, 2.5]]),
    ([{"a": 1, "b": "x"}], pl.Struct({"a": pl.Int64, "b": pl.String}), [{"a": 1, "b": "x"}]),
    ([None], pl.Null, [None]),
    ([Decimal("0.5"), "a", None], pl.Object, [0.5, "a", None]),
]


@pytest.mark.parametrize("values, dtype, wanted", POLARS)
def test_a_polars_column_becomes(values: Any, dtype: Any, wanted: list[Value]) -> None:
    check(stored(polars_frame(values, dtype)), wanted)
    check(stored(polars_frame(values, dtype).lazy()), wanted)


@pytest.mark.parametrize(
    "frame",
    [
        pandas_frame([2**53 + 1]),
        pandas_frame([2**53 + 1, None], "Int64"),
        pandas_frame([2**63], "uint64"),
        pandas_frame([2**53 + 1, "a"], object),
        polars_frame([2**53 + 1], pl.Int64),
        polars_frame([2**63], pl.UInt64),
        polars_frame([Decimal("0.1")], pl.Decimal(10, 2)),
        polars_frame([Decimal(2**53 + 1)], pl.Decimal(38, 0)),
        pandas_frame([Decimal("0.1")], object),
        # datetimes: no zone, or more than microseconds
        pandas_frame([NAIVE]),
        pandas_frame([NAIVE], object),
        polars_frame([NAIVE], pl.Datetime("us")),
        pandas_frame([pd.Timestamp("2026-01-01T00:00:00.000000001Z")]),
        # no livedb type
        pandas_frame([timedelta(1)]),
        pandas_frame([1j]),
        pandas_frame(pd.period_range("2026-01-01", periods=1)),
        pandas_frame(pd.interval_range(0, 1)),
        pandas_frame([{1, 2}], object),
        pandas_frame([time(12)], object),
        pandas_frame(["\ud800"], object),
        polars_frame([timedelta(1)], pl.Duration),
        polars_frame([time(12)], pl.Time),
        polars_frame([{1, 2}], pl.Object),
    ],
)
def test_what_is_not_exact_is_refused_typed(frame: Any) -> None:
    with pytest.raises(LivedbError, match="'x'"):
        stored(frame)


@pytest.mark.parametrize("make", [pandas_frame, polars_frame])
def test_the_nan_rule_can_be_chosen(make: Any) -> None:
    check(stored(make([1.0, NAN]), nan="keep"), [1.0, NAN])
    check(stored(make([1.0, NAN]), nan="null"), [1.0, None])


@pytest.mark.parametrize("make", [pandas_frame, polars_frame])
def test_naive_datetimes_take_the_zone_that_is_given(make: Any) -> None:
    summer = datetime(2026, 7, 1, 16, 30, tzinfo=UTC)
    check(stored(make([NAIVE]), tz="America/New_York"), [summer])
    check(stored(pandas_frame([NAIVE, None], object), tz="America/New_York"), [summer, None])
    # What has a zone keeps it.
    check(stored(make([WHEN]), tz="America/New_York"), [WHEN])


@pytest.mark.parametrize("make", [pandas_frame, polars_frame])
def test_the_schema_decides_what_a_number_is(make: Any) -> None:
    v = livedb.v
    check(stored(make([1, 2]), v.number()), [1.0, 2.0])
    check(stored(make([1.0, 2.0]), v.integer()), [1, 2])
    check(stored(make([2**62]), v.int64()), [Int64(2**62)])
    for values, validator in (
        ([1.5], v.integer()),
        ([2**53 + 1], v.number()),
        ([True], v.integer()),
    ):
        with pytest.raises(LivedbError, match="'x', row 0"):
            stored(make(values), validator)


def test_a_pandas_index_is_decided_when_it_has_a_name() -> None:
    plain = pandas_frame([1, 2]).iloc[1:]
    check(stored(plain), [2])
    for index in (
        pd.Index([5], name="x2"),
        pd.MultiIndex.from_tuples([(5, 6)], names=["x2", "x3"]),
        pd.MultiIndex.from_tuples([(5, 6)], names=[None, "x3"]),
    ):
        frame = pd.DataFrame({"x": [1]}, index=index)
        with pytest.raises(LivedbError, match=r"index=.column.*index=.drop"):
            stored(frame)
        check(stored(frame, index="drop"), [1])
        check(stored(frame, index="column"), [1])


@pytest.mark.parametrize("make", [pandas_frame, polars_frame])
def test_an_empty_frame_is_a_table_without_rows(make: Any) -> None:
    assert stored(make([], "float64" if make is pandas_frame else pl.Float64)) == []


def test_frames_that_came_from_livedb_load_again() -> None:
    documents: list[dict[str, Value]] = [
        {"i": 1, "f": NAN, "s": "x", "t": WHEN, "b": True, "r": b"x"},
        dict.fromkeys("ifstbr"),
    ]
    v = livedb.v
    shape = {"i": v.integer(), "f": v.number(), "s": v.string(), "t": v.datetime(),
             "b": v.boolean(), "r": v.bytes()}  # fmt: skip
    table = livedb.define_table({name: v.nullable(each) for name, each in shape.items()})
    with livedb.open() as db:
        db.push(livedb.define_schema({"t": table, "again": table}))
        db["t"].insert(documents)
        rows = db.sql("select i, f, s, t, b, r from t order by i")
        for frame in (rows.df, rows.to_pandas(dtype_backend="pyarrow"), rows.to_polars(), rows):
            db.load("again", frame)
            loaded = db.backend.documents("again", limit=None)[-2:]
            for found, wanted in zip(loaded, documents, strict=True):
                assert all(same_value(found[name], wanted[name]) for name in shape), found
