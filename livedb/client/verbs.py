"""The verbs of a workspace on a service, as its client asks for them: the component `livedb`.

What each of them does, `service/workspace_calls.py` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from msgspec import Raw

from livedb.canonical import canonical
from livedb.client.connection import Connection, Waiting
from livedb.errors import ClosedError
from livedb.protocol.client import ClientSession
from livedb.protocol.codecs import PACK
from livedb.protocol.messages import ClientMessage
from livedb.text import encode_value

LIVEDB = "livedb"
"""The component whose paths are the workspace's own verbs."""

_READS = frozenset(
    {
        "act",
        "call",
        "catalog",
        "counts",
        "documents",
        "export",
        "hidden",
        "page",
        "sql",
        "states",
        "table",
    }
)
"""Verbs that read at the commit of a snapshot, when one is held."""

_held: ContextVar[Mapping[Verbs, str]] = ContextVar("livedb_held_remote")
"""The snapshots that this thread or task reads by, of each service at most one."""

_NOTHING_HELD: Mapping[Verbs, str] = {}


class Verbs:
    """Asks a service for what is no function."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(
        self, verb: str, value: Any, attachments: Sequence[bytes] = (), *, repeats: bool = True
    ) -> Waiting:
        """Ask, and do not wait.

        Args:
            repeats: it does no harm twice, so it is asked again when a connection is lost.
        """
        snapshot = self.held() if verb in _READS else None
        given = value if snapshot is None else {**value, "snapshot": snapshot}
        args = _arguments(given, attachments)
        return self._connection.call(
            lambda session: session.act(verb, args, component=LIVEDB, is_repeatable=repeats)
        )

    def act(
        self, verb: str, value: Any, attachments: Sequence[bytes] = (), *, repeats: bool = True
    ) -> Raw:
        """Ask, and wait for the answer.

        Raises: as `Connection.wait`.
        """
        return self._connection.wait(self.ask(verb, value, attachments, repeats=repeats))

    async def act_ahead(self, verb: str, value: Any, attachments: Sequence[bytes] = ()) -> Raw:
        """Ask before everything that a new connection holds back; on the connection's thread.

        Raises: what the service raised; DisconnectedError.
        """
        args = _arguments(value, attachments)
        waiting = self._connection.call(
            lambda session: session.act(verb, args, component=LIVEDB, is_ahead=True)
        )
        return await asyncio.wrap_future(waiting.future)

    def cancel(self, waiting: Waiting) -> None:
        """Have the service cancel an action that nobody waits for any more; waits for nothing.

        It is told on the connection that brought the action, and hears of no other one.
        """

        def ask(session: ClientSession) -> tuple[int, list[ClientMessage]]:
            args = _arguments({"request": waiting.request_id}, ())
            return session.act("cancel", args, component=LIVEDB)

        with suppress(ClosedError):
            self._connection.call(ask)

    def held(self) -> str | None:
        """The snapshot that this thread or task reads by, if it holds one."""
        return _held.get(_NOTHING_HELD).get(self)

    @contextmanager
    def holding(self, snapshot: str) -> Iterator[None]:
        """Within it this thread or task reads by a snapshot that the service keeps."""
        token = _held.set({**_held.get(_NOTHING_HELD), self: snapshot})
        try:
            yield
        finally:
            _held.reset(token)

    @property
    def is_away(self) -> bool:
        """Whether the service cannot be asked now."""
        return self._connection.is_away


class PastVerbs(Verbs):
    """Asks for reads of an earlier commit."""

    def __init__(self, now: Verbs, number: int) -> None:
        super().__init__(now._connection)  # noqa: SLF001  # another face of it
        self._number = number

    def ask(
        self, verb: str, value: Any, attachments: Sequence[bytes] = (), *, repeats: bool = True
    ) -> Waiting:
        given = {**value, "at": self._number} if verb in _READS else value
        return super().ask(verb, given, attachments, repeats=repeats)


def _arguments(value: Any, attachments: Sequence[bytes]) -> Raw:
    return PACK.write_payload(encode_value(canonical(value)), list(attachments))
