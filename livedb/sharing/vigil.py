"""How long a service process stays: until a signal ends it, or for want of visitors."""

from __future__ import annotations

import signal
from queue import Empty, SimpleQueue

from livedb.presence import Presence


class Vigil:
    """Waits, on the main thread, and ends with SIGTERM and SIGINT.

    Args:
        idle_s: seconds without a visitor after which it ends as well; None for never.
    """

    def __init__(self, presence: Presence, *, idle_s: float | None = None) -> None:
        self._presence = presence
        self._idle_s = idle_s
        self._is_ended = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        """Told of whoever comes and goes, and by signals: it may be put to within anything."""
        presence.listen(lambda: self._wake.put(None))
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._end)

    def keep(self) -> bool:
        """Wait; whether a signal ended it."""
        while not self._is_ended:
            try:
                self._wake.get(timeout=None if self.has_visitors else self._idle_s)
            except Empty:
                return False
        return True

    @property
    def has_visitors(self) -> bool:
        """Whether somebody is here."""
        return bool(self._presence.visitors())

    def _end(self, *_: object) -> None:
        self._is_ended = True
        self._wake.put(None)
