"""The site of a workspace: its HTTP actions, as an ASGI app.

A request's body is read here, whole and bounded, before a handler begins: so a client who sends
slowly costs a coroutine and not a thread. Handlers run on threads of their own, a bounded number at
once, beside those of function calls: slow ones delay each other and nobody else.

Anybody may call an HTTP action who can reach it, as in Convex: what it asks of its callers is its
own business. What pages of other origins may do (CORS) is what the route's `cors=` says, or else
its handler. An `Authorization` that the service accepts is the caller's identity; every other one
is left to the handler, which may have its own use for it.

Source: spec features.md 12, sync-protocol.md 13.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from livedb.errors import ClosedError, LivedbError
from livedb.functions.call import Call
from livedb.functions.cors import Cors
from livedb.functions.definition import FunctionDefinition
from livedb.functions.http_routes import RouteTable, normal_path
from livedb.service.audit import ip_of
from livedb.service.exchange import ClientGoneError, SiteExchange
from livedb.service.http_api import as_json
from livedb.service.local_door import came_by_it
from livedb.service.outcomes import logged
from livedb.service.transport import ABORT
from livedb.service.vouching import Arrival, origin_of, vouched_for, without_vouching

if TYPE_CHECKING:
    from livedb.service.hub import Hub

logger = logging.getLogger("livedb.service")

RUNNING_MAX = 64
"""HTTP actions that run at once; more wait."""

REQUESTS_MAX = 256
"""HTTP actions that run or wait at once; a further request is answered 503."""

BODY_BYTES_MAX = 20 << 20
"""Bytes of a request's body (Convex); more is 413."""

BODIES_BYTES_MAX = 256 << 20
"""Bytes of the bodies of all requests together; a request that would need more is answered 503."""

BODY_S_MAX = 60.0
"""Seconds in which a body has to arrive; then 408."""


class _RefusedError(LivedbError):
    """A request that no handler sees; `answer_status` is the answer's."""

    def __init__(self, message: str, code: str, status: int) -> None:
        super().__init__(message, code=code)
        self.answer_status = status


