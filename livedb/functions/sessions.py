"""Sessions whose mutations need no look into the log, because they surely came for the first time.

A client numbers its requests within a session, and sends one again under the same number. So a
request is new when its number is higher than all that its connection has sent, the connection is
the only one of its session, and when it began the log had nothing of the session: whatever came
since came through it. What clients say of themselves is not believed.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock


class Sessions:
    """The sessions of one workspace that have a connection now, whoever serves it.

    Args:
        has_session: whether the log has a mutation of a session.
    """

    def __init__(self, has_session: Callable[[str], bool]) -> None:
        self._has_session = has_session
        self._open: dict[str, list[Session]] = {}
        self._lock = Lock()
        """Guards `_open`; taken alone."""

    def enter(self, name: str) -> Session:
        """A connection of a session has begun; `leave` when it, and every call of it, has ended."""
        session = Session(self, name)
        with self._lock:
            others = self._open.setdefault(name, [])
            others.append(session)
            if len(others) > 1:
                for each in others:
                    each.is_alone = False
        return session

    def has_session(self, name: str) -> bool:
        """Whether the log has a mutation of a session; blocking."""
        return self._has_session(name)

    def leave(self, session: Session) -> None:
        with self._lock:
            others = self._open[session.name]
            others.remove(session)
            if not others:
                del self._open[session.name]


class Session:
    """One connection's part in a session. Its mutations run one at a time."""

    __slots__ = ("_began_empty", "_newest", "_sessions", "is_alone", "name")

    def __init__(self, sessions: Sessions, name: str) -> None:
        self._sessions = sessions
        self.name = name
        self.is_alone = True
        """No other connection of the session was there while this one was."""
        self._began_empty: bool | None = None
        self._newest = -1

    def is_new(self, request: int) -> bool:
        """Whether a request surely was never committed; asked again of the same one, it is not.

        What another connection commits after this must be known to whoever asked by other means.
        Cost: the first time a look into the log, which may wait for an append.
        """
        if not self.is_alone or request <= self._newest:
            return False
        self._newest = request
        if self._began_empty is None:
            self._began_empty = not self._sessions.has_session(self.name)
        return self._began_empty

    def leave(self) -> None:
        """The connection and its calls have ended."""
        self._sessions.leave(self)
