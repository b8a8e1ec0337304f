"""Calling: how a run gets into a user's function, and from one function into the next.

A run is one transaction (`functions.runner` makes it); here its function is given a context, and a
function called inside a running one joins its transaction. What runs in a thread or task is known
here too, so that whoever may not be called inside a function can ask.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, Protocol

from livedb.clock import Clock
from livedb.errors import FunctionNotFoundError, FunctionTypeError, LimitError, ReadOnlyError
from livedb.functions.actions import action_call
from livedb.functions.call import Call
from livedb.functions.context import Caller, MutationContext, QueryContext
from livedb.functions.database import DatabaseReader, DatabaseWriter
from livedb.functions.deadline import Watchdog
from livedb.functions.definition import (
    MARK,
    FunctionDefinition,
    FunctionKind,
    FunctionMark,
    Registry,
    a_kind,
    pushed_name,
)
from livedb.functions.run import Run
from livedb.functions.run_record import RunRecord
from livedb.functions.scheduling import checked_arguments, missing_function, require_schedulable
from livedb.functions.storage import Contents
from livedb.identity import Identity
from livedb.limits import CALL_DEPTH_MAX, Limits
from livedb.sizes import is_surely_within, size_of
from livedb.transactions.committer import Committer
from livedb.transactions.reads import function_key
from livedb.transactions.transaction import Snapshot, Transaction
from livedb.transactions.usage import WARN_SHARE
from livedb.values import Value

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger("livedb")

_current_run: ContextVar[tuple[Calling, Run] | None] = ContextVar("livedb_run", default=None)


_LACKS_FIRST = re.compile(
    r"(?P<name>[^()]+)\(\) missing \d+ required positional arguments?: '(?P<first>\w+)'"
)
"""Python's words for a call without the first parameter, or without a later one."""


def is_running() -> bool:
    """Whether a query or mutation of any workspace is running in this context."""
    return _current_run.get() is not None


def current_call() -> Call | None:
    """The call for which a function runs in this context, if somebody in particular called."""
    current = _current_run.get()
    return action_call() if current is None else current[1].call


class SqlReader(Protocol):
    """Reads SQL for `ctx.db.sql`."""

    def read_sql_at(
        self,
        snapshot: Snapshot,
        text: str,
        params: Mapping[str, Any] | Iterable[Any] | None,
        *,
        on_start: Callable[[Callable[[], None]], None],
    ) -> pa.Table:
        """The rows at the snapshot's commit; adds the tables read to its read set.

        Args:
            on_start: told what interrupts the statement, before it runs; harmless after its end.

        Raises:
            SnapshotTooOldError: the tables are folded beyond the snapshot's commit.
        """


