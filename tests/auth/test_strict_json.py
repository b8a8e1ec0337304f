from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.auth.strict_json import decode_object
from livedb.limits import VALUE_NESTING_MAX


def encoded(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_either_alphabet_is_read_padded_or_not(encode):
    for length in range(4):
        document = {"a": "?>~\xff" + "x" * length}
        text = encode(json.dumps(document, ensure_ascii=False).encode()).decode()
        assert decode_object(text) == decode_object(text.rstrip("=")) == document


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 1}',
        '{"b": {"a": 1, "a": 2}}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"a": ' + "9" * 5000 + "}",
        nested(VALUE_NESTING_MAX + 1),
        nested(400),
        nested(100_000),
        "[1]",
        "1",
        "",
        b"\xff",
        b'{"a": "\xff"}',
    ],
)
def test_what_has_no_one_meaning_is_nothing(text):
    assert decode_object(encoded(text)) is None


def test_what_a_value_may_be_is_read():
    assert decode_object(encoded(nested(VALUE_NESTING_MAX))) is not None


@given(st.text() | st.binary().map(encoded))
def test_any_text_is_an_object_or_nothing(text):
    assert isinstance(decode_object(text), dict | None)
