"""Actions: functions that may do anything, and reach the database through other functions.

An action is no transaction. It runs once, nothing of it is undone, and each query, mutation or
action that it runs is a transaction of its own: between two of them others commit. So an action
may wait for the network, and a query or mutation cannot run one.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Any, Protocol

from livedb.clock import Clock
from livedb.errors import (
    FunctionCancelledError,
    FunctionTimeoutError,
    FunctionTypeError,
    LimitError,
)
from livedb.functions.action_context import ActionContext, AsyncActionContext
from livedb.functions.call import Call, Cancellation
from livedb.functions.definition import HTTP_MARK, FunctionDefinition, FunctionKind
from livedb.functions.storage import Contents
from livedb.limits import CALL_DEPTH_MAX, Limits
from livedb.values import Value

_acting: ContextVar[Acting | None] = ContextVar("livedb_action", default=None)


def action_call() -> Call | None:
    """The call of the action in progress in this context."""
    action = _acting.get()
    return None if action is None else action.call


def nested_call(cancellation: Cancellation | None = None) -> Call | None:
    """A call as whoever called the action in progress in this context; None outside of actions.

    Args, Raises: as `Acting.nested_call`.
    """
    action = _acting.get()
    return None if action is None else action.nested_call(cancellation)


class ActionRunner(Protocol):
    """Runs functions on their own; the runner implements it."""

    @property
    def workspace(self) -> str:
        """Its name."""

    @property
    def places(self) -> Mapping[str, str]:
        """Environment variables that say where the workspace is served."""

    @property
    def contents(self) -> Contents:
        """Where the contents of files lie."""

    def name_of(self, function: Any) -> str:
        """The name of a function of this workspace."""

    def call_alone(
        self, kind: FunctionKind, function: Any, args: Mapping[str, Any], call: Call, at: int | None
    ) -> Any:
        """Run a function as a transaction, or an action, of its own; queries at commit `at`."""

    def is_cancelled(self, job: str) -> bool:
        """Whether a scheduled function that runs was cancelled by now."""


class Acting:
    """An action in progress: for whom, how long, and how it runs other functions.

    Its `ctx` holds this, and looks for nothing in the thread where it is used: threads that an
    action starts are its own.
    """

    def __init__(
        self,
        runner: ActionRunner,
        function: FunctionDefinition,
        call: Call,
        clock: Clock,
        limits: Limits,
        at: int | None,
    ) -> None:
        self.call = call
        self._at = at
        self._runner = runner
        self._name = function.name
        self._clock = clock
        limit_s = limits.action_s_max
        self._deadline_s = math.inf if limit_s is None else clock.monotonic_s() + limit_s
        self._has_ended = False
        self._cancellation = call.cancellation
        """Refuses what it runs next. None of one that runs as a task: that is cancelled itself."""

    # -- what its function runs ----------------------------------------------------------------

    @property
    def workspace(self) -> str:
        return self._runner.workspace

    @property
    def places(self) -> Mapping[str, str]:
        return self._runner.places

    @property
    def contents(self) -> Contents:
        return self._runner.contents

    def name_of(self, function: Any) -> str:
        return self._runner.name_of(function)

    def call_alone(
        self,
        kind: FunctionKind,
        function: Any,
        args: Mapping[str, Any],
        cancellation: Cancellation | None = None,
    ) -> Any:
        return self._runner.call_alone(
            kind, function, args, self.nested_call(cancellation), self._at
        )

    async def run_action(self, function: Any, args: Mapping[str, Any]) -> Any:
        """Run another action on a thread; cancelled when whoever awaits this is."""
        cancellation = Cancellation()
        run = self.call_alone
        try:
            return await asyncio.to_thread(run, "action", function, args, cancellation)
        except asyncio.CancelledError:
            cancellation.cancel()
            raise

    def nested_call(self, cancellation: Cancellation | None = None) -> Call:
        """A call as whoever called this action.

        Args:
            cancellation: of that call; without, it ends with this one's, if this is a plain `def`.

        Raises:
            FunctionTypeError: it has ended; a thread that it left behind is at work.
            FunctionCancelledError: nobody waits for it any more.
            FunctionTimeoutError: it has no time left. Its own code cannot be ended from outside, as
                it may be committing: it is refused at its next step instead.
        """
        if self._has_ended:
            raise FunctionTypeError(
                f"The action {self._name!r} has ended, and runs nothing further: what it started "
                "is still at work. Wait for its threads and tasks before it returns."
            )
        self.require_wanted()
        self.require_time()
        return self.call.nested(self._cancellation if cancellation is None else cancellation)

    # -- its end -------------------------------------------------------------------------------

    def end(self) -> None:
        """Nothing runs for it any more."""
        self._has_ended = True

    def is_cancelled(self) -> bool:
        """Whether nobody waits for it any more, or the scheduled function it is was cancelled."""
        cancellation, job = self.call.cancellation, self.call.job
        if self._has_ended or (cancellation is not None and cancellation.is_cancelled):
            return True
        return job is not None and self._runner.is_cancelled(job)

    def require_wanted(self) -> None:
        """Go on only while somebody waits for it.

        Raises:
            FunctionCancelledError: nobody does.
        """
        if self._cancellation is not None and self._cancellation.is_cancelled:
            raise self._cancelled()

    def require_time(self) -> None:
        """Go on only within the time limit.

        Raises:
            FunctionTimeoutError: it is over.
        """
        if self._clock.monotonic_s() > self._deadline_s:
            raise self._timeout()

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """What `work` comes to, on a loop of its own.

        It is cancelled where it waits, as asyncio does it, when time is up, nobody waits for it, or
        by Ctrl-C.

        Raises:
            FunctionTimeoutError, FunctionCancelledError: it was.
        """
        left_s = self._deadline_s - self._clock.monotonic_s()
        cancellation = self._cancellation or Cancellation()
        self._cancellation = None  # what it does about it, in a `finally`, it may do

        async def run() -> Any:
            timeout = asyncio.timeout(None if math.isinf(left_s) else left_s)
            try:
                with cancellation.telling(_canceller()):
                    async with timeout:
                        return await work()
            except TimeoutError:
                if timeout.expired():
                    raise self._timeout() from None
                raise
            except asyncio.CancelledError:
                if cancellation.is_cancelled:
                    raise self._cancelled() from None
                raise

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(run())
        # A cell's thread has a loop, which stands still until the cell is done.
        with ThreadPoolExecutor(1, thread_name_prefix="livedb-action") as thread:
            try:
                return thread.submit(copy_context().run, asyncio.run, run()).result()
            except KeyboardInterrupt:  # it is waited for to its end, until a second Ctrl-C
                cancellation.cancel()
                raise

    def _timeout(self) -> FunctionTimeoutError:
        return FunctionTimeoutError(
            f"The action {self._name} took longer than Limits.action_s_max; what it committed stays"
        )

    def _cancelled(self) -> FunctionCancelledError:
        return FunctionCancelledError(
            f"Whoever called the action {self._name} was cancelled; what it committed stays"
        )


def _canceller() -> Callable[[], None]:
    """Cancels the task that runs now, from any thread."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None, "it is called by one"

    def cancel() -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile, and the task with it
            loop.call_soon_threadsafe(task.cancel)

    return cancel


