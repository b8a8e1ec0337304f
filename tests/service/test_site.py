"""HTTP actions over real sockets: what handlers are given, what goes out, who can spoil what."""

from __future__ import annotations

import asyncio
import base64
import functools
import gc
import json
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

import livedb
from livedb.auth.access import Role
from livedb.errors import PermissionDeniedError, TravelError
from livedb.service import exchange, site
from tests.service import shop
from tests.service.serving import ADMIN_KEY, serving, token

LATER_S = 2**33


@pytest.fixture
def db():
    with livedb.open() as db:
        shop.define(db)
        yield db


@pytest.fixture
def served(db):
    with serving(db) as service:
        yield service


@pytest.fixture
def http(served):
    """A client of the site."""
    with httpx.Client(base_url=served.site_url, timeout=30) as client:
        yield client


@contextmanager
def spoken(served):
    """A socket to the site, to say anything to."""
    with socket.create_connection(("127.0.0.1", served.site_port), timeout=30) as raw:
        yield raw


def heard(raw):
    """Everything until the end of the connection, or until it is cut."""
    parts = []
    try:
        while part := raw.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def until(holds):
    """Wait for what another thread does."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


class Silent(Response):
    async def __call__(self, scope, receive, send):
        pass


# -- requests --------------------------------------------------------------------------------------


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


# -- what handlers do ------------------------------------------------------------------------------


def test_a_handler_runs_functions_each_a_transaction_of_its_own(db, http):
    @db.http.route(path="/async", method="POST")
    async def awaiting(ctx, request):
        await ctx.run_mutation("tasks:add", title="one", user="ada")
        return livedb.json_response(await ctx.run_query("tasks:titles", user="ada"))

    @db.http.route(path="/plain", method="POST")
    def plain(ctx, request):
        ctx.run_mutation("tasks:add", title="two", user="ada")
        return livedb.json_response(ctx.run_action("tasks:work_async", user="ada"))

    assert http.post("/async").json() == ["one"]
    assert http.post("/plain").json() == ["one", "two"]


def test_json_response_writes_any_livedb_value(db, http):
    @db.http.route(path="/a", method="GET")
    def answer(ctx, request):
        row = ctx.run_query("tasks:echo", value=3.5)
        big, raw = livedb.Int64(2**60), b"\x00\x01"
        value = {"f": row, "i": 3, "big": big, "raw": raw, "nan": float("nan"), "none": None}
        return livedb.json_response([value, True], 418, {"x-own": "yes"})

    found = http.get("/a")
    assert (found.status_code, found.headers["x-own"]) == (418, "yes")
    assert found.headers["content-type"] == "application/json"
    raw = base64.b64encode(b"\x00\x01").decode()
    expected = {"f": 3.5, "i": 3, "big": str(2**60), "raw": raw, "nan": "NaN", "none": None}
    assert found.json() == [expected, True]
    assert '"i":3,' in found.text


def test_an_authorization_is_an_identity_only_if_the_service_accepts_it(db, http):
    @db.http.route(path="/me", method="GET")
    async def me(ctx, request):
        identity = ctx.auth.get_user_identity()
        name = None if identity is None else identity.subject
        seen = request.headers.get("authorization")
        return JSONResponse([name, await ctx.run_query("tasks:me"), seen])

    acting = base64.b64encode(json.dumps({"issuer": "test", "subject": "bob"}).encode()).decode()
    for header, name in [
        (None, None),
        (f"Bearer {token('ada', LATER_S)}", "ada"),
        (f"Bearer {token('ada', 1000)}", None),
        ("Bearer whsec_0123456789", None),
        ("Basic YTpi", None),
        ("anything at all", None),
        (f"Convex {ADMIN_KEY}", None),
        (f"Convex {ADMIN_KEY}:{acting}", "bob"),
        ("Convex wrong", None),
    ]:
        headers = {} if header is None else {"authorization": header}
        assert http.get("/me", headers=headers).json() == [name, name, header]


def test_who_brings_nothing_may_call_where_functions_want_a_token(db):
    db.http.route(path="/a", method="GET")(lambda ctx, request: PlainTextResponse("a"))
    with db.serve() as service:
        assert httpx.get(f"{service.site_url}/a").text == "a"
        body = {"path": "tasks", "args": {}}
        assert httpx.post(f"{service.url}/api/query", json=body).status_code in {401, 403}


def test_functions_see_where_they_are_served_and_follow_it(db):
    @db.query
    def places(ctx):
        return dict(ctx.env)

    @db.http.route(path="/places", method="GET")
    def answer(ctx, request):
        return JSONResponse(dict(ctx.env))

    following = places.live()
    assert following.value == {}
    with serving(db) as served:
        expected = {"CONVEX_CLOUD_URL": served.url, "CONVEX_SITE_URL": served.site_url}
        assert following.value == places() == expected
        assert httpx.get(f"{served.site_url}/places").json() == expected
        admin = {"authorization": f"Convex {ADMIN_KEY}"}
        ask = f"{served.url}/api/query"
        listed = {"path": "_system/cli/queryEnvironmentVariables", "args": {}}
        assert httpx.post(ask, json=listed, headers=admin).json()["value"] == []
        for name in expected:
            changes = {"changes": [{"name": name, "value": "x"}]}
            change = f"{served.url}/api/update_environment_variables"
            assert httpx.post(change, json=changes, headers=admin).status_code == 400
    assert following.value == {}


def signed(handler):
    """A decorator as applications have it: it lets nobody in without a signature."""

    @functools.wraps(handler)
    def checking(ctx, request):
        if request.headers.get("x-signature") != "right":
            return PlainTextResponse("unsigned", 401)
        return handler(ctx, request)

    return checking


@pytest.mark.parametrize("where", ["here", "connected"])
def test_a_decorator_below_the_route_is_part_of_the_handler(db, served, http, where):
    with connected(served, Role.EDITOR) as remote:
        chosen = db if where == "here" else remote

        @chosen.http.route(path="/plain", method="POST")
        @signed
        def plain(ctx, request):
            return PlainTextResponse(request.text())

        @chosen.http.route(path="/async", method="POST")
        @signed
        async def awaiting(ctx, request):
            return PlainTextResponse(await request.text())

    for path in ("/plain", "/async"):
        assert http.post(path, content=b"a").status_code == 401
        found = http.post(path, content=b"a", headers={"x-signature": "right"})
        assert (found.status_code, found.text) == (200, "a")


# -- responses -------------------------------------------------------------------------------------


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


# -- errors ----------------------------------------------------------------------------------------


def test_what_a_handler_raises_is_500_with_the_place_in_its_source(db, http):
    def deeper():
        raise ValueError("oh no")

    @db.http.route(path="/a", method="GET")
    async def failing(ctx, request):
        deeper()

    found = http.get("/a")
    assert found.status_code == 500
    answer = found.json()
    assert answer["code"].startswith("[Request ID: ")
    assert answer["code"].endswith("] Server Error")
    first, *frames = answer["trace"].split("\n")
    assert first == "Uncaught ValueError: oh no"
    assert [each.split()[1] for each in frames] == ["failing", "deeper"]
    assert all(__file__ in each for each in frames)


def test_an_errors_details_are_hidden_where_they_are_to_be(db):
    @db.http.route(path="/a", method="GET")
    def failing(ctx, request):
        raise ValueError("a secret")

    @db.http.route(path="/b", method="GET")
    def saying(ctx, request):
        raise livedb.ApplicationError({"why": "because", "n": 3})

    with serving(db, shows_details=False) as served:
        answer = httpx.get(f"{served.site_url}/a").json()
        assert set(answer) == {"code"}
        answer = httpx.get(f"{served.site_url}/b").json()
        assert answer["data"] == {"why": "because", "n": 3.0}


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_would_end_a_program_ends_a_request(db, http, kind):
    @db.http.route(path="/plain", method="GET")
    def plain(ctx, request):
        raise kind

    @db.http.route(path="/async", method="GET")
    async def awaiting(ctx, request):
        raise kind

    for path in ("/plain", "/async", "/plain"):
        assert http.get(path).status_code == 500


def test_what_is_printed_and_how_it_ended_is_in_the_logs(db):
    @db.http.route(path_prefix="/a/", method="POST")
    async def printing(ctx, request):
        print("hello", await request.text())
        await ctx.run_query("tasks:noisy")
        if "fail" in request.url.path:
            raise RuntimeError("failed")
        return Response(status_code=202)

    admin = {"authorization": f"Convex {ADMIN_KEY}"}
    with serving(db) as served:
        httpx.post(f"{served.site_url}/a/b", content=b"you")
        httpx.post(f"{served.site_url}/a/fail")
        httpx.get(f"{served.site_url}/a/b")
        logs = httpx.get(f"{served.url}/api/stream_function_logs?cursor=0", headers=admin).json()
    first, second = logs["entries"]
    assert (first["identifier"], first["udfType"]) == ("POST /a/*", "HttpAction")
    assert first["logLines"][:2] == ["[LOG] hello you", "[LOG] counting 0"]
    assert (first["success"], first["error"]) == ({"status": "202"}, None)
    assert "failed" in second["error"]


def test_the_list_of_functions_has_the_routes(db, served):
    db.http.route(path_prefix="/a/", method="GET")(lambda ctx, request: Response())
    admin = {"authorization": f"Convex {ADMIN_KEY}"}
    body = {"path": "_system/cli/modules:apiSpec", "args": {}}
    spec = httpx.post(f"{served.url}/api/query", json=body, headers=admin).json()["value"]
    assert {"functionType": "HttpAction", "method": "GET", "path": "/a/*"} in spec


# -- connected notebooks ---------------------------------------------------------------------------


@contextmanager
def connected(served, role):
    secret, _ = served.thread._server._service._access.tokens.issue(role, "tests")
    with livedb.connect(served.url, token=secret) as remote:
        yield remote


GREETING = "hello"


def greeting(name):
    return f"{GREETING} {name}"


def test_a_connected_notebook_defines_routes_which_travel_as_source(db, served, http):
    with connected(served, Role.EDITOR) as remote:

        @remote.mutation
        def note(ctx, title: str) -> None:
            ctx.db.insert("notes", {"title": title})

        @remote.http.route(path="/greet", method=["POST", "PUT"])
        async def greet(ctx: livedb.AsyncActionContext, request: Request) -> Response:
            name = await request.text()
            await ctx.run_mutation(note, title=name)
            return PlainTextResponse(greeting(name))

        @remote.http.route(path="/plain", method="GET")
        def plain(ctx, request):
            return livedb.json_response(len(request.headers) > 1)

        assert remote.http.routes == db.http.routes == ["GET /plain", "POST /greet", "PUT /greet"]
        assert http.put("/greet", content=b"ada").text == "hello ada"
        assert http.get("/plain").json() is True
        assert db["notes"].count() == 1
    # What a lost kernel has defined stays, as its functions do.
    assert http.post("/greet", content=b"bob").text == "hello bob"


def test_a_route_that_cannot_travel_is_refused_and_so_is_who_may_not_define(db, served, http):
    lock = threading.Lock()

    @livedb.http_action
    def locked(ctx, request):
        with lock:
            return Response()

    @livedb.http_action
    def fine(ctx, request):
        return Response()

    for role, handler, error, words in [
        (Role.EDITOR, locked, TravelError, r"GET /a cannot travel.*'lock'"),
        (Role.MEMBER, fine, PermissionDeniedError, "may not define functions"),
    ]:
        with connected(served, role) as remote, pytest.raises(error, match=words):
            remote.http.route(path="/a", method="GET", handler=handler)
    assert http.get("/a").status_code == 404


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


# -- too much, too slow, gone ----------------------------------------------------------------------


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
