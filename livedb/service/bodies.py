"""Large bodies of requests, read from their sockets into pieces.

Through the parser of HTTP and the messages of ASGI each byte would be copied five times, and
reading be stopped and begun again for every 64 KiB. Here the socket fills memory that is used
again, and the HTTP of the connection goes on behind the last byte.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from starlette.requests import ClientDisconnect

from livedb.files.pieces import PIECE_BYTES, memories

TAKE_BODY = "livedb.take_body"
"""The ASGI extension by which the app reads a body itself, instead of by `receive`."""

TAKEN_BYTES_MIN = 4 * PIECE_BYTES
"""Bytes of a body that are worth it."""


class Connection(Protocol):
    """The HTTP of a connection, as a body's reader needs it."""

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def body_taken(self) -> None:
        """The body has been read: what comes now is the next request."""


class Body(asyncio.BufferedProtocol):
    """The rest of a body, in place of its connection's HTTP until it has been read.

    Args:
        begun: what has come of it before.
        left: bytes that are still to come, at least one.
    """

    def __init__(
        self, http: Connection, transport: asyncio.Transport, begun: bytes, left: int
    ) -> None:
        self._http = http
        self._transport = transport
        self._left = left
        self._free = deque(memories(3))
        self._filling: memoryview | None = self._free.popleft()
        self._filling[: len(begun)] = begun
        self._filled = len(begun)
        self._ready: deque[memoryview] = deque()
        self._taken: deque[memoryview] = deque()
        self._changed = asyncio.Event()
        self._come = 0
        """How often something came."""
        self._is_lost = False
        self._is_unwanted = False

    async def next(self, silent_s: float) -> memoryview:
        """The next piece, good until the one after the next is asked for; empty behind the last.

        Raises:
            TimeoutError: nothing came for so many seconds.
            ClientDisconnect: the connection has ended before.
        """
        if len(self._taken) == 2:
            self._give_back(self._taken.popleft())
        while not self._ready:
            if self._filling is None and not self._left:
                return memoryview(b"")
            if self._is_lost:
                raise ClientDisconnect
            await self._change(silent_s)
        piece = self._ready.popleft()
        self._taken.append(piece)
        return piece

    def drop(self) -> None:
        """Pass over what is left of it, so that the connection has room for an answer."""
        self._is_unwanted = True
        if self._filling is None and self._left:
            self._give_back(self._ready.popleft())  # what is full made reading stop
        self._ready.clear()

    async def _change(self, silent_s: float) -> None:
        come = self._come
        self._changed.clear()
        try:
            async with asyncio.timeout(silent_s):
                await self._changed.wait()
        except TimeoutError:
            if self._come == come:
                raise

    def _give_back(self, memory: memoryview) -> None:
        if self._filling is not None or not self._left:
            self._free.append(memory)
            return
        self._filling = memory
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # What the transport calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        assert self._filling is not None, "reading is paused"
        return self._filling[self._filled : self._filled + self._left]

    def buffer_updated(self, nbytes: int) -> None:
        assert self._filling is not None
        self._come += 1
        self._filled += nbytes
        self._left -= nbytes
        if self._left and self._filled < PIECE_BYTES:
            return
        if not self._is_unwanted:
            self._ready.append(self._filling[: self._filled])
            self._filling = self._free.popleft() if self._left and self._free else None
        self._filled = 0
        self._changed.set()
        if not self._left:
            self._filling = None
            self._transport.set_protocol(self._http)  # type: ignore[arg-type]  # it is one
            self._http.body_taken()
        elif self._filling is None:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._changed.set()
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()


TakeBody = Callable[[], Body | None]
"""Takes a request's body; None for one that `receive` gives: small, or of no known size."""
