"""Responses of HTTP actions over real sockets: what goes out, and what is no response."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from livedb.service import exchange


class Silent(Response):
    async def __call__(self, scope, receive, send):
        pass


def test_a_response_goes_out_as_it_was_made(db, http):
    @db.http.route(path="/a", method="GET")
    def answer(ctx, request):
        made = Response(b"\x00\xff", 207, {"x-own": "a\tb", "content-type": "image/x"})
        made.set_cookie("one", "1")
        made.set_cookie("two", "2")
        return made

    found = http.get("/a")
    assert (found.status_code, found.content, found.headers["x-own"]) == (207, b"\x00\xff", "a\tb")
    assert [each[:5] for each in found.headers.get_list("set-cookie")] == ["one=1", "two=2"]
    assert found.headers["content-length"] == "2"
    assert "access-control-allow-origin" not in found.headers


def test_head_has_the_headers_of_get_and_no_body(db, http):
    @db.http.route(path="/a", method="GET")
    def answer(ctx, request):
        return PlainTextResponse(request.method)

    @db.http.route(path="/stream", method="GET")
    def stream(ctx, request):
        return StreamingResponse(iter(["a", "b"]))

    found = http.head("/a")
    assert (found.content, found.headers["content-length"]) == (b"", "4")
    assert http.head("/stream").content == b""
    assert http.get("/a").text == "GET"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_sends_none(db, http, status):
    db.http.route(path="/a", method="GET")(
        lambda ctx, request: Response("ignored", status, {"content-length": "7"})
    )
    for _ in range(2):  # on one connection
        found = http.get("/a")
        assert (found.status_code, found.content) == (status, b"")


def test_a_stream_arrives_while_it_is_made_and_may_run_functions(db, http):
    go_on = threading.Event()

    @db.http.route(path="/plain", method="GET")
    def plain(ctx, request):
        def parts():
            yield "first "
            assert go_on.wait(20)
            ctx.run_mutation("tasks:add", title="late", user="ada")
            yield " ".join(ctx.run_query("tasks:titles", user="ada"))

        return StreamingResponse(parts())

    @db.http.route(path="/async", method="GET")
    async def awaiting(ctx, request):
        async def parts():
            yield "first "
            await asyncio.to_thread(go_on.wait, 20)
            yield " ".join(await ctx.run_query("tasks:titles", user="ada"))

        return StreamingResponse(parts())

    for path in ("/plain", "/async"):
        go_on.clear()
        with http.stream("GET", path) as found:
            parts = found.iter_text()
            assert next(parts) == "first "
            go_on.set()
            assert "".join(parts) == "late"


def test_headers_of_the_connection_are_the_services(db, http):
    passed_on = {
        "transfer-encoding": "chunked",
        "connection": "close",
        "upgrade": "x",
        "content-length": "7",
    }
    db.http.route(path="/a", method="GET")(lambda ctx, request: Response("abc", headers=passed_on))
    for _ in range(2):
        found = http.get("/a")
        assert found.text == "abc"
        assert not {"transfer-encoding", "connection", "upgrade"} & set(found.headers)


@pytest.mark.parametrize(
    "made",
    [
        lambda: Response(headers={"x-own": "a\r\nset-cookie: b=c"}),
        lambda: Response(headers={"x-own": "a\nb"}),
        lambda: Response(headers={"x\r\ny": "a"}),
        lambda: Response(headers={"": "a"}),
        lambda: Response(headers={"x-own": "\x00"}),
        lambda: Response(headers={"x-own": "€"}),
        lambda: StreamingResponse(iter("abc"), headers={"content-length": "-3"}),
        lambda: Response(status_code=101),
        lambda: Response(status_code=999),
        lambda: Response("x" * (exchange.RESPONSE_BYTES_MAX + 1)),
        lambda: "a text",
        lambda: None,
        lambda: {"a": 1},
        lambda: Response,
        lambda: asyncio.sleep(0),
        Silent,
    ],
)
def test_what_is_no_response_is_an_error_of_its_handler_alone(db, http, made):
    @db.http.route(path="/a", method="GET")
    def answer(ctx, request):
        return made()

    @db.http.route(path="/b", method="GET")
    async def good(ctx, request):
        return PlainTextResponse("good")

    found = http.get("/a")
    assert (found.status_code, "set-cookie" in found.headers) == (500, False)
    assert set(found.json()) == {"code", "trace"}
    assert http.get("/b").text == "good"


def test_a_response_of_twenty_mebibytes_is_sent(db, http):
    size = exchange.RESPONSE_BYTES_MAX
    db.http.route(path="/a", method="GET")(lambda ctx, request: Response(b"x" * size))
    assert len(http.get("/a").content) == size


@pytest.mark.parametrize("how", ["raises", "too long", "wrong length"])
def test_a_stream_that_fails_is_cut_off_so_that_nobody_takes_it_for_whole(db, http, caplog, how):
    headers = {"content-length": "10"} if how == "wrong length" else None

    @db.http.route(path="/a", method="GET")
    def answer(ctx, request):
        def parts():
            yield b"some"
            if how == "raises":
                raise RuntimeError("in the middle")
            if how == "too long":
                for _ in range(21):
                    yield b"x" * (1 << 20)

        return StreamingResponse(parts(), headers=headers)

    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/a")
    assert "was cut off" in caplog.text
