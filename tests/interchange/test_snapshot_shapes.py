"""Shapes of older Convex exports: what a text stands for."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb import Int64
from livedb.errors import InvalidValueError, LoadError
from livedb.interchange.snapshot_shapes import parse_shape, read_value


@pytest.mark.parametrize(
    "shape,value,hint,expected",
    [
        ("int64", "5", None, Int64(5)),
        ("int64 | null", None, None, None),
        ("int64 | string", "5", None, "5"),
        ("int64 | string", "5", "int64", Int64(5)),
        ("string", "5", None, "5"),
        ('"a" | "b"', "a", None, "a"),
        ("id<10001> | null", "x", None, "x"),
        ("bytes", "AAH/", None, b"\x00\x01\xff"),
        ("inf | normalfloat64", "Infinity", None, math.inf),
        ("-inf", "-Infinity", None, -math.inf),
        ("float64", "Infinity", None, "Infinity"),
        ("float64", "Infinity", "float64inf", math.inf),
        ("NaN", "NaN", {"$float64NaN": "AAAAAAAA+H8="}, math.nan),
        ("-0 | normalfloat64", -0.0, None, -0.0),
        ("normalfloat64", 3, None, 3.0),
        ("array<int64>", ["1", "2"], None, [Int64(1), Int64(2)]),
        ("array<unknown>", ["1", "2", 1.0], ["int64", "infer", "infer"], [Int64(1), "2", 1.0]),
        ("record<string, bytes>", {"k": "AA=="}, None, {"k": b"\x00"}),
        ("record<string, unknown>", {"k": "1"}, {"k": "int64"}, {"k": Int64(1)}),
        ('{"a": int64, "b"?: array<{"c": bytes}>}', {"a": "1", "b": [{"c": ""}]}, None,
         {"a": Int64(1), "b": [{"c": b""}]}),
        ('{"a": int64} | {"b": string}', {"b": "1"}, None, {"b": "1"}),
        ('{"a": int64} | {"a": string}', {"a": "1"}, {"a": "int64"}, {"a": Int64(1)}),
        ('{"a": {"x, y: {": string}}', {"a": {"x, y: {": "1"}}, None, {"a": {"x, y: {": "1"}}),
        ("never", [], None, []),
        ("unknown", {"a": ["1"]}, None, {"a": ["1"]}),
        ("field_name | boolean", True, None, True),
    ],
)  # fmt: skip
def test_a_text_is_read_as_the_shape_says(shape, value, hint, expected):
    assert repr(read_value(value, parse_shape(shape), hint)) == repr(expected)


@pytest.mark.parametrize(
    "shape",
    [
        "",
        "what",
        "int64 |",
        "array<int64",
        "array<>",
        "record<string>",
        '{"a": }',
        '{"a" int64}',
        "{a: int64}",
        "int64 int64",
        "set<int64>",
        "map<string, int64>",
        "array<" * 1_000,
        '"a',
        "int64 \x00",
    ],
)
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(LoadError, match="shape"):
        parse_shape(shape)


@pytest.mark.parametrize(
    "shape,text,hint",
    [
        ("int64", "x", None),
        ("int64", "\u0665", None),
        ("int64", str(2**63), None),
        ("int64", "1" * 100_000, None),
        ("bytes", "?", None),
        ("inf", "inf", None),
        ("string", "x", "int64"),
        ("string", "x", "nonsense"),
        ("string", "x", ["int64"]),
        ("NaN", "Na", {"$float64NaN": ""}),
    ],
)
def test_a_text_that_the_shape_does_not_allow_is_refused(shape, text, hint):
    with pytest.raises(InvalidValueError):
        read_value(text, parse_shape(shape), hint)


@given(st.text(alphabet='{}<>,:|"? aid1', max_size=40))
def test_any_text_is_a_shape_or_refused(text):
    with suppress(LoadError):
        parse_shape(text)
