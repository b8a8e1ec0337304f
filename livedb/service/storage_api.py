"""Files over HTTP: an upload by a URL that is good for one, and downloads by a secret one.

Neither asks who calls: knowing the URL is the permission. What is stored here may be anybody's, and
pages of this origin are trusted: so a browser shows only what cannot act (pictures, sound, film and
plain text), saves everything else, never guesses a type, and runs nothing of it.

Source: spec features.md 9, sync-protocol.md 13; RFC 9110 for ranges and conditions.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, aclosing
from typing import BinaryIO, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from livedb.errors import FileError, InvalidValueError, LimitError, LivedbError
from livedb.files.contents import STORE_FAILED, Incoming
from livedb.files.pieces import PIECE_BYTES, Gatherer
from livedb.functions.storage import DOWNLOAD_PATH, UPLOAD_PATH, checked_content_type
from livedb.service.bodies import TAKE_BODY, TakeBody
from livedb.service.http_api import RequestError, as_json, route
from livedb.service.hub import Hub

logger = logging.getLogger("livedb.service")

T = TypeVar("T")

SILENT_S_MAX = 60.0
"""Seconds that an upload may send nothing; then it is refused."""

UPLOADS_MAX = 64
"""Uploads at once; a further one is 503."""

FRESH_S = 2_592_000
"""Seconds that a browser may keep a file (Convex): contents never change."""

_SHOWN = re.compile(r"(image/(?!svg)[\w.+-]+|audio/[\w.+-]+|video/[\w.+-]+|text/plain)\s*(;|$)")
"""Media types that a browser may show: none that can hold a script."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_DIGEST = re.compile(r"\s*sha-256=:?([A-Za-z0-9+/=]*):?\s*", re.IGNORECASE)


def storage_routes(hub: Callable[[], Hub]) -> list[Route]:
    """The routes of files."""
    uploads = Uploading()
    return [
        route(hub, UPLOAD_PATH, uploads.answer, "POST"),
        route(hub, f"{DOWNLOAD_PATH}{{name}}", _download, "GET", "HEAD"),
    ]


def _refusal_of(error: FileError) -> LivedbError:
    """What a page is told: where the files of its site lie is nobody's business."""
    if error.code != STORE_FAILED:
        return error
    logger.warning("%s", error.message)
    return RequestError(
        "The files cannot be reached just now; try again in a moment",
        code=error.code,
        status=503,
        headers={"retry-after": "5"},
    )


# -- uploads ---------------------------------------------------------------------------------------


class Uploading:
    """Takes uploads, a bounded number at once."""

    def __init__(self) -> None:
        self._count = 0

    async def answer(self, request: Request, hub: Hub) -> Response:
        """Store the body as a file, and answer its id."""
        if self._count >= UPLOADS_MAX:
            raise RequestError(
                "Too many files are being uploaded; try again in a moment",
                code="TooManyUploads",
                status=503,
                headers={"retry-after": "1"},
            )
        self._count += 1
        try:
            return as_json({"storageId": await _upload(request, hub)})
        except LimitError as error:
            raise RequestError(error.message, code=error.code, status=413) from None
        except FileError as error:
            raise _refusal_of(error) from None
        except ClientDisconnect:
            raise RequestError("The file did not arrive whole", code="Incomplete") from None
        finally:
            self._count -= 1


async def _upload(request: Request, hub: Hub) -> str:
    files = hub.workspace.file_storage
    token = request.query_params.get("token", "")
    sha256 = _announced_digest(request.headers.get("digest"))
    kind = checked_content_type(request.headers.get("content-type"))
    async with _Entered(hub) as enter:
        bytes_max = await enter(files.uploading(token))
        declared = request.headers.get("content-length", "")
        incoming = await enter(files.incoming(bytes_max))
        if declared.isdigit() and int(declared) > incoming.bytes_max:
            raise incoming.too_large()  # before any of it is sent
        await _receive(request, hub, incoming)
        content = await hub.in_file_thread(incoming.finish, sha256)
        return await hub.in_file_thread(files.keep, content, kind, token)


async def _receive(request: Request, hub: Hub, incoming: Incoming) -> None:
    """Write the body, a piece of it while the next one comes."""
    async with aclosing(_pieces_of(request)) as pieces:
        async for piece in pieces:
            await hub.in_file_thread(incoming.write, piece)


async def _pieces_of(request: Request) -> AsyncGenerator[memoryview]:
    """The body in pieces, each good until the one after the next is asked for."""
    extensions: Mapping[str, Mapping[str, TakeBody]] = request.scope.get("extensions", {})
    body = extensions[TAKE_BODY]["take"]() if TAKE_BODY in extensions else None
    if body is None:
        gatherer = Gatherer()
        async for part in _parts(request):
            for piece in gatherer.add(part):
                yield piece
        yield gatherer.rest()
        return
    try:
        while piece := await body.next(SILENT_S_MAX):
            yield piece
    except TimeoutError:
        raise _silent() from None
    finally:
        body.drop()


