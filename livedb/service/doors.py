"""Who may speak to a service at all, by the Host and Origin of a request, before anything else.

A web page anywhere can make its reader's browser call a service on the same machine. The browser
says from which page (`Origin`), and a page that points a name of its own at 127.0.0.1 gives itself
away by that name (`Host`). Programs send no Origin, and need none.

Source: spec sync-protocol.md 4 and 12 (CORS).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livedb.service.audit import Audit, address_of

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names of this machine, for itself."""

PREFLIGHT_S = 600
"""Seconds a browser may remember the answer to a preflight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What is let in.

    Attributes:
        allowed_hosts: names in the Host header that are answered, `*` for all.
        allowed_origins: web pages that may call, `*` for all, such as `https://shop.example`;
            pages of the same host always may, whatever their port.
    """

    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    allowed_origins: tuple[str, ...] = ()

    def host_refusal(self, headers: Headers) -> str | None:
        """Why a request is not let in by the name that it calls; None when it is."""
        if len(headers.getlist("host")) != 1:  # what is in front may have looked at another one
            return "HostNotAllowed: a request names one host, in one Host header"
        host = _host_name(headers.get("host", ""))
        if "*" not in self.allowed_hosts and host not in self.allowed_hosts:
            return f"HostNotAllowed: this service does not answer to the name {host!r}"
        return None

    def refusal(self, headers: Headers) -> str | None:
        """Why a request with these headers is not let in; None when it is."""
        refused = self.host_refusal(headers)
        if refused is not None:
            return refused
        host = _host_name(headers.get("host", ""))
        origin = headers.get("origin")
        if origin is None or "*" in self.allowed_origins or origin in self.allowed_origins:
            return None
        page = _host_name(urlsplit(origin).netloc)
        if page and (page == host or {page, host} <= LOOPBACK):
            return None
        return f"OriginNotAllowed: pages of {origin!r} may not call this service"


def _host_name(netloc: str) -> str:
    """The name of `name:port`, `[::1]:port` or either alone."""
    name, colon, port = netloc.rpartition(":")
    return (name if colon and port.isdecimal() else netloc).lower()


class HostKeeper:
    """ASGI middleware: lets in what calls the service by its name, from pages of any origin.

    What pages may do is the app's to say then, CORS included.
    """

    def __init__(self, app: ASGIApp, doors: Doors, audit: Audit) -> None:
        self._app = app
        self._doors = doors
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        refusal = self._doors.host_refusal(headers)
        if refusal is not None:
            await _refuse(refusal, 403, self._audit, scope, receive, send)
        elif _is_ambiguous(headers):
            await _refuse(_AMBIGUOUS, 400, self._audit, scope, receive, send)
        else:
            await self._app(scope, receive, send)


_AMBIGUOUS = "AmbiguousLength: a request has a Content-Length or a Transfer-Encoding"


def _is_ambiguous(headers: Headers) -> bool:
    """Whether a proxy before us may have read a request as two, or as half of one."""
    return "content-length" in headers and "transfer-encoding" in headers


class DoorKeeper:
    """ASGI middleware: lets in what `doors` allow, and answers browsers that ask (CORS)."""

    def __init__(self, app: ASGIApp, doors: Doors, audit: Audit) -> None:
        self._app = app
        self._doors = doors
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._doors.refusal(headers)
        if refusal is not None:
            await _refuse(refusal, 403, self._audit, scope, receive, send)
            return
        if _is_ambiguous(headers):
            await _refuse(_AMBIGUOUS, 400, self._audit, scope, receive, send)
            return
        origin = headers.get("origin")
        if origin is None or scope["type"] == "websocket":
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight(origin, headers)(scope, receive, send)
        else:
            await self._app(scope, receive, _with_origin(send, origin))


async def _refuse(
    refusal: str, status: int, audit: Audit, scope: Scope, receive: Receive, send: Send
) -> None:
    code, _, message = refusal.partition(": ")
    headers = Headers(scope=scope)
    audit.refused(
        code,
        who=address_of(scope),
        what=f"{scope.get('method', 'WebSocket')} {scope['path']}",
        host=headers.get("host"),
        origin=headers.get("origin"),
    )
    if scope["type"] == "websocket":
        # Before the upgrade: the server answers 403.
        await send({"type": "websocket.close", "code": 1008, "reason": code})
        return
    answer = JSONResponse({"code": code, "message": message}, status, {"connection": "close"})
    await answer(scope, receive, send)


def _preflight(origin: str, headers: Headers) -> Response:
    return Response(
        status_code=204,
        headers={
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
            "access-control-allow-headers": headers.get("access-control-request-headers", "*"),
            "access-control-max-age": str(PREFLIGHT_S),
            "vary": "Origin, Access-Control-Request-Headers",
        },
    )


def _with_origin(send: Send, origin: str) -> Send:
    async def send_with_origin(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["access-control-allow-origin"] = origin
            headers.add_vary_header("Origin")
        await send(message)

    return send_with_origin
