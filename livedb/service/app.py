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
from livedb.service.admin_api import admin_routes
from livedb.service.doors import DoorKeeper, Doors, HostKeeper
from livedb.service.http_api import http_routes
from livedb.service.hub import Hub
from livedb.service.paths import UNDER_API
from livedb.service.presence_api import presence_routes
from livedb.service.site import Site
from livedb.service.storage_api import storage_routes
from livedb.service.transfer_api import transfer_routes
from livedb.service.websocket import SyncConnection
from livedb.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How a workspace is served.

    Attributes:
        doors: the hosts it answers to, and the web pages that may call it.
        public_url: where clients find it, for those who ask; by default where it listens.
        site_url: the same of its HTTP actions.
        site_port: requests that come in by this port are for HTTP actions.
        shows_details: whether clients may read messages of errors that are not the application's.
    """

    doors: Doors = field(default_factory=Doors)
    public_url: str = ""
    site_url: str = ""
    site_port: int | None = None
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


class ServiceApp:
    """The app that serves a workspace; whoever runs it closes the workspace afterwards."""

    def __init__(self, workspace: Workspace, access: Access, settings: ServiceSettings) -> None:
        self._workspace = workspace
        self._access = access
        self._settings = settings
        self._hub: Hub | None = None
        self._site: Site | None = None
        app = Starlette(
            routes=[
                WebSocketRoute("/api/sync", self._sync),
                WebSocketRoute("/api/{version}/sync", self._sync),
                *http_routes(self.hub),
                *admin_routes(self.hub),
                *presence_routes(self.hub),
                *storage_routes(self.hub),
                *transfer_routes(self.hub),
            ],
            lifespan=self._lifespan,
        )
        self._app = DoorKeeper(SinglePath(app), settings.doors, access.audit)
        self._site_app = HostKeeper(self._answer, settings.doors, access.audit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_for_site = scope["type"] != "lifespan" and self._site_path(scope) is not None
        await (self._site_app if is_for_site else self._app)(scope, receive, send)

    def _site_path(self, scope: Scope) -> str | None:
        """The path that a request asks the site for, as it stands in the URL; None if it does not.

        Pages may do there what HTTP actions let them, on either way: so both have the same doors.
        """
        path: str = scope.get("raw_path", b"").decode("latin-1") or scope["path"]
        server = scope.get("server")
        port = None if server is None else server[1]
        if port is not None and port == self._settings.site_port:
            return path
        if path == UNDER_API or path.startswith(f"{UNDER_API}/"):
            return path.removeprefix(UNDER_API) or "/"
        return None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = self._site_path(scope)
        assert path is not None, "asked before"
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "NoWebSockets"})
            return
        assert self._site is not None, "the server runs no lifespan"
        await self._site.answer(scope, path, receive, send)

    def hub(self) -> Hub:
        """What the connections share, while the app runs."""
        assert self._hub is not None, "the server runs no lifespan"
        return self._hub

    def stop_waiting(self) -> None:
        """Answer those who wait for something to happen; on the loop's thread."""
        if self._hub is not None:
            self._hub.logs.close()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._hub = Hub(self._workspace, self._access, shows_details=self._settings.shows_details)
        self._site = Site(self._hub)
        self._workspace.tell_places(self._settings.public_url, self._settings.site_url)
        try:
            yield
        finally:
            self._workspace.forget_places(self._settings.public_url)
            self._site.close()
            await self._hub.close()

    async def _sync(self, websocket: WebSocket) -> None:
        version = websocket.path_params.get("version")
        client = ClientKind.of(version, websocket.headers.get("convex-client"))
        await SyncConnection(self.hub(), websocket, client).run()
