"""Texts that a person edits: what they say of a value, and the value that they mean."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from livedb import v
from livedb.errors import InvalidValueError
from livedb.notebook.entries import cleared_entry, text_of_entry, value_of_entry
from livedb.values import UNSET, Int64, same_value


@pytest.mark.parametrize(
    "validator, text, value",
    [
        (v.string(), "null", "null"),
        (v.string(), " 5 ", " 5 "),
        (v.string(), "", ""),
        (v.number(), "1,234.5", 1234.5),
        (v.number(), "inf", float("inf")),
        (v.integer(), " 12 ", 12),
        (v.int64(), "9007199254740993", Int64(2**53 + 1)),
        (v.boolean(), "True", True),
        (v.datetime(), "2026-03-01 14:30", datetime(2026, 3, 1, 14, 30, tzinfo=UTC)),
        (v.datetime(), "2026-03-01T14:30+02:00", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        (v.bytes(), "0x1f", b"\x1f"),
        (v.null(), "null", None),
        (v.array(v.number()), "[1, 2.5]", [1.0, 2.5]),
        (v.object({"a": v.string()}), '{"a": "x"}', {"a": "x"}),
        (v.union(v.literal("todo"), v.literal("done")), "done", "done"),
        (v.union(v.literal(1), v.literal(2)), "2", 2),
        (v.any(), "5", 5),
        (v.any(), "five", "five"),
        (v.any(), '"5"', "5"),
        (v.union(v.string(), v.number()), "5", "5"),
    ],
)
def test_a_text_means_a_value_of_its_field(validator, text, value):
    assert same_value(value_of_entry(text, validator), value)


def test_a_field_of_several_types_reads_the_type_that_was_there():
    validator = v.union(v.string(), v.number())
    assert value_of_entry("5", validator, like=4.0) == 5.0
    assert value_of_entry("five", validator, like=4.0) == "five"


@pytest.mark.parametrize(
    "validator, text, problem",
    [
        (v.integer(), "12.5", "'12.5' is not a whole number."),
        (v.integer(), "9007199254740993", "9007199254740993"),
        (v.number(), "a lot", "'a lot' is not a number."),
        (v.boolean(), "maybe", "'maybe' is not true or false."),
        (v.datetime(), "soon", "'soon' is not a time, such as 2026-03-01 14:30."),
        (v.union(v.literal("todo"), v.literal("done")), "x", "'x' is not todo or done."),
        (v.union(*map(v.literal, "abc")), "x", "'x' is not a, b or c."),
        (v.array(v.number()), "[1", "'[1' is not a list as JSON, such as [1, 2]."),
        (v.array(v.number()), '["x"]', "number"),
        (v.bytes(), "0xz", "'0xz' is not bytes, such as 0x1f8b."),
        (v.any(), '{"$int64": "x"}', None),
        (v.array(v.any()), '[{"$nonsense": 1}]', "is not a list"),
    ],
)
def test_a_text_that_means_none_says_what_would(validator, text, problem):
    if problem is None:
        assert value_of_entry(text, validator) == text
        return
    with pytest.raises(InvalidValueError) as caught:
        value_of_entry(text, validator)
    assert problem in caught.value.message


def test_an_emptied_field_is_absent_if_it_may_be_else_null():
    assert cleared_entry(v.optional(v.string())) is UNSET
    assert cleared_entry(v.union(v.string(), v.null())) is None
    with pytest.raises(InvalidValueError, match="must have a value: a number"):
        cleared_entry(v.number())


SCALARS = (
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.integers(-(2**63), 2**63 - 1).map(Int64)
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
)


@given(value=VALUES)
@example(value="null")
@example(value='"x"')
@example(value=-0.0)
@example(value="2026-03-01 14:30")
def test_a_text_reads_as_the_value_it_was_made_of(value):
    text = text_of_entry(value, v.any())
    assert same_value(value_of_entry(text, v.any(), like=value), value)
