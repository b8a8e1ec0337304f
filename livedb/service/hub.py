"""What the connections of one service share: the workspace, threads, and who follows what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from msgspec import Raw

from livedb.functions.call import Call
from livedb.functions.definition import FunctionKind
from livedb.live.live_queries import Change
from livedb.live.live_query import LiveQuery
from livedb.protocol.server import Compute, Failure, QueryState, Success
from livedb.service.functions import find_function, read_arguments
from livedb.service.outcomes import Outcomes
from livedb.service.query_set import WireStates
from livedb.workspace import Workspace

if TYPE_CHECKING:
    from livedb.service.access import Access
    from livedb.service.websocket import SyncConnection

P = ParamSpec("P")
R = TypeVar("R")

CALLS_MAX = 64
"""Functions that run at once; more wait."""

UPDATES_MAX = 8
"""Updates of connections that are computed at once; more wait."""


class Hub:
    """Shared by all connections of a service. Made and closed on the event loop's thread."""

    def __init__(self, workspace: Workspace, access: Access, *, shows_details: bool = True) -> None:
        self.workspace = workspace
        self.access = access
        self.clock = workspace.clock
        self.outcomes = Outcomes(self.clock, shows_details=shows_details)
        self.states = WireStates(self.outcomes)
        self.connections: set[SyncConnection] = set()
        self._loop = asyncio.get_running_loop()
        self._calls = ThreadPoolExecutor(CALLS_MAX, thread_name_prefix="livedb-call")
        self._updates = ThreadPoolExecutor(UPDATES_MAX, thread_name_prefix="livedb-update")
        self._followers: dict[LiveQuery, dict[SyncConnection, None]] = {}
        self._followers_lock = threading.Lock()
        self._stop_listening = workspace.live.listen(self._tell)

    # -- threads -------------------------------------------------------------------------------

    async def in_thread(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run what blocks on a thread of the service's."""
        assert not kwargs, "positional arguments only"
        return await self._loop.run_in_executor(self._updates, function, *args)

    # -- state ---------------------------------------------------------------------------------

    def newest_ts(self) -> int:
        """The timestamp of the newest published commit."""
        committer = self.workspace.committer
        return committer.ts_of(committer.published)

    def anonymous(self) -> Any:
        """Who a client is before it authenticates."""
        return self.access.anonymous

    # -- live queries --------------------------------------------------------------------------

    def update(
        self, connection: SyncConnection, order: Compute
    ) -> tuple[int, dict[int, QueryState]]:
        """Bring a connection's query set to the newest commit; blocking."""
        query_set = connection.query_set
        before = set(query_set.queries())
        found = query_set.update(order, sees_internal=self.access.is_admin(order.identity))
        after = set(query_set.queries())
        if before != after:
            with self._followers_lock:
                for query in before - after:
                    self._leave(query, connection)
                for query in after - before:
                    self._followers.setdefault(query, {})[connection] = None
        return found

    def forget(self, connection: SyncConnection) -> None:
        """A connection has ended; blocking."""
        with self._followers_lock:
            for query in connection.query_set.queries():
                self._leave(query, connection)
        connection.query_set.close()

    def _leave(self, query: LiveQuery, connection: SyncConnection) -> None:
        followers = self._followers.get(query)
        if followers is not None:
            followers.pop(connection, None)
            if not followers:
                del self._followers[query]

    def _tell(self, number: int, changes: Sequence[Change]) -> None:
        """On the refresher's thread: tell the loop which connections a transition touched."""
        touched: dict[SyncConnection, None] = {}
        with self._followers_lock:
            for query, _, _ in changes:
                touched.update(self._followers.get(query, {}))
        if touched:
            self._loop.call_soon_threadsafe(_touch, list(touched), number)

    # -- calls ---------------------------------------------------------------------------------

    async def run_path(
        self,
        path: str,
        args: Raw,
        *,
        kind: FunctionKind | None,
        call: Call,
        caller: Any,
    ) -> Success | Failure:
        """Run the function of a path; what it raises is an outcome.

        Raises:
            TransientError, ClosedError: the same call may succeed when made again.
        """
        return await self._loop.run_in_executor(
            self._calls, self._run_path, path, args, kind, call, caller
        )

    def _run_path(
        self,
        path: str,
        args: Raw,
        kind: FunctionKind | None,
        call: Call,
        caller: Any,
    ) -> Success | Failure:
        workspace = self.workspace
        workspace.require_open()
        function = find_function(
            workspace.registry, path, kind=kind, sees_internal=self.access.is_admin(caller)
        )
        self.access.require_call(caller, function)
        committer = workspace.committer
        tables = committer.catalog_at(committer.published)
        arguments = function.check_arguments(read_arguments(args), tables=tables)
        try:
            value = workspace.runner.run_alone(function, arguments, call)
            return Success(self.outcomes.value(value), tuple(call.log_lines), call.ts)
        except Exception as error:
            if getattr(error, "is_transient", False):
                raise
            return self.outcomes.failure(error, tuple(call.log_lines))

    # -- life ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """End every connection, resumably, and let the threads go."""
        self._stop_listening()
        for connection in list(self.connections):
            connection.drop(1001, "the service is going away")
        for _ in range(100):
            if not self.connections:
                break
            await asyncio.sleep(0.05)
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._updates.shutdown(wait=False, cancel_futures=True)


def _touch(connections: Sequence[SyncConnection], number: int) -> None:
    for connection in connections:
        connection.touched(number)
