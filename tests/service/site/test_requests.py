"""Requests to HTTP actions over real sockets: what handlers are given, and by which doors."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

import livedb
from tests.service.serving import ADMIN_KEY
from tests.service.site.speaking import heard, spoken


def echoed(request, body):
    return JSONResponse(
        {
            "method": request.method,
            "url": str(request.url),
            "path": request.url.path,
            "query": dict(request.query_params),
            "header": request.headers.get("x-own"),
            "cookies": request.cookies,
            "body": body,
        }
    )


@pytest.fixture(params=["plain", "async"])
def echo(request, db):
    """`/echo/..` answers with what its handler was given, on every method."""
    route = db.http.route(path_prefix="/echo/", method=["GET", "POST", "PUT", "DELETE", "PATCH"])
    if request.param == "plain":

        @route
        def plain(ctx, request: livedb.HttpRequest) -> Response:
            assert b"".join(request.stream()) == request.body()
            return echoed(request, request.text())

    else:

        @route
        async def awaiting(ctx, request: livedb.AsyncHttpRequest) -> Response:
            assert b"".join([part async for part in request.stream()]) == await request.body()
            return echoed(request, await request.text())


def test_a_handler_is_given_the_request_as_it_was_sent(echo, http, served):
    answer = http.put(
        "/echo/a%2Fb%20c?q=1&q2=%C3%BC",
        content="größe".encode(),
        headers={"x-own": "mine", "cookie": "a=b"},
    ).json()
    assert answer == {
        "method": "PUT",
        "url": f"{served.site_url}/echo/a%2Fb%20c?q=1&q2=%C3%BC",
        "path": "/echo/a%2Fb%20c",
        "query": {"q": "1", "q2": "ü"},
        "header": "mine",
        "cookies": {"a": "b"},
        "body": "größe",
    }


def test_a_body_in_chunks_arrives_whole(echo, http):
    parts = [b"x" * 100_000, b"y" * 100_000, b"z"]
    assert http.post("/echo/", content=iter(parts)).json()["body"] == b"".join(parts).decode()


def test_text_is_read_in_the_charset_that_the_request_names(echo, http):
    for charset, sent in (("latin-1", b"\xfc"), ("utf-8", b"\xc3\xbc"), ("none", b"\xc3\xbc")):
        kind = {"content-type": f'text/plain; charset="{charset}"; x=y'}
        assert http.post("/echo/", content=sent, headers=kind).json()["body"] == "ü"


def test_json_is_read_and_what_is_none_is_an_error_of_the_handler(db, http):
    @db.http.route(path="/plain", method="POST")
    def plain(ctx, request):
        return livedb.json_response(request.json())

    @db.http.route(path="/async", method="POST")
    async def awaiting(ctx, request):
        return livedb.json_response(await request.json())

    for path in ("/plain", "/async"):
        assert http.post(path, json={"a": [1, 2.5]}).json() == {"a": [1, 2.5]}
        assert http.post(path, content=b"{").status_code == 500


def test_the_site_is_under_http_of_the_first_origin_too(echo, served):
    answer = httpx.post(f"{served.url}/http/echo//a?b=c", content=b"x").json()
    assert (answer["path"], answer["query"], answer["body"]) == ("/echo//a", {"b": "c"}, "x")
    assert httpx.get(f"{served.url}/echo/").status_code == 404
    assert httpx.get(f"{served.url}/http").text == "No matching routes found"


def test_the_functions_of_the_api_are_not_on_the_site(served, http):
    body = {"path": "tasks", "args": {}}
    assert http.post("/api/query", json=body).status_code == 404
    assert httpx.post(f"{served.url}/api/query", json=body).status_code == 200


@pytest.mark.parametrize("target", ["/nope", "/", "*", "http://localhost/a", "/.files/a"])
def test_what_is_not_routed_is_404_in_plain_text(db, served, target):
    db.http.route(path="/a", method="GET")(lambda ctx, request: PlainTextResponse("a"))
    with spoken(served) as raw:
        raw.sendall(
            f"OPTIONS {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        answer = heard(raw)
    assert answer.startswith(b"HTTP/1.1 404")
    assert answer.endswith(b"No matching routes found")


def test_dot_segments_are_resolved_before_a_route_is_looked_for(db, served):
    @db.http.route(path_prefix="/public/", method="GET")
    def public(ctx, request):
        return PlainTextResponse("public")

    @db.http.route(path="/private", method="GET")
    def private(ctx, request):
        return PlainTextResponse(f"private {request.url.path}")

    for target in ("/public/../private", "/public/%2e%2E/private", "/public\\..\\private"):
        with spoken(served) as raw:
            raw.sendall(
                f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
            assert heard(raw).endswith(b"private /private"), target


def test_a_route_defined_anew_or_dropped_is_followed_at_once(db, http):
    for word in ("one", "two"):
        db.http.route(path="/a", method="GET")(lambda ctx, request, w=word: PlainTextResponse(w))
        assert http.get("/a").text == word
    db.backend.workspace.registry.replace([], gone=["GET /a"])
    assert http.get("/a").status_code == 404


def test_no_function_is_reached_by_the_name_of_a_route(db, served):
    db.http.route(path="/a", method="GET")(lambda ctx, request: PlainTextResponse("a"))
    admin = {"authorization": f"Convex {ADMIN_KEY}"}
    for path in ("GET /a", "cells:GET /a"):
        body = {"path": path, "args": {}}
        for kind in ("query", "mutation", "action", "function"):
            answer = httpx.post(f"{served.url}/api/{kind}", json=body, headers=admin).json()
            assert answer["status"] == "error"
            assert "Could not find function" in answer["errorMessage"]


# -- doors -----------------------------------------------------------------------------------------


def test_the_site_answers_to_its_own_names_only(db, http):
    db.http.route(path="/a", method="GET")(lambda ctx, request: PlainTextResponse("a"))
    refused = http.get("/a", headers={"host": "evil.example"})
    assert (refused.status_code, refused.json()["code"]) == (403, "HostNotAllowed")
    assert http.get("/a", headers={"host": "localhost:1"}).text == "a"


@pytest.mark.parametrize("prefix", ["", "/http"])
def test_what_pages_of_other_origins_may_do_is_the_handlers_to_say(db, served, prefix):
    where = served.url if prefix else served.site_url
    page = {"origin": "https://shop.example"}

    @db.http.route(path="/a", method="OPTIONS")
    def preflight(ctx, request):
        asked = request.headers["access-control-request-method"]
        return Response(headers={"access-control-allow-methods": asked})

    @db.http.route(path="/a", method="POST")
    def answer(ctx, request):
        return Response("a", headers={"access-control-allow-origin": request.headers["origin"]})

    asking = {**page, "access-control-request-method": "POST"}
    found = httpx.options(f"{where}{prefix}/a", headers=asking)
    assert (found.status_code, found.headers["access-control-allow-methods"]) == (200, "POST")
    assert "access-control-allow-origin" not in found.headers
    found = httpx.post(f"{where}{prefix}/a", headers=page)
    assert found.headers.get_list("access-control-allow-origin") == ["https://shop.example"]
    assert httpx.options(f"{where}{prefix}/b", headers=asking).status_code == 404


def test_a_request_with_two_lengths_is_refused(db, served):
    db.http.route(path="/a", method="POST")(lambda ctx, request: Response())
    with spoken(served) as raw:
        raw.sendall(
            b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert heard(raw).startswith(b"HTTP/1.1 400")


def test_there_are_no_web_sockets_on_the_site(served):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{served.site_port}/api/sync")


def test_a_handler_learns_from_where_it_was_asked(db, http):
    @db.mutation(name="meta:change")
    def change(ctx):
        return ctx.meta.get_request_metadata()

    @db.http.route(path="/who", method="GET")
    def who(ctx, request):
        return livedb.json_response(
            [ctx.meta.get_request_metadata(), ctx.run_mutation("meta:change")]
        )

    told = {
        "ip": "127.0.0.1", "userAgent": "shop/1", "requestId": None, "scheduledFunctionId": None,
    }  # fmt: skip
    assert http.get("/who", headers={"user-agent": "shop/1"}).json() == [told, told]