class Site:
    """Made and closed on the event loop's thread."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._workspace = hub.workspace
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(RUNNING_MAX, thread_name_prefix="livedb-http")
        self._routes: tuple[int, RouteTable] | None = None
        """Of that version of the registry."""
        self._exchanges: set[SiteExchange] = set()
        self._body_bytes = 0
        """Of all bodies that are here."""

    def close(self) -> None:
        """Let the threads go; a plain `def` that still runs is left to end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- requests ------------------------------------------------------------------------------

    async def answer(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """Answer a request.

        Args:
            path: the one to match, as it stands in the URL.
        """
        seen = _as_seen(scope, normal_path(path))
        is_path = path.startswith("/")  # not `*`, nor a proxy's whole URL
        table = self._table()
        if is_path and (allowed := _preflight(table, seen)) is not None:
            await allowed(scope, receive, send)
            return
        function = table.find(seen["method"], seen["path"]) if is_path else None
        if function is None:
            await PlainTextResponse("No matching routes found", 404)(scope, receive, send)
            return
        if function.cors is not None:
            send = _with_cors(send, function.cors, Headers(scope=scope).get("origin"))
        held = _Held(self)
        try:
            arrival = _arrived(scope)
            response = await self._handle(function, seen, arrival, held, receive, send)
        except _RefusedError as refused:
            response = _refusal(refused)
        finally:
            held.release()
        if response is not None:
            await response(scope, receive, send)

    def _table(self) -> RouteTable:
        registry = self._workspace.registry
        version = registry.version  # before the functions: a later one is looked at again
        if self._routes is None or self._routes[0] != version:
            self._routes = (version, RouteTable(registry.of_kind("http_action")))
        return self._routes[1]

    async def _handle(
        self,
        function: FunctionDefinition,
        scope: Scope,
        arrival: Arrival,
        held: _Held,
        receive: Receive,
        send: Send,
    ) -> Response | None:
        """Run what answers a request; gives a response that it did not send itself."""
        body = await _read(scope, held, receive)
        if body is None:
            return None  # the client has gone
        if len(self._exchanges) >= REQUESTS_MAX:
            raise _too_many(f"{REQUESTS_MAX} HTTP actions run or wait already")
        exchange = SiteExchange(scope, body, send)
        self._exchanges.add(exchange)
        watching = self._loop.create_task(_watch(exchange, receive))
        try:
            response = await self._loop.run_in_executor(
                self._pool, self._run, function, exchange, scope, arrival
            )
        except asyncio.CancelledError:  # the service has waited for it, and ends
            exchange.cancel()
            raise
        finally:
            self._exchanges.discard(exchange)
            exchange.end()
            watching.cancel()
        if exchange.is_stalled and ABORT in scope.get("extensions", {}):
            # A polite end would wait for a peer that does not read.
            scope["extensions"][ABORT]["abort"]()
        return response if exchange.response.status is None else None

    def take(self, size: int) -> None:
        """Count bytes of a body that are here now, or fewer of them.

        Raises:
            _RefusedError: there are too many.
        """
        if self._body_bytes + size > BODIES_BYTES_MAX:
            raise _too_many("The bodies of other requests leave no room for this one")
        self._body_bytes += size

    # -- on a handler's thread -----------------------------------------------------------------

    def _run(
        self,
        function: FunctionDefinition,
        exchange: SiteExchange,
        scope: Scope,
        arrival: Arrival,
    ) -> Response | None:
        """Run a handler; the response to an error, None when there was none."""
        clock = self._workspace.clock
        began_s = clock.monotonic_s()
        call = Call(identity=None)
        shown: tuple[str, Response] | None = None
        try:
            self._workspace.require_open()
            call = self._call_for(scope, arrival)
            self._workspace.runner.run_http_action(function, exchange, call)
        except ClientGoneError as gone:
            call.log("INFO", str(gone))  # the end of many a stream, and no failure
        except BaseException as error:  # noqa: BLE001  # a handler's SystemExit ends only itself
            # Not kept: its frames hold this one, and a stream's generator that is to end now.
            shown = self._shown(error, exchange, function)
        self._hub.logs.add(
            identifier=function.name,
            kind=function.kind,
            began_s=began_s,
            log_lines=tuple(call.log_lines),
            error=None if shown is None else shown[0],
            status=str(exchange.response.status),
        )
        return None if shown is None else shown[1]

    def _call_for(self, scope: Scope, arrival: Arrival) -> Call:
        """For whom a handler runs: who the Authorization says, or who has arrived."""
        header = Headers(scope=scope).get("authorization")
        caller = arrival.caller
        if header is not None:
            with suppress(LivedbError):  # then it is the handler's own, if anybody's
                caller = self._hub.access.from_header(header, arrival)
        identity = None if caller is None else caller.identity
        return Call(identity=identity, origin=origin_of(arrival, scope))

    def _shown(
        self, error: BaseException, exchange: SiteExchange, function: FunctionDefinition
    ) -> tuple[str, Response]:
        """An error as the log has it, and the response that says so."""
        if isinstance(error, ClosedError) and exchange.response.status is None:
            refused = _RefusedError(error.message, error.code, 503)
            return error.message, _refusal(refused)
        failure = self._hub.convex.failure(error)
        code, _, detail = failure.message.partition("\n")
        answer: dict[str, Any] = {"code": code}
        if detail:
            answer["trace"] = detail
        if failure.data is not UNSET:
            answer["data"] = failure.data
        told = logged(error, failure)
        if exchange.response.status is not None and not exchange.response.is_complete:
            logger.warning("the response of %s was cut off: %s", function.name, told)
        return told, as_json(answer, 500)


class _Held:
    """The bytes of one request's body, while they are here."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._size = 0

    def add(self, size: int) -> None:
        """Raises: as `Site.take`."""
        self._site.take(size)
        self._size += size

    def release(self) -> None:
        self._site.take(-self._size)
        self._size = 0


def _as_seen(scope: Scope, path: str) -> Scope:
    """A request as its handler sees it: as it was sent, from the site's own root."""
    headers = without_vouching(scope["headers"])
    place = {"path": path, "raw_path": path.encode(), "root_path": "", "app_root_path": ""}
    return {**scope, "headers": headers, **place}


def _preflight(table: RouteTable, scope: Scope) -> Response | None:
    """The answer to a browser that asks for a page; None when it is the handler's to give."""
    headers = Headers(scope=scope)
    origin, method = headers.get("origin"), headers.get("access-control-request-method")
    if scope["method"] != "OPTIONS" or origin is None or method is None:
        return None
    cors = table.preflight(scope["path"], method, origin)
    if cors is None:
        return None
    asked = headers.get("access-control-request-headers")
    return Response(status_code=204, headers=cors.preflight_headers(origin, method, asked))


def _with_cors(send: Send, cors: Cors, origin: str | None) -> Send:
    """Whatever is answered, an error or a refusal too, is what a page that is meant may read."""

    async def send_with_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in cors.answer_headers(origin).items():
                if name == "Vary":
                    headers.add_vary_header(value)
                else:
                    headers[name] = value
        await send(message)

    return send_with_cors


def _arrived(scope: Scope) -> Arrival:
    """Who it is for, by who passed it on; nobody, for all others: the site is open."""
    vouched = vouched_for(scope) if came_by_it(scope) else None
    return vouched or Arrival(caller=None, ip=ip_of(scope))


async def _read(scope: Scope, held: _Held, receive: Receive) -> bytes | None:
    """The body; None when the client goes before it is here."""
    declared = Headers(scope=scope).get("content-length", "0")
    if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
        raise _too_long()
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S_MAX):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                size += len(part)
                if size > BODY_BYTES_MAX:
                    raise _too_long()
                held.add(len(part))
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        late = f"The body did not arrive within {BODY_S_MAX:.0f} s"
        raise _RefusedError(late, "RequestTimeout", 408) from None


async def _watch(exchange: SiteExchange, receive: Receive) -> None:
    """Tell a handler when its client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    exchange.end()


def _too_long() -> _RefusedError:
    return _RefusedError(f"A body may have at most {BODY_BYTES_MAX:,} bytes", "TooLarge", 413)


def _too_many(why: str) -> _RefusedError:
    return _RefusedError(f"{why}; try again in a moment", "TooManyConcurrentRequests", 503)


def _refusal(refused: _RefusedError) -> Response:
    status = refused.answer_status
    response = as_json({"code": refused.code, "message": refused.message}, status)
    if status == 408:
        response.headers["connection"] = "close"
    elif status == 503:
        response.headers["retry-after"] = "1"
    return response
