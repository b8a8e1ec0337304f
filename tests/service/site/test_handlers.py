"""What handlers of HTTP actions do: run functions, ask who calls, fail, come from other kernels."""

from __future__ import annotations

import base64
import functools
import json
import threading

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

import livedb
from livedb.auth.access import Role
from livedb.errors import PermissionDeniedError, TravelError
from tests.service.serving import ADMIN_KEY, connected, serving, token

LATER_S = 2**33


# -- functions and callers -------------------------------------------------------------------------


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
