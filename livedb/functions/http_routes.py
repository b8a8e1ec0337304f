"""HTTP actions by route: which function answers which request.

    http = livedb.HttpRouter()

    @http.route(path="/hooks/stripe", method="POST")
    async def stripe(ctx, request): ...

An HTTP action is an action that is given a request and gives a response. Its name is its route, so
it is defined, replaced and dropped like every other function, in the same step and the same commit.

A path is compared as it stands in the URL: percent-encoded, without the query. An exact path wins
over a prefix, and the longest prefix over the others; HEAD is answered as GET.

Source: spec features.md 12. Dot segments are resolved first, as every URL parser does it, so that a
handler below `/public/` never answers for `/public/../private`.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar, overload
from urllib.parse import quote

from livedb.errors import RouteError
from livedb.functions.cors import Cors
from livedb.functions.definition import HTTP_MARK, FunctionDefinition, define

F = TypeVar("F", bound=Callable[..., Any])

METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
"""Methods that may be routed; HEAD goes where GET goes, TRACE and CONNECT go nowhere."""

RESERVED = "/.files"
"""Paths from here on are livedb's own."""

_KEPT = "!$%&'()*+,-./:;=@[\\]_|~"
"""Besides letters and digits, what a URL's path keeps as it is; the rest is percent-encoded."""

_PREFIX_END = "/*"
"""How the name of a prefix ends, and no path."""


def http_action(function: F) -> F:
    """Mark a function `(ctx, request)` as an HTTP action, for `HttpRouter.route`.

    It gives a response of Starlette's: `Response`, `JSONResponse`, `StreamingResponse`. A plain
    `def` is given a `livedb.HttpRequest`, an `async def` a `livedb.AsyncHttpRequest`, and `ctx` is
    that of an action.
    """
    setattr(function, HTTP_MARK, inspect.iscoroutinefunction(inspect.unwrap(function)))
    return function


@dataclass(frozen=True, slots=True)
class Route:
    """A method, and the path or the prefix of paths that it is for."""

    method: str
    path: str
    is_prefix: bool = False

    @property
    def name(self) -> str:
        """`POST /hook` or `GET /files/*`: of the function that answers."""
        return f"{self.method} {self.path}{'*' if self.is_prefix else ''}"

    @classmethod
    def of_name(cls, name: str) -> Route:
        """The route of that name."""
        method, _, path = name.partition(" ")
        is_prefix = path.endswith(_PREFIX_END)
        return cls(method, path[:-1] if is_prefix else path, is_prefix)


def routes_of(
    path: str | None, path_prefix: str | None, method: str | Sequence[str]
) -> list[Route]:
    """The routes that the arguments of `route` mean, one for each method.

    Raises:
        RouteError: they are against the rules.
    """
    if (path is None) == (path_prefix is None):
        raise RouteError("A route has a path= or a path_prefix=, one of the two")
    chosen = _checked_path(path) if path is not None else _checked_prefix(path_prefix)
    methods = [method] if isinstance(method, str) else list(method)
    if not methods:
        raise RouteError(f"The route {chosen!r} names no method")
    for each in methods:
        if each not in METHODS:
            raise RouteError(
                f"{each!r} is not a method that can be routed; there are {', '.join(METHODS)}, "
                "and HEAD is answered by what answers GET",
                code="InvalidMethod",
            )
    return [Route(each, chosen, path is None) for each in dict.fromkeys(methods)]


def _checked_path(path: object) -> str:
    checked = _checked(path, "path")
    if checked.endswith(_PREFIX_END):
        raise RouteError(
            f"The path {path!r} ends in '*', which matches nothing but itself; "
            f"path_prefix={checked[:-1]!r} answers everything below"
        )
    return checked


def _checked_prefix(path: object) -> str:
    checked = _checked(path, "path_prefix")
    if not checked.endswith("/"):
        raise RouteError(f"path_prefix {path!r} must end with a '/'")
    return checked


def _checked(path: object, what: str) -> str:
    if not isinstance(path, str) or not path.startswith("/"):
        raise RouteError(f"{what} {path!r} must start with a '/'")
    if "?" in path or "#" in path:
        raise RouteError(f"{what} {path!r} has a query or a fragment, which routes do not look at")
    found = normal_path(path)
    if found != quote(path, safe=_KEPT):
        raise RouteError(f"{what} {path!r} never matches: a URL says {found!r} instead")
    if is_reserved(found):
        raise RouteError(
            f"{what} {path!r} is reserved: {RESERVED} is livedb's", code="ReservedPath"
        )
    return found


def is_reserved(path: str) -> bool:
    """Whether a normal path is livedb's own."""
    return path == RESERVED or path.startswith(f"{RESERVED}/")


def normal_path(path: str) -> str:
    """A path as URL parsers write it: percent-encoded, without dot segments and backslashes."""
    segments = quote(path.replace("\\", "/"), safe=_KEPT).split("/")
    last = len(segments) - 1
    kept: list[str] = []
    for at, segment in enumerate(segments[1:], 1):
        dots = segment.lower().replace("%2e", ".")
        if dots not in {".", ".."}:
            kept.append(segment)
            continue
        if dots == ".." and kept:
            kept.pop()
        if at == last:
            kept.append("")
    return "/" + "/".join(kept)


