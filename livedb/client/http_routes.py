"""`db.http`: HTTP actions that cells define."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from livedb.client.backend import Origin
from livedb.client.functions import names_of_functions
from livedb.functions.definition import define
from livedb.functions.http_routes import answered_by, routes_of

if TYPE_CHECKING:
    from livedb.client.database import Database

F = TypeVar("F", bound=Callable[..., Any])


class HttpRoutes:
    """The HTTP actions of a workspace, which it answers while it is served."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @overload
    def route(
        self,
        *,
        path: str | None = None,
        path_prefix: str | None = None,
        method: str | Sequence[str],
        handler: F,
    ) -> F: ...
    @overload
    def route(
        self,
        *,
        path: str | None = None,
        path_prefix: str | None = None,
        method: str | Sequence[str],
        handler: None = None,
    ) -> Callable[[F], F]: ...

    def route(
        self,
        *,
        path: str | None = None,
        path_prefix: str | None = None,
        method: str | Sequence[str],
        handler: Any = None,
    ) -> Any:
        """Say what answers a method on a path: `@db.http.route(path="/hook", method="POST")`.

        Running the cell again replaces it. Everything else as `livedb.HttpRouter.route`.

        Raises:
            RouteError: the route is against the rules.
        """
        names = [route.name for route in routes_of(path, path_prefix, method)]
        frame = sys._getframe(1)  # noqa: SLF001  # the names its annotations may use
        namespace = {**frame.f_globals, **frame.f_locals}

        def put(function: Any) -> Any:
            origin = Origin(
                args=None,
                returns=None,
                alias=None,
                namespace=namespace,
                reference=names_of_functions(self._database),
            )
            for name in names:
                definition = define(function, kind="http_action", name=name)
                self._database.backend.define(definition, origin)
            return function

        return answered_by(handler, put)

    @property
    def routes(self) -> list[str]:
        """The routes there are, such as `POST /hook` and `GET /files/*`."""
        backend = self._database.backend
        names = backend.function_names()
        return [name for name in names if backend.definition(name).kind == "http_action"]

    def __repr__(self) -> str:
        return f"<HTTP actions: {', '.join(self.routes) or 'none'}>"
