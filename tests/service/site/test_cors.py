"""`cors=` of a route, as browsers meet it: preflights, answers and errors."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response, StreamingResponse

import livedb
from livedb.auth.access import Role
from livedb.service import site
from tests.service.serving import connected

PAGE = "http://localhost:5173"
CORS = livedb.Cors(origins=[PAGE], headers=["Content-Type", "X-Own"], exposed_headers=["X-Total"])


def asked(client, path, method, origin=PAGE, **headers):
    """What a browser is answered that asks for a page."""
    asking = {"origin": origin, "access-control-request-method": method, **headers}
    return client.options(path, headers=asking)


def allowed(answer):
    """The CORS of an answer."""
    prefix = "access-control-"
    return {
        name.removeprefix(prefix): value
        for name, value in answer.headers.items()
        if name.startswith(prefix)
    }


@pytest.mark.parametrize("prefix", ["", "/http"])
def test_a_page_of_a_listed_origin_calls_a_route(db, served, prefix):
    @db.http.route(path="/messages", method=["POST", "PUT"], cors=CORS)
    def add(ctx, request):
        return Response(request.text(), 201, {"x-total": "1", "vary": "Accept"})

    where = served.url if prefix else served.site_url
    with httpx.Client(base_url=f"{where}{prefix}") as client:
        for method in ("POST", "PUT"):
            found = asked(client, "/messages", method)
            assert (found.status_code, found.content) == (204, b"")
            assert found.headers["vary"] == "Origin"
            assert allowed(found) == {
                "allow-origin": PAGE,
                "allow-methods": method,
                "allow-headers": "Content-Type, X-Own",
                "max-age": "600",
            }
        found = client.post("/messages", content="hi", headers={"origin": PAGE})
    assert (found.status_code, found.text, found.headers["vary"]) == (201, "hi", "Accept, Origin")
    assert allowed(found) == {"allow-origin": PAGE, "expose-headers": "X-Total"}


def test_pages_that_are_not_listed_are_answered_as_without_it(db, http):
    @db.http.route(path="/a", method="POST", cors=CORS)
    def a(ctx, request):
        return PlainTextResponse("a")

    found = asked(http, "/a", "POST", "https://evil.example")
    assert (found.status_code, allowed(found)) == (404, {})
    for headers in ({}, {"origin": "https://evil.example"}):
        found = http.post("/a", headers=headers)
        assert (found.text, allowed(found)) == ("a", {})
        assert found.headers["vary"] == "Origin"  # a cache may not give it to a listed page


def test_a_method_without_it_a_path_without_a_route_and_no_question_are_404(db, http):
    db.http.route(path="/a", method="POST", cors=CORS)(lambda ctx, request: Response())
    db.http.route(path="/a", method="DELETE")(lambda ctx, request: Response())
    assert asked(http, "/a", "DELETE").status_code == 404
    assert asked(http, "/a", "PATCH").status_code == 404
    assert asked(http, "/b", "POST").status_code == 404
    assert http.options("/a", headers={"origin": PAGE}).status_code == 404


def test_a_page_reads_errors_and_refusals_too(db, http, monkeypatch):
    @db.http.route(path="/raises", method="POST", cors=CORS)
    def raises(ctx, request):
        raise livedb.ApplicationError({"why": "no"})

    page = {"origin": PAGE}
    found = http.post("/raises", headers=page)
    assert (found.status_code, found.json()["data"]) == (500, {"why": "no"})
    assert allowed(found)["allow-origin"] == PAGE
    monkeypatch.setattr(site, "BODY_BYTES_MAX", 3)
    found = http.post("/raises", content="1234", headers=page)
    assert (found.status_code, allowed(found)["allow-origin"]) == (413, PAGE)
    monkeypatch.setattr(site, "REQUESTS_MAX", 0)
    found = http.post("/raises", headers=page)
    assert (found.status_code, allowed(found)["allow-origin"]) == (503, PAGE)


def test_a_stream_has_it_and_what_the_handler_says_itself_is_replaced(db, http):
    cors = livedb.Cors(origins=PAGE, credentials=True)

    @db.http.route(path="/s", method="GET", cors=cors)
    def s(ctx, request):
        return StreamingResponse(iter(["a", "b"]), headers={"access-control-allow-origin": "*"})

    found = http.get("/s", headers={"origin": PAGE})
    assert found.text == "ab"
    assert found.headers.get_list("access-control-allow-origin") == [PAGE]
    assert found.headers["access-control-allow-credentials"] == "true"
    assert allowed(asked(http, "/s", "GET"))["allow-credentials"] == "true"


def test_an_options_handler_of_the_users_is_left_alone(db, http):
    @db.http.route(path="/a", method="OPTIONS")
    def own(ctx, request):
        return PlainTextResponse("mine")

    db.http.route(path="/a", method="POST", cors=CORS)(lambda ctx, request: Response())
    found = asked(http, "/a", "POST")
    assert (found.text, allowed(found)) == ("mine", {})


def test_running_the_cell_again_without_it_ends_it(db, http):
    def a(ctx, request):
        return Response()

    db.http.route(path="/a", method="POST", cors=CORS)(a)
    assert asked(http, "/a", "POST").status_code == 204
    db.http.route(path="/a", method="POST")(a)
    assert asked(http, "/a", "POST").status_code == 404


def test_it_travels_with_a_route_of_a_connected_notebook(served, http):
    with connected(served, Role.EDITOR) as remote:
        cors = livedb.Cors(origins=PAGE, headers="*", max_age=5)

        @remote.http.route(path="/a", method="POST", cors=cors)
        def a(ctx, request):
            return PlainTextResponse("a")

        found = asked(
            http, "/a", "POST", **{"access-control-request-headers": "authorization,x-own"}
        )
        assert allowed(found) == {
            "allow-origin": PAGE,
            "allow-methods": "POST",
            "allow-headers": "authorization,x-own",
            "max-age": "5",
        }
        remote.http.route(path="/a", method="POST", cors=livedb.Cors(origins="*"))(a)
        assert allowed(http.post("/a", headers={"origin": PAGE})) == {"allow-origin": "*"}
