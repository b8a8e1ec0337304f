"""What the connections of one service share: the workspace, threads, and who follows what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from msgspec import Raw

from livedb.errors import AuthenticationError, ClosedError, LivedbError, PermissionDeniedError
from livedb.functions.call import Call
from livedb.functions.definition import FunctionKind
from livedb.live.live_queries import Change
from livedb.live.live_query import LiveQuery
from livedb.protocol.convex_json import to_lossy_json
from livedb.protocol.frames import ClientKind
from livedb.protocol.server import Compute, Failure, Success
from livedb.service.console import console
from livedb.service.function_logs import FunctionLogs
from livedb.service.functions import find_function, read_object, registered_name
from livedb.service.outcomes import ConvexDialect, Dialect, OwnDialect
from livedb.service.query_set import LIVEDB, Update
from livedb.service.transfers import Transfers
from livedb.service.workspace_calls import WorkspaceCalls
from livedb.workspace import Workspace

if TYPE_CHECKING:
    from livedb.auth.access import Caller
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
        self.convex = ConvexDialect(self.clock, shows_details=shows_details)
        self.lossy = ConvexDialect(self.clock, to_json=to_lossy_json, shows_details=shows_details)
        self._own = OwnDialect()
        self._workspace_calls = WorkspaceCalls(workspace, access)
        self.connections: set[SyncConnection] = set()
        self._loop = asyncio.get_running_loop()
        self.logs = FunctionLogs(self.clock, self._loop)
        self.transfers = Transfers(workspace)
        self._calls = ThreadPoolExecutor(CALLS_MAX, thread_name_prefix="livedb-call")
        self._updates = ThreadPoolExecutor(UPDATES_MAX, thread_name_prefix="livedb-update")
        self._followers: dict[LiveQuery, dict[SyncConnection, None]] = {}
        self._followers_lock = threading.Lock()
        self._stop_listening = workspace.live.listen(self._tell)
        console.begin()

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
        return self._own if client is ClientKind.LIVEDB else self.convex

    def anonymous(self) -> Caller | None:
        """Who a client is before it authenticates."""
        return self.access.anonymous

    # -- live queries --------------------------------------------------------------------------

    def update(self, connection: SyncConnection, order: Compute) -> Update:
        """Bring a connection's query set to the newest commit; blocking."""
        query_set = connection.query_set
        before = set(query_set.queries())
        found = query_set.update(order)
        after = set(query_set.queries())
        if before != after:
            with self._followers_lock:
                for query in before - after:
                    self._leave(query, connection)
                for query in after - before:
                    self._followers.setdefault(query, {})[connection] = None
            if any(not query_set.knows(query, query.state) for query in after - before):
                # It changed after it was read and before it was known whom to tell.
                self._loop.call_soon_threadsafe(_touch, [connection])
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

    def _tell(self, _: int, changes: Sequence[Change]) -> None:
        """On the refresher's thread: tell the loop which connections a transition touched."""
        touched: dict[SyncConnection, None] = {}
        with self._followers_lock:
            for change in changes:
                for connection in self._followers.get(change.query, ()):
                    # The update behind a response has often read it already.
                    if not connection.query_set.knows(change.query, change.new):
                        touched[connection] = None
        if touched:
            self._loop.call_soon_threadsafe(_touch, list(touched))

    # -- calls ---------------------------------------------------------------------------------

    async def run_path(
        self,
        path: str,
        args: Raw,
        *,
        component: str | None = None,
        kind: FunctionKind | None,
        call: Call,
        caller: Caller | None,
        dialect: Dialect,
        at: int | None = None,
    ) -> Success | Failure:
        """Run the function of a path, on a thread; what it raises is an outcome.

        Args:
            at: the commit to read, for a query.

        Raises:
            TransientError, ClosedError: the same call may succeed when made again.
            AuthenticationError, PermissionDeniedError: nothing was looked at.
        """

        def run() -> Success | Failure:
            self.workspace.require_open()
            began_s = self.clock.monotonic_s()
            outcome: Success | Failure
            try:
                if component == LIVEDB and dialect.is_exact:
                    return self._workspace_calls.run(path, args, call, caller)
                outcome = self._run_path((path, component), args, kind, call, caller, dialect, at)
            except Exception as error:
                if _is_not_the_functions(error):
                    raise
                outcome = dialect.failure(error, tuple(call.log_lines))
            self.logs.add(
                identifier=path,
                kind=kind or self._kind_of(path) or "any",
                began_s=began_s,
                log_lines=tuple(outcome.log_lines),
                error=outcome.message if isinstance(outcome, Failure) else None,
            )
            return outcome

        return await self._loop.run_in_executor(self._calls, run)

    def _kind_of(self, path: str) -> FunctionKind | None:
        registry = self.workspace.registry
        found = registry.find(registered_name(registry, path))
        return None if found is None else found.kind

    def _run_path(
        self,
        where: tuple[str, str | None],
        args: Raw,
        kind: FunctionKind | None,
        call: Call,
        caller: Caller | None,
        dialect: Dialect,
        at: int | None,
    ) -> Success:
        workspace = self.workspace
        sees_internal = self.access.is_admin(caller)
        function = find_function(workspace.registry, *where, kind=kind, sees_internal=sees_internal)
        self.access.require_kind(caller, function.kind)
        committer = workspace.committer
        tables = committer.catalog_at(committer.published)
        given = read_object(dialect.codec.read(args))
        arguments = function.check_arguments(given, tables=tables, from_wire=not dialect.is_exact)
        if at is None:
            value = workspace.runner.run_alone(function, arguments, call)
        else:
            run = workspace.runner.run_query(function, arguments, at=at, call=call)
            if run.error is not None:
                raise run.error
            value = run.value
        return Success(dialect.value(value), tuple(call.log_lines), call.ts)

    # -- life ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """End every connection, resumably, and let the threads go."""
        self._stop_listening()
        console.end()
        for connection in list(self.connections):
            connection.drop(1001, "the service is going away")
        for _ in range(100):
            if not self.connections:
                break
            await asyncio.sleep(0.05)
        self.transfers.close()
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._updates.shutdown(wait=False, cancel_futures=True)


def _touch(connections: Sequence[SyncConnection]) -> None:
    for connection in connections:
        connection.touched()


def _is_not_the_functions(error: Exception) -> bool:
    """Whether an error says nothing of what was called: it is the edge's to answer."""
    if isinstance(error, AuthenticationError | PermissionDeniedError | ClosedError):
        return True
    return isinstance(error, LivedbError) and error.is_transient
