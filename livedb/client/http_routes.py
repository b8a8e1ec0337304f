"""`db.http`: HTTP actions that cells define."""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from livedb.client.backend import Origin
from livedb.client.functions import names_of_functions
from livedb.functions.cors import Cors
from livedb.functions.definition import define
from livedb.functions.http_routes import Put, Routes

if TYPE_CHECKING:
    from livedb.client.database import Database


class HttpRoutes(Routes):
    """The HTTP actions of a workspace, which it answers while it is served.

    `@db.http.route(path="/hook", method="POST")` adds one; running the cell again replaces it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def _taker(self, names: Sequence[str], cors: Cors | None, frame: FrameType) -> Put:
        origin = Origin(
            args=None,
            returns=None,
            alias=None,
            namespace={**frame.f_globals, **frame.f_locals},
            reference=names_of_functions(self._database),
        )

        def put(function: Any) -> None:
            for name in names:
                definition = define(function, kind="http_action", name=name, cors=cors)
                self._database.backend.define(definition, origin)

        return put

    @property
    def routes(self) -> list[str]:
        """The routes there are, such as `POST /hook` and `GET /files/*`."""
        backend = self._database.backend
        names = backend.function_names()
        return [name for name in names if backend.definition(name).kind == "http_action"]

    def __repr__(self) -> str:
        return f"<HTTP actions: {', '.join(self.routes) or 'none'}>"
