"""What an HTTP action is given, and what it gives: requests and responses of Starlette's.

A request's body has arrived when its handler begins, so reading it waits for nobody.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from livedb.functions.definition import canonical_result
from livedb.protocol.convex_json import Json, to_lossy_json
from livedb.protocol.messages import encode_json
from livedb.values import Value

CHUNK_BYTES = 64 << 10
"""Bytes of a body that a request hands out at once when it is read as a stream."""


class HttpRequest(HTTPConnection):
    """The request of an HTTP action that is a plain `def`.

    It has what Starlette's has: `method`, `url`, `headers`, `query_params`, `cookies`, `client`.
    `url.path` is percent-encoded, as it was matched.
    """

    def __init__(self, scope: Scope, body: bytes) -> None:
        super().__init__(scope)
        self._body = body

    @property
    def method(self) -> str:
        """The method; HEAD where what answers GET is asked for the headers alone."""
        method: str = self.scope["method"]
        return method

    def body(self) -> bytes:
        """The whole body."""
        return self._body

    def text(self) -> str:
        """The body as text, in the charset that the request names, or UTF-8."""
        return _text(self._body, self.headers)

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self._body)

    def stream(self) -> Iterator[bytes]:
        """The body in pieces."""
        for start in range(0, len(self._body), CHUNK_BYTES):
            yield self._body[start : start + CHUNK_BYTES]


class AsyncHttpRequest(Request):
    """The request of an HTTP action that is `async def`: Starlette's, with `await text()`.

    `url.path` is percent-encoded, as it was matched.
    """

    def __init__(self, scope: Scope, body: bytes, receive: Receive) -> None:
        super().__init__(scope, receive)
        self._given = body

    async def body(self) -> bytes:
        """The whole body."""
        return self._given

    async def text(self) -> str:
        """The body as text, in the charset that the request names, or UTF-8."""
        return _text(self._given, self.headers)

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self._given)

    async def stream(self) -> AsyncIterator[bytes]:  # type: ignore[override]  # as it is used
        """The body in pieces."""
        for start in range(0, len(self._given), CHUNK_BYTES):
            yield self._given[start : start + CHUNK_BYTES]


def _text(body: bytes, headers: Headers) -> str:
    _, _, charset = headers.get("content-type", "").lower().partition("charset=")
    try:
        return body.decode(charset.partition(";")[0].strip(" \"'") or "utf-8", "replace")
    except LookupError:  # no such charset
        return body.decode("utf-8", "replace")


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A response of JSON: any livedb value, documents included.

    A datetime is written as its milliseconds, bytes as base64, an Int64 as text.
    """
    content = bytes(encode_json(_plain_json(canonical_result(value))))
    return Response(content, status, headers, media_type="application/json")


def _plain_json(value: Value) -> Json:
    """The lossy form of the HTTP API, but with ints as ints: who asks here is no Convex client."""
    if isinstance(value, dict):
        return {name: _plain_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain_json(item) for item in value]
    return value if type(value) is int else to_lossy_json(value)