async def _parts(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes."""
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(SILENT_S_MAX):
                part = await anext(stream, None)
        except TimeoutError:
            raise _silent() from None
        if part is None:
            return
        yield part


def _silent() -> RequestError:
    return RequestError(
        f"Nothing of the file came for {SILENT_S_MAX:.0f} s", code="Timeout", status=408
    )


class _Entered:
    """Contexts that are entered and left on threads, as what they do blocks."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stack = ExitStack()

    async def __aenter__(self) -> _Enter:
        return _Enter(self._hub, self._stack)

    async def __aexit__(self, *raised: object) -> None:
        # Shielded: what was begun is undone although the client has gone.
        await asyncio.shield(self._hub.in_file_thread(self._leave, raised))

    def _leave(self, raised: tuple[object, ...]) -> None:
        self._stack.__exit__(*raised)  # type: ignore[arg-type]  # as it was given


class _Enter:
    def __init__(self, hub: Hub, stack: ExitStack) -> None:
        self._hub = hub
        self._stack = stack

    async def __call__(self, context: AbstractContextManager[T]) -> T:
        entered: T = await self._hub.in_file_thread(self._stack.enter_context, context)
        return entered


def _announced_digest(header: str | None) -> str | None:
    """The SHA-256 that a `Digest` header announces, in hex.

    Raises:
        RequestError: it is none.
    """
    if header is None:
        return None
    for part in header.split(","):
        match = _DIGEST.fullmatch(part)
        if match is None:
            continue
        try:
            digest = base64.b64decode(match[1], validate=True)
        except binascii.Error:
            continue
        if len(digest) == 32:
            return digest.hex()
    raise RequestError(
        "The Digest header announces no SHA-256: it is `sha-256=` and its base64", code="BadDigest"
    )


# -- downloads -------------------------------------------------------------------------------------


async def _download(request: Request, hub: Hub) -> Response:
    files = hub.workspace.file_storage
    name: str = request.path_params["name"]
    found = await hub.in_file_thread(files.find, name)
    if found is None:
        raise RequestError("There is no such file", code="FileNotFound", status=404)
    etag = f'"{found["sha256"]}"'
    headers = _headers(found, etag)
    if _names(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    size = int(found["size"])
    wanted = request.headers.get("range")
    if wanted is not None and request.headers.get("if-range", etag) != etag:
        wanted = None
    span = None if wanted is None or size == 0 else _span(wanted, size)
    start, end = span or (0, size)
    headers["content-length"] = str(end - start)
    if span is not None:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    status = 200 if span is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    try:
        file = await hub.in_file_thread(files.open, name)
    except FileError as error:
        raise _refusal_of(error) from None
    return StreamingResponse(_pieces(hub, file, start, end), status, headers)


def _headers(found: Mapping[str, object], etag: str) -> dict[str, str]:
    kind = str(found.get("contentType") or "application/octet-stream")
    digest = base64.b64encode(bytes.fromhex(str(found["sha256"]))).decode()
    return {
        "content-type": kind,
        "content-disposition": "inline" if _SHOWN.match(kind.lower()) else "attachment",
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "cache-control": f"private, max-age={FRESH_S}",
        "accept-ranges": "bytes",
        "etag": etag,
        "digest": f"sha-256={digest}",
        "access-control-expose-headers": "content-range, digest, etag",
    }


def _names(header: str, etag: str) -> bool:
    """Whether an If-None-Match names the file as it is."""
    given = [part.strip().removeprefix("W/") for part in header.split(",")]
    return etag in given or given == ["*"]


def _span(header: str, size: int) -> tuple[int, int] | None:
    """The one span of bytes that is asked for, its end exclusive; None is the whole file.

    Several ranges, and what is no range of bytes, are answered with the whole (RFC 9110 14.2).

    Raises:
        RequestError: there is none such; status 416.
    """
    match = _RANGE.fullmatch(header.replace(" ", "")) if len(header) < 100 else None
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if first:
        start, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < int(first):
            return None  # no range at all
    else:
        start, end = max(0, size - int(last)), size
    if start >= end:
        raise RequestError(
            f"The file has {size:,} bytes, and none of those asked for",
            code="RangeNotSatisfiable",
            status=416,
            headers={"content-range": f"bytes */{size}"},
        )
    return start, end


async def _pieces(hub: Hub, file: BinaryIO, start: int, end: int) -> AsyncIterator[bytes]:
    """Bytes of a file, which is closed afterwards."""
    try:
        await hub.in_file_thread(file.seek, start)
        left = end - start
        while left > 0:
            piece = await hub.in_file_thread(file.read, min(PIECE_BYTES, left))
            if not piece:
                raise InvalidValueError("The content of a file is shorter than its document says")
            left -= len(piece)
            yield piece
    finally:
        file.close()
