"""What the connections of one service share: the workspace, threads, and who follows what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from msgspec import Raw

from livedb.errors import (
    AuthenticationError,
    ClosedError,
    LivedbError,
    PermissionDeniedError,
    SnapshotTooOldError,
)
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
from livedb.service.loop_calls import LoopCalls
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


class _Told(NamedTuple):
    """What the refresher's thread has told: up to a commit, which connections follow what changed.

    `touched` is None when it is the answer to a question.
    """

    number: int
    ts: int
    transitions: int
    touched: dict[SyncConnection, list[Change]] | None


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
        live = workspace.live
        self._loop_calls = LoopCalls(self._loop)
        self._transitions = live.transitions_told
        """Up to which connections have been handed what changed."""
        self.number, self.ts = 0, 0
        """The commit, and its timestamp, up to which connections know everything."""
        self._behind: dict[SyncConnection, None] = {}
        """Those that wait for a later commit than that."""
        self._has_asked = False
        self._stop_listening = live.listen(self._tell)
        self._stop_hearing = workspace.invitations.listen(self._hear_of_revocation)
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

    def _hear_of_revocation(self) -> None:
        """On any thread: end the connections of whoever may no longer be here."""

        def check() -> None:
            for connection in list(self.connections):
                connection.check_identity()

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(check)

    # -- live queries --------------------------------------------------------------------------

    def update(self, connection: SyncConnection, order: Compute) -> Update:
        """Follow and drop queries of a connection, and go to the newest commit; blocking."""
        query_set = connection.query_set
        before = set(query_set.queries())

        def register() -> None:
            nonlocal before
            after = set(query_set.queries())
            with self._followers_lock:
                for query in before - after:
                    self._leave(query, connection)
                for query in after - before:
                    self._followers.setdefault(query, {})[connection] = None
            before = after

        return query_set.update(order, register)

    def is_level(self, connection: SyncConnection, ts: int) -> bool:
        """Whether connections know everything up to timestamp `ts`; if not, one is told when."""
        if self.ts < ts and not self._catch_up():
            self._behind[connection] = None
            self._ask()
            return False
        return True

    def _catch_up(self) -> bool:
        """Go to the newest commit, if connections know all that leads there."""
        standing = self.workspace.live.standing_nowait()
        if standing is None or standing.transitions != self._transitions:
            return False
        self.number, self.ts = standing.number, max(self.ts, self._ts_of(standing.number))
        return True

    def _ts_of(self, number: int) -> int:
        """The timestamp of a commit; 0 when it is no longer known.

        To say an earlier one than the states are of does no harm: a later transition says it.
        """
        try:
            return self.workspace.committer.ts_of(number)
        except SnapshotTooOldError:
            return 0

    def _ask(self) -> None:
        if not self._has_asked:
            self._has_asked = True
            self.workspace.live.ask(self._reached)

    def forget(self, connection: SyncConnection) -> None:
        """A connection has ended; blocking."""
        self._behind.pop(connection, None)
        with self._followers_lock:
            for query in connection.query_set.queries():
                self._leave(query, connection)
        connection.query_set.close()
        self._workspace_calls.leave(connection)
        self.workspace.presence.leave(connection.visitor)

    def _leave(self, query: LiveQuery, connection: SyncConnection) -> None:
        followers = self._followers.get(query)
        if followers is not None:
            followers.pop(connection, None)
            if not followers:
                del self._followers[query]

    def _tell(self, number: int, changes: Sequence[Change]) -> None:
        """On the refresher's thread: hand what a transition changed to the loop."""
        touched: dict[SyncConnection, list[Change]] = {}
        with self._followers_lock:
            for change in changes:
                for connection in self._followers.get(change.query, ()):
                    touched.setdefault(connection, []).append(change)
        self._hand_over(number, touched)

    def _reached(self, number: int) -> None:
        """On the refresher's thread: all that leads to a commit has been told."""
        self._hand_over(number, None)

    def _hand_over(self, number: int, touched: dict[SyncConnection, list[Change]] | None) -> None:
        transitions = self.workspace.live.transitions_told
        told = _Told(number, self._ts_of(number), transitions, touched)
        self._loop_calls.put(partial(self._take_told, told))

    def _take_told(self, told: _Told) -> None:
        self._transitions = told.transitions
        if told.number > self.number:
            self.number, self.ts = told.number, max(self.ts, told.ts)
        if told.touched is None:
            self._has_asked = False
            behind, self._behind = self._behind, {}
            for connection in behind:
                connection.resume()
            return
        for connection, changes in told.touched.items():
            if connection.query_set.note(told.transitions, changes):
                connection.touched()

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
        connection: SyncConnection | None = None,
    ) -> Success | Failure:
        """Run the function of a path, on a thread; what it raises is an outcome.

        Args:
            at: the commit to read, for a query.
            connection: whose end is that of what the call holds.

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
                    return self._workspace_calls.run(path, args, call, caller, connection)
                outcome = self._run_path((path, component), args, kind, call, caller, dialect, at)
            except BaseException as error:  # a function's SystemExit ends only itself
                if _is_not_the_functions(error, dialect):
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

        return await self._called(run)

    async def _called(self, run: Callable[[], R]) -> R:
        """What `run` gives, on a thread: calls that end together wake the loop once."""
        future: asyncio.Future[R] = self._loop.create_future()

        def work() -> None:
            try:
                result = run()
            except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                self._loop_calls.put(partial(_end, future, partial(future.set_exception, error)))
            else:
                self._loop_calls.put(partial(_end, future, partial(future.set_result, result)))

        self._calls.submit(work)
        return await future

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
        self._workspace_calls.close()
        self._stop_hearing()
        console.end()
        for connection in list(self.connections):
            connection.drop(1001, "the service is going away")
        for _ in range(100):
            if not self.connections:
                break
            await asyncio.sleep(0.05)
        self.transfers.close()
        self.access.close()
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._updates.shutdown(wait=False, cancel_futures=True)


def _end(future: asyncio.Future[R], give: Callable[[], None]) -> None:
    """Give a future what it waits for, unless who waited is gone."""
    if not future.done():
        give()


def _is_not_the_functions(error: BaseException, dialect: Dialect) -> bool:
    """Whether an error says nothing of what was called: it is the edge's to answer."""
    if isinstance(error, AuthenticationError | PermissionDeniedError | ClosedError):
        return True
    # livedb's own client raises it, as a workspace in its process would.
    is_transient = isinstance(error, LivedbError) and error.is_transient
    return is_transient and not dialect.is_exact
