"""Time limits: a watchdog that ends a run which takes too long.

The watchdog raises an exception in the running thread, asynchronously, as Ctrl-C does. That is safe
only while the thread is in the user's function: a thread that is already committing must never be
interrupted. So each run has a guard with one lock, under which "in user code" is set, checked and
cleared, and a pending exception withdrawn.

A function blocked in C code (a sleep, a driver) cannot be ended before it comes back to Python.
"""

from __future__ import annotations

import ctypes
import heapq
import logging
from collections.abc import Callable
from threading import Condition, Lock, Thread, get_ident
from typing import TypeVar

from livedb.clock import Clock
from livedb.errors import FunctionTimeoutError

R = TypeVar("R")

logger = logging.getLogger("livedb")

_AGAIN_S = 0.1
"""Seconds after which a run that did not end is interrupted again: the engine forgets an interrupt
that comes just before its statement begins."""
_STUCK_S = 5.0
"""Seconds after its limit at which a run that did not end is reported."""


class _Expired(BaseException):
    """Raised in the run; not an Exception, so that `except Exception` in it lets it pass."""


class _Guard:
    """Whether one run is in user code, and whether its time is up."""

    __slots__ = (
        "deadline_s",
        "has_expired",
        "is_in_user_code",
        "lock",
        "name",
        "on_expiry",
        "thread",
    )

    def __init__(self, name: str, on_expiry: Callable[[], None]) -> None:
        self.name = name
        self.thread = get_ident()
        self.lock = Lock()
        self.is_in_user_code = True
        self.has_expired = False
        self.on_expiry = on_expiry
        self.deadline_s = 0.0

    def expire(self) -> None:
        with self.lock:
            if not self.is_in_user_code:
                return
            if not self.has_expired:
                self.has_expired = True
                _raise_in(self.thread, _Expired)
            self.on_expiry()

    def leave(self) -> None:
        with self.lock:
            self.is_in_user_code = False
            if self.has_expired:
                _raise_in(self.thread, None)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    argument = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)


class Watchdog:
    """Ends runs at their deadline, from one thread that starts with the first limited run."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Taken `with` the lock itself: that is C, while a Condition's `with` is Python, and Ctrl-C
        # in the middle of it would leave the lock taken for good.
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._deadlines: list[tuple[float, int, _Guard]] = []
        self._serial = 0
        self._thread: Thread | None = None
        self._is_closed = False

    def run(
        self,
        function: Callable[[], R],
        *,
        name: str,
        limit_s: float,
        on_expiry: Callable[[], None] = lambda: None,
    ) -> R:
        """`function()`, ended after `limit_s` seconds.

        Args:
            on_expiry: called when the time is up, on the watchdog's thread; must not block.

        Raises:
            FunctionTimeoutError: the time was up.
        """
        guard = _Guard(name, on_expiry)
        try:
            try:
                self._watch(guard, limit_s)
                result = function()
            finally:
                guard.leave()
        except BaseException as error:  # the time limit strikes as one, and may be wrapped
            guard.leave()  # once more: the exception may have struck inside the first `leave`
            if guard.has_expired and not isinstance(error, KeyboardInterrupt):
                raise _timeout(name, limit_s) from None
            raise
        if guard.has_expired:
            raise _timeout(name, limit_s)
        return result

    def _watch(self, guard: _Guard, limit_s: float) -> None:
        with self._lock:
            if self._thread is None:
                thread = Thread(target=self._loop, name="livedb-watchdog", daemon=True)
                thread.start()
                self._thread = thread
            self._serial += 1
            guard.deadline_s = self._clock.monotonic_s() + limit_s
            heapq.heappush(self._deadlines, (guard.deadline_s, self._serial, guard))
            self._changed.notify()

    def _loop(self) -> None:
        while True:
            with self._lock:
                while not self._deadlines and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                deadline, _, guard = self._deadlines[0]
                left_s = deadline - self._clock.monotonic_s()
                if left_s > 0:
                    self._changed.wait(left_s)
                    continue
                heapq.heappop(self._deadlines)
                if guard.is_in_user_code and deadline >= guard.deadline_s + _STUCK_S:
                    logger.warning(
                        "%s passed its time limit and is blocked outside Python; it cannot be "
                        "ended, but nothing it does will be committed",
                        guard.name,
                    )
                    continue
                if guard.is_in_user_code:
                    self._serial += 1
                    heapq.heappush(self._deadlines, (deadline + _AGAIN_S, self._serial, guard))
            guard.expire()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()


def _timeout(name: str, limit_s: float) -> FunctionTimeoutError:
    return FunctionTimeoutError(
        f"Function execution timed out (maximum duration: {limit_s:g}s): {name}. "
        "Nothing was written."
    )
