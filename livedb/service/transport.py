"""uvicorn's protocols, with long messages in fragments and an end to peers who stall.

A message is one WebSocket message however long, in frames that every client takes (the PyPI one
refuses frames above 16 MiB). Between two frames the writer waits until the socket takes more, so
what is buffered for a slow reader stays at about one frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.http11 import Request

from livedb.files.pieces import PIECE_BYTES
from livedb.service.bodies import TAKE_BODY, TAKEN_BYTES_MIN, Body
from livedb.service.plain_frames import FrameReader, frame_of

FRAGMENT_BYTES_MAX = 4 << 20
"""Bytes of one frame; a longer message is sent in several."""

GATHERED_BYTES_MAX = 64 << 10
"""Bytes of short messages that go to the socket in one write."""

ABORT = "livedb.abort"
"""The ASGI extension by which the app ends a connection whose peer does not read."""

RECEIVE = "livedb.receive"
"""The ASGI extension by which the app is handed messages as they come, not through a queue."""

SEND_ALL = "livedb.send_all"
"""The ASGI extension by which the app sends what has gathered, in one write where it is short."""

SEND_NOW = "livedb.send_now"
"""The ASGI extension by which it does so at once, where it is short and the socket takes it."""

HEAD_S_MAX = 10.0
"""Seconds a connection may take to say what it wants; then it is ended."""

HEAD_BYTES_MAX = 64 << 10
"""Bytes of a request's first line and headers, about."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n"


