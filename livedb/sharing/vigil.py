"""How long a service process stays: until a signal ends it, or for want of visitors."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from queue import Empty, SimpleQueue

from livedb.presence import Presence

LOOK_S = 0.5
"""Seconds between two looks whether a signal has come."""

_ENDING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_given_back() -> Iterator[None]:
    """Whatever a vigil in here does with signals, afterwards they are its caller's again.

    It is outside of the workspace: a second Ctrl-C does not break off its closing.
    """
    before = {each: signal.getsignal(each) for each in _ENDING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class Vigil:
    """Waits, on the main thread, and ends with SIGTERM and SIGINT.

    Args:
        idle_s: seconds without a visitor after which it ends as well; None for never.
        has_work: whether something is to run by itself, for which it stays as for a visitor.
    """

    def __init__(
        self,
        presence: Presence,
        *,
        idle_s: float | None = None,
        has_work: Callable[[], bool] = lambda: False,
    ) -> None:
        self._presence = presence
        self._has_work = has_work
        self._idle_s = inf if idle_s is None else idle_s
        self._is_ended = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        """Told of whoever comes and goes, and by signals: it may be put to within anything."""
        presence.listen(lambda: self._wake.put(None))
        for each in _ENDING:
            signal.signal(each, self._end)

    def keep(self) -> bool:
        """Wait; whether a signal ended it."""
        quiet_s = 0.0
        while not self._is_ended:
            stays = self.is_needed
            # A signal that comes in the instant before the wait begins does not end it, and its
            # handler runs only after it.
            wait_s = LOOK_S if stays else min(LOOK_S, self._idle_s - quiet_s)
            try:
                self._wake.get(timeout=wait_s)
                quiet_s = 0.0
            except Empty:
                quiet_s = 0.0 if stays else quiet_s + wait_s
            if not stays and quiet_s >= self._idle_s:
                return self._is_ended
        return True

    @property
    def is_needed(self) -> bool:
        """Whether somebody is here, or something is to run by itself."""
        return bool(self._presence.visitors()) or self._has_work()

    def _end(self, *_: object) -> None:
        self._is_ended = True
        self._wake.put(None)
