"""Calls that other threads hand to the event loop: those that gather cost one wake-up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class LoopCalls:
    """Made on the loop in the order in which they came. `put` from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._is_woken = False

    def put(self, *calls: Callable[[], None]) -> None:
        """Have `calls` made; never, when the loop has ended.

        Cost: a system call when the loop does not know yet that there is something.
        """
        self._calls.extend(calls)
        # Two who see the flag down at once wake it twice, and the second time nothing is left.
        if not self._is_woken:
            self._is_woken = True
            self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop has ended, and the service with it
            self._loop.call_soon_threadsafe(self._make)

    def _make(self) -> None:
        self._is_woken = False  # first: what is put from here on wakes the loop again
        try:
            while self._calls:
                self._calls.popleft()()
        finally:
            if self._calls:  # one raised, which the loop reports; the others are still due
                self._wake()
