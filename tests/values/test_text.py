from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import example, given

from livedb.canonical import prepare_fields
from livedb.sizes import measure
from livedb.store.contract import StoredDocument
from livedb.testing import strategies
from livedb.text import (
    PLAIN,
    TAGGED,
    decode_block,
    decode_document,
    decode_fields,
    decode_value,
    encode_fields,
    encode_value,
)
from livedb.values import Document, Int64, same_value

ID = "kg27rxfv99gzp01wmph0gvt92d6hnvy6"


@given(strategies.documents() | strategies.hostile_documents())
def test_a_document_comes_back_to_the_last_bit(fields):
    prepared, _, is_plain = prepare_fields(fields)
    text = encode_fields(prepared, is_plain=is_plain)
    assert text[:1] == (PLAIN if is_plain else TAGGED)
    assert same_value(decode_fields(text), fields)
    assert same_value(decode_fields(memoryview(text)), fields)


@given(strategies.documents() | strategies.hostile_documents())
def test_reading_gives_a_private_document_with_its_system_fields(fields):
    stored = StoredDocument(1.5, encode_fields(fields))
    expected = {**fields, "_id": ID, "_creationTime": 1.5}
    first, second = decode_document(ID, stored), decode_document(ID, stored)
    assert type(first) is Document
    assert first is not second
    assert same_value(first, expected)
    (third,) = decode_block([ID], [stored.creation_time], stored.text)
    assert type(third) is Document
    assert same_value(third, expected)


@given(strategies.values())
def test_any_value_comes_back_to_the_last_bit(value):
    text = encode_value(value)
    assert same_value(decode_value(text), value)
    assert json.loads(text) is not ...  # ordinary JSON to everybody else


@given(strategies.values(), strategies.values())
@example(0.0, -0.0)
@example(1, 1.0)
@example(1, Int64(1))
@example({"a": 1, "b": 1}, {"b": 1, "a": 1})
def test_same_value_is_equality_of_texts(left, right):
    assert same_value(left, right) == (encode_value(left) == encode_value(right))


@given(strategies.documents())
def test_system_fields_are_left_out(fields):
    document = Document({"_id": ID, "_creationTime": 2.0, **fields})
    assert encode_fields(document) == encode_fields(fields)


@given(strategies.values())
def test_plain_values_need_no_tags(value):
    if measure(value)[1]:
        assert b'{"$' not in encode_value(value) or '{"$' in repr(value)


@pytest.mark.parametrize(
    "value, text",
    [
        (3, b"3"),
        (3.0, b"3.0"),
        (-0.0, b"-0.0"),
        (5e-324, b"5e-324"),
        (1e16, b"1e16"),
        (1e22, b"1e22"),
        ("\x00é\U0001f600", '"\\u0000é\U0001f600"'.encode()),
        (b"\x00\xff", b'{"$bytes":"AP8="}'),
        (Int64(-(2**63)), b'{"$int64":"-9223372036854775808"}'),
        (math.nan, b'{"$float":"nan"}'),
        (math.inf, b'{"$float":"inf"}'),
        (-math.inf, b'{"$float":"-inf"}'),
        (datetime(1, 1, 1, tzinfo=UTC), b'{"$datetime":"0001-01-01T00:00:00.000000Z"}'),
        (
            datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=UTC),
            b'{"$datetime":"2026-01-31T12:00:00.000005Z"}',
        ),
        ({"b": 1, "a": [None, True]}, b'{"b":1,"a":[null,true]}'),
    ],
    ids=repr,
)
def test_the_text_is_pinned(value, text):
    # Stored for ever, and written by SQL of our own in bulk loads: a change here is a new format.
    assert encode_value(value) == text
    assert same_value(decode_value(text), value)
    flag = PLAIN if measure(value)[1] else TAGGED
    assert encode_fields({"x": value}) == flag + b'{"x":' + text + b"}"


def test_the_flag_decides_how_a_text_is_read():
    assert decode_fields(PLAIN + b'{"x":{"$int64":"3"}}') == {"x": {"$int64": "3"}}
    assert same_value(decode_fields(TAGGED + b'{"x":{"$int64":"3"}}'), {"x": Int64(3)})


@given(strategies.deep_values())
def test_nesting_to_the_limit_comes_back(value):
    fields, _, _ = prepare_fields({"x": value})
    assert same_value(decode_fields(encode_fields(fields)), {"x": value})
