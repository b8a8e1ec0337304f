"""The newest calls of a service, for whoever watches: what ran, how long, what it printed.

Source: spec sync-protocol.md 14, `npx convex logs`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from livedb.clock import Clock
from livedb.functions.definition import wire_kind

ENTRIES_MAX = 1000
"""Calls that are remembered; older ones are forgotten."""

POLL_S_MAX = 30.0
"""Seconds a watcher is kept waiting for a call to be told of."""


class FunctionLogs:
    """Remembers calls; watchers come with the cursor they were given last."""

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = clock
        self._loop = loop
        self._lock = threading.Lock()
        """Guards `_entries` and `_newest`. (`_watchers` counts on the loop alone.)"""
        self._entries: deque[tuple[int, dict[str, Any]]] = deque(maxlen=ENTRIES_MAX)
        self._newest = clock.now_ns() // 1_000_000
        self._changed = asyncio.Event()
        self._is_closed = False
        self._watchers = 0

    def add(
        self,
        *,
        identifier: str,
        kind: str,
        began_s: float,
        log_lines: Sequence[str],
        error: str | None,
        status: str = "success",
    ) -> None:
        """Remember a call that has ended; from any thread.

        Args:
            status: of one without an error; an HTTP action's is the one of its response.
            began_s: on the monotonic clock.
        """
        now_ns = self._clock.now_ns()
        entry = {
            "kind": "Completion",
            "identifier": identifier,
            "udfType": wire_kind(kind),
            "timestamp": now_ns / 1e9,
            "executionTime": self._clock.monotonic_s() - began_s,
            "logLines": list(log_lines),
            "error": error,
            "success": None if error is not None else {"status": status},
        }
        with self._lock:
            # A cursor is a time, so that one of before a restart is still before what follows.
            self._newest = max(self._newest + 1, now_ns // 1_000_000)
            self._entries.append((self._newest, entry))
            is_waited_for = self._watchers > 0
        if is_waited_for:  # to wake the loop costs more than all else here
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Let every watcher go; on the loop's thread."""
        self._is_closed = True
        self._tell()

    def since(self, cursor: float) -> tuple[list[dict[str, Any]], float]:
        """What came after `cursor`, and the cursor to ask with next."""
        with self._lock:
            found = [entry for at, entry in self._entries if at > cursor]
            return found, max(self._newest, cursor)

    async def wait_since(self, cursor: float) -> tuple[list[dict[str, Any]], float]:
        """The same, once there is something, or after a while without."""
        changed = self._changed
        self._watchers += 1
        try:
            found, newest = self.since(cursor)
            if not found and cursor and not self._is_closed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), POLL_S_MAX)
                found, newest = self.since(cursor)
        finally:
            self._watchers -= 1
        return found, newest
