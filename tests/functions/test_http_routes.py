"""Which HTTP action answers which request, and what is no route."""

from __future__ import annotations

import functools
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

import livedb
from livedb.errors import FunctionTypeError, RouteError, SchemaDefinitionError
from livedb.functions.http_routes import METHODS, Route, RouteTable, normal_path


@livedb.http_action
def handler(ctx, request): ...


def router(*routes):
    """A router with `GET /path` and `GET /prefix/*` for each of these."""
    made = livedb.HttpRouter()
    for each in routes:
        method, _, path = each.rpartition(" ")
        where = {"path_prefix": path[:-1]} if path.endswith("*") else {"path": path}
        made.route(**where, method=method or "GET", handler=handler)
    return made


def found(table, path, method="GET"):
    answer = RouteTable(table.definitions()).find(method, normal_path(path))
    return None if answer is None else answer.name


def test_an_exact_path_wins_over_a_prefix_and_the_longest_prefix_over_others():
    table = router("/a/*", "/a/b/*", "/a/b/c", "/*")
    assert found(table, "/a/b/c") == "GET /a/b/c"
    assert found(table, "/a/b/c/") == "GET /a/b/*"
    assert found(table, "/a/b/") == "GET /a/b/*"
    assert found(table, "/a/b") == "GET /a/*"
    assert found(table, "/a") == "GET /*"


def test_a_path_is_no_prefix_and_a_prefix_does_not_match_without_its_end():
    table = router("/hook", "/files/*")
    assert found(table, "/hook/") is None
    assert found(table, "/hookx") is None
    assert found(table, "/HOOK") is None
    assert found(table, "/files") is None


def test_methods_are_apart_and_head_is_answered_by_get():
    table = router("/a", "POST /b")
    assert found(table, "/a", "HEAD") == "GET /a"
    assert found(table, "/a", "POST") is None
    assert found(table, "/b", "HEAD") is None
    assert found(table, "/b", "get") is None
    assert found(table, "/a", "TRACE") is None


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_six_methods_are_routed_and_head_is_the_get_of_its_path(method):
    assert found(router(f"{method} /a"), "/a", method) == f"{method} /a"
    assert len(METHODS) == 6


def test_nothing_of_livedbs_own_is_routed():
    table = router("/*")
    assert found(table, "/.files/x") is None
    assert found(table, "/.files") is None
    assert found(table, "/x/../.files/x") is None
    assert found(table, "/.filesystem") == "GET /*"


@pytest.mark.parametrize(
    "path,normal",
    [
        ("/a/../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/b/.", "/a/b/"),
        ("/a\\..\\b", "/b"),
        ("/a//b", "/a//b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2f..%2fb", "/a%2f..%2fb"),
        ("/ü b", "/%C3%BC%20b"),
        ('/"<>`{}^', "/%22%3C%3E%60%7B%7D%5E"),
        ("/%zz", "/%zz"),
        ("", "/"),
    ],
)
def test_a_path_is_compared_as_url_parsers_write_it(path, normal):
    assert normal_path(path) == normal


@given(st.text(alphabet="/.%2eE\\ab*é ", max_size=30))
def test_a_normal_path_stays_as_it_is_and_has_no_way_up(path):
    normal = normal_path(path)
    assert normal_path(normal) == normal
    assert normal.startswith("/")
    decoded = normal.lower().replace("%2e", ".")
    assert not {".", ".."} & set(decoded.split("/"))


def test_a_path_with_other_letters_is_found_by_what_a_url_makes_of_it():
    assert found(router("/größe"), "/gr%C3%B6%C3%9Fe") == "GET /gr%C3%B6%C3%9Fe"


@given(
    st.sampled_from(METHODS),
    st.text(alphabet="/ab*.-", max_size=8).map("/{}".format),
    st.booleans(),
)
def test_a_route_is_known_by_its_name(method, path, is_prefix):
    route = Route(method, f"{path}/" if is_prefix else f"{path}x", is_prefix)
    assert Route.of_name(route.name) == route


