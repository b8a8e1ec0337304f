"""Calls of functions on a service, and what becomes of those that are given up.

A query and an action are verbs. A mutation is a message of its own, as it happens once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from livedb.canonical import canonical
from livedb.client.connection import Connection, Waiting
from livedb.client.console import show
from livedb.client.optimistic import Pending
from livedb.client.verbs import LIVEDB, Verbs
from livedb.client.waking import waking
from livedb.errors import FunctionTypeError
from livedb.functions.calling import is_running
from livedb.functions.definition import FunctionDefinition, as_received
from livedb.functions.table_functions import travelling_arguments, verb_of
from livedb.protocol.client import ClientSession
from livedb.protocol.codecs import PACK
from livedb.protocol.messages import ClientMessage
from livedb.transactions.signals import run_undisturbed
from livedb.values import Value

if TYPE_CHECKING:
    from livedb.client.optimistic import OptimisticUpdate

_FATES = {
    "query": "where it changes nothing",
    "action": "where it is cancelled; what it committed stays",
}
"""What becomes of a call that was sent and is given up, by kind, if it is known."""


class RemoteCalls:
    """Calls functions on one service.

    Args:
        begin_update: shows, on the connection's thread, what a mutation's optimistic update makes,
            before the request of that number is sent.
    """

    def __init__(
        self,
        connection: Connection,
        verbs: Verbs,
        begin_update: Callable[[int, Pending], None],
    ) -> None:
        self._connection = connection
        self._verbs = verbs
        self._begin_update = begin_update

    def run(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        update: OptimisticUpdate | None,
    ) -> Any:
        """The result of a function.

        Raises: as `Connection.wait`.
        """
        begun: list[Waiting] = []
        try:
            # Ctrl-C is held back meanwhile: it would lose what is sent already.
            run_undisturbed(lambda to: to.append(self._begin(function, args, update)), begun)
            answer = self._connection.answer(begun[0])
        except KeyboardInterrupt:
            if not begun:
                raise
            became = self._connection.give_up(begun[0])
            if function.kind == "action":
                self._verbs.cancel(begun[0])
            raise KeyboardInterrupt(became) from None
        return as_received(PACK.read(answer), function)

    async def run_async(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        update: OptimisticUpdate | None,
    ) -> Any:
        """The same, awaited; who cancels it cancels an action."""
        if is_running():
            raise FunctionTypeError(".aio() is for callers outside of queries and mutations")
        waiting = self._begin(function, args, update)
        try:
            with waking():
                answer = await asyncio.wrap_future(waiting.future)
        except asyncio.CancelledError:
            if function.kind == "action":
                self._verbs.cancel(waiting)
            raise
        finally:
            show(waiting.log_lines)
        return as_received(PACK.read(answer), function)

    def _begin(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        update: OptimisticUpdate | None,
    ) -> Waiting:
        waiting = self._begin_call(function, args, update)
        waiting.fate = _FATES.get(function.kind, waiting.fate)
        return waiting

    def _begin_call(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        update: OptimisticUpdate | None,
    ) -> Waiting:
        verb = verb_of(function)
        if verb is not None:
            given = travelling_arguments(args)
            sent: dict[str, Value] = {"verb": verb, "name": function.name, "args": given}
            if function.kind == "mutation":
                return self._mutate("table", sent, LIVEDB)
            return self._verbs.ask("table", sent)
        given = canonical(dict(args))
        if function.kind == "mutation":
            return self._mutate(function.name, given, None, update)
        called = {"name": function.name, "args": given}
        is_query = function.kind == "query"
        return self._verbs.ask("call" if is_query else "act", called, repeats=is_query)

    def _mutate(
        self,
        path: str,
        args: dict[str, Value],
        component: str | None,
        update: OptimisticUpdate | None = None,
    ) -> Waiting:
        raw = PACK.write(args)

        def ask(session: ClientSession) -> tuple[int, list[ClientMessage]]:
            return session.mutate(path, raw, component=component)

        if update is None:
            return self._connection.call(ask)
        pending = Pending(update, args)
        return self._connection.call(ask, then=lambda number: self._begin_update(number, pending))
