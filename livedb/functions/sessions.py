"""Sessions whose mutations need no look into the log, because they surely came for the first time.

A client numbers its requests within a session, and sends one again under the same number. So a
request is new when its number is above all that came in its session since it has a connection
here, and above all that the log has of it, which is asked once. What clients say of themselves is
not believed.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock


class Sessions:
    """The sessions of one workspace that have a connection now, whoever serves it.

    Args:
        newest_request: the highest number that the log has of a session, as `CommitLog` says it.
    """

    def __init__(self, newest_request: Callable[[str], int | None]) -> None:
        self._newest_request = newest_request
        self._open: dict[str, Session] = {}
        self._lock = Lock()
        """Guards `_open` and how many use each; taken alone."""

    def enter(self, name: str) -> Session:
        """A connection of a session has begun; `leave` when it, and every call of it, has ended."""
        with self._lock:
            session = self._open.get(name)
            if session is None:
                session = self._open[name] = Session(name, self._newest_request)
            session.users += 1
        return session

    def leave(self, session: Session) -> None:
        """A connection and its calls have ended; what they committed is in the log."""
        with self._lock:
            session.users -= 1
            if not session.users:
                del self._open[session.name]


class Session:
    """What its connections share."""

    __slots__ = ("_is_looked_up", "_lock", "_newest", "_newest_request", "name", "users")

    def __init__(self, name: str, newest_request: Callable[[str], int | None]) -> None:
        self.name = name
        self.users = 0
        self._newest_request = newest_request
        self._lock = Lock()
        """Guards all below; the log's own is taken under it."""
        self._newest: int | None = -1
        """The highest number that was asked about or is in the log; None when there is no telling.
        """
        self._is_looked_up = False

    def look_up(self) -> None:
        """Ask the log, before the first request has to wait for that."""
        with self._lock:
            self._look_up()

    def _look_up(self) -> None:
        if not self._is_looked_up:
            self._newest = self._newest_request(self.name)
            self._is_looked_up = True

    def is_new(self, request: int) -> bool:
        """Whether a request surely was never committed; asked again of the same one, it is not.

        What is committed after this must be known to whoever asked by other means: two connections
        may send the same request, and only the first is told that it is new.
        Cost: the first time a look into the log, which may wait for an append.
        """
        with self._lock:
            self._look_up()
            if self._newest is None or request <= self._newest:
                return False
            self._newest = request
            return True
