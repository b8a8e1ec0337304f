"""What the head of a column tells of it, and that a click on it finds what it counted."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.notebook.cells import Column, columns_of, visible
from livedb.notebook.filters import mask_of
from livedb.notebook.profiles import BARS_MAX, VALUES_MAX, for_page, found_of, profile_of


def profiled(values: list[Any], data_type: pa.DataType | None = None, field_type: str = "any"):
    array = pa.array(values, data_type)
    column = columns_of(pa.schema([("c", array.type)]), {"c": field_type})[0]
    return array, column, profile_of(array, column)


def found_by(array: Any, column: Column, text: str) -> int:
    return pc.sum(mask_of(array, column, text)).as_py() or 0


def assert_each_bar_finds_what_it_counts(array: Any, column: Column, profile: dict[str, Any]):
    for (low, high), count in zip(pairwise(profile["edges"]), profile["bars"], strict=True):
        assert found_by(array, column, f"{low}..<{high}") == count, (low, high)


@given(st.lists(st.none() | st.floats(), min_size=1, max_size=50))
def test_every_finite_number_is_in_one_bar_which_finds_it(values):
    array, column, profile = profiled(values, pa.float64())
    finite = [each for each in values if each is not None and math.isfinite(each)]
    if not finite:
        assert "bars" not in profile
        return
    assert sum(profile["bars"]) == len(finite)
    assert len(profile["bars"]) <= BARS_MAX + 1
    assert_each_bar_finds_what_it_counts(array, column, profile)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50))
def test_every_whole_number_is_in_one_bar_which_finds_it(values):
    array, column, profile = profiled(values, pa.int64())
    assert sum(profile["bars"]) == len(values)
    assert len(profile["bars"]) <= BARS_MAX + 1
    assert_each_bar_finds_what_it_counts(array, column, profile)


@given(st.lists(st.datetimes(max_value=datetime(9000, 1, 1)), min_size=1, max_size=50))
def test_every_instant_is_in_one_bar_which_finds_it(values):
    values = [each.replace(tzinfo=UTC) for each in values]
    array, column, profile = profiled(values, pa.timestamp("us", tz="UTC"))
    assert sum(profile["bars"]) == len(values)
    assert len(profile["bars"]) <= BARS_MAX
    assert_each_bar_finds_what_it_counts(array, column, profile)


@pytest.mark.parametrize("span", [timedelta(seconds=9), timedelta(hours=7), timedelta(days=90)])
def test_bars_of_instants_have_round_edges(span):
    begin = datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)
    array, column, profile = profiled([begin + span * part / 40 for part in range(41)])
    assert sum(profile["bars"]) == 41
    assert_each_bar_finds_what_it_counts(array, column, profile)


@pytest.mark.parametrize(
    "values, data_type",
    [
        ([2**64 - 1, 0, 5], pa.uint64()),
        ([Decimal("1.50"), Decimal("-3.25"), None], pa.decimal128(10, 2)),
        ([1.79e12, 1.791e12], pa.float64()),
    ],
)
def test_other_kinds_of_numbers_have_bars_too(values, data_type):
    array, column, profile = profiled(values, data_type)
    assert sum(profile["bars"]) == len([each for each in values if each is not None])
    assert_each_bar_finds_what_it_counts(array, column, profile)


def test_few_whole_numbers_have_a_bar_each():
    _, _, profile = profiled([1, 2, 2, 5])
    assert profile["edges"] == ["1", "2", "3", "4", "5", "6"]
    assert profile["bars"] == [1, 2, 0, 0, 1]
    assert (profile["low"], profile["high"]) == ("1", "5")


def test_the_commonest_values_are_told_with_what_finds_them():
    array, column, profile = profiled([*"aaabbc", None, " padded", ""])
    assert (profile["nulls"], profile["distinct"]) == (1, 5)
    assert profile["values"][:2] == [["a", "=a", 3], ["b", "=b", 2]]
    unsayable = {text for text, said, _ in profile["values"] if said is None}
    assert unsayable == {" padded", '""'}
    for _, said, count in profile["values"]:
        assert said is None or found_by(array, column, said) == count


def test_truths_are_told_and_found():
    array, column, profile = profiled([True, False, True, None])
    assert profile["values"] == [["true", "true", 2], ["false", "false", 1]]
    assert found_by(array, column, "true") == 2


def test_values_that_all_differ_are_only_counted():
    _, _, profile = profiled([f"v{at}" for at in range(100)])
    assert profile["distinct"] == 100
    assert "values" not in profile


HOSTILE = ["<img src=x onerror=alert(1)>", "</script>", "javascript:alert(1)", "=cmd()", "\u202eab"]


def test_hostile_texts_are_texts_and_found():
    array, column, profile = profiled(HOSTILE * 2 + ["x" * 1_000_000] * 2)
    assert {text for text, _, _ in profile["values"]} >= set(map(visible, HOSTILE))
    assert all(len(text) <= 60 for text, _, _ in profile["values"])
    for _, said, count in profile["values"]:
        assert said is None or found_by(array, column, said) == count == 2


@pytest.mark.parametrize(
    "values, field_type",
    [([], "any"), ([None, None], "any"), ([math.nan, math.inf], "any"), ([{"a": [1]}], "any")],
)
def test_what_cannot_be_counted_has_its_missing_values_counted(values, field_type):
    array, column, profile = profiled(values, field_type=field_type)
    assert profile["nulls"] == array.null_count
    assert "bars" not in profile
    assert "count" in found_of(profile, array, column)["found"]


def test_instants_beyond_every_calendar_have_no_bars():
    _, _, profile = profiled([0, 2**62], pa.timestamp("us"))
    assert "bars" not in profile


def test_what_a_filter_leaves_is_counted_in_the_same_bars():
    array, column, profile = profiled([1, 2, 2, 5])
    found = found_of(profile, array.take(pa.array([1, 3])), column)
    assert found["bars"] == [1, 2, 0, 0, 1]
    assert found["found"]["bars"] == [0, 1, 0, 0, 1]
    array, column, profile = profiled([*"aaabbc"])
    found = found_of(profile, array.slice(3), column)
    assert found["found"] == {"count": 3, "nulls": 0, "bars": [0, 2, 1]}
    assert "told" not in for_page(profile)
    assert "told" not in found


def test_a_head_is_small_however_many_values_there_are():
    _, _, profile = profiled([f"v{at % 5000}" for at in range(10_000)])
    assert len(profile["values"]) == VALUES_MAX


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["x", "x"], pa.string_view()),
        pa.array([b"x" * 16] * 2, pa.uuid()),
        pa.array(['"x"'] * 2, pa.json_()),
        pa.array([date(2026, 3, 1)] * 2),
        pa.array([time(1, 2, 3)] * 2),
        pa.array([timedelta(1)] * 2),
        pa.array([b"x"] * 2),
    ],
    ids=lambda array: str(array.type),
)
def test_a_column_of_any_type_is_profiled(array):
    column = columns_of(pa.schema([("c", array.type)]), {})[0]
    profile = profile_of(array, column)
    [[_, said, count]] = profile["values"]
    assert count == 2
    assert found_of(profile, array.slice(1), column)["found"]["bars"] == [1]
    if pa.types.is_date(array.type) or pa.types.is_time(array.type):
        assert found_by(array, column, said) == 2
