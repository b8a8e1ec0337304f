"""What the connections of one service share: the workspace, threads, and who follows what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from msgspec import Raw

from livedb.errors import SnapshotTooOldError
from livedb.functions.call import Call
from livedb.functions.definition import FunctionKind
from livedb.live.live_query import LiveQuery
from livedb.live.steps import Change, Outcome, Step
from livedb.protocol.convex_json import to_lossy_json
from livedb.protocol.effects import Compute, Failure, Success
from livedb.protocol.frames import ClientKind
from livedb.scheduler.worker import EndedRun
from livedb.service.console import console
from livedb.service.function_logs import FunctionLogs
from livedb.service.loop_calls import LoopCalls
from livedb.service.outcomes import ConvexDialect, Dialect, OwnDialect
from livedb.service.path_calls import Ended, PathCall, PathCalls
from livedb.service.query_set import Found, Moment
from livedb.service.rounds import Rounds
from livedb.service.transfers import Transfers
from livedb.workspace import Workspace

if TYPE_CHECKING:
    from livedb.auth.access import Caller
    from livedb.service.access import Access
    from livedb.service.websocket import SyncConnection

P = ParamSpec("P")
R = TypeVar("R")

FOLLOWING_MAX = 16
"""Connections that follow something new at once; more wait. They run it for the first time, which
may be slow, so they have threads of their own."""

UPDATES_MAX = 8
"""Other work of connections that blocks, at once; more waits."""

FILES_MAX = 16
"""Steps of uploads and downloads at once; more wait. Each may wait long for an object store."""


class _Told(NamedTuple):
    """What the refresher's thread has told: up to a moment, which connections follow what changed.

    Attributes:
        touched: None when it is the answer to a question.
        lagging: what of them began or ceased to lag; None for most.
    """

    at: Moment
    touched: dict[SyncConnection, list[Change]] | None
    lagging: _Lagging | None = None


@dataclass(slots=True)
class _Lagging:
    """A step that is of queries that lag, for the connections that follow them."""

    step: Step
    began: dict[SyncConnection, list[LiveQuery]] = field(default_factory=dict)
    ended: dict[SyncConnection, Outcome] = field(default_factory=dict)
    in_round: dict[SyncConnection, None] = field(default_factory=dict)


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
        self._following = ThreadPoolExecutor(FOLLOWING_MAX, thread_name_prefix="livedb-follow")
        self._updates = ThreadPoolExecutor(UPDATES_MAX, thread_name_prefix="livedb-update")
        self._files = ThreadPoolExecutor(FILES_MAX, thread_name_prefix="livedb-file")
        self._followers: dict[LiveQuery, dict[SyncConnection, None]] = {}
        self._followers_lock = threading.Lock()
        live = workspace.live
        self._loop_calls = LoopCalls(self._loop)
        self.calls = PathCalls(workspace, access, self.logs, self._loop, self._loop_calls)
        self.rounds = Rounds(live)
        self.at = Moment(0, 0, live.steps_told)
        """The commit up to which connections know everything, and the steps they were handed."""
        self._behind: dict[SyncConnection, None] = {}
        """Those that wait for a later commit than that."""
        self._has_asked = False
        self._stop_listening = live.listen(self._tell)
        self._stop_hearing = workspace.invitations.listen(self._hear_of_revocation)
        self._stop_logging = workspace.scheduler.listen(self._log)
        console.begin()

    # -- threads -------------------------------------------------------------------------------

    async def in_thread(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run what blocks on a thread of the service's."""
        assert not kwargs, "positional arguments only"
        return await self._loop.run_in_executor(self._updates, function, *args)

    async def in_file_thread(
        self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a step of an upload or a download on a thread for these alone."""
        assert not kwargs, "positional arguments only"
        return await self._loop.run_in_executor(self._files, function, *args)

    def on_loop(self, call: Callable[[], None]) -> None:
        """Have `call` made on the event loop, behind what was told before."""
        self._loop_calls.put(call)

    # -- state ---------------------------------------------------------------------------------

    def newest_ts(self) -> int:
        """The timestamp of the newest published commit."""
        committer = self.workspace.committer
        return committer.ts_of(committer.published)

    def dialect_of(self, client: ClientKind) -> Dialect:
        """How outcomes look to a kind of client."""
        return self._own if client is ClientKind.LIVEDB else self.convex

    def _log(self, ended: EndedRun) -> None:
        """Remember a run of the scheduler, on its thread."""
        outcome = ended.outcome
        took_s = (outcome.ended_ms - outcome.began_ms) / 1000
        self.logs.add(
            identifier=ended.name,
            kind=ended.kind,
            began_s=self.clock.monotonic_s() - took_s,
            log_lines=outcome.lines,
            error=outcome.told,
        )

    def _hear_of_revocation(self) -> None:
        """On any thread: end the connections of whoever may no longer be here."""

        def check() -> None:
            for connection in list(self.connections):
                connection.check_identity()

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(check)

    # -- live queries --------------------------------------------------------------------------

    async def follow(
        self, connection: SyncConnection, order: Compute, asking: Sequence[int]
    ) -> Found:
        """Follow and drop queries of a connection, at the newest commit."""
        return await self._loop.run_in_executor(
            self._following, self._follow, connection, order, asking
        )

    def _follow(self, connection: SyncConnection, order: Compute, asking: Sequence[int]) -> Found:
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

        return query_set.follow(order, register, asking=asking)

    def is_level(self, connection: SyncConnection, ts: int) -> bool:
        """Whether connections know everything up to timestamp `ts`; if not, one is told when."""
        if self.at.ts < ts and not self._catch_up():
            self._behind[connection] = None
            self._ask()
            return False
        return True

    def _catch_up(self) -> bool:
        """Go to the newest commit, if connections know all that leads there."""
        standing = self.workspace.live.standing_nowait()
        if standing is None or standing.steps != self.at.steps:
            return False
        self._move(standing.number, self._ts_of(standing.number), standing.steps)
        return True

    def _move(self, number: int, ts: int, steps: int) -> None:
        """Connections have been handed all that leads there."""
        before = self.at
        self.at = Moment(max(before.number, number), max(before.ts, ts), steps)

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
        followed = connection.query_set.close()
        with self._followers_lock:
            for query in followed:
                self._leave(query, connection)
        self.calls.leave(connection)
        self.workspace.presence.leave(connection.visitor)

    def _leave(self, query: LiveQuery, connection: SyncConnection) -> None:
        followers = self._followers.get(query)
        if followers is not None:
            followers.pop(connection, None)
            if not followers:
                del self._followers[query]

    def _tell(self, step: Step) -> None:
        """On the refresher's thread: hand what a step is of to the loop."""
        touched: dict[SyncConnection, list[Change]] = {}
        with self._followers_lock:
            for change in step.changes:
                for connection in self._followers.get(change.query, ()):
                    touched.setdefault(connection, []).append(change)
            lagging = None if step.is_plain else self._lagging(step)
        self._hand_over(step.number, touched, lagging)

    def _lagging(self, step: Step) -> _Lagging:
        told = _Lagging(step)
        for query in step.lagging:
            for connection in self._followers.get(query, ()):
                told.began.setdefault(connection, []).append(query)
        for each in (step.begun, step.ended):
            for query in () if each is None else each.queries:
                told.in_round.update(self._followers.get(query, {}))
        if step.outcome is not None:
            for at, states in enumerate(step.outcome):
                for query, state in states.items():
                    for connection in self._followers.get(query, ()):
                        told.ended.setdefault(connection, Outcome({}, {}))[at][query] = state
        return told

    def _reached(self, number: int) -> None:
        """On the refresher's thread: all that leads to a commit has been told."""
        self._hand_over(number, None)

    def _hand_over(
        self,
        number: int,
        touched: dict[SyncConnection, list[Change]] | None,
        lagging: _Lagging | None = None,
    ) -> None:
        at = Moment(number, self._ts_of(number), self.workspace.live.steps_told)
        self._loop_calls.put(partial(self._take_told, _Told(at, touched, lagging)))

    def _take_told(self, told: _Told) -> None:
        at = told.at
        self._move(*at)
        if told.touched is None:
            self._has_asked = False
            behind, self._behind = self._behind, {}
            for connection in behind:
                connection.resume()
            return
        if told.lagging is not None:  # first, so that nobody goes where they are not known
            for connection, queries in told.lagging.began.items():
                connection.query_set.note_lagging(at.steps, queries)
                self.rounds.want(connection.query_set)
        for connection, changes in told.touched.items():
            if connection.query_set.note(at.steps, changes):
                connection.touched()
        if told.lagging is not None:
            self._take_rounds(at, told.lagging)

    def _take_rounds(self, at: Moment, told: _Lagging) -> None:
        step = told.step
        if step.begun is not None:
            for connection in told.in_round:
                connection.query_set.note_begun(at, step.begun)
        if step.outcome is not None:
            for connection in told.in_round.keys() | told.ended.keys():
                outcome = told.ended.get(connection, Outcome({}, {}))
                if connection.query_set.note_ended(at.steps, step.ended, outcome):
                    connection.touched()
                self.rounds.want(connection.query_set)
        self.rounds.begin()

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
        self._stop_logging()
        console.end()
        for connection in list(self.connections):
            connection.drop(1001, "the service is going away")
        for _ in range(100):
            if not self.connections:
                break
            await asyncio.sleep(0.05)
        self.rounds.close()
        self.transfers.close()
        self.calls.close()
        self.access.close()
        self._following.shutdown(wait=False, cancel_futures=True)
        self._updates.shutdown(wait=False, cancel_futures=True)
        self._files.shutdown(wait=False, cancel_futures=True)
