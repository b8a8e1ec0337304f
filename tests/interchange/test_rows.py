"""Dicts as columns: every exactness rule, whichever block of rows a value comes in."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livedb import text
from livedb.canonical import canonical
from livedb.errors import LoadError
from livedb.interchange import rows as rows_module
from livedb.interchange.rows import rows_to_table
from livedb.store.marks import has_mark
from livedb.testing import strategies
from livedb.values import UNSET, Document, Int64, Value, same_value
from tests.thorough import examples

WHEN = datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture(params=[1, 4096], autouse=True)
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK_ROWS", request.param)


def column(*values: Value, **options: Any) -> pa.Table:
    return rows_to_table([{"x": value} for value in values], **options)


def read_back(table: pa.Table, name: str = "x") -> list[Value]:
    """The values of a column, exactly, as bulk load reads them; UNSET where absent."""
    field = table.schema.field(name)
    values = table.column(name).to_pylist()
    if has_mark(field, "json"):
        values = [None if each is None else text.decode_value(each.encode()) for each in values]
    if has_mark(field, "int64"):
        values = [None if each is None else Int64(each) for each in values]
    absent = f"$absent.{name}"
    if absent in table.column_names:
        gaps = table.column(absent).to_pylist()
        values = [UNSET if gap else each for each, gap in zip(values, gaps, strict=True)]
    return [each if each is UNSET else canonical(each) for each in values]


@pytest.mark.parametrize(
    "values, arrow",
    [
        ([1, None, 2**53], pa.int64()),
        ([1.0, None, -0.0], pa.float64()),
        ([True, None], pa.bool_()),
        (["", "\U0001f600", None], pa.string()),
        ([b"", b"\xff", None], pa.binary()),
        ([Int64(2**63 - 1), None], pa.int64()),
        ([WHEN, None], pa.timestamp("us", "UTC")),
        ([None, None], pa.null()),
    ],
)
def test_a_column_of_one_primitive_type_has_its_arrow_type(
    values: list[Value], arrow: pa.DataType
) -> None:
    table = column(*values)
    assert table.schema.field("x").type == arrow
    assert list(map(repr, read_back(table))) == list(map(repr, values))


@pytest.mark.parametrize(
    "values",
    [
        [True, 1],
        [1, 1.0],
        [1, Int64(1)],
        [0.0, False],
        ["1", 1],
        ["x", b"x"],
        [WHEN, "2026"],
        [WHEN, 1.5, None],
        [[1], [1.0]],
        [{"a": 1}, {"a": True}],
        [None, [], {}],
        [float("nan"), 1],
    ],
)
def test_values_that_python_or_arrow_would_mix_up_are_kept_apart(values: list[Value]) -> None:
    for order in (values, values[::-1]):
        table = column(*order)
        assert has_mark(table.schema.field("x"), "json")
        assert all(map(same_value, read_back(table), order))


def test_ints_of_a_float_field_are_floats() -> None:
    table = column(1, 2.5, None, fields={"x": "float"})
    assert table.schema.field("x").type == pa.float64()
    assert table["x"].to_pylist() == [1.0, 2.5, None]


@pytest.mark.parametrize("other", [1.5, "x", True, Int64(1), [], None])
@pytest.mark.parametrize("kind", [None, "float"])
def test_an_int_beyond_2_53_never_becomes_another_number(other: Value, kind: Any) -> None:
    if other is None:
        # Alone it is an int64 column, which the load checks by the field.
        assert column(2**53 + 1, other)["x"].to_pylist() == [2**53 + 1, None]
        return
    with pytest.raises(LoadError, match=r"'x', row 1: 9007199254740993 is beyond"):
        column(other, 2**53 + 1, fields={"x": kind} if kind else {})


@pytest.mark.parametrize(
    "value, words",
    [
        (2**63, "beyond"),
        (-(2**64), "beyond"),
        ("\ud800", "surrogate"),
        ({1, 2}, "sorted list"),
        (object(), "not a supported type"),
        (1j, "not a supported type"),
        (timedelta(1), "not a supported type"),
        (Decimal("0.1"), "exact"),
        (datetime(2026, 1, 1), "time zone"),
        (np.datetime64("2026-01-01"), "time zone"),
        (np.array([1, 2]), "tolist"),
        ([{"a": [2**53 + 1]}], r"\[0\]\.a\[0\]"),
        ({"$a": 1}, "reserved"),
        ({"\u00e9": 1}, "ASCII"),
        ({1: 2}, "not a string"),
        ([UNSET], "UNSET"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_column_and_row(value: Value, words: str) -> None:
    with pytest.raises(LoadError, match=f"(?s)Column 'x', row 2: .*{words}"):
        column(None, "fine", value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Value] = []
    loop.append(loop)
    with pytest.raises(LoadError, match="contains itself"):
        column(loop)


class Colour(Enum):
    RED = "red"
    TWO = 2


class Name(StrEnum):
    X = "x"


@pytest.mark.parametrize(
    "given, stored",
    [
        (np.int8(3), 3),
        (np.int64(2**53), 2**53),
        (np.uint64(7), 7),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (pd.Timestamp(WHEN), WHEN),
        (pd.NaT, None),
        (pd.NA, None),
        (date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)),
        (Decimal("2.5"), 2.5),
        (Decimal(3), 3),
        (Colour.RED, "red"),
        (Colour.TWO, 2),
        ((1, 2), [1, 2]),
        (bytearray(b"x"), b"x"),
        (WHEN.astimezone(timezone(timedelta(hours=5))), WHEN),
        (WHEN.replace(fold=1), WHEN),
    ],
)
def test_foreign_values_become_the_one_value_they_are(given: Value, stored: Value) -> None:
    for values in ([given], [given, None], [given, given]):
        found = read_back(column(*values))
        assert same_value(found[0], canonical(stored)), found


def test_nan_stays_nan_and_none_stays_none() -> None:
    found = column(float("nan"), None, float("inf"))["x"].to_pylist()
    assert math.isnan(found[0])
    assert found[1:] == [None, math.inf]


def test_naive_datetimes_take_the_zone_that_is_given() -> None:
    moment = datetime(2026, 7, 1, 12)
    stored = datetime(2026, 7, 1, 16, tzinfo=UTC)
    for values in ([moment], [moment, WHEN, None], [pd.Timestamp(moment), pd.NaT], [moment, "x"]):
        found = read_back(column(*values, tz="America/New_York"))
        assert found[0] == stored
    with pytest.raises(LoadError, match="New_York"):
        column(datetime(2026, 11, 1, 1, 30), tz="America/New_York")
    with pytest.raises(LoadError, match=r"nanoseconds|time zone"):
        column(pd.Timestamp("2026-01-01T00:00:00.000000001"), tz="UTC")


# --- rows -----------------------------------------------------------------------------------------


def test_null_and_absent_are_told_apart_in_any_order() -> None:
    found: list[dict[str, Value]] = [{"a": 1}, {}, {"a": None, "b": "x"}, {"b": UNSET}, {"c": []}]
    for documents in (found, found[::-1]):
        table = rows_to_table(documents)
        for name in "abc":
            wanted = [each.get(name, UNSET) for each in documents]
            assert read_back(table, name) == wanted


def test_an_unset_value_is_absence() -> None:
    table = rows_to_table([{"a": UNSET, "b": 1}, {"a": 1, "b": 2}])
    assert read_back(table, "a") == [UNSET, 1]
    assert "$absent.b" not in table.column_names


def test_columns_stand_in_order_of_first_appearance() -> None:
    table = rows_to_table([{"b": 1, "a": 1}, {"a": 1, "c": 1, "b": 1}])
    assert [name for name in table.column_names if name[0] != "$"] == ["b", "a", "c"]


@pytest.mark.parametrize(
    "row",
    [
        Document({"x": 1}),
        OrderedDict({"x": 1}),
        Counter({"x": 1}),
        MappingProxyType({"x": 1}),
        {Name.X: 1},
        {np.str_("x"): 1},
    ],
)
def test_any_mapping_is_a_row(row: Any) -> None:
    assert rows_to_table([row, {"x": 2}]).to_pylist() == [{"x": 1}, {"x": 2}]


def test_a_dict_with_defaults_lacks_what_it_lacks_and_is_left_as_it_is() -> None:
    rows = [defaultdict(int, {"a": 1}), Counter(b=1)]
    table = rows_to_table(rows)
    assert read_back(table, "a") == [1, UNSET]
    assert read_back(table, "b") == [UNSET, 1]
    assert [dict(row) for row in rows] == [{"a": 1}, {"b": 1}]


@pytest.mark.parametrize(
    "rows, words",
    [
        ([{}, 3], "Row 1 is a int"),
        ([{"a": 1}, None], "Row 1 is a NoneType"),
        ([{"a": 1}, [("a", 1)]], "Row 1 is a list"),
        ([{"a": 1}, {2: 1}], "not a str"),
        ([{"a": 1}, {("a",): 1}], "not a str"),
        ([{b"a": 1}], "not a str"),
    ],
)
def test_what_is_no_row_is_refused(rows: Any, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        rows_to_table(rows)


def test_too_many_different_fields_are_refused_before_they_fill_the_memory() -> None:
    with pytest.raises(LoadError, match=r"more than 1,024 different fields"):
        rows_to_table({f"f{number}": 1} for number in range(1_100))


def test_rows_are_taken_once_from_any_iterable() -> None:
    def rows() -> Iterator[dict[str, Value]]:
        yield from ({"a": number} for number in range(10))

    assert rows_to_table(rows())["a"].to_pylist() == list(range(10))
    assert rows_to_table([]).num_rows == 0
    assert rows_to_table([{}, {}]).num_rows == 2


@settings(max_examples=examples(40), deadline=None)
@given(documents=st.lists(strategies.documents(), max_size=6), size=st.sampled_from([1, 2, 3, 100]))
def test_any_documents_come_back_to_the_last_bit(
    documents: list[dict[str, Value]], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "BLOCK_ROWS", size)
        table = rows_to_table(documents)
    assert table.num_rows == len(documents)
    for name in {name for each in documents for name in each}:
        wanted = [each.get(name, UNSET) for each in documents]
        for found, value in zip(read_back(table, name), wanted, strict=True):
            assert found is UNSET if value is UNSET else same_value(found, canonical(value))
