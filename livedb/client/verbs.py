"""The verbs of a workspace on a service, as its client asks for them: the component `livedb`.

What each of them does, `service/workspace_calls.py` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from livedb.canonical import canonical
from livedb.client.connection import Connection, Waiting
from livedb.protocol.codecs import PACK
from livedb.text import encode_value

LIVEDB = "livedb"
"""The component whose paths are the workspace's own verbs."""


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
        args = _arguments(value, attachments)
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

    @property
    def is_away(self) -> bool:
        """Whether the service cannot be asked now."""
        return self._connection.is_away


def _arguments(value: Any, attachments: Sequence[bytes]) -> Raw:
    return PACK.write_payload(encode_value(canonical(value)), list(attachments))
