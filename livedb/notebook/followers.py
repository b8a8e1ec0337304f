"""Who waits for the changes of a live handle: observers, threads in `wait` and readers of `aio`."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from livedb.client.backend import ChangeNotice
from livedb.clock import SystemClock

_CLOCK = SystemClock()

logger = logging.getLogger("livedb")


class Followers:
    """Those who want to hear of one handle; any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.waiting = 0
        """How many threads wait for `_changed`."""
        self._observers: tuple[tuple[object, Callable[[ChangeNotice], None]], ...] = ()
        self.wakes: tuple[Callable[[], None], ...] = ()
        """Each wakes one `turns()`."""
        self._ended = threading.Event()

    @property
    def is_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self._ended.is_set()

    def tell(self, notice: ChangeNotice) -> None:
        """Tell all of a change; observers where `deliver` calls them."""
        if self.waiting:  # whoever comes after this look finds the new state itself
            with self._changed:
                self._changed.notify_all()
        for wake in self.wakes:
            wake()
        for _, observer in self._observers:
            deliver(partial(observer, notice))

    def end(self) -> None:
        """Let everybody who waits for a change go."""
        with self._changed:
            self._ended.set()
            self._changed.notify_all()
        for wake in self.wakes:
            wake()

    def add(self, handler: object, tell: Callable[[ChangeNotice], None]) -> None:
        """Have `tell` called after every change, until `handler` is removed."""
        self._observers = (*self._observers, (handler, tell))

    def remove(self, handler: object) -> None:
        self._observers = tuple(each for each in self._observers if each[0] != handler)

    def wait_until(
        self, is_reached: Callable[[], bool], timeout_s: float | None, go_on: Callable[[], None]
    ) -> bool:
        """Wait for a change after which `is_reached`; whether it came to that in time.

        Args:
            go_on: called before each wait; raises when there is nothing to wait for.
        """
        deadline = None if timeout_s is None else _CLOCK.monotonic_s() + timeout_s
        with self._changed:
            self.waiting += 1
            try:
                while not is_reached():
                    left = None if deadline is None else deadline - _CLOCK.monotonic_s()
                    if left is not None and left <= 0:
                        return False
                    go_on()
                    self._changed.wait(left)
            finally:
                self.waiting -= 1
        return True

    async def turns(self) -> AsyncGenerator[None, None]:
        """A turn at once and after changes, several of which may make one; until all is ended."""
        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has ended, and this with it
                loop.call_soon_threadsafe(event.set)

        self.wakes = (*self.wakes, wake)
        try:
            while True:
                event.clear()
                yield
                if self._ended.is_set():
                    return
                await event.wait()
                if self._ended.is_set():
                    return
        finally:
            self.wakes = tuple(each for each in self.wakes if each is not wake)


def deliver(tell: Callable[[], object]) -> None:
    """Tell an observer: on the kernel's loop if there is one, else here.

    What it raises is logged; those who come after it hear of the change all the same.
    """
    loop = kernel_loop()
    if loop is None or threading.current_thread() is threading.main_thread():
        _tell_guarded(tell)
    else:
        loop.call_soon_threadsafe(_tell_guarded, tell)


def _tell_guarded(tell: Callable[[], object]) -> None:
    try:
        tell()
    except Exception:  # the user's
        logger.exception("an observer of a live handle failed")


def kernel_loop() -> Any:
    """The event loop of the IPython kernel this runs in, None in a script."""
    kernel_app = sys.modules.get("ipykernel.kernelapp")
    if kernel_app is None or not kernel_app.IPKernelApp.initialized():
        return None
    kernel = kernel_app.IPKernelApp.instance().kernel
    return getattr(getattr(kernel, "io_loop", None), "asyncio_loop", None)
