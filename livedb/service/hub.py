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

from livedb.errors import SnapshotTooOldError
from livedb.functions.call import Call
from livedb.functions.definition import FunctionKind
from livedb.live.live_queries import Change
from livedb.live.live_query import LiveQuery
from livedb.protocol.convex_json import to_lossy_json
from livedb.protocol.frames import ClientKind
from livedb.protocol.server import Compute, Failure, Success
from livedb.service.console import console
from livedb.service.function_logs import FunctionLogs
from livedb.service.loop_calls import LoopCalls
from livedb.service.outcomes import ConvexDialect, Dialect, OwnDialect
from livedb.service.path_calls import Ended, PathCall, PathCalls
from livedb.service.query_set import Update
from livedb.service.transfers import Transfers
from livedb.workspace import Workspace

if TYPE_CHECKING:
    from livedb.auth.access import Caller
    from livedb.service.access import Access
    from livedb.service.websocket import SyncConnection

P = ParamSpec("P")
R = TypeVar("R")

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
        self._own = OwnDialect(self.clock, shows_details=shows_details)
        self.connections: set[SyncConnection] = set()
        self._loop = asyncio.get_running_loop()
        self.logs = FunctionLogs(self.clock, self._loop)
        self.transfers = Transfers(workspace)
        self._updates = ThreadPoolExecutor(UPDATES_MAX, thread_name_prefix="livedb-update")
        self._followers: dict[LiveQuery, dict[SyncConnection, None]] = {}
        self._followers_lock = threading.Lock()
        live = workspace.live
        self._loop_calls = LoopCalls(self._loop)
        self.calls = PathCalls(workspace, access, self.logs, self._loop, self._loop_calls)
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
        self.calls.leave(connection)
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
    ) -> Success | Failure:
        """Run the function of a path, on a thread; what it raises is an outcome.

        Args:
            at: the commit to read, for a query.

        Raises:
            TransientError, ClosedError: the same call may succeed when made again.
            AuthenticationError, PermissionDeniedError: nothing was looked at.
        """
        future: asyncio.Future[Success | Failure] = self._loop.create_future()

        def done(ended: Ended) -> None:
            if future.done():
                return  # who waited is gone
            if isinstance(ended, BaseException):
                future.set_exception(ended)
            else:
                future.set_result(ended)

        self.calls.begin(
            PathCall(path, args, kind, call, caller, dialect, done, component=component, at=at)
        )
        return await future

    # -- life ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """End every connection, resumably, and let the threads go."""
        self._stop_listening()
        self._stop_hearing()
        console.end()
        for connection in list(self.connections):
            connection.drop(1001, "the service is going away")
        for _ in range(100):
            if not self.connections:
                break
            await asyncio.sleep(0.05)
        self.transfers.close()
        self.calls.close()
        self.access.close()
        self._updates.shutdown(wait=False, cancel_futures=True)
