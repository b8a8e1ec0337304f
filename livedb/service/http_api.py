"""Convex's HTTP API: functions of a workspace by POST, and the newest timestamps.

A function that fails is a result like any other, of status 200; what is wrong with the request
itself is a status of its own and `{"code", "message"}`.

Source: spec sync-protocol.md 12.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from livedb.auth.access import Caller
from livedb.errors import (
    AuthenticationError,
    ClosedError,
    InvalidValueError,
    LivedbError,
    SnapshotTooOldError,
)
from livedb.functions.call import Call
from livedb.functions.definition import FunctionKind
from livedb.protocol.effects import Failure, Success
from livedb.protocol.messages import NO_ARGS
from livedb.protocol.timestamps import decode_ts, encode_ts
from livedb.service.hub import Hub
from livedb.service.outcomes import Dialect
from livedb.service.vouching import origin_of

logger = logging.getLogger("livedb.service")

T = TypeVar("T")

BODY_BYTES_MAX = 16 << 20
"""Bytes of a request's body (Convex); more is 413."""

BATCH_QUERIES_MAX = 1000
"""Queries of one batch."""


class RequestError(LivedbError):
    """What is wrong with a request itself; never with what its function did."""

    code = "BadRequest"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.answer_status = status
        self.answer_headers = headers


class _Body(Struct, rename="camel"):
    """A call of one function."""

    path: str = ""
    args: Raw = NO_ARGS
    format: str | None = None
    component_path: str | None = None
    ts: str | None = None


class _Batch(Struct):
    queries: list[_Body]


class _Answer(Struct, rename="camel", omit_defaults=True):
    """A function's result."""

    status: str
    value: Raw | UnsetType = UNSET
    error_message: str | UnsetType = UNSET
    error_data: Raw | UnsetType = UNSET
    log_lines: Sequence[str] = ()


Handler = Callable[[Request, Hub], Awaitable[Response]]


def http_routes(hub: Callable[[], Hub]) -> list[Route]:
    """The routes of the API."""
    return [
        route(hub, "/api/query", _calling("query"), "GET", "POST"),
        route(hub, "/api/mutation", _calling("mutation"), "POST"),
        route(hub, "/api/action", _calling("action"), "POST"),
        route(hub, "/api/function", _calling(None), "POST"),
        route(hub, "/api/run/{path:path}", _run, "POST"),
        route(hub, "/api/query_ts", _query_ts, "POST"),
        route(hub, "/api/query_at_ts", _query_at_ts, "POST"),
        route(hub, "/api/query_batch", _query_batch, "POST"),
        route(hub, "/api/debug_event", _debug_event, "POST"),
        route(hub, "/instance_name", _text("livedb"), "GET"),
        route(hub, "/instance_version", _text("livedb"), "GET"),
        route(hub, "/version", _text("livedb"), "GET"),
        route(hub, "/", _text("This livedb workspace is running."), "GET"),
    ]


def route(hub: Callable[[], Hub], path: str, handler: Handler, *methods: str) -> Route:
    """A route whose handler's errors become answers."""
    return Route(path, _answering(handler, hub), methods=list(methods))


def _answering(handler: Handler, hub: Callable[[], Hub]) -> Callable[[Request], Any]:
    """The endpoint of a handler: what it raises becomes the answer."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request, hub())
        except RequestError as error:
            return _refusal(error, error.answer_status, error.answer_headers)
        except ClosedError as error:
            return _refusal(error, 503)
        except LivedbError as error:
            return _refusal(error, error.status)
        except Exception:  # a connection's loop: log it, answer, and go on
            logger.exception("%s failed", request.url.path)
            return _refusal(
                RequestError("Your request couldn't be completed. Try again later."), 500
            )

    return endpoint


def _refusal(error: LivedbError, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return as_json({"code": error.code, "message": error.message}, status, headers)


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of JSON."""
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


# -- calls -----------------------------------------------------------------------------------------


def _calling(kind: FunctionKind | None) -> Handler:
    async def handle(request: Request, hub: Hub) -> Response:
        body = _from_query(request) if request.method == "GET" else await read_body(request, _Body)
        return await _call(request, hub, body, kind=kind)

    return handle


async def _run(request: Request, hub: Hub) -> Response:
    body = await read_body(request, _Body)
    module, slash, function = request.path_params["path"].rpartition("/")
    body.path = f"{module}:{function}" if slash else function
    body.format = body.format or "json"
    return await _call(request, hub, body, kind=None)


async def _call(request: Request, hub: Hub, body: _Body, *, kind: FunctionKind | None) -> Response:
    caller = await caller_of(request, hub)
    outcome = await hub.run_path(
        _path(body),
        _args(body),
        component=body.component_path,
        kind=kind,
        call=call_for(request, hub, caller),
        caller=caller,
        dialect=_dialect(request, hub, body),
    )
    return as_json(_answer(outcome))