@pytest.mark.parametrize(
    "asked,code",
    [
        ({"method": "GET"}, "InvalidRoute"),
        ({"path": "/a", "path_prefix": "/a/", "method": "GET"}, "InvalidRoute"),
        ({"path": "a", "method": "GET"}, "InvalidRoute"),
        ({"path": 3, "method": "GET"}, "InvalidRoute"),
        ({"path": "/a?b=1", "method": "GET"}, "InvalidRoute"),
        ({"path": "/a#b", "method": "GET"}, "InvalidRoute"),
        ({"path": "/a/../b", "method": "GET"}, "InvalidRoute"),
        ({"path": "/a/*", "method": "GET"}, "InvalidRoute"),
        ({"path_prefix": "/a", "method": "GET"}, "InvalidRoute"),
        ({"path_prefix": "a/", "method": "GET"}, "InvalidRoute"),
        ({"path": "/.files", "method": "GET"}, "ReservedPath"),
        ({"path": "/.files/a", "method": "GET"}, "ReservedPath"),
        ({"path_prefix": "/.files/", "method": "GET"}, "ReservedPath"),
        ({"path": "/a", "method": "HEAD"}, "InvalidMethod"),
        ({"path": "/a", "method": "get"}, "InvalidMethod"),
        ({"path": "/a", "method": ["GET", "TRACE"]}, "InvalidMethod"),
        ({"path": "/a", "method": []}, "InvalidRoute"),
        ({"path": "/taken", "method": "GET"}, "DuplicateRoute"),
        ({"path_prefix": "/taken/", "method": ["PUT", "GET"]}, "DuplicateRoute"),
    ],
)
def test_what_is_no_route_is_refused_where_it_is_written(asked, code):
    table = router("/taken", "/taken/*")
    with pytest.raises(RouteError) as refused:
        table.route(**asked, handler=handler)
    assert refused.value.code == code


def test_one_path_may_have_a_handler_for_each_method():
    table = router("/a", "POST /a", "/a/*")
    assert [each.name for each in table.definitions()] == ["GET /a", "POST /a", "GET /a/*"]


def test_a_handler_is_marked_or_decorated():
    table = livedb.HttpRouter()

    def plain(ctx, request): ...

    with pytest.raises(RouteError, match="put @livedb"):
        table.route(path="/a", method="GET", handler=plain)
    assert table.route(path="/a", method="GET")(plain) is plain
    table.route(path="/b", method="GET", handler=plain)


@pytest.mark.parametrize(
    "source,words",
    [
        ("def f(ctx): ...", r"def f\(ctx, request\)"),
        ("def f(ctx, request, more): ...", r"def f\(ctx, request\)"),
        ("def f(ctx, *, request): ...", r"def f\(ctx, request\)"),
        ("def f(ctx, request): yield", "return a StreamingResponse"),
        ("async def f(ctx, request): yield", "return a StreamingResponse"),
    ],
)
def test_a_handler_takes_a_context_and_a_request(source, words):
    names = {}
    exec(source, names)
    with pytest.raises(SchemaDefinitionError, match=words):
        livedb.HttpRouter().route(path="/a", method="GET")(names["f"])


@pytest.mark.parametrize("answering", [3, "GET /a", print, functools.partial(handler), object()])
def test_only_functions_answer(answering):
    for how in (
        lambda table: table.route(path="/a", method="GET", handler=answering),
        lambda table: table.route(path="/a", method="GET")(answering),
    ):
        with pytest.raises(RouteError, match="is answered by a function"):
            how(livedb.HttpRouter())


def test_further_parameters_may_have_defaults():
    @livedb.HttpRouter().route(path="/a", method="GET")
    def f(ctx, request, retries=3, *rest, **more): ...


def test_nothing_calls_an_http_action(memory):
    @memory.http.route(path="/a", method="GET")
    def a(ctx, request): ...

    @memory.action
    def of_action(ctx):
        return ctx.run_action("GET /a")

    @memory.query
    def of_query(ctx):
        return ctx.run_query("GET /a")

    for call in (lambda: memory.function("GET /a"), of_action, of_query):
        with pytest.raises(FunctionTypeError, match="answers requests"):
            call()


def test_the_routes_of_cells_are_listed_apart_and_defined_anew_by_their_cell(memory):
    for _ in range(2):

        @memory.http.route(path="/a", method=["GET", "POST"])
        def a(ctx, request): ...

    memory.http.route(path_prefix="/b/", method="PUT", handler=handler)
    assert memory.http.routes == ["GET /a", "POST /a", "PUT /b/*"]
    assert repr(memory.http) == "<HTTP actions: GET /a, POST /a, PUT /b/*>"
    assert memory.functions == []
    with pytest.raises(RouteError):
        memory.http.route(path="a", method="GET", handler=handler)


def test_a_module_that_is_pushed_brings_its_routes(memory):
    module = types.ModuleType("hooks")
    module.http = router("/a", "POST /b/*")
    assert memory.push(module) == ["GET /a", "POST /b/*"]
    assert memory.http.routes == ["GET /a", "POST /b/*"]
