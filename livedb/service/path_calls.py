"""Calls of functions for clients: from a path and arguments to an outcome, and no thread waits.

A mutation's commit is handed over, and its thread goes on with the next call. What becomes of the
commits of a batch is told at once, and handed to the event loop in one piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from msgspec import Raw

from livedb.auth.access import Caller
from livedb.errors import (
    AuthenticationError,
    ClosedError,
    ConflictError,
    LivedbError,
    PermissionDeniedError,
)
from livedb.functions.call import Call, Cancellation
from livedb.functions.definition import FunctionDefinition, FunctionKind
from livedb.protocol.effects import Failure, Success
from livedb.service.access import Access
from livedb.service.call_threads import CallThreads
from livedb.service.function_logs import FunctionLogs
from livedb.service.functions import find_function, own_permission, read_object, registered_name
from livedb.service.loop_calls import LoopCalls
from livedb.service.outcomes import Dialect, logged
from livedb.service.query_set import LIVEDB
from livedb.service.verb_arguments import Follower, Given
from livedb.service.workspace_calls import ACT, WorkspaceCalls
from livedb.transactions.commit_request import CommitRequest
from livedb.values import Value
from livedb.workspace import Workspace

THREADS_MAX = 64
"""Queries, mutations and verbs that run at once; more wait. Of actions `Limits` says it."""

Ended = Success | Failure | BaseException
"""How a call ended: an exception says nothing of what was called, and is the edge's to answer."""


@dataclass(slots=True, eq=False)
class PathCall:
    """A call as a client asks for it.

    Attributes:
        done: called once on the event loop with how it ended.
        at: the commit to read, for a query.
        connection: whose call it is; what a call holds ends with it.
        request_id: by which that connection cancels it, if it is an action.
        value: the result of a mutation whose commit is on its way.
        called: the function that a verb of livedb's own client calls, by name, and its kind.
        was_undone: the log failed before that commit was in it, so the mutation runs again, on a
            thread that waits for it.
    """

    path: str
    args: Raw
    kind: FunctionKind | None
    call: Call
    caller: Caller | None
    dialect: Dialect
    done: Callable[[Ended], None]
    component: str | None = None
    at: int | None = None
    connection: Follower | None = None
    request_id: int | None = None
    began_s: float = 0.0
    value: Raw | None = None
    called: tuple[str, str] | None = None
    was_undone: bool = False

    @property
    def is_verb(self) -> bool:
        """Whether it is one of the verbs of livedb's own client, and no function."""
        return self.component == LIVEDB and self.dialect.is_exact

    def name(self, function: str, kind: str) -> None:
        """Say which function it calls."""
        self.called = (function, kind)


