"""What a service refused, one line each, for whoever runs it: the logger `livedb.audit`.

What was done stands in the commit log for good: function, hash of the arguments, author and time.
What was refused leaves nothing there, because strangers decide how much that is; so it goes to the
log of the process, at most `LINES_MAX` lines in `WINDOW_S` seconds, and then how many more there
were. A line says who came from where, what for, and why it was refused: never what they brought.
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import Any

from livedb.clock import Clock

LINES_MAX = 60
"""Lines in a window of time; what else is refused in it is counted."""

WINDOW_S = 60.0
"""Seconds of a window."""

WORD_CHARACTERS_MAX = 200
"""Characters that are shown of anything a stranger chose."""

logger = logging.getLogger("livedb.audit")


class Audit:
    """Notes refusals; safe to use from every thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        """Guards the fields below; taken alone."""
        self._began_s = clock.monotonic_s()
        self._lines = 0
        self._more = 0

    def refused(self, code: str, *, who: str, what: str, **words: str | None) -> None:
        """Note one.

        Args:
            who: an address, or the name of a caller that is known.
            what: was asked for.
            words: what else tells it from others, such as the page it came from.
        """
        with self._lock:
            more = self._turn()
            self._lines += 1
            if self._lines > LINES_MAX:
                self._more += 1
                return
        if more:
            logger.warning("refused %d more requests in the minute before", more)
        shown = [f"{name}={_shown(word)}" for name, word in words.items() if word is not None]
        logger.warning("refused %s: %s", code, " ".join([_shown(who), _shown(what), *shown]))

    def _turn(self) -> int:
        """Begin a new window when the last is over; how many were not shown in that."""
        now_s = self._clock.monotonic_s()
        if now_s - self._began_s < WINDOW_S:
            return 0
        more, self._more, self._lines, self._began_s = self._more, 0, 0, now_s
        return more


def _shown(word: str) -> str:
    """In quotes, so that no line's end in it begins a line of the log."""
    return ascii(word[:WORD_CHARACTERS_MAX])


def ip_of(scope: Any) -> str | None:
    """The address from which a request came (an ASGI scope); None by the local door."""
    client = scope.get("client")
    return client[0] if client else None


def address_of(scope: Any) -> str:
    """From where a request came, in words."""
    return ip_of(scope) or "the local door"
