"""A relay on loopback that cuts connections after so many bytes, in either direction."""

from __future__ import annotations

import asyncio
import random
import threading


class Relay:
    """Forwards to a port; cuts each connection after a random number of bytes, `cuts` times."""

    def __init__(self, port, *, cuts, seed, bytes_max=4000):
        self._target = port
        self.cuts_left = cuts
        self._random = random.Random(seed)
        self._bytes_max = bytes_max
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self):
        asyncio.run(self._serve())

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._started.set()
        await self._stop.wait()
        server.close()

    async def _accept(self, reader, writer):
        try:
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        # Half of them are cut on the way in, half on the way out.
        left = [None, None]
        if self.cuts_left:
            left[self._random.randrange(2)] = self._random.randrange(300, self._bytes_max)
        transports = (writer.transport, onward_writer.transport)
        await asyncio.gather(
            self._pump(reader, onward_writer, left[0], transports),
            self._pump(onward_reader, writer, left[1], transports),
        )

    async def _pump(self, reader, writer, left, transports):
        try:
            while data := await reader.read(1 << 16):
                if left is not None and len(data) >= left:
                    writer.write(data[:left])
                    self.cuts_left = max(0, self.cuts_left - 1)
                    break
                writer.write(data)
                await writer.drain()
                left = None if left is None else left - len(data)
        except OSError:
            pass
        finally:
            await asyncio.sleep(0)
            for transport in transports:
                transport.abort()
