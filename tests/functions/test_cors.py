"""What CORS a route may say, and the headers that a browser is given by it."""

from __future__ import annotations

import pytest

import livedb
from livedb.errors import RouteError
from livedb.functions.http_routes import RouteTable

PAGE = "http://localhost:5173"


@pytest.mark.parametrize(
    "given,words",
    [
        ({"origins": []}, "names no page"),
        ({"origins": 3}, "a list of texts"),
        ({"origins": [PAGE, None]}, "a list of texts"),
        ({"origins": f"{PAGE}/"}, f"never matches: a browser says '{PAGE}'"),
        ({"origins": f"{PAGE}/page"}, f"never matches: a browser says '{PAGE}'"),
        ({"origins": "HTTP://localhost:5173"}, f"never matches: a browser says '{PAGE}'"),
        ({"origins": "https://Shop.example"}, "a browser says 'https://shop.example'"),
        ({"origins": "https://shop.example:443"}, "a browser says 'https://shop.example'"),
        ({"origins": "https://u:p@shop.example"}, "a browser says 'https://shop.example'"),
        ({"origins": "https://größe.example"}, "writes its host in ASCII"),
        ({"origins": "https://*.example"}, "stands for every page, alone"),
        ({"origins": "localhost:5173"}, "is no origin"),
        ({"origins": "shop.example"}, "is no origin"),
        ({"origins": "null"}, "is no origin"),
        ({"origins": ""}, "is no origin"),
        ({"origins": "http://a:x"}, "is no URL"),
        ({"origins": "http://[1"}, "is no URL"),
        ({"origins": "*", "credentials": True}, "name the origins"),
        ({"origins": [PAGE, "*"], "credentials": True}, "name the origins"),
        ({"origins": PAGE, "exposed_headers": "*", "credentials": True}, "exposes no header"),
        ({"origins": PAGE, "credentials": "yes"}, "True or False"),
        ({"origins": PAGE, "headers": ["X-A: b"]}, "no name of a header"),
        ({"origins": PAGE, "headers": [""]}, "no name of a header"),
        ({"origins": PAGE, "headers": None}, "a list of texts"),
        ({"origins": PAGE, "exposed_headers": ["a\nb"]}, "no name of a header"),
        ({"origins": PAGE, "max_age": -1}, "whole number of seconds"),
        ({"origins": PAGE, "max_age": 86_401}, "whole number of seconds"),
        ({"origins": PAGE, "max_age": 1.5}, "whole number of seconds"),
        ({"origins": PAGE, "max_age": True}, "whole number of seconds"),
    ],
)
def test_what_no_browser_understands_is_refused_where_it_is_written(given, words):
    with pytest.raises(RouteError) as refused:
        livedb.Cors(**given)
    assert refused.value.code == "InvalidCors"
    assert words in refused.value.message


@pytest.mark.parametrize("cors", [PAGE, [PAGE], {"origins": PAGE}, True])
def test_a_route_takes_a_cors_and_nothing_like_it(memory, cors):
    for routes in (livedb.HttpRouter(), memory.http):
        with pytest.raises(RouteError, match=r"cors= is a livedb\.Cors") as refused:
            routes.route(path="/a", method="GET", cors=cors)
        assert refused.value.code == "InvalidCors"


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1", "http://[::1]:3000", "https://shop.example:8443", "app://x"]
)
def test_an_origin_as_browsers_write_it_is_taken(origin):
    assert livedb.Cors(origins=origin).origins == (origin,)


def test_a_listed_page_is_named_and_caches_are_told_that_it_matters():
    cors = livedb.Cors(origins=[PAGE, "https://b.example"], exposed_headers="X-Total")
    assert cors.answer_headers("https://b.example") == {
        "Access-Control-Allow-Origin": "https://b.example",
        "Access-Control-Expose-Headers": "X-Total",
        "Vary": "Origin",
    }
    for other in (None, "https://evil.example", "http://localhost:51730", "null"):
        assert cors.answer_headers(other) == {"Vary": "Origin"}


def test_every_page_needs_no_name_and_no_note_for_caches():
    cors = livedb.Cors(origins="*")
    for origin in (None, PAGE, "null"):
        assert cors.answer_headers(origin) == {"Access-Control-Allow-Origin": "*"}


def test_a_preflight_is_told_the_method_the_headers_and_how_long_it_holds():
    cors = livedb.Cors(origins=PAGE, headers=["Content-Type", "X-Own"], credentials=True)
    assert cors.preflight_headers(PAGE, "POST", "content-type") == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "Content-Type, X-Own",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }


def test_every_header_is_spelled_out_since_a_star_leaves_authorization_out():
    cors = livedb.Cors(origins=PAGE, headers="*", max_age=0)
    found = cors.preflight_headers(PAGE, "GET", "authorization,x-own")
    assert found["Access-Control-Allow-Headers"] == "authorization,x-own"
    assert found["Vary"] == "Origin, Access-Control-Request-Headers"
    assert found["Access-Control-Max-Age"] == "0"
    assert "Access-Control-Allow-Headers" not in cors.preflight_headers(PAGE, "GET", None)


def test_an_options_handler_that_is_as_near_to_the_path_answers_itself():
    @livedb.http_action
    def handler(ctx, request): ...

    cors = livedb.Cors(origins=PAGE)
    router = livedb.HttpRouter()
    router.route(path="/a/b", method="POST", handler=handler, cors=cors)
    router.route(path_prefix="/a/", method="POST", handler=handler, cors=cors)
    router.route(path="/own", method="POST", handler=handler, cors=cors)
    router.route(path="/own", method="OPTIONS", handler=handler)
    router.route(path_prefix="/", method="OPTIONS", handler=handler)
    router.route(path="/none", method="POST", handler=handler)
    table = RouteTable(router.definitions())
    assert table.preflight("/a/b", "POST", PAGE) is cors
    assert table.preflight("/a/c", "POST", PAGE) is cors
    assert table.preflight("/own", "POST", PAGE) is None
    assert table.preflight("/none", "POST", PAGE) is None
    assert table.preflight("/a/b", "PUT", PAGE) is None
    assert table.preflight("/a/b", "POST", "https://evil.example") is None
