"""Threads on which functions run for clients: one, and more only while that one is held up.

Sixty threads that each run a function of 50 us wait for the interpreter far longer than the
functions take. So one thread takes the calls in order. Another is woken when a call waits and all
that are at work have been at one and the same call for a while: it sleeps, computes for long, or
waits for the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from threading import Lock, Thread

from livedb.clock import Clock

logger = logging.getLogger("livedb.service")

HELD_UP_S = 0.005
"""Seconds at one call after which a thread does not count as one that will take the next."""


class CallThreads:
    """Runs calls on threads. `put` and `close` on the loop's thread.

    Args:
        name: of the threads.
        threads_max: calls that run at once; more wait.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, *, name: str, threads_max: int
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._name = name
        self._threads_max = threads_max
        self._waiting: deque[Callable[[], None]] = deque()
        self._threads: list[_CallThread] = []
        self._lock = Lock()
        """Guards that a thread goes idle only when nothing waits; taken alone."""
        self._is_start_due = self._is_look_due = self._is_closed = False

    def put(self, call: Callable[[], None]) -> None:
        """Have `call` made; it may block and must not raise. Dropped when it is closed."""
        if self._is_closed:
            return
        self._waiting.append(call)
        if not self._is_start_due:  # what comes in one round of the loop is begun together
            self._is_start_due = True
            self._loop.call_soon(self._start)

    def close(self) -> None:
        """Begin no further call, and let idle threads go."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()
            for thread in self._threads:
                if thread.is_idle:
                    thread.begin(0.0)

    def _start(self) -> None:
        self._is_start_due = False
        self._wake_one_if_needed()

    def _look(self) -> None:
        self._is_look_due = False
        self._wake_one_if_needed()

    def _wake_one_if_needed(self) -> None:
        with self._lock:
            if self._is_closed or not self._waiting:
                return
            is_one_woken = self._are_all_held_up() and self._wake_one()
            # Whoever is at work takes the rest, unless it is held up by then.
            is_rest = len(self._waiting) > is_one_woken
        if is_rest and not self._is_look_due:
            self._is_look_due = True
            self._loop.call_later(HELD_UP_S, self._look)

    def _are_all_held_up(self) -> bool:
        long_ago_s = self._clock.monotonic_s() - HELD_UP_S
        return all(thread.is_idle or thread.since_s < long_ago_s for thread in self._threads)

    def _wake_one(self) -> bool:
        now_s = self._clock.monotonic_s()
        for thread in self._threads:
            if thread.is_idle:
                thread.begin(now_s)
                return True
        if len(self._threads) == self._threads_max:
            return False
        thread = _CallThread(f"{self._name}_{len(self._threads)}", self._work, now_s)
        self._threads.append(thread)
        thread.start()
        return True

    def _work(self, thread: _CallThread) -> None:
        while (call := self._next(thread)) is not None:
            try:
                call()
            except BaseException:  # what runs calls goes on
                logger.exception("a call failed in a way that nobody foresaw")
            del call  # an idle thread keeps nothing

    def _next(self, thread: _CallThread) -> Callable[[], None] | None:
        """The next call, when there is one; None when there will be none."""
        while True:
            with self._lock:
                if self._is_closed:
                    return None
                if self._waiting:
                    thread.since_s = self._clock.monotonic_s()
                    return self._waiting.popleft()
                thread.is_idle = True
            thread.wait()


class _CallThread(Thread):
    """One thread.

    Attributes:
        is_idle: it waits for a call.
        since_s: when it began the call that it is at.
    """

    def __init__(self, name: str, work: Callable[[_CallThread], None], since_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._wake = Lock()
        self._wake.acquire()
        self.is_idle = False
        self.since_s = since_s

    def run(self) -> None:
        self._work(self)

    def begin(self, now_s: float) -> None:
        """Wake it for a call."""
        self.is_idle = False
        self.since_s = now_s
        self._wake.release()

    def wait(self) -> None:
        """Wait until `begin`."""
        self._wake.acquire()