@contextmanager
def acting(
    runner: ActionRunner,
    function: FunctionDefinition,
    *,
    call: Call,
    clock: Clock,
    limits: Limits,
    at: int | None = None,
) -> Iterator[Acting]:
    """Within it an action is in progress: what is run, printed and asked there is its.

    Args:
        at: the commit that queries read; None is the newest.

    Raises:
        LimitError: actions run in one another too deep.
    """
    if call.depth >= CALL_DEPTH_MAX:
        raise LimitError(
            f"Actions may run each other {CALL_DEPTH_MAX} levels deep",
            code="MaximumCallDepthExceeded",
        )
    around = _acting.get()
    action = Acting(runner, function, call, clock, limits, at)
    try:
        _acting.set(action)
        yield action
    finally:
        action.end()
        _acting.set(around)


def run_action(
    runner: ActionRunner,
    function: FunctionDefinition,
    args: Mapping[str, Value],
    *,
    call: Call,
    clock: Clock,
    limits: Limits,
    at: int | None,
) -> Any:
    """Run an action to its end, on this thread or, if it is `async`, on a loop of its own.

    Args:
        at: the commit that its queries read; None is the newest.

    Raises:
        LimitError: actions run in one another too deep.
        FunctionTimeoutError: it took longer than `Limits.action_s_max`.
        FunctionCancelledError: nobody waits for it any more.
        whatever the action raises.
    """
    with acting(runner, function, call=call, clock=clock, limits=limits, at=at) as action:
        action.require_wanted()
        if inspect.iscoroutinefunction(function.innermost):
            async_context = AsyncActionContext(action, function, clock)
            return action.run(lambda: function.call_async(async_context, args))
        result = function.call(ActionContext(action, function, clock), args)
        action.require_time()
        return result


class Exchange(Protocol):
    """A request as handlers are given it, and the way for their response; a service implements it.

    Attributes:
        request: for a plain `def`.
        async_request: for an `async def`.
    """

    @property
    def request(self) -> Any: ...

    @property
    def async_request(self) -> Any: ...

    async def respond(self, response: Any) -> None:
        """Send what a handler gave, to its end; raises when it is no response."""


def run_http_action(
    runner: ActionRunner,
    function: FunctionDefinition,
    exchange: Exchange,
    *,
    call: Call,
    clock: Clock,
    limits: Limits,
) -> None:
    """Run an HTTP action until its response is sent, which may run code of it too.

    Raises: as `run_action`, and what `Exchange.respond` raises.
    """
    handler = function.handler
    with acting(runner, function, call=call, clock=clock, limits=limits) as action:
        if getattr(handler, HTTP_MARK, False):
            async_context = AsyncActionContext(action, function, clock)

            async def answer() -> None:
                given = handler(async_context, exchange.async_request)
                # A wrapper around it may give a response of its own at once.
                await exchange.respond(await given if inspect.isawaitable(given) else given)

            action.run(answer)
            return
        response = handler(ActionContext(action, function, clock), exchange.request)
        action.require_time()
        action.run(lambda: exchange.respond(response))
