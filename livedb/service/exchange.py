"""One request of a site on its way: handed to a handler on its thread, and its response sent.

The connection belongs to the service's loop, and the handler has a thread with a loop of its own,
so that one that blocks holds up nobody. Each part of a response crosses over, and the next one
waits until the connection has taken it: what is buffered for a slow reader is one part.

What a handler sends is checked here, since a header with a line's end in it would be two, and a
length that is wrong would be read as the next response.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Scope, Send

from livedb.errors import FunctionTypeError, InvalidValueError, LimitError
from livedb.service.http_messages import AsyncHttpRequest, HttpRequest

RESPONSE_BYTES_MAX = 20 << 20
"""Bytes of a response's body (Convex); one that is longer is refused, or cut off while it runs."""

SEND_S_MAX = 60.0
"""Seconds a client may take for one part of a response; then its connection is ended."""

_OF_THE_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
"""Headers that are the server's to write; a handler that passes a response on has them too."""

_BODILESS = frozenset({204, 304})

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class ClientGoneError(OSError):
    """Nobody is there to read the response. An OSError is what Starlette expects of a server."""


class ResponseCheck:
    """What may go out of a response, message by message; no I/O.

    Args:
        method: of the request: HEAD has no body.
    """

    def __init__(self, method: str) -> None:
        self._has_body = method != "HEAD"
        self._declared: int | None = None
        self._sent = 0
        self.status: int | None = None
        """Once the response has begun."""
        self.is_complete = False

    def checked(self, message: Message) -> Message:
        """The message as it may be sent.

        Raises:
            InvalidValueError: a status or header that HTTP does not have, a wrong length.
            LimitError: the body is longer than `RESPONSE_BYTES_MAX`.
        """
        if message["type"] == "http.response.start":
            return self._start(message)
        if message["type"] == "http.response.body":
            return self._body(message)
        raise FunctionTypeError(f"A response cannot send {message['type']!r} here")

    def _start(self, message: Message) -> Message:
        status = message["status"]
        if type(status) is not int or not 200 <= status <= 599:
            raise InvalidValueError(f"A response has a status from 200 to 599, not {status!r}")
        headers = [
            (name, value)
            for name, value in message.get("headers", ())
            if name.lower() not in _OF_THE_CONNECTION
        ]
        for name, value in headers:
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise InvalidValueError(
                    f"{name[:40]!r}: {value[:80]!r} is no header of a response: a name has "
                    "letters, digits and '-', a value no control characters"
                )
        if status in _BODILESS:
            self._has_body = False
            headers = [each for each in headers if each[0].lower() != b"content-length"]
        self._declared = _declared_length(headers) if self._has_body else None
        self.status = status
        return {**message, "headers": headers}

    def _body(self, message: Message) -> Message:
        is_last = not message.get("more_body", False)
        if not self._has_body:
            self.is_complete = is_last
            return {**message, "body": b""}
        self._sent += len(message.get("body", b""))
        refuse_too_long(self._sent)
        if self._declared is not None:
            is_wrong = self._sent != self._declared if is_last else self._sent > self._declared
            if is_wrong:
                raise InvalidValueError(
                    f"The response says Content-Length: {self._declared} and has "
                    f"{self._sent:,}{'' if is_last else ' or more'} bytes. Leave that header out"
                )
        self.is_complete = is_last
        return message


def _declared_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    found = {value for name, value in headers if name.lower() == b"content-length"}
    if not found:
        return None
    if len(found) > 1 or not min(found).isdigit():
        raise InvalidValueError(f"A response has one Content-Length, not {sorted(found)!r}")
    return int(found.pop())


def refuse_too_long(size: int) -> None:
    """Refuse a response whose body has `size` bytes.

    Raises:
        LimitError: it is too long.
    """
    if size > RESPONSE_BYTES_MAX:
        raise LimitError(
            f"A response may have at most {RESPONSE_BYTES_MAX:,} bytes, and this one has {size:,} "
            "or more. Give it in several pages",
            code="ResponseTooLarge",
        )


