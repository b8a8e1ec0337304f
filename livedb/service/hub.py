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
from livedb.protocol.frames import ClientKind
from livedb.protocol.messages import Action, Mutation
from livedb.protocol.server import Compute, Failure, Success
from livedb.service.functions import find_function, read_object
from livedb.service.outcomes import ConvexDialect, Dialect, OwnDialect
from livedb.service.query_set import LIVEDB, Update
from livedb.service.workspace_calls import WorkspaceCalls
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
        self._convex = ConvexDialect(self.clock, shows_details=shows_details)
        self._own = OwnDialect()
        self.workspace_calls = WorkspaceCalls(workspace, access)
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

    def dialect_of(self, client: ClientKind) -> Dialect:
        """How outcomes look to a kind of client."""
        return self._own if client is ClientKind.LIVEDB else self._convex

    def anonymous(self) -> Any:
        """Who a client is before it authenticates."""
        return self.access.anonymous

    # -- live queries --------------------------------------------------------------------------

    def update(self, connection: SyncConnection, order: Compute) -> Update:
        """Bring a connection's query set to the newest commit; blocking."""
        query_set = connection.query_set
        before = set(query_set.queries())
        found = query_set.update(order, is_admin=self.access.is_admin(order.identity))
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
        dialect: Dialect,
        request: Mutation | Action,
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
            self._calls, self._run_path, dialect, request, args, kind, call, caller
        )

    def _run_path(
        self,
        dialect: Dialect,
        request: Mutation | Action,
        args: Raw,
        kind: FunctionKind | None,
        call: Call,
        caller: Any,
    ) -> Success | Failure:
        self.workspace.require_open()
        try:
            if request.component_path == LIVEDB:
                return self.workspace_calls.run(request.udf_path, args, call, caller)
            value, ts = self._run_named(dialect, request.udf_path, args, kind, call, caller)
            return Success(dialect.value(value), tuple(call.log_lines), ts)
        except BaseException as error:  # a function may raise SystemExit, which ends only itself
            # livedb's own client raises it, as a workspace in its process would.
            if getattr(error, "is_transient", False) and not dialect.is_exact:
                raise
            return dialect.failure(error, tuple(call.log_lines))

    def _run_named(
        self,
        dialect: Dialect,
        path: str,
        args: Raw,
        kind: FunctionKind | None,
        call: Call,
        caller: Any,
    ) -> tuple[Any, int | None]:
        function = find_function(
            self.workspace.registry, path, kind=kind, sees_internal=self.access.is_admin(caller)
        )
        self.access.require_call(caller, function)
        committer = self.workspace.committer
        tables = committer.catalog_at(committer.published)
        given = read_object(dialect.codec.read(args))
        arguments = function.check_arguments(given, tables=tables, from_wire=not dialect.is_exact)
        return self._run(function, arguments, call)

    def _run(self, function: Any, arguments: Any, call: Call) -> tuple[Any, int | None]:
        runner = self.workspace.runner
        if function.kind == "mutation":
            value = runner.run_mutation(function, arguments, call)
            return value, call.ts
        run = runner.run_query(function, arguments, call=call)
        if run.error is not None:
            raise run.error
        return run.value, None

    # -- life ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """End every connection, resumably, and let the threads go."""
        self._stop_listening()
        self.workspace_calls.close()
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
