"""Hosts and origins: who is let in before anything is looked at."""

from __future__ import annotations

import contextlib
import socket

import httpx
import pytest
from starlette.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from livedb.service.doors import Doors
from tests.service.serving import serving


@pytest.mark.parametrize(
    "host, origin, is_let_in",
    [
        ("localhost:3210", None, True),
        ("127.0.0.1", None, True),
        ("[::1]:3210", None, True),
        ("evil.example:3210", None, False),
        ("", None, False),
        ("localhost:3210", "http://localhost:5173", True),
        ("127.0.0.1:3210", "http://localhost:5173", True),
        ("localhost:3210", "https://evil.example", False),
        ("localhost:3210", "http://localhost.evil.example", False),
        ("localhost:3210", "null", False),
        ("localhost:3210", "", False),
        ("localhost:3210", "https://shop.example", True),
        ("shop.example", "https://shop.example:8443", True),
        ("shop.example", "http://localhost:5173", False),
    ],
)
def test_hosts_and_origins_are_let_in_by_name(host, origin, is_let_in):
    doors = Doors(
        allowed_hosts=("localhost", "127.0.0.1", "[::1]", "shop.example"),
        allowed_origins=("https://shop.example",),
    )
    headers = {"host": host} if origin is None else {"host": host, "origin": origin}
    assert (doors.refusal(Headers(headers)) is None) == is_let_in


def test_a_page_of_elsewhere_is_refused_before_the_upgrade_and_before_a_call(served):
    origin = {"origin": "https://evil.example"}
    answer = httpx.post(f"{served.url}/api/query", json={"path": "tasks"}, headers=origin)
    assert (answer.status_code, answer.json()["code"]) == (403, "OriginNotAllowed")
    rebound = {"host": "evil.example"}
    answer = httpx.post(f"{served.url}/api/query", json={"path": "tasks"}, headers=rebound)
    assert (answer.status_code, answer.json()["code"]) == (403, "HostNotAllowed")
    for name, headers in (("127.0.0.1", origin), ("evil.example", {})):
        way = socket.create_connection(("127.0.0.1", served.port))
        url = f"ws://{name}:{served.port}/api/sync"
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(url, sock=way, additional_headers=headers),
        ):
            pass
        assert refused.value.response.status_code == 403


def test_a_page_of_elsewhere_is_told_nothing_and_runs_nothing(served):
    """A browser asks nobody before it sends text, and asks the service before it sends JSON."""
    before = served.db.number
    call = '{"path": "tasks:add", "args": {"title": "x", "user": "ada"}}'
    for origin in ("https://evil.example", "null"):
        sent = {"origin": origin, "content-type": "text/plain"}
        simple = httpx.post(f"{served.url}/api/mutation", content=call, headers=sent)
        asking = {"origin": origin, "access-control-request-method": "POST"}
        preflight = httpx.options(f"{served.url}/api/mutation", headers=asking)
        for answer in (simple, preflight):
            assert (answer.status_code, answer.json()["code"]) == (403, "OriginNotAllowed")
            assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert served.db.number == before


def test_a_page_that_may_call_is_answered_as_browsers_ask_it(served):
    headers = {
        "origin": "http://localhost:5173",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,convex-client,x-own",
    }
    preflight = httpx.options(f"{served.url}/api/query", headers=headers)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert preflight.headers["access-control-allow-headers"] == "content-type,convex-client,x-own"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for body in ({"path": "tasks"}, {}):
        answer = httpx.post(
            f"{served.url}/api/query", json=body, headers={"origin": "http://localhost:5173"}
        )
        assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
        assert "Origin" in answer.headers["vary"]


def test_stars_let_everybody_in(memory):
    with serving(memory, doors=Doors(allowed_hosts=("*",), allowed_origins=("*",))) as served:
        headers = {"host": "any.example", "origin": "https://other.example"}
        answer = httpx.get(f"{served.url}/version", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "https://other.example"


def test_who_does_not_say_what_it_wants_is_ended_and_the_others_are_served(memory, monkeypatch):
    monkeypatch.setattr("livedb.service.transport.HEAD_S_MAX", 0.3)
    with serving(memory) as served:
        slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(50)]
        for each in slow:
            each.sendall(b"GET / HTTP/1.1\r\nHost: local")
        assert httpx.get(f"{served.url}/version").text == "livedb"
        for each in slow:
            each.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(100) == b""
            each.close()


TWO_LENGTHS = (
    b"POST /api/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n{}"
)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /version HTTP/1.1\r\n\r\n",
        b"GET /version HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /version HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 400_000 + b"\r\n\r\n",
        TWO_LENGTHS,
    ],
    ids=["no host", "two hosts", "long head", "two lengths"],
)
def test_a_head_that_is_ambiguous_or_too_long_is_refused(served, head):
    with socket.create_connection(("127.0.0.1", served.port)) as one:
        one.settimeout(20)
        answer = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            one.sendall(head)
            while part := one.recv(1000):
                answer += part
    assert b" 200 " not in answer.partition(b"\r\n")[0]


def test_a_long_head_is_refused_of_a_later_request_too_and_a_long_body_is_none(served):
    body = b'{"path": "tasks", "args": {"note": "' + b"x" * 200_000 + b'"}}'
    first = b"POST /api/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as one:
        one.settimeout(20)
        for _ in range(2):
            one.sendall(first % len(body) + body)
            assert b" 431 " not in one.recv(100_000).partition(b"\r\n")[0]
        answer = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            one.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 400_000)
            while part := one.recv(1000):
                answer += part
    assert not answer or b" 431 " in answer.partition(b"\r\n")[0]
