"""A proxy on loopback that cuts connections at the four moments that matter to a mutation.

before send   what the client sent never reaches the service
after send    it arrives; the client hears nothing more
after commit  the service answers, and the answer is lost
after ack     the answer arrives, and nothing after it
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from random import Random
from typing import Self

MOMENTS = ("before send", "after send", "after commit", "after ack")


class CuttingProxy:
    """Forwards to a port; cuts each connection at a random moment, while `cuts_left`."""

    def __init__(self, target: int, *, cuts: int, seed: int, pieces_max: int = 20) -> None:
        self._target = target
        self.cuts_left = cuts
        self.cuts: Counter[str] = Counter()
        self._random = Random(seed)
        self._pieces_max = pieces_max
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cutting-proxy", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_ready.set()
        await self._stop.wait()
        server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        line = _Line(self, (writer.transport, onward.transport))
        try:
            await asyncio.gather(line.pump_up(reader, onward), line.pump_down(there, writer))
        except OSError:
            pass
        finally:
            line.abort()

    def plan(self) -> tuple[str, int] | None:
        """When a new connection is to be cut: a moment, after so many pieces from the client."""
        if self.cuts_left <= 0:
            return None
        return self._random.choice(MOMENTS), self._random.randrange(2, self._pieces_max)

    def count(self, moment: str) -> bool:
        """Whether a cut may be made now, which then counts."""
        if self.cuts_left <= 0:
            return False
        self.cuts_left -= 1
        self.cuts[moment] += 1
        return True


class _Line:
    """One connection through the proxy."""

    def __init__(self, proxy: CuttingProxy, transports: tuple[asyncio.WriteTransport, ...]) -> None:
        self._proxy = proxy
        self._transports = transports
        self._plan = proxy.plan()
        self._pieces = 0

    def _is_due(self, *moments: str) -> bool:
        if self._plan is None or self._plan[0] not in moments or self._pieces < self._plan[1]:
            return False
        return self._proxy.count(self._plan[0])

    async def pump_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self._pieces += 1
            if self._is_due("before send"):
                break
            writer.write(data)
            await writer.drain()
            if self._is_due("after send"):
                # It is to arrive: an abort would throw away what is not written yet.
                await asyncio.sleep(0.001)
                break
        self.abort()

    async def pump_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if self._is_due("after commit"):
                break
            writer.write(data)
            await writer.drain()
            if self._is_due("after ack"):
                await asyncio.sleep(0.001)
                break
        self.abort()

    def abort(self) -> None:
        for transport in self._transports:
            transport.abort()