class Calling(Caller):
    """Calls the functions of one workspace inside runs. `close()` it."""

    def __init__(
        self,
        *,
        workspace: str,
        registry: Registry,
        committer: Committer,
        clock: Clock,
        limits: Limits,
        sql: SqlReader,
        contents: Contents,
    ) -> None:
        self.workspace = workspace
        self.registry = registry
        self._committer = committer
        self._clock = clock
        self._limits = limits
        self._sql = sql
        self._watchdog = Watchdog(clock)
        self.runs: defaultdict[str, RunRecord] = defaultdict(RunRecord)
        """By the name of the function."""
        self.places: Mapping[str, str] = {}
        self.contents = contents

    def close(self) -> None:
        self._watchdog.close()

    # -- entering a run ------------------------------------------------------------------------

    def call(self, function: FunctionDefinition, run: Run, args: Mapping[str, Value]) -> Any:
        """Call the function that a run is for; until it returns, the run is this context's.

        Raises:
            LimitError: the arguments are too large.
            FunctionTimeoutError: it took longer than `Limits.function_s_max`.
            whatever the function raises.
        """
        self.check_arguments_size(function, args)
        before = _current_run.get()
        try:
            # Inside: a signal right after it must not leave the thread in this run for good.
            _current_run.set((self, run))
            limit_s = self._limits.function_s_max
            if limit_s is None:
                return self._invoke(function, run, args)
            return self._call_limited(function, run, args, limit_s)
        finally:
            _current_run.set(before)

    def _call_limited(
        self, function: FunctionDefinition, run: Run, args: Mapping[str, Value], limit_s: float
    ) -> Any:
        began_s = self._clock.monotonic_s()
        result = self._watchdog.run(
            lambda: self._invoke(function, run, args),
            name=function.name,
            limit_s=limit_s,
            on_expiry=run.interrupt,
        )
        took_s = self._clock.monotonic_s() - began_s
        if took_s >= WARN_SHARE * limit_s:
            logger.warning("%s used %.3g of at most %g seconds", function.name, took_s, limit_s)
        return result

    def _invoke(self, function: FunctionDefinition, run: Run, args: Mapping[str, Value]) -> Any:
        record = self.runs[function.name]
        record.runs += 1
        context: QueryContext | MutationContext
        if function.kind == "mutation":
            assert isinstance(run.snapshot, Transaction)
            context = MutationContext(DatabaseWriter(run.snapshot, self), self, run, function)
        else:
            context = QueryContext(DatabaseReader(run.snapshot, self), self, run, function)
        began_s = self._clock.monotonic_s()
        try:
            return function.call(context, args)
        except TypeError as error:
            record.fail(error)
            told = self._called_without_context(function, error)
            if told is None:
                raise
            raise told.with_traceback(error.__traceback__) from error
        except (SystemExit, GeneratorExit, KeyboardInterrupt) as leaving:
            if _is_of_a_signal(leaving):
                raise
            # It would end the thread that runs it: a service's loop, the one that tells followers.
            raise FunctionTypeError(
                f"{function.name!r} raised {leaving!r}. A function of a workspace runs for many, "
                "and ends by returning or by raising an Exception."
            ) from leaving
        except Exception as error:
            record.fail(error)
            raise
        finally:
            record.end(began_s, self._clock.monotonic_s())

    def _called_without_context(
        self, function: FunctionDefinition, error: TypeError
    ) -> FunctionTypeError | None:
        """What to write instead, if `error` is a module's function called as a cell's is."""
        found = _LACKS_FIRST.match(str(error))
        if found is None:
            return None
        for called in self.registry.named_in_module(found["name"]):
            if next(iter(inspect.signature(called.handler).parameters), None) == found["first"]:
                name = called.handler.__name__
                return FunctionTypeError(
                    f"{function.name!r} called {name}() without its {found['first']}. A function "
                    "of a module is called by another one as "
                    f'ctx.run_{called.kind}("{called.name}", {{..}}), undone alone when it '
                    f"raises, or as the plain function that it is: {name}(ctx, ..)."
                )
        return None

    # -- joining a run -------------------------------------------------------------------------

    def nested_run(self) -> Run | None:
        """The run in progress in this context, if it is this workspace's."""
        current = _current_run.get()
        if current is None or current[0] is not self:
            return None
        return current[1]

    def name_of(self, function: Any) -> str:
        """The name of a function of this workspace."""
        return name_of(function)

    def call_nested(self, kind: FunctionKind, function: Any, args: Mapping[str, Any]) -> Any:
        """Call a function inside the run in progress, as a sub-transaction of it."""
        run = self._run_of_context()
        name = name_of(function)
        # Before it is looked up: one that is missing now may be defined later.
        run.snapshot.reads.names.add(function_key(name))
        definition = self.of_kind(kind, name)
        bound = definition.bind((), args, tables=run.snapshot.catalog)
        return self.join(run, definition, bound)

    def join(self, run: Run, function: FunctionDefinition, args: Mapping[str, Value]) -> Any:
        """Call `function` in the transaction of `run`; its writes are undone when it raises."""
        if function.kind == "action":
            raise no_action_in_transaction(function)
        if function.kind == "mutation" and run.kind == "query":
            raise FunctionTypeError(
                f"A query cannot run the mutation {function.name!r}; queries only read"
            )
        if run.depth >= CALL_DEPTH_MAX:
            raise LimitError(
                f"Functions may call each other {CALL_DEPTH_MAX} levels deep",
                code="MaximumCallDepthExceeded",
            )
        run.snapshot.reads.names.add(function_key(function.name))
        run.depth += 1
        around, run.kind = run.kind, function.kind
        try:
            if function.kind == "query":
                return self._invoke(function, run, args)
            assert isinstance(run.snapshot, Transaction)
            savepoint = run.snapshot.savepoint()
            try:
                return self._invoke(function, run, args)
            except BaseException:
                run.snapshot.rollback(savepoint)
                raise
        finally:
            run.kind = around
            run.depth -= 1

    def of_kind(self, kind: FunctionKind, name: str) -> FunctionDefinition:
        """The function of that name, as `ctx.run_query` and its siblings find it.

        Raises:
            FunctionNotFoundError: there is none.
            FunctionTypeError: it is of another kind.
        """
        definition = self.registry.get(name)
        if definition.kind == "http_action":
            raise answers_requests(definition)
        if definition.kind != kind:
            raise FunctionTypeError(
                f"{definition.name!r} is {a_kind(definition.kind)}: call it with "
                f"ctx.run_{definition.kind}, not ctx.run_{kind}"
            )
        return definition

    def _run_of_context(self) -> Run:
        run = self.nested_run()
        if run is None:
            raise FunctionTypeError("ctx is used after its function has returned")
        return run

    # -- what a run asks -----------------------------------------------------------------------

    def read_sql(
        self, snapshot: Snapshot, text: str, params: Mapping[str, Any] | Iterable[Any] | None
    ) -> pa.Table:
        """SQL of the run in progress, at its number; the tables it reads join its read set.

        Raises:
            ReadOnlyError: the run is a mutation, whose own writes SQL would not see.
        """
        if isinstance(snapshot, Transaction):
            raise ReadOnlyError(
                "ctx.db.sql is for queries: in a mutation it would not see the mutation's own "
                "writes. Read with ctx.db.query, or run the SQL in a query before."
            )
        run = self._run_of_context()
        reader: SqlReader = self._sql if run.sql is None else run.sql
        return reader.read_sql_at(snapshot, text, params, on_start=run.watch)

    def snapshot_ts(self, run: Run) -> int:
        """When the commit that a run reads was made; waits until it is durable.

        Raises:
            ConflictError: it was undone, because the log failed; the mutation runs again.
            SnapshotTooOldError: the log no longer has it.
        """
        self._committer.settle(run.snapshot.number, run.epoch)
        return self._committer.logged_ts_of(run.snapshot.number)

    def ask_identity(self) -> Identity | None:
        """Who the run in progress is for."""
        call = self._run_of_context().call
        return None if call is None else call.ask_identity()

    def to_schedule(self, function: Any, args: Mapping[str, Any]) -> tuple[str, list[Value]]:
        """The name of a function that the run in progress schedules, and its arguments as stored.

        Raises: as `Scheduler.run_after`.
        """
        run = self._run_of_context()
        name = name_of(function)
        run.snapshot.reads.names.add(function_key(name))
        try:
            definition = self.registry.get(name)
        except FunctionNotFoundError as error:
            raise missing_function(error) from None
        require_schedulable(definition)
        bound = definition.bind((), args, tables=run.snapshot.catalog)
        return name, checked_arguments(definition, bound)

    # -- sizes ---------------------------------------------------------------------------------

    def check_arguments_size(self, function: FunctionDefinition, args: Mapping[str, Value]) -> None:
        """Refuse arguments that are too large, or warn of them.

        Raises:
            LimitError: they are larger than `Limits.args_bytes_max`.
        """
        most = self._limits.args_bytes_max
        if function.takes_raw or is_surely_within(args, most // 2):
            return
        size = size_of(args)
        if size < WARN_SHARE * most:
            return
        if size > most:
            raise LimitError(
                f"Arguments for {function.name} are too large (actual: {size:,} bytes, limit: "
                f"{most:,} bytes). Pass an id and read the rest, or use db.load for bulk data.",
                code="ArgsTooLarge",
            )
        logger.warning("%s used %s of at most %s bytes of arguments", function.name, size, most)

    def check_result_size(self, function: FunctionDefinition, size: int) -> None:
        """Refuse a result of `size` bytes that is to be kept or sent, or warn of it.

        Raises:
            LimitError: it is larger than `Limits.result_bytes_max`.
        """
        most = self._limits.result_bytes_max
        if size < WARN_SHARE * most:
            return
        if size > most:
            raise LimitError(
                f"The result of {function.name} is too large (actual: {size:,} bytes, limit: "
                f"Limits.result_bytes_max, {most:,} bytes). Return less, paginate, or read it "
                "with db.sql.",
                code="ResultTooLarge",
            )
        logger.warning("%s used %s of at most %s bytes of result", function.name, size, most)


def name_of(function: Any) -> str:
    """The name of a function given by name, as what a decorator returned, or as a module has it."""
    if isinstance(getattr(function, MARK, None), FunctionMark):
        return pushed_name(function)
    name = function if isinstance(function, str) else getattr(function, "name", None)
    if not isinstance(name, str):
        name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise FunctionTypeError(f"{function!r} is not a livedb function or the name of one")
    return name


def answers_requests(function: FunctionDefinition) -> FunctionTypeError:
    """Why an HTTP action is not called."""
    return FunctionTypeError(
        f"{function.name!r} is an HTTP action: it answers requests, and nothing calls it. Put what "
        "both need into an action, a query or a mutation."
    )


def no_action_in_transaction(function: FunctionDefinition) -> FunctionTypeError:
    """Why an action is not called inside a query or mutation."""
    return FunctionTypeError(
        f"A query or mutation cannot run the action {function.name!r}, of which nothing can be "
        "undone. Run the action itself, and let it run queries and mutations."
    )


def _is_of_a_signal(raised: BaseException) -> bool:
    """Whether this may be a user's Ctrl-C, which only the main thread gets."""
    return isinstance(raised, KeyboardInterrupt) and current_thread() is main_thread()
