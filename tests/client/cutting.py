"""A TCP proxy that counts and cuts: the network between a client and a service, at its worst."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal, Self

Direction = Literal["up", "down"]
"""To the service, or from it."""


class Proxy:
    """Passes bytes on to `port`. `close()` it; it is a context manager.

    Attributes:
        bytes: how many were passed on, for each direction.
        is_down: connections are refused while this is set.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.bytes = {"up": 0, "down": 0}
        self.is_down = False
        self._rule = None
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_next(self, direction: Direction, *, delivers: bool) -> threading.Event:
        """Cut at the next bytes in a direction, which still arrive or do not; says when it has."""
        done = threading.Event()
        self._rule = (direction, delivers, done)
        return done

    def cut(self) -> None:
        """Cut every connection now."""
        for pair in list(self._pairs):
            _end(pair)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                if self.is_down:
                    raise ConnectionRefusedError
                service = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            for each in (client, service):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, service)
            self._pairs.add(pair)
            for source, target, direction in ((client, service, "up"), (service, client, "down")):
                pump = threading.Thread(
                    target=self._pump, args=(source, target, direction, pair), daemon=True
                )
                pump.start()

    def _pump(self, source, target, direction, pair) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                rule = self._rule
                is_due = rule is not None and rule[0] == direction
                if not is_due or rule[1]:
                    target.sendall(data)
                    self.bytes[direction] += len(data)
                if is_due:
                    self._rule = None
                    _end(pair)
                    rule[2].set()
        self._pairs.discard(pair)
        _end(pair)


def _end(pair: tuple[socket.socket, socket.socket]) -> None:
    for each in pair:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
