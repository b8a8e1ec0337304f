"""HTTP actions that are too much, too slow or gone: who can spoil what for whom."""

from __future__ import annotations

import asyncio
import gc
import threading

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

import livedb
from livedb.service import exchange, site
from tests.service.serving import serving
from tests.service.site.speaking import heard, spoken
from tests.waiting import until


def test_a_body_of_twenty_mebibytes_is_taken_and_a_longer_one_refused(db, http):
    ran = []

    @db.http.route(path="/a", method="POST")
    def count(ctx, request):
        ran.append(len(request.body()))
        return JSONResponse(ran[-1])

    size = site.BODY_BYTES_MAX
    assert http.post("/a", content=b"x" * size).json() == size
    for content in (b"x" * (size + 1), iter([b"x" * (size // 2)] * 3)):
        refused = http.post("/a", content=content)
        assert (refused.status_code, refused.json()["code"]) == (413, "TooLarge")
    assert ran == [size]


def test_a_body_that_does_not_come_is_not_waited_for(db, served, monkeypatch):
    monkeypatch.setattr(site, "BODY_S_MAX", 0.2)
    ran = []
    db.http.route(path="/a", method="POST")(lambda ctx, request: ran.append(1))
    with spoken(served) as raw:
        raw.sendall(b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
        answer = heard(raw)
    assert answer.startswith(b"HTTP/1.1 408")
    assert ran == []


def test_who_goes_before_the_body_is_there_runs_nothing(db, served, http):
    ran = []

    @db.http.route(path="/a", method="POST")
    def run(ctx, request):
        ran.append(request.text())
        return Response()

    with spoken(served) as raw:
        raw.sendall(b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
    http.post("/a", content=b"whole")
    assert ran == ["whole"]


def test_bodies_have_a_bound_all_together(db, served, http, monkeypatch):
    monkeypatch.setattr(site, "BODIES_BYTES_MAX", 100)
    db.http.route(path="/a", method="POST")(lambda ctx, request: Response())
    with spoken(served) as raw:
        raw.sendall(
            b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n" + b"x" * 60
        )
        site_app = served.thread._server._service._site
        until(lambda: site_app._body_bytes == 60)
        refused = http.post("/a", content=b"x" * 50)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    until(lambda: site_app._body_bytes == 0)
    assert http.post("/a", content=b"x" * 50).status_code == 200


def test_handlers_that_wait_delay_no_function_and_too_many_are_told_to_come_again(
    db, served, monkeypatch
):
    monkeypatch.setattr(site, "REQUESTS_MAX", 70)
    go_on = threading.Event()
    running = []

    @db.http.route(path="/wait", method="GET")
    def wait(ctx, request):
        running.append(1)
        assert go_on.wait(60)
        return PlainTextResponse("done")

    async def all_at_once():
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            asked = [
                asyncio.ensure_future(client.get(f"{served.site_url}/wait")) for _ in range(70)
            ]
            site_app = served.thread._server._service._site
            await asyncio.to_thread(until, lambda: len(site_app._exchanges) == 70)
            await asyncio.to_thread(until, lambda: len(running) == site.RUNNING_MAX)
            refused = await client.get(f"{served.site_url}/wait")
            called = await client.post(
                f"{served.url}/api/query", json={"path": "tasks", "args": {}}
            )
            go_on.set()
            return refused, called, await asyncio.gather(*asked)

    refused, called, answers = asyncio.run(all_at_once())
    assert (refused.status_code, refused.json()["code"]) == (503, "TooManyConcurrentRequests")
    assert called.json()["status"] == "success"
    assert {answer.text for answer in answers} == {"done"}
    assert len(running) == 70


def test_a_stream_ends_when_its_reader_goes(db, served):
    ended = threading.Event()

    @db.http.route(path="/async", method="GET")
    async def awaiting(ctx, request):
        async def parts():
            try:
                yield "x"
                await asyncio.sleep(3600)
            finally:
                ended.set()

        return StreamingResponse(parts())

    @db.http.route(path="/plain", method="GET")
    def plain(ctx, request):
        def parts():
            try:
                while True:
                    yield "x" * 1000
            finally:
                ended.set()

        return StreamingResponse(parts())

    for path in ("/async", "/plain"):
        ended.clear()
        with httpx.stream("GET", f"{served.site_url}{path}") as found:
            next(found.iter_text())
        site_app = served.thread._server._service._site
        until(lambda: not site_app._exchanges)  # noqa: B023
        # A plain generator is closed when nobody holds it, which the collector may have to find.
        until(lambda: gc.collect() >= 0 and ended.is_set())


def test_a_reader_who_stops_reading_is_cut_off(db, served, monkeypatch):
    monkeypatch.setattr(exchange, "SEND_S_MAX", 0.3)

    @db.http.route(path="/a", method="GET")
    def answer(ctx, request):
        return StreamingResponse(b"x" * (1 << 20) for _ in range(19))

    with spoken(served) as raw:
        raw.sendall(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        site_app = served.thread._server._service._site
        until(lambda: len(site_app._exchanges) == 1)
        until(lambda: not site_app._exchanges)
        assert len(heard(raw)) < 19 << 20


def test_the_time_limit_of_actions_holds_for_handlers_and_their_streams():
    with livedb.open(limits=livedb.Limits(action_s_max=0.3)) as db:

        @db.query
        def one(ctx):
            return 1

        @db.http.route(path="/async", method="GET")
        async def awaiting(ctx, request):
            await asyncio.sleep(3600)

        @db.http.route(path="/plain", method="GET")
        def plain(ctx, request):
            while True:
                ctx.run_query(one)

        @db.http.route(path="/stream", method="GET")
        def stream(ctx, request):
            async def parts():
                yield "x"
                await asyncio.sleep(3600)

            return StreamingResponse(parts())

        with serving(db) as served:
            for path in ("/async", "/plain"):
                found = httpx.get(f"{served.site_url}{path}")
                assert found.status_code == 500
                assert "Limits.action_s_max" in found.json()["trace"]
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(f"{served.site_url}/stream")


def test_a_service_that_ends_waits_for_handlers_and_then_ends_those_that_await(db):
    ended = []

    @db.http.route(path="/soon", method="GET")
    async def soon(ctx, request):
        await asyncio.sleep(1)
        return PlainTextResponse("in time")

    @db.http.route(path="/never", method="GET")
    async def never(ctx, request):
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("never")

    @db.http.route(path="/stream", method="GET")
    async def stream(ctx, request):
        async def parts():
            try:
                while True:
                    yield "x"
                    await asyncio.sleep(0.01)
            finally:
                ended.append("stream")

        return StreamingResponse(parts())

    answers = {}

    def ask(path):
        try:
            answers[path] = httpx.get(f"{served.site_url}{path}", timeout=60).text
        except httpx.HTTPError as error:
            answers[path] = error

    with serving(db) as served:
        threads = [threading.Thread(target=ask, args=[p]) for p in ("/soon", "/never", "/stream")]
        for each in threads:
            each.start()
        site_app = served.thread._server._service._site
        until(lambda: len(site_app._exchanges) == 3)
    for each in threads:
        each.join()
    until(lambda: sorted(ended) == ["never", "stream"])
    assert answers["/soon"] == "in time"
    assert isinstance(answers["/stream"], httpx.HTTPError)


def test_the_connection_serves_on_after_an_error(db, http):
    @db.http.route(path="/a", method="POST")
    def answer(ctx, request):
        if request.body() == b"bad":
            raise RuntimeError
        return PlainTextResponse(request.text())

    for body in ("bad", "good", "bad", "good"):
        found = http.post("/a", content=body.encode())
        assert found.status_code == (500 if body == "bad" else 200)
