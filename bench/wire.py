"""The clients that load a service: raw sockets, and just enough of WebSocket and the protocol.

They run in the bench's process, the service in one of its own, so what a full client would take of
the machine is not measured as the service's.
"""

from __future__ import annotations

import base64
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

WAIT_S = 30.0
"""How long an answer may take before the benchmark gives up."""

_HEAD = """\
GET /api/1.48.0/sync HTTP/1.1\r
Host: 127.0.0.1:{port}\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Key: {key}\r
Sec-WebSocket-Version: 13\r
\r
"""
_KEY = base64.b64encode(b"sixteen bytes...").decode()
_PING, _PONG = 9, 10


class WireClient:
    """One connection, that says Convex's JSON and gives what comes as text."""

    def __init__(self, port: int, session: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._requests = 0
        self._query_set = 0
        self.socket.sendall(_HEAD.format(port=port, key=_KEY).encode())
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        answer, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        assert b" 101 " in answer.splitlines()[0], answer
        self._buffer = bytearray(rest)
        self.say({"type": "Connect", "sessionId": session, "connectionCount": 0})

    def say(self, message: dict[str, Any]) -> None:
        self._send_frame(1, msgspec.json.encode(message))

    def follow(self, path: str, arguments: Sequence[dict[str, Any]]) -> None:
        """Follow a query once for each arguments, and read what they are."""
        base, self._query_set = self._query_set, self._query_set + 1
        added = [
            {"type": "Add", "queryId": number, "udfPath": path, "args": [each]}
            for number, each in enumerate(arguments)
        ]
        self.say(
            {
                "type": "ModifyQuerySet",
                "baseVersion": base,
                "newVersion": self._query_set,
                "modifications": added,
            }
        )
        self.wait_for(b'"Transition"')

    def mutate(self, path: str, arguments: dict[str, Any]) -> None:
        """Send a mutation; its response comes later."""
        self._requests += 1
        self.say(
            {
                "type": "Mutation",
                "requestId": self._requests,
                "udfPath": path,
                "args": [arguments],
            }
        )

    def wait_for(self, part: bytes) -> bytes:
        """The next message that holds `part`; others before it are passed over."""
        while True:
            for message in self.arrived():
                if part in message:
                    return message
            self._fill()

    def arrived(self) -> Iterator[bytes]:
        """Messages that are here whole."""
        while (frame := self._take_frame()) is not None:
            code, payload = frame
            if code == _PING:
                self._send_frame(_PONG, payload)
            elif code <= 2:
                yield payload

    def receive(self) -> list[bytes]:
        """Read once, and give the messages that are whole."""
        self._fill()
        return list(self.arrived())

    def _fill(self) -> None:
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the service closed the connection")
        self._buffer += data

    def _take_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1], 2
        if size >= 126:
            width, start = (">H", 4) if size == 126 else (">Q", 10)
            if len(buffer) < start:
                return None
            (size,) = struct.unpack_from(width, buffer, 2)
        if len(buffer) < start + size:
            return None
        frame = buffer[0] & 15, bytes(buffer[start : start + size])
        del buffer[: start + size]
        return frame

    def _send_frame(self, code: int, payload: bytes) -> None:
        # A mask of zeros leaves the payload as it is, and is a mask.
        size = len(payload)
        if size < 126:
            head = struct.pack(">BBI", 0x80 | code, 0x80 | size, 0)
        elif size < 1 << 16:
            head = struct.pack(">BBHI", 0x80 | code, 0x80 | 126, size, 0)
        else:
            head = struct.pack(">BBQI", 0x80 | code, 0x80 | 127, size, 0)
        self.socket.sendall(head + payload)

    def close(self) -> None:
        self.socket.close()


class Crowd:
    """Many clients, read by one loop."""

    def __init__(self, port: int, count: int) -> None:
        self.clients = [WireClient(port, f"crowd-{number}") for number in range(count)]
        self._selector = selectors.DefaultSelector()
        for client in self.clients:
            self._selector.register(client.socket, selectors.EVENT_READ, client)

    def leave_unread(self, client: WireClient) -> None:
        """Read nothing more of one client."""
        self._selector.unregister(client.socket)

    def read_again(self, client: WireClient) -> None:
        """Read one client again, and first what has gathered for it."""
        self._selector.register(client.socket, selectors.EVENT_READ, client)
        self.drain()

    def read_until(
        self, is_done: Callable[[], bool], take: Callable[[WireClient, bytes], None]
    ) -> None:
        """Hand every message to `take` until `is_done`."""
        give_up = time.perf_counter() + WAIT_S
        while not is_done():
            for key, _ in self._selector.select(timeout=0.05):
                client: WireClient = key.data
                for message in client.receive():
                    take(client, message)
            if time.perf_counter() > give_up:
                raise TimeoutError("the service does not answer any more")

    def drain(self, quiet_s: float = 0.05) -> None:
        """Read what still comes, until nothing has come for a while."""
        while ready := self._selector.select(timeout=quiet_s):
            for key, _ in ready:
                key.data.receive()

    def close(self) -> None:
        self._selector.close()
        for client in self.clients:
            client.close()
