"""What may go out of a response, message by message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.errors import FunctionTypeError, InvalidValueError, LimitError
from livedb.service import exchange
from livedb.service.exchange import ResponseCheck


def start(status=200, *headers):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content, *, more=False):
    return {"type": "http.response.body", "body": content, "more_body": more}


def sent(check, *messages):
    return [check.checked(each) for each in messages]


def test_a_response_passes_as_it_is():
    check = ResponseCheck("GET")
    messages = [start(200, (b"x-own", b"a"), (b"content-length", b"3")), body(b"ab", more=True)]
    assert sent(check, *messages) == messages
    assert (check.status, check.is_complete) == (200, False)
    assert sent(check, body(b"c")) == [body(b"c")]
    assert check.is_complete


@pytest.mark.parametrize("status", [100, 199, 600, 0, -1, True, "200", None, 200.0])
def test_there_is_no_such_status(status):
    with pytest.raises(InvalidValueError, match="from 200 to 599"):
        ResponseCheck("GET").checked(start(status))


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_no_header_that_passes_has_a_lines_end_or_an_empty_name(name, value):
    check = ResponseCheck("GET")
    try:
        [message] = sent(check, start(200, (name, value)))
    except InvalidValueError:
        return
    for found in message["headers"]:
        assert found[0]
        assert not set(found[0] + found[1]) & set(b"\r\n\x00")


@pytest.mark.parametrize(
    "declared,parts",
    [
        ([b"3"], [b"ab"]),
        ([b"3"], [b"ab", b"cd"]),
        ([b"0"], [b"a"]),
        ([b"x"], [b"a"]),
        ([b"-1"], [b""]),
        ([b"1", b"2"], [b"a"]),
        ([b"\xb2"], [b"ab"]),
    ],
)
def test_a_length_that_is_wrong_does_not_pass(declared, parts):
    check = ResponseCheck("GET")
    messages = [body(each, more=True) for each in parts[:-1]] + [body(parts[-1])]
    with pytest.raises(InvalidValueError, match=r"Content-Length|length"):
        sent(check, start(200, *((b"Content-Length", each) for each in declared)), *messages)
    assert not check.is_complete


@pytest.mark.parametrize("method,status", [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_where_there_is_no_body_none_passes(method, status):
    check = ResponseCheck(method)
    messages = sent(check, start(status, (b"content-length", b"9")), body(b"x" * 5))
    assert messages[1]["body"] == b""
    assert check.is_complete
    assert [name for name, _ in messages[0]["headers"]] == (
        [b"content-length"] if method == "HEAD" else []
    )


def test_a_body_has_a_bound_however_it_is_cut(monkeypatch):
    monkeypatch.setattr(exchange, "RESPONSE_BYTES_MAX", 10)
    check = ResponseCheck("GET")
    sent(check, start(), body(b"x" * 6, more=True), body(b"x" * 4, more=True))
    with pytest.raises(LimitError, match="at most 10 bytes"):
        check.checked(body(b"x"))


def test_messages_of_another_kind_do_not_pass():
    with pytest.raises(FunctionTypeError, match=r"http\.response\.push"):
        ResponseCheck("GET").checked({"type": "http.response.push"})
