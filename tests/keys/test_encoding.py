from __future__ import annotations

import json
import math
import struct
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from livedb.clock import ManualClock
from livedb.errors import InvalidValueError
from livedb.ids import FIRST_TABLE_NUMBER, IdFactory, encode_id
from livedb.keys.encoding import decode_key, encode_key, encode_parts, id_of_key, prefix_end
from livedb.protocol.convex_json import from_wire
from livedb.testing import strategies
from livedb.values import UNSET, Document, Int64, milliseconds_of, same_value

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "values.json").read_text("utf-8"))
VALUES = {
    entry["name"]: UNSET if entry["name"] == "undefined" else from_wire(entry["json"])
    for entry in VECTORS["values"]
}

components = st.just(UNSET) | strategies.values(max_leaves=5)


def as_read(value):
    """`value` as a key gives it back: numbers as float, datetimes as milliseconds, names sorted."""
    if type(value) is int:
        return float(value)
    if type(value) is datetime:
        return milliseconds_of(value)
    if type(value) is list:
        return [as_read(item) for item in value]
    if type(value) is dict:
        return {name: as_read(value[name]) for name in sorted(value)}
    return value


def rank(value):
    """An order of values written independently: (type, comparable payload)."""
    if value is UNSET:
        return (1,)
    if value is None:
        return (3,)
    if type(value) is Int64:
        return (4, int(value))
    if type(value) is bool:
        return (14, value)
    if type(value) is str:
        return (16, value)
    if type(value) is bytes:
        return (17, value)
    if type(value) is list:
        return (18, [rank(item) for item in value])
    if type(value) is dict:
        return (21, [(name, rank(value[name])) for name in sorted(value)])
    bits = struct.unpack(">q", struct.pack(">d", as_read(value)))[0]
    return (13, bits if bits >= 0 else ~(bits & (2**63 - 1)))


def test_the_official_order_holds_pair_by_pair():
    keys = [encode_key(VALUES[name]) for name in VECTORS["sorted"]]
    assert len(keys) == 44
    for (name, key), (next_name, next_key) in pairwise(zip(VECTORS["sorted"], keys, strict=True)):
        assert key < next_key, (name, next_name)


@given(components, components)
@example(0.0, -0.0)
@example("a", "a\x00b")
@example("a", "a\x00")
@example([], [None])
@example({"": 1}, {})
@example({"a": 1, "b": 1}, {"b": 1, "a": 1})
@example(Int64(-128), Int64(-129))
def test_keys_are_ordered_as_their_values(left, right):
    left_key, right_key = encode_key(left), encode_key(right)
    assert (left_key < right_key) == (rank(left) < rank(right))
    assert (left_key == right_key) == (rank(left) == rank(right))


@given(st.lists(components, max_size=4))
def test_a_key_gives_its_values_back(parts):
    key = b"".join(encode_parts(parts))
    assert same_value(decode_key(key), [as_read(part) for part in parts])


@given(st.lists(components, min_size=2, max_size=2), st.lists(components, min_size=2, max_size=2))
def test_compound_keys_are_ordered_component_by_component(left, right):
    left_key, right_key = b"".join(encode_parts(left)), b"".join(encode_parts(right))
    assert (left_key < right_key) == ([*map(rank, left)] < [*map(rank, right)])


@given(strategies.texts() | components, strategies.texts() | components, components)
@example("a", "a\x00b", None)
@example(b"", b"\x00", None)
@example(["a"], ["a", 1], None)
def test_a_prefix_holds_exactly_the_keys_with_its_components(first, other, rest):
    prefix = encode_key(first)
    end = prefix_end(prefix)
    assert prefix <= prefix + encode_key(rest) < end
    key = encode_key(other) + encode_key(rest)
    assert (prefix <= key < end) == (rank(first) == rank(other))


def test_an_empty_prefix_has_no_end():
    assert prefix_end(b"") is None


@given(st.integers(-(2**53), 2**53))
def test_an_int_has_the_key_of_its_float(number):
    assert encode_key(number) == encode_key(float(number))
    assert encode_key(Int64(number)) < encode_key(-math.inf)


def test_a_bool_is_no_number():
    assert encode_key(True) != encode_key(1) != encode_key(Int64(1))
    assert encode_key(False) != encode_key(0)


def test_every_nan_has_one_key_above_all_numbers():
    negative = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]
    assert encode_key(negative) == encode_key(math.nan) > encode_key(math.inf)


def test_a_datetime_has_the_key_of_its_milliseconds():
    moment = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)
    assert encode_key(moment) == encode_key(1769860800123.456)
    assert encode_key(moment) < encode_key(moment + timedelta(microseconds=1))


@given(strategies.datetimes(), strategies.datetimes())
def test_datetimes_never_change_places(left, right):
    if left <= right:
        assert encode_key(left) <= encode_key(right)


def test_a_document_is_its_dict():
    assert encode_key(Document(a=1)) == encode_key({"a": 1})


@given(st.lists(components, max_size=3), st.floats(1, 1e15), st.binary(min_size=16, max_size=16))
def test_the_id_is_found_at_the_end(parts, creation_time, internal):
    document_id = encode_id(FIRST_TABLE_NUMBER, internal)
    assert id_of_key(b"".join(encode_parts([*parts, creation_time, document_id]))) == document_id


def test_ids_made_later_have_higher_keys():
    factory = IdFactory(ManualClock())
    keys = [encode_key(factory.new(FIRST_TABLE_NUMBER)) for _ in range(50)]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    "value", ["\ud800", 2**53 + 1, -(2**53) - 1, object(), {1}, (1,), ["\ud800"], {"a": (1,)}]
)
def test_what_is_no_canonical_value_has_no_key(value):
    with pytest.raises(InvalidValueError):
        encode_key(value)


def test_bytes_that_are_no_key_are_refused():
    for data in (b"\x02", b"\x10a", b"\x99", b"\x12"):
        with pytest.raises((ValueError, IndexError)):
            decode_key(data)
