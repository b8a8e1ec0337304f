from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from livedb.errors import InvalidValueError
from livedb.protocol.convex_json import from_wire, to_lossy_json, to_wire
from livedb.sizes import size_of
from livedb.testing import strategies
from livedb.values import UNSET, Document, Int64, milliseconds_of, same_value

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "values.json").read_text("utf-8"))
ENCODED = [entry for entry in VECTORS["values"] if entry["name"] != "undefined"]


def over_the_wire(value):
    """`value` as a client gives it back: numbers as float, datetimes as milliseconds."""
    if type(value) is int:
        return float(value)
    if type(value) is datetime:
        return milliseconds_of(value)
    if type(value) is list:
        return [over_the_wire(item) for item in value]
    if type(value) is dict:
        return {name: over_the_wire(item) for name, item in value.items()}
    return value


@pytest.mark.parametrize("entry", ENCODED, ids=lambda entry: entry["name"])
def test_the_official_encoder_writes_the_same(entry):
    value = from_wire(entry["json"])
    assert to_wire(value) == entry["json"]
    assert size_of(value) == entry["size"]


def test_the_vectors_name_the_types_they_are_read_as():
    values = {entry["name"]: from_wire(entry["json"]) for entry in ENCODED}
    assert same_value(values["int_min"], Int64(-(2**63)))
    assert same_value(values["int_max"], Int64(2**63 - 1))
    assert same_value(values["-0"], -0.0)
    assert same_value(values["1"], 1.0)
    assert same_value(values["nan"], math.nan)
    assert same_value(values["bytes_00ff"], b"\x00\xff")
    assert same_value(values["obj_a1"], {"a": 1.0})


@pytest.mark.parametrize("codec", [json, msgspec.json], ids=["json", "msgspec"])
@given(value=strategies.values())
def test_a_value_comes_back_through_either_codec(codec, value):
    encode = codec.encode if codec is msgspec.json else codec.dumps
    decode = codec.decode if codec is msgspec.json else codec.loads
    text = encode(to_wire(value))
    assert same_value(from_wire(decode(text)), over_the_wire(value))


def test_whole_numbers_are_written_with_a_point():
    assert msgspec.json.encode(to_wire({"a": [3, 3.0]})) == b'{"a":[3.0,3.0]}'


def test_unset_fields_are_left_out():
    assert to_wire(Document(a=UNSET, b=1)) == {"b": 1.0}
    with pytest.raises(InvalidValueError):
        to_wire([UNSET])


@pytest.mark.parametrize("value", [(1,), {1}, object(), 1j])
def test_what_is_no_canonical_value_has_no_wire_form(value):
    with pytest.raises(InvalidValueError):
        to_wire([value])


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "wire",
    [
        {"$integer": "AQ=="},
        {"$integer": 1},
        {"$integer": "AAAAAAAAAAAA"},
        {"$integer": "!AAAAAAAAAA="},
        {"$integer": None},
        {"$float": "AAAAAAAA8D8="},  # 1.0, an ordinary number
        {"$float": 1.5},
        {"$float": "nan"},
        {"$bytes": "AA"},
        {"$bytes": "é"},
        {"$bytes": "A!A=="},
        {"$bytes": "AA==\n"},
        {"$bytes": ["AA=="]},
        {"$bytes": "AA==", "a": 1},
        {"$set": []},
        {"$map": []},
        {"$undefined": None},
        {"$commitTs": None},
        {"$a": 1},
        {"é": 1},
        {"a\n": 1},
        {"k" * 1025: 1},
        "\ud800",
        {"\ud800": 1},
        10**400,
        [0] * 8193,
        {str(n): 0 for n in range(1025)},
        nested(65),
        nested(100_000),
        (1,),
    ],
    ids=lambda wire: repr(wire)[:30] if not isinstance(wire, list) else f"list {len(wire)}",
)
def test_hostile_json_is_refused_with_its_path(wire):
    with pytest.raises(InvalidValueError) as caught:
        from_wire({"args": [wire]}, path="body")
    assert caught.value.path.startswith("body.args[0]")


@pytest.mark.parametrize("name", ["__proto__", "constructor", "_id", "_x", "", "a b", "a.b"])
def test_odd_names_pass(name):
    assert from_wire({name: 1}) == {name: 1.0}


@pytest.mark.parametrize(
    "number, expected",
    [(2**53 + 1, float(2**53)), (2**63, 2.0**63), (-0.0, -0.0), (math.inf, math.inf)],
)
def test_a_number_is_the_nearest_float_as_in_javascript(number, expected):
    assert same_value(from_wire(number), expected)


def test_a_bool_stays_a_bool():
    assert from_wire([True, False]) == [True, False]
    assert to_wire(True) is True


def test_the_export_format_is_plain_text_for_what_json_cannot_hold():
    value = {
        "a": Int64(2**63 - 1),
        "b": b"\x00\xff",
        "c": [math.nan, math.inf, -math.inf, -0.0, 1, 1.5],
        "d": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        "e": None,
    }
    assert to_lossy_json(value) == {
        "a": "9223372036854775807",
        "b": "AP8=",
        "c": ["NaN", "Infinity", "-Infinity", -0.0, 1.0, 1.5],
        "d": 1000.0,
        "e": None,
    }