Put = Callable[[Any], None]
"""Takes the handler of a route."""


class Routes(ABC):
    """What routes are said to: the `route` of modules and of cells."""

    @overload
    def route(
        self,
        *,
        path: str | None = None,
        path_prefix: str | None = None,
        method: str | Sequence[str],
        cors: Cors | None = None,
        handler: F,
    ) -> F: ...
    @overload
    def route(
        self,
        *,
        path: str | None = None,
        path_prefix: str | None = None,
        method: str | Sequence[str],
        cors: Cors | None = None,
        handler: None = None,
    ) -> Callable[[F], F]: ...

    def route(
        self,
        *,
        path: str | None = None,
        path_prefix: str | None = None,
        method: str | Sequence[str],
        cors: Cors | None = None,
        handler: Any = None,
    ) -> Any:
        """Say what answers a method on a path, or on everything below a prefix.

        Args:
            path: exactly this path; it starts with "/".
            path_prefix: everything that starts so; it starts and ends with "/".
            method: "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", or several.
            cors: which pages of other origins may call it; the service answers their browsers then,
                before the handler, unless a route for OPTIONS does. None leaves it to the handler.
            handler: what `@http_action` marked; without it this is a decorator.

        Raises:
            RouteError: it is against these rules, or the module has the route already.
            SchemaDefinitionError: the handler does not take a context and a request.
        """
        names = [route.name for route in routes_of(path, path_prefix, method)]
        if cors is not None and not isinstance(cors, Cors):
            raise RouteError(
                f"cors= is a livedb.Cors(origins=..), not {cors!r}", code="InvalidCors"
            )
        put = self._taker(names, cors, sys._getframe(1))  # noqa: SLF001  # the names annotations may use

        def take(function: F) -> F:
            put(function)
            return function

        if handler is None:
            return lambda function: take(http_action(_required_function(function)))
        _required_function(handler)
        if not hasattr(handler, HTTP_MARK):
            raise RouteError(
                f"handler {getattr(handler, '__name__', handler)!r} is no HTTP action: put "
                "@livedb.http_action above it"
            )
        return take(handler)

    @abstractmethod
    def _taker(self, names: Sequence[str], cors: Cors | None, frame: FrameType) -> Put:
        """What takes the handler of the routes of these names, which code in `frame` says."""


def _required_function(handler: Any) -> Any:
    if not inspect.isfunction(handler):
        raise RouteError(f"A request is answered by a function, not by {handler!r}")
    return handler


class HttpRouter(Routes):
    """The routes of a module: `http = livedb.HttpRouter()` in `http.py` of a folder of functions.

    Source: Convex's `httpRouter`.
    """

    def __init__(self) -> None:
        self._definitions: dict[str, FunctionDefinition] = {}

    def _taker(
        self,
        names: Sequence[str],
        cors: Cors | None,
        frame: FrameType,  # noqa: ARG002  # a module's function knows its names itself
    ) -> Put:
        def put(function: Any) -> None:
            for name in names:
                if name in self._definitions:
                    raise RouteError(f"The route {name!r} is there already", code="DuplicateRoute")
                self._definitions[name] = define(function, kind="http_action", name=name, cors=cors)

        return put

    def definitions(self) -> list[FunctionDefinition]:
        """The HTTP actions, one for each route."""
        return list(self._definitions.values())

    def __repr__(self) -> str:
        return f"<HttpRouter: {', '.join(self._definitions) or 'no routes'}>"


class RouteTable:
    """Finds the HTTP action that answers a request. Cost: O(prefixes of the method)."""

    def __init__(self, functions: Iterable[FunctionDefinition]) -> None:
        self._exact: dict[tuple[str, str], FunctionDefinition] = {}
        prefixes: dict[str, list[tuple[str, FunctionDefinition]]] = {}
        for function in functions:
            route = Route.of_name(function.name)
            if route.is_prefix:
                prefixes.setdefault(route.method, []).append((route.path, function))
            else:
                self._exact[route.method, route.path] = function
        self._prefixes = {
            method: sorted(each, key=lambda pair: len(pair[0]), reverse=True)
            for method, each in prefixes.items()
        }

    def find(self, method: str, path: str) -> FunctionDefinition | None:
        """What answers `method` on a normal path; None when nothing does."""
        if is_reserved(path):
            return None
        routed = "GET" if method == "HEAD" else method
        exact = self._exact.get((routed, path))
        if exact is not None:
            return exact
        prefixes = self._prefixes.get(routed, ())
        return next((found for prefix, found in prefixes if path.startswith(prefix)), None)

    def preflight(self, path: str, method: str, origin: str) -> Cors | None:
        """What answers a browser that asks whether a page of `origin` may send `method`.

        None when nothing does, or a handler for OPTIONS that is as near to the path.
        """
        function = self.find(method, path)
        if function is None or function.cors is None or not function.cors.allows(origin):
            return None
        own = self.find("OPTIONS", path)
        is_left = own is not None and _nearness(own) >= _nearness(function)
        return None if is_left else function.cors


def _nearness(function: FunctionDefinition) -> tuple[bool, int]:
    """More, the nearer the route of what answers a path is to it."""
    route = Route.of_name(function.name)
    return not route.is_prefix, len(route.path)