class PathCalls:
    """Runs the calls of one service's clients. `begin` and `close` on the loop's thread."""

    def __init__(
        self,
        workspace: Workspace,
        access: Access,
        logs: FunctionLogs,
        loop: asyncio.AbstractEventLoop,
        loop_calls: LoopCalls,
    ) -> None:
        self._workspace = workspace
        self._access = access
        self._clock = workspace.clock
        self._logs = logs
        self._loop_calls = loop_calls
        self._threads = CallThreads(
            loop, workspace.clock, name="livedb-call", threads_max=THREADS_MAX
        )
        self._action_threads = CallThreads(
            loop,
            workspace.clock,
            name="livedb-act",
            threads_max=workspace.limits.actions_parallel_max,
        )
        self._verbs = WorkspaceCalls(workspace, access, self._cancel)
        self._cancellations: dict[tuple[Follower | None, int], Cancellation] = {}
        """Of the actions that wait or run, by who asked for them; changed by the loop's thread."""
        self._under_way = 0
        """Calls that have begun and not ended, as the loop knows."""

    def begin(self, wanted: PathCall) -> None:
        """Run a call on a thread: an action, which may wait for the world, on one of its own."""
        self._under_way += 1
        threads = self._threads
        if self._is_action(wanted):
            threads = self._action_threads
            if wanted.request_id is not None:
                wanted.call.cancellation = Cancellation()
                self._cancellations[wanted.connection, wanted.request_id] = wanted.call.cancellation
        threads.put(partial(self._run, wanted))

    def _is_action(self, wanted: PathCall) -> bool:
        if wanted.is_verb:
            return wanted.path == ACT
        return (wanted.kind or self._kind_of(wanted.path)) == "action"

    def _end(self, wanted: PathCall, ended: Ended) -> None:
        self._under_way -= 1
        if wanted.call.cancellation is not None and wanted.request_id is not None:
            self._cancellations.pop((wanted.connection, wanted.request_id), None)
        wanted.done(ended)

    def leave(self, connection: Follower | None) -> None:
        """A connection has ended: end what its calls hold."""
        self._verbs.leave(connection)

    def close(self) -> None:
        """Begin nothing further."""
        self._threads.close()
        self._action_threads.close()
        self._verbs.close()

    # -- on a thread ---------------------------------------------------------------------------

    def _cancel(self, connection: Follower | None, request_id: int) -> None:
        """Nobody waits for this action any more; one that has ended is as it is."""
        cancellation = self._cancellations.get((connection, request_id))
        if cancellation is not None:
            cancellation.cancel()

    def _run(self, wanted: PathCall) -> None:
        wanted.began_s = self._clock.monotonic_s()
        ended: Ended | None
        try:
            self._workspace.require_open()
            ended = self._outcome(wanted)
        except BaseException as error:  # noqa: BLE001  # a function's SystemExit ends only itself
            ended = self._failed(wanted, error)
        if ended is not None:
            self._loop_calls.put(partial(self._end, wanted, ended))

    def _outcome(self, wanted: PathCall) -> Success | None:
        """What a call gives; None when its commit was handed over."""
        call, dialect, caller = wanted.call, wanted.dialect, wanted.caller
        if wanted.is_verb:
            given = Given(wanted.path, dialect, wanted.connection, wanted.name)
            outcome = self._verbs.run(given, wanted.args, call, caller)
            self._log(wanted, None)
            return outcome
        runner = self._workspace.runner
        function, arguments = self._find(wanted)
        if function.kind == "mutation":
            return self._mutate(function, arguments, wanted)
        if wanted.at is None:
            return self._success(wanted, runner.run_alone(function, arguments, call))
        run = runner.run_query(function, arguments, at=wanted.at, call=call)
        if run.error is not None:
            raise run.error
        return self._success(wanted, run.value)

    def _mutate(
        self, function: FunctionDefinition, arguments: dict[str, Value], wanted: PathCall
    ) -> Success | None:
        is_on_its_way = False

        def hand_over(request: CommitRequest, result: Any) -> None:
            nonlocal is_on_its_way
            # First its message: one that cannot be made fails the call, and nothing is committed.
            wanted.value = wanted.dialect.value(result)
            # Beside others the thread is wanted, and the log writer takes what gathers.
            is_last = self._under_way == 1
            self._workspace.committer.hand_over(request, self._answered, wanted, is_last=is_last)
            is_on_its_way = True

        run = self._workspace.runner.run_mutation
        if wanted.was_undone:
            return self._success(wanted, run(function, arguments, wanted.call))
        value = run(function, arguments, wanted.call, hand_over=hand_over)
        return None if is_on_its_way else self._success(wanted, value)

    def _success(self, wanted: PathCall, value: Any) -> Success:
        outcome = Success(wanted.dialect.value(value), wanted.call.log_lines, wanted.call.ts)
        self._log(wanted, None)
        return outcome

    def _find(self, wanted: PathCall) -> tuple[FunctionDefinition, dict[str, Value]]:
        """The function of a path, and its arguments, if the caller may call it."""
        workspace, access, dialect = self._workspace, self._access, wanted.dialect
        needed = own_permission(wanted.path) if dialect.is_exact else None
        if needed is not None:
            access.require(wanted.caller, needed)
        function = find_function(
            workspace.registry,
            wanted.path,
            wanted.component,
            kind=wanted.kind,
            sees_internal=access.is_admin(wanted.caller),
        )
        access.require_kind(wanted.caller, function.kind)
        committer = workspace.committer
        tables = committer.catalog_at(committer.published)
        given = read_object(dialect.codec.read(wanted.args))
        return function, function.check_arguments(
            given, tables=tables, from_wire=not dialect.is_exact
        )

    # -- outcomes ------------------------------------------------------------------------------

    def _answered(self, requests: Sequence[CommitRequest]) -> None:
        """On whichever thread made a batch durable, or could not: hand it to the loop."""
        self._loop_calls.put(*[partial(self._committed, request) for request in requests])

    def _committed(self, request: CommitRequest) -> None:
        wanted = cast("PathCall", request.about)
        if isinstance(request.error, ConflictError):
            wanted.was_undone = True
            self._threads.put(partial(self._run, wanted))
        elif request.error is not None:
            self._end(wanted, self._failed(wanted, request.error))
        else:
            assert wanted.value is not None, "it is made before its commit is handed over"
            self._log(wanted, None)
            self._end(wanted, Success(wanted.value, wanted.call.log_lines, request.ts))

    def _failed(self, wanted: PathCall, error: BaseException) -> Ended:
        if _is_not_the_functions(error, wanted.dialect):
            return error
        try:
            outcome = wanted.dialect.failure(error, wanted.call.log_lines)
            self._log(wanted, logged(error, outcome))
        except Exception as worse:  # noqa: BLE001  # an error's own text may raise
            return worse
        return outcome

    def _log(self, wanted: PathCall, error: str | None) -> None:
        if wanted.is_verb:
            if wanted.called is None:
                return  # it calls no function
            name, kind = wanted.called
        else:
            name, kind = wanted.path, wanted.kind or self._kind_of(wanted.path) or "any"
        self._logs.add(
            identifier=name,
            kind=kind,
            began_s=wanted.began_s,
            log_lines=wanted.call.log_lines,
            error=error,
        )

    def _kind_of(self, path: str) -> FunctionKind | None:
        registry = self._workspace.registry
        found = registry.find(registered_name(registry, path))
        return None if found is None else found.kind


def _is_not_the_functions(error: BaseException, dialect: Dialect) -> bool:
    """Whether an error says nothing of what was called: it is the edge's to answer."""
    if isinstance(error, AuthenticationError | PermissionDeniedError | ClosedError):
        return True
    # livedb's own client raises it, as a workspace in its process would.
    is_transient = isinstance(error, LivedbError) and error.is_transient
    return is_transient and not dialect.is_exact