class PromptHttpProtocol(HttpToolsProtocol):
    """One HTTP connection, whose first request comes within HEAD_S_MAX; no head is over-long."""

    _head_bytes: int | None = 0
    """What has come of the head of a request; None behind it."""

    _body_left: int | None = None
    """What is still to come of a body; None where its head does not say."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_S_MAX, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        # The parser keeps all of a name or a value until it ends: it has no limit of its own.
        if self._head_bytes is not None and self._head_bytes > HEAD_BYTES_MAX:
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        self._head_timer.cancel()
        super().on_headers_complete()
        self._body_left = _declared_bytes(self.headers)
        if self.cycle is not None:
            extensions = self.cycle.scope.setdefault("extensions", {})
            extensions[ABORT] = {"abort": self.transport.abort}
            extensions[TAKE_BODY] = {"take": partial(self._take_body, self.cycle)}

    def on_body(self, body: bytes) -> None:
        if self._body_left is not None:
            self._body_left -= len(body)
        super().on_body(body)

    def _take_body(self, cycle: RequestResponseCycle) -> Body | None:
        left = self._body_left
        if self.cycle is not cycle or cycle.disconnected or self.transport.is_closing():
            return None
        # Other loops, and TLS, have what they read in memory already.
        if not isinstance(self.loop, asyncio.SelectorEventLoop) or self.scheme != "http":
            return None
        if left is None or left < TAKEN_BYTES_MIN or len(cycle.body) >= PIECE_BYTES:
            return None
        if cycle.waiting_for_100_continue:
            self.transport.write(_CONTINUE)
            cycle.waiting_for_100_continue = False
        self.flow.resume_reading()
        body = Body(self, self.transport, bytes(cycle.body), left)
        cycle.body = bytearray()
        self.transport.set_protocol(body)
        return body

    def body_taken(self) -> None:
        """Go on behind a body that was read past the parser, which can skip none."""
        self.on_message_complete()
        self.parser = HttpRequestParser(self)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)


def _declared_bytes(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    """How long a body is, by its head; the parser has refused one that says it in two ways."""
    named = dict(headers)
    size = named.get(b"content-length", b"")
    return int(size) if size.isdigit() and b"transfer-encoding" not in named else None


class FragmentingProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection."""

    _take: Callable[[str | bytes], None] | None = None
    _reader: FrameReader | None = None
    """From the handshake on, which comes whole and by itself."""

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            self._reader = FrameReader(self._take_plain, self._pass_on)
            super().data_received(data)
        else:
            self._reader.feed(data)

    def _pass_on(self, data: bytes) -> bool:
        super().data_received(data)
        return not self.transport.is_closing()

    def _take_plain(self, message: str | bytes) -> bool:
        if self._take is None or self.close_sent:
            return False
        self._take(message)
        return True

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        scope = getattr(self, "scope", None)
        if scope is not None:
            scope["extensions"][ABORT] = {"abort": self.abort}
            scope["extensions"][RECEIVE] = {"hand_to": self.hand_to}
            scope["extensions"][SEND_ALL] = {"send_all": self.send_all}
            scope["extensions"][SEND_NOW] = {"send_now": self.send_now}

    def hand_to(self, take: Callable[[str | bytes], None]) -> None:
        """Call `take` with each message from here on. It may not wait, so nothing is held back.

        Through the queue each message stops reading from the socket and starts it again, and wakes
        the app's task.
        """
        self._take = take

    def send_receive_event_to_app(self) -> None:
        if self._take is None or self.close_sent:
            super().send_receive_event_to_app()
            return
        data = b"".join(self.frames)
        is_text = self.curr_msg_data_type == "text"
        try:
            message = data.decode() if is_text else data
        except UnicodeDecodeError:
            super().send_receive_event_to_app()  # which closes the connection
            return
        self.frames = []
        self._take(message)

    def abort(self) -> None:
        """End the connection at once; what is buffered is lost."""
        self.transport.abort()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.abort()  # who answers no ping does not read either: closing politely takes for ever

    def send_now(self, messages: Sequence[str | bytes]) -> bool:
        """Send short messages in one write, unless something has to be waited for.

        Not while `send_all` or `send` is at it.
        """
        if self.close_sent or self.transport.is_closing() or not self.writable.is_set():
            return False
        frames = [frame_of(message) for message in messages]
        if sum(map(len, frames)) > GATHERED_BYTES_MAX:
            return False
        self.transport.write(b"".join(frames))
        return True

    async def send_all(self, messages: Sequence[str | bytes]) -> None:
        """Send messages, each a WebSocket message of its own.

        Each write is a system call, which lets go of the interpreter and has to wait for it again.
        """
        gathered = GATHERED_BYTES_MAX
        for message in messages:
            if gathered >= GATHERED_BYTES_MAX:
                self._flush()
                await self.writable.wait()
                gathered = 0
            if len(message) > GATHERED_BYTES_MAX:
                kind = "text" if isinstance(message, str) else "bytes"
                self._flush()
                await self.send({"type": "websocket.send", kind: message})
                continue
            gathered += len(message)
            self._require_open()
            try:
                if isinstance(message, str):
                    self.conn.send_text(message.encode())
                else:
                    self.conn.send_binary(message)
            except InvalidState:
                raise ClientDisconnected from None
        self._flush()

    def _flush(self) -> None:
        data = b"".join(self.conn.data_to_send())
        if data:
            self.transport.write(data)

    def _require_open(self) -> None:
        if self.disconnected or self.close_sent:
            raise ClientDisconnected

    async def send(self, message: Any) -> None:
        text = message.get("text") if message["type"] == "websocket.send" else None
        if text is None or len(text) <= FRAGMENT_BYTES_MAX // 4:  # at most 4 bytes a character
            await super().send(message)
            return
        data = text.encode()
        for start in range(0, len(data), FRAGMENT_BYTES_MAX):
            part = data[start : start + FRAGMENT_BYTES_MAX]
            is_last = start + FRAGMENT_BYTES_MAX >= len(data)
            await self._send_fragment(part, is_first=start == 0, is_last=is_last)

    async def _send_fragment(self, data: bytes, *, is_first: bool, is_last: bool) -> None:
        await self.writable.wait()
        self._require_open()
        try:
            send = self.conn.send_text if is_first else self.conn.send_continuation
            send(data, fin=is_last)
        except InvalidState:
            raise ClientDisconnected from None
        self._flush()
