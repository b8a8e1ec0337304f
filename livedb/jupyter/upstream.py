"""One request to a workspace's service by its local door, streamed both ways.

Each request has a connection of its own, which ends with it: were two on one, what a client sends
behind the end of the first could pass for a second, without the header that says whom it is for.
For the same reason h11 counts a body's bytes, and only an upgrade that the service has agreed to
is a stretch of bytes that nobody reads here.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import h11

from livedb.service.local_door import SCHEME, peer_user

CHUNK_BYTES = 64 << 10
"""Bytes that are read at once, and so as many as wait here for a slow reader."""

Headers = Sequence[tuple[str, str]]


class UpstreamError(Exception):
    """The service ended the connection before it had answered."""


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins."""

    status: int
    headers: Sequence[tuple[str, str]]


class Upstream:
    """One connection to a service. `close()` it."""

    def __init__(self, connection: socket.socket) -> None:
        # The bare socket: a stream of asyncio's forgets an answer when it can write no more.
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.CLIENT)
        self._takes_more = True
        self._is_over = False
        self._operations = 0
        """On the socket now; it is closed when there is none, since the loop waits for it."""

    @classmethod
    async def connect(cls, address: str) -> Self:
        """Connect to the local door at an address of the lock file.

        Raises:
            OSError: nobody of this user listens there.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            path = address.removeprefix(SCHEME)
            await asyncio.get_running_loop().sock_connect(connection, path)
            _require_own_user(connection)
            return cls(connection)
        except BaseException:
            connection.close()
            raise

    # -- the request ---------------------------------------------------------------------------

    async def ask(self, method: str, target: str, headers: Headers) -> None:
        """Begin a request; its body follows with `send` and `end`.

        Raises:
            ValueError: it cannot be said in HTTP.
        """
        named = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        try:
            request = h11.Request(method=method, target=target.encode("ascii"), headers=named)
        except h11.LocalProtocolError as error:
            raise ValueError(str(error)) from None
        await self._send(request)

    async def send(self, data: bytes) -> None:
        """A part of the body; waits while the service does not read."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """The request is complete."""
        await self._send(h11.EndOfMessage())

    async def _send(self, event: Any) -> None:
        if not self._takes_more:
            return
        data = self._http.send(event)
        if not data:
            return
        try:
            await self._write(data)
        except OSError:
            self._takes_more = False  # it has answered already, without reading to the end

    # -- the answer ----------------------------------------------------------------------------

    async def head(self) -> Head:
        """How the answer begins.

        Raises:
            UpstreamError: it never does.
        """
        event = await self._next()
        while isinstance(event, h11.InformationalResponse) and event.status_code != 101:
            event = await self._next()
        if not isinstance(event, h11.Response | h11.InformationalResponse):
            raise UpstreamError("the service ended the connection without an answer")
        headers = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
        return Head(event.status_code, headers)

    async def iter_body(self) -> AsyncIterator[bytes]:
        """The answer's body.

        Raises:
            UpstreamError: it breaks off.
        """
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    async def _next(self) -> Any:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._read())
        except (h11.RemoteProtocolError, OSError) as error:
            raise UpstreamError(f"the service ended the connection: {error}") from None
        return event

    # -- what an upgrade leaves ----------------------------------------------------------------

    async def iter_raw(self) -> AsyncIterator[bytes]:
        """Bytes of a connection that was upgraded, until it ends."""
        data, _ = self._http.trailing_data
        with suppress(OSError):
            while data or (data := await self._read()):
                yield data
                data = b""

    async def send_raw(self, data: bytes) -> None:
        """Bytes for a connection that was upgraded; waits while the service does not read.

        Raises:
            OSError: it has ended.
        """
        await self._write(data)

    # -- the socket ----------------------------------------------------------------------------

    async def _read(self) -> bytes:
        with self._using():
            return await self._loop.sock_recv(self._socket, CHUNK_BYTES)

    async def _write(self, data: bytes) -> None:
        with self._using():
            await self._loop.sock_sendall(self._socket, data)

    @contextmanager
    def _using(self) -> Iterator[None]:
        self._operations += 1
        try:
            yield
        finally:
            self._operations -= 1
            if self._is_over and not self._operations:
                self._socket.close()

    def close(self) -> None:
        """End the connection; whoever waits for it learns that it is over. Twice is harmless."""
        self._is_over = True
        if not self._operations:
            self._socket.close()
            return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _require_own_user(connection: socket.socket) -> None:
    if peer_user(connection) not in {None, os.getuid()}:
        raise ConnectionRefusedError("a process of another user listens there")