async def caller_of(request: Request, hub: Hub) -> Caller | None:
    """Who sends a request; None may do nothing.

    Raises:
        AuthenticationError: its header proves nothing.
        RequestError: too many headers from its address proved nothing.
    """
    arrival = hub.access.arriving(request.scope)
    header = request.headers.get("authorization")
    if header is None:
        return arrival.caller
    # By the local door nobody has an address, and nobody needs a token.
    address = request.client.host if request.client else ""
    wait_s = math.ceil(hub.access.throttle.wait_s(address))
    if wait_s:
        raise RequestError(
            f"Too many wrong tokens came from {address}; come again in {wait_s} s",
            code="TooManyFailures",
            status=429,
            headers={"retry-after": str(wait_s)},
        )
    try:
        return await hub.in_thread(hub.access.from_header, header, arrival)
    except AuthenticationError as error:
        hub.access.throttle.add_failure(address)
        what = f"{request.method} {request.url.path}"
        hub.access.audit.refused(error.code, who=arrival.address, what=what)
        raise


def call_for(request: Request, hub: Hub, caller: Caller | None) -> Call:
    """A call that somebody makes by a request, under their name."""
    origin = origin_of(hub.access.arriving(request.scope), request.scope)
    if caller is None:
        return Call(origin=origin)
    return Call(identity=caller.identity, author=caller.name, origin=origin)


def _path(body: _Body) -> str:
    if not body.path:
        raise RequestError('The body names no function: {"path": "module:function", ...}')
    return body.path


def _args(body: _Body) -> Raw:
    """The one object of arguments, alone or in an array."""
    if not bytes(body.args).lstrip().startswith(b"["):
        return body.args
    args = msgspec.json.decode(body.args, type=list[Raw])
    if len(args) > 1:
        raise RequestError(f"Arguments are one object, not an array of {len(args)}")
    return args[0] if args else NO_ARGS


def _dialect(request: Request, hub: Hub, body: _Body) -> Dialect:
    name = body.format
    if name is None:
        client = request.headers.get("convex-client", "")
        name = "convex_encoded_json" if client.startswith(("npm-", "python-")) else "json"
    dialects = {"json": hub.lossy, "convex_encoded_json": hub.convex, "convex_json": hub.convex}
    if name not in dialects:
        raise RequestError(f"There is no format {name!r}; there are {', '.join(dialects)}")
    return dialects[name]


def _answer(outcome: Success | Failure) -> _Answer:
    if isinstance(outcome, Success):
        return _Answer("success", value=outcome.value, log_lines=outcome.log_lines)
    return _Answer(
        "error",
        error_message=outcome.message,
        error_data=outcome.data,
        log_lines=outcome.log_lines,
    )


# -- reads at a timestamp --------------------------------------------------------------------------


async def _query_ts(request: Request, hub: Hub) -> Response:
    await caller_of(request, hub)
    return as_json({"ts": encode_ts(hub.newest_ts())})


async def _query_at_ts(request: Request, hub: Hub) -> Response:
    caller = await caller_of(request, hub)
    body = await read_body(request, _Body)
    ts = _ts(body)
    if ts > hub.newest_ts():
        raise RequestError("The timestamp lies in the future", code="TimestampInFuture")
    [answer] = await _queries(request, hub, caller, [body], ts)
    return as_json(answer)


async def _query_batch(request: Request, hub: Hub) -> Response:
    caller = await caller_of(request, hub)
    batch = await read_body(request, _Batch)
    if len(batch.queries) > BATCH_QUERIES_MAX:
        raise RequestError(f"A batch has at most {BATCH_QUERIES_MAX} queries")
    results = await _queries(request, hub, caller, batch.queries, hub.newest_ts())
    return as_json({"results": results})


def _ts(body: _Body) -> int:
    try:
        return decode_ts(body.ts)
    except InvalidValueError as error:
        raise RequestError(error.message) from None


async def _queries(
    request: Request, hub: Hub, caller: Caller | None, bodies: Sequence[_Body], ts: int
) -> list[_Answer]:
    """The results of queries, all on the snapshot at `ts`."""
    try:
        number = hub.workspace.committer.number_at(ts)
        outcomes = [
            await hub.run_path(
                _path(body),
                _args(body),
                component=body.component_path,
                kind="query",
                call=call_for(request, hub, caller),
                caller=caller,
                dialect=_dialect(request, hub, body),
                at=number,
            )
            for body in bodies
        ]
    except SnapshotTooOldError as error:
        raise RequestError(error.message, code="OutOfRetention") from None
    return [_answer(outcome) for outcome in outcomes]


# -- the rest --------------------------------------------------------------------------------------


async def _debug_event(request: Request, _: Hub) -> Response:
    await _bytes_of(request)
    return Response(status_code=200)


def _text(text: str) -> Handler:
    async def handle(_: Request, __: Hub) -> Response:
        return PlainTextResponse(text)

    return handle


def _from_query(request: Request) -> _Body:
    params = request.query_params
    args = params.get("args")
    return _Body(
        path=params.get("path", ""),
        args=NO_ARGS if args is None else Raw(args.encode()),
        format=params.get("format"),
    )


async def read_body(request: Request, kind: type[T]) -> T:
    """The body as JSON of a kind.

    Raises:
        RequestError: it is none, or too long.
    """
    body = await _bytes_of(request)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RequestError(f"The body is not what is wanted here: {error}") from None


async def _bytes_of(request: Request) -> bytes:
    """The body.

    Raises:
        RequestError: it is longer than BODY_BYTES_MAX; the rest is not read.
    """
    parts: list[bytes] = []
    left = BODY_BYTES_MAX
    async for part in request.stream():
        left -= len(part)
        if left < 0:
            raise RequestError(
                f"The body may have at most {BODY_BYTES_MAX:,} bytes", code="TooLarge", status=413
            )
        parts.append(part)
    return b"".join(parts)
