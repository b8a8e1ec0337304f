"""The ASGI app of a service: its routes, its bounds, and who may speak to it from where."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from livedb.protocol.frames import ClientKind
from livedb.service.access import Access
from livedb.service.doors import DoorKeeper, Doors
from livedb.service.http_api import http_routes
from livedb.service.hub import Hub
from livedb.service.websocket import SyncConnection
from livedb.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How a workspace is served.

    Attributes:
        doors: the hosts it answers to, and the web pages that may call it.
        shows_details: whether clients may read messages of errors that are not the application's.
    """

    doors: Doors = field(default_factory=Doors)
    shows_details: bool = True


class SinglePath:
    """Collapses doubled slashes: npm asks for `//api/..` when its URL ends in one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if "//" in path:
            while "//" in path:
                path = path.replace("//", "/")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)


def make_app(workspace: Workspace, access: Access, settings: ServiceSettings) -> ASGIApp:
    """The app that serves a workspace; whoever runs it closes the workspace afterwards."""
    holder: dict[str, Hub] = {}

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        holder["hub"] = Hub(workspace, access, shows_details=settings.shows_details)
        try:
            yield
        finally:
            await holder["hub"].close()

    async def sync(websocket: WebSocket) -> None:
        version = websocket.path_params.get("version")
        client = ClientKind.of(version, websocket.headers.get("convex-client"))
        await SyncConnection(holder["hub"], websocket, client).run()

    app = Starlette(
        routes=[
            WebSocketRoute("/api/sync", sync),
            WebSocketRoute("/api/{version}/sync", sync),
            *http_routes(lambda: holder["hub"]),
        ],
        lifespan=lifespan,
    )
    return DoorKeeper(SinglePath(app), settings.doors)