class SiteExchange:
    """One request: an `Exchange` of `functions.actions`. Made and ended on the service's loop.

    Args:
        scope: the request, as the handler is to see it.
        body: of the request.
        send: of the connection.
    """

    def __init__(self, scope: Scope, body: bytes, send: Send) -> None:
        self._scope = scope
        self._body = body
        self._send = send
        self._loop = asyncio.get_running_loop()
        self.response = ResponseCheck(scope["method"])
        """How far the response is: of the handler's thread while it runs, of the loop's after."""
        self.is_stalled = False
        """The client has stopped reading."""
        self._is_whole = False
        self._gathered: list[Message] = []
        """What waits to be sent; of the handler's thread alone, like `_is_whole`."""
        self._lock = threading.Lock()
        """Guards the four below; taken alone."""
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None] | None = None
        self._is_body_given = False
        self._is_gone = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    # -- on the handler's thread ---------------------------------------------------------------

    @property
    def request(self) -> HttpRequest:
        """For a plain `def`."""
        return HttpRequest(self._scope, self._body)

    @property
    def async_request(self) -> AsyncHttpRequest:
        """For an `async def`, on its loop."""
        self._set_task()
        return AsyncHttpRequest(self._scope, self._body, self._receive)

    async def respond(self, response: Any) -> None:
        """Send a response, what runs behind it included.

        Raises:
            FunctionTypeError: it is none.
            ClientGoneError: nobody reads it any more.
        """
        if not isinstance(response, Response):
            if inspect.iscoroutine(response):
                response.close()
            raise FunctionTypeError(
                f"An HTTP action returns a response, such as starlette.responses.Response or "
                f"livedb.json_response(..), not {type(response).__name__}"
            )
        self._set_task()
        body = getattr(response, "body", None)
        if body is not None:
            refuse_too_long(len(body))
            # Whoever passes a response on has the length that it had when it was compressed.
            response.headers["content-length"] = str(len(body))
            self._is_whole = True
        await response(self._scope, self._receive, self._pass_on)
        if not self.response.is_complete and not self._is_gone:
            raise FunctionTypeError(f"{type(response).__name__} did not send a response to its end")

    def _set_task(self) -> None:
        """The task that runs here is the one to cancel."""
        with self._lock:
            self._task = (asyncio.get_running_loop(), asyncio.current_task())

    async def _receive(self) -> Message:
        """The body, and then the news that the client has gone, once it has."""
        gone = asyncio.Event()
        with self._lock:
            if not self._is_body_given:
                self._is_body_given = True
                return {"type": "http.request", "body": self._body, "more_body": False}
            if self._is_gone:
                return {"type": "http.disconnect"}
            self._waiting.append((asyncio.get_running_loop(), gone))
        await gone.wait()
        return {"type": "http.disconnect"}

    async def _pass_on(self, message: Message) -> None:
        """Send one message; it is with the connection when this returns.

        The head of a response that is there as a whole crosses over with its body.
        """
        checked = self.response.checked(message)
        if self._is_gone:
            raise ClientGoneError("the client has gone")
        self._gathered.append(checked)
        if self._is_whole and checked["type"] == "http.response.start":
            return
        sending = self._sending(self._gathered)
        self._gathered = []
        try:
            future = asyncio.run_coroutine_threadsafe(sending, self._loop)
        except RuntimeError:  # the loop has ended, and the service with it
            sending.close()
            raise ClientGoneError("the service has ended") from None
        try:
            async with asyncio.timeout(SEND_S_MAX):
                await asyncio.wrap_future(future)
        except TimeoutError:
            self.is_stalled = True
            raise ClientGoneError(f"the client took nothing for {SEND_S_MAX:.0f} s") from None

    # -- on the service's loop -----------------------------------------------------------------

    async def _sending(self, messages: list[Message]) -> None:
        for each in messages:
            await self._send(each)

    def end(self) -> None:
        """Tell the handler that nobody is there any more; twice is harmless."""
        with self._lock:
            self._is_gone = True
            waiting, self._waiting = self._waiting, []
        for loop, gone in waiting:
            with suppress(RuntimeError):  # the handler is done
                loop.call_soon_threadsafe(gone.set)

    def cancel(self) -> None:
        """End a handler where it awaits something."""
        with self._lock:
            found = self._task
        if found is not None and found[1] is not None:
            with suppress(RuntimeError):  # it is done
                found[0].call_soon_threadsafe(found[1].cancel)
