"""The runner: what happens between calling a function and its answer.

A query runs on a snapshot at the published number and never waits. A mutation runs on the applied
state and hands a finished request to the committer; when what it read went stale it runs again, in
the turn at last. A function called inside a running one joins its transaction.

The caller's thread runs only the user's function and touches only its own transaction, so an
interrupt at any bytecode spoils only what is thrown away anyway.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from livedb.canonical import canonical
from livedb.clock import Clock
from livedb.errors import (
    ConflictError,
    FunctionTypeError,
    InvalidValueError,
    LimitError,
    LogError,
    ReadOnlyError,
    SnapshotTooOldError,
)
from livedb.functions.actions import Exchange, action_call, nested_call, run_action, run_http_action
from livedb.functions.call import Call, IdentityWantedError
from livedb.functions.context import DatabaseReader, DatabaseWriter, MutationContext, QueryContext
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
from livedb.identity import Identity
from livedb.ids import IdFactory
from livedb.limits import CALL_DEPTH_MAX, Limits
from livedb.sizes import is_surely_within, size_of
from livedb.store.contract import DocumentStore
from livedb.text import decode_value, encode_value
from livedb.transactions.committer import CommitDetails, CommitRequest, Committer
from livedb.transactions.reads import ReadSet, function_key
from livedb.transactions.transaction import Snapshot, Transaction
from livedb.transactions.turn import Turn, TurnHolder
from livedb.transactions.usage import WARN_SHARE
from livedb.values import Value

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger("livedb")

_new_tuple = tuple.__new__
"""Makes a named tuple three times as fast as its class does."""

FREE_RUNS = 2
"""Runs of a mutation before it takes the turn: beside others they seldom conflict twice."""

SNAPSHOT_EXPIRED = "SnapshotExpired"
"""Code of the error of a run that read one snapshot for too long; running it again is no use."""

SNAPSHOT_RETRIES_MAX = 8
"""Times a query starts again because the snapshot it began on is no longer kept."""


HandOver = Callable[[CommitRequest, Any], None]
"""Given a commit and the function's result: sends it on its way without waiting for the outcome.

Raises: what the commit step refused it for.
"""


class HeldSnapshot(Protocol):
    """A commit that stays readable."""

    @property
    def number(self) -> int: ...


class SqlReader(Protocol):
    """Reads SQL for `ctx.db.sql`; the workspace implements it."""

    def held(self) -> HeldSnapshot | None:
        """The snapshot that this thread or task reads by, if it holds one."""

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


def _is_of_a_signal(raised: BaseException) -> bool:
    """Whether this may be a user's Ctrl-C, which only the main thread gets."""
    return isinstance(raised, KeyboardInterrupt) and current_thread() is main_thread()


class QueryRun(NamedTuple):
    """What one run of a query gave.

    Attributes:
        number: the commit it is exact at.
        error: what the function raised instead of giving a value.
        is_volatile: it looked at the time or at random numbers.
    """

    value: Any
    error: Exception | None
    number: int
    reads: ReadSet
    is_volatile: bool


_current_run: ContextVar[tuple[Runner, Run] | None] = ContextVar("livedb_run", default=None)


def is_running() -> bool:
    """Whether a query or mutation of any workspace is running in this context."""
    return _current_run.get() is not None


def current_call() -> Call | None:
    """The call for which a function runs in this context, if somebody in particular called."""
    current = _current_run.get()
    return action_call() if current is None else current[1].call


class Runner:
    """Runs functions of one workspace."""

    def __init__(
        self,
        *,
        committer: Committer,
        store: DocumentStore,
        registry: Registry,
        turn: Turn,
        ids: IdFactory,
        clock: Clock,
        limits: Limits,
        sql: SqlReader,
        find_commit: Callable[[str], Any],
    ) -> None:
        self._committer = committer
        self._store = store
        self.registry = registry
        self._turn = turn
        self._ids = ids
        self._clock = clock
        self._limits = limits
        self._sql = sql
        self._find_commit = find_commit
        self._watchdog = Watchdog(clock)
        self._active: dict[Run, int] = {}
        """The runs in progress, each with the number whose versions must be kept for it."""
        self.runs: dict[str, int] = {}
        """How often each function's handler was called: work, for tests and statistics."""
        self.places: Mapping[str, str] = {}
        """Environment variables that say where the workspace is served, while it is."""

    # -- queries -------------------------------------------------------------------------------

    def run_query(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        *,
        at: int | None = None,
        call: Call | None = None,
    ) -> QueryRun:
        """One run of a query at commit `at`, or at the newest published one.

        Raises:
            SnapshotTooOldError: `at` is no longer kept.
        Interrupts (Ctrl-C) propagate; what the function raises is in the result.
        """
        for attempt in range(SNAPSHOT_RETRIES_MAX):
            run = Run("query", self._clock.monotonic_s(), self._clock.random, call)
            self._active[run] = 0  # pins everything until the number is known
            try:
                number = self._committer.published if at is None else at
                self._active[run] = number
                return self._run_query_at(function, args, number, run)
            except SnapshotTooOldError:
                self._refuse_expired(function, run)
                if at is not None or attempt == SNAPSHOT_RETRIES_MAX - 1:
                    raise
            finally:
                self._active.pop(run, None)
        raise AssertionError("the loop returns or raises")

    def _run_query_at(
        self, function: FunctionDefinition, args: Mapping[str, Value], number: int, run: Run
    ) -> QueryRun:
        catalog = self._committer.catalog_at(number)
        snapshot = run.snapshot = Snapshot(self._store, catalog, number, self._limits)
        run.now_ns = self._clock.now_ns()
        reads = snapshot.reads
        value, error = None, None
        call = run.call
        if call is not None:
            call.begin_run()
            snapshot.page_end = call.journal
        try:
            value = self._call(function, run, args)
        except SnapshotTooOldError:
            raise
        except IdentityWantedError:
            pass  # `call.asks_identity` says that there is no value
        except Exception as raised:  # noqa: BLE001  # the function runner: the user's error is a result
            error = raised
        finally:
            snapshot.end()
            if call is not None:
                call.end_run()
        if error is None and snapshot.usage.is_near_a_limit():
            self._warn(function, snapshot)
        if error is None and call is not None:
            call.journal = snapshot.journal
        return _new_tuple(QueryRun, (value, error, number, reads, run.is_observed))

    @contextmanager
    def keeping(self, number: int) -> Iterator[None]:
        """Within it a published commit stays readable, for `Limits.snapshot_s_max` at most."""
        claim = Run("query", self._clock.monotonic_s(), self._clock.random, None)
        self._active[claim] = number
        try:
            yield
        finally:
            self._active.pop(claim, None)

    # -- mutations -----------------------------------------------------------------------------

    def run_mutation(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        call: Call | None = None,
        *,
        hand_over: HandOver | None = None,
    ) -> Any:
        """Run a mutation until it commits; returns its result once it is durable and published.

        Args:
            hand_over: sends the commit on its way and does not wait: then this returns when the
                commit step is over, and who handed over learns the outcome. Of a call that needs no
                commit (it is remembered, or wrote nothing and has no id) it is told nothing.

        Raises:
            ConflictError: what it read changed on every try.
            LogError: the commit log could not be written.
            whatever the function raises; nothing was written then.
        """
        args_hash = None
        if call is not None and call.mutation_id is not None:
            args_hash = hash_arguments(function.name, args)
        attempts = self._limits.conflict_retries_max + 1
        for attempt in range(attempts):
            try:
                if attempt < FREE_RUNS:
                    self._turn.wait_free()
                    return self._run_to_commit(function, args, call, args_hash, None, hand_over)
                return self._run_in_turn(function, args, call, args_hash, hand_over)
            except SnapshotTooOldError as error:
                # A table that it was the first to read was loaded as of a later commit.
                if attempt == attempts - 1 or error.code == SNAPSHOT_EXPIRED:
                    raise
            except ConflictError as conflict:
                if attempt == attempts - 1:
                    raise ConflictError(
                        f"{conflict.message}, and on every subsequent retry "
                        f"({attempts} runs of {function.name}). Read less, or retry later.",
                        table=conflict.table,
                        index=conflict.index,
                        number=conflict.number,
                    ) from None
        raise AssertionError("the loop returns or raises")

    def _run_in_turn(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        call: Call | None,
        args_hash: bytes | None,
        hand_over: HandOver | None,
    ) -> Any:
        holder = TurnHolder()
        with holder.running:
            try:
                self._turn.take(holder)
                return self._run_to_commit(function, args, call, args_hash, holder, hand_over)
            finally:
                self._turn.give(holder)

    def _run_to_commit(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        call: Call | None,
        args_hash: bytes | None,
        holder: TurnHolder | None,
        hand_over: HandOver | None,
    ) -> Any:
        """One run; its commit gives the turn back as soon as it is applied."""
        run = Run("mutation", self._clock.monotonic_s(), self._clock.random, call)
        active, committer = self._active, self._committer
        try:
            active[run] = 0
            looked_at: int | None = None
            if args_hash is not None:
                assert call is not None, "only an identified call has a hash"
                looked_at, known = self._remembered(call, args_hash)
                if known is not None:
                    return known[0]
            number, epoch, catalog = committer.begin()
            # The committer keeps the mutation ids of what came after the look into the log.
            active[run] = number if looked_at is None else looked_at
            now_ns = run.now_ns = self._clock.now_ns()
            transaction = run.snapshot = Transaction(
                self._store,
                catalog,
                number,
                self._limits,
                ids=self._ids,
                start_ms=max(committer.last_ts + 1, now_ns) / 1e6,
            )
            reads = transaction.reads
            if call is not None:
                call.begin_run()
            try:
                result = self._call(function, run, args)
            except Exception:
                self._settle(number, epoch)
                raise
            finally:
                transaction.end()
                if call is not None:
                    call.end_run()
            if transaction.usage.is_near_a_limit():
                self._warn(function, transaction)
            if call is not None:
                call.is_committing = True
            if not transaction.has_written and args_hash is None:
                self._settle(number, epoch)
                if call is not None:
                    call.ts = committer.ts_of(committer.published)
                return result
            request = CommitRequest(
                begin=number,
                epoch=epoch,
                reads=reads,
                change=transaction.write_set(),
                catalog=transaction.catalog if transaction.has_new_tables else None,
                details=self._details(function, call, args_hash, result),
                holder=holder,
            )
            if hand_over is not None:
                hand_over(request, result)
                return result
            self.commit(request)
            if call is not None:
                call.ts = request.ts
        except SnapshotTooOldError:
            self._refuse_expired(function, run)
            raise
        else:
            return result
        finally:
            # A signal may keep a call of Python's from being made, not one of C's.
            active.pop(run, None)

    def commit(self, request: CommitRequest) -> int:
        """Submit a request and wait for its outcome; returns the commit number.

        Raises: what the committer answered; KeyboardInterrupt when Ctrl-C came meanwhile: before
            the committer took the request nothing was committed, after that the call waits for
            the outcome, at most `log_deadline_s`.
        """
        try:
            request.stand_in_line()
            self._committer.commit(request)
        except KeyboardInterrupt:
            if request.cancel():
                raise
            if not request.done.acquire(timeout=self._limits.log_deadline_s):
                raise KeyboardInterrupt(
                    "interrupted while the commit was being written; whether it is durable is "
                    "not known yet"
                ) from None
            if request.error is None:
                raise KeyboardInterrupt(f"committed as number {request.number}") from None
            raise
        if request.error is not None:
            raise request.error
        return request.number

    def _settle(self, number: int, epoch: int) -> None:
        """Wait until what a run without writes has read is durable.

        Raises:
            ConflictError: it was undone, because the log failed; the mutation runs again.
        """
        if number <= self._committer.published:
            return
        empty = CommitRequest.empty(begin=number, epoch=epoch)
        try:
            self.commit(empty)
        except LogError:
            raise ConflictError("What this mutation read was undone: the log failed") from None

    def _remembered(self, call: Call, args_hash: bytes) -> tuple[int, tuple[Value] | None]:
        """Up to which commit the log was searched, and the result of this id's commit there."""
        mutation_id = call.mutation_id
        assert mutation_id is not None, "only an identified call can be remembered"
        committer = self._committer
        if call.is_new is not None:
            # Before it is asked: what comes after this number, the committer knows by its id.
            number = committer.published
            if call.is_new():
                return number, None
        epoch = committer.epoch
        on_its_way = committer.identified(mutation_id)
        if on_its_way is not None:
            self._settle(on_its_way, epoch)
        # Before the look: what is committed after this number, the committer knows by its id.
        number = committer.published
        commit = self._find_commit(mutation_id)
        if commit is None:
            return number, None
        self._settle(commit.number, epoch)  # it is in the log, and perhaps not yet to be seen
        if commit.args_hash != args_hash:
            raise InvalidValueError(
                f"Mutation id {mutation_id!r} was used before with another function or other "
                "arguments. Use a new id for a new call.",
                code="MutationIdReused",
            )
        call.ts = commit.ts
        call.log_lines = [] if commit.log_lines is None else decode_value(commit.log_lines)
        return number, (decode_value(commit.result) if commit.result is not None else None,)

    def _details(
        self,
        function: FunctionDefinition,
        call: Call | None,
        args_hash: bytes | None,
        result: Any,
    ) -> CommitDetails:
        if call is None:
            return CommitDetails(function.name, None, None, None, None)
        kept: bytes | None = None
        if args_hash is not None:
            kept = encode_value(canonical(result))
            self.check_result_size(function, len(kept))
        lines = encode_value(list(call.log_lines)) if call.log_lines else None
        details = (function.name, call.author, call.mutation_id, args_hash, kept, lines)
        return _new_tuple(CommitDetails, details)

    # -- actions -------------------------------------------------------------------------------

    def run_action(
        self, function: FunctionDefinition, args: Mapping[str, Value], call: Call | None = None
    ) -> Any:
        """Run an action, once; what its functions committed stays when it raises.

        Raises: as `actions.run_action`, and FunctionTypeError inside a query or mutation.
        """
        if is_running():
            raise _no_action_in_transaction(function)
        if not is_surely_within(args, self._limits.args_bytes_max // 2):
            self._check_size(function, args)
        self.runs[function.name] = self.runs.get(function.name, 0) + 1
        call = Call() if call is None else call
        try:
            return run_action(
                self, function, args, call=call, clock=self._clock, limits=self._limits
            )
        finally:
            call.end_run()

    def run_http_action(self, function: FunctionDefinition, exchange: Exchange, call: Call) -> None:
        """Run an HTTP action, once, until its response is sent.

        Raises: as `actions.run_http_action`.
        """
        self.runs[function.name] = self.runs.get(function.name, 0) + 1
        try:
            run_http_action(
                self, function, exchange, call=call, clock=self._clock, limits=self._limits
            )
        finally:
            call.end_run()

    def run_alone(
        self, function: FunctionDefinition, args: Mapping[str, Value], call: Call | None = None
    ) -> Any:
        """Run a function of any kind on its own; its result, or what it raises.

        Without a `call` it is the action's in progress, if there is one. A query reads by the
        snapshot that this thread or task holds, if it holds one.
        """
        call = nested_call() if call is None else call
        if function.kind == "http_action":
            raise _answers_requests(function)
        if function.kind == "mutation":
            return self.run_mutation(function, args, call)
        if function.kind == "action":
            return self.run_action(function, args, call)
        held = self._sql.held()
        if held is None:
            run = self.run_query(function, args, call=call)
        else:
            run = self._run_at(held.number, function, args, call)
        if run.error is not None:
            raise run.error
        return run.value

    def _run_at(
        self,
        number: int,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        call: Call | None,
    ) -> QueryRun:
        try:
            return self.run_query(function, args, at=number, call=call)
        except SnapshotTooOldError as error:
            raise SnapshotTooOldError(
                f"{function.name} is to read commit {number} inside db.snapshot(), and cannot: "
                f"{error.message}, outside of the block. SQL has that commit there.",
                code=error.code,
            ) from error

    def call_alone(self, kind: FunctionKind, function: Any, args: Mapping[str, Any]) -> Any:
        """Run a function for the action in progress, as a transaction or action of its own."""
        definition = self._of_kind(kind, name_of(function))
        committer = self._committer
        tables = committer.catalog_at(committer.published)
        return self.run_alone(definition, definition.bind((), args, tables=tables))

    # -- calling -------------------------------------------------------------------------------

    def nested_run(self) -> Run | None:
        """The run in progress on this thread, if it is this workspace's."""
        current = _current_run.get()
        if current is None or current[0] is not self:
            return None
        return current[1]

    def call_nested(self, kind: FunctionKind, function: Any, args: Mapping[str, Any]) -> Any:
        """Call a function inside the run in progress, as a sub-transaction of it."""
        run = self.nested_run()
        if run is None:
            raise FunctionTypeError("ctx is used after its function has returned")
        name = name_of(function)
        # Before it is looked up: one that is missing now may be defined later.
        run.snapshot.reads.names.add(function_key(name))
        definition = self._of_kind(kind, name)
        bound = definition.bind((), args, tables=run.snapshot.catalog)
        return self.join(run, definition, bound)

    def _of_kind(self, kind: FunctionKind, name: str) -> FunctionDefinition:
        definition = self.registry.get(name)
        if definition.kind == "http_action":
            raise _answers_requests(definition)
        if definition.kind != kind:
            raise FunctionTypeError(
                f"{definition.name!r} is {a_kind(definition.kind)}: call it with "
                f"ctx.run_{definition.kind}, not ctx.run_{kind}"
            )
        return definition

    def join(self, run: Run, function: FunctionDefinition, args: Mapping[str, Value]) -> Any:
        """Run `function` in the transaction of `run`; its writes are undone when it raises."""
        if function.kind == "action":
            raise _no_action_in_transaction(function)
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

    def _call(self, function: FunctionDefinition, run: Run, args: Mapping[str, Value]) -> Any:
        is_small = function.takes_raw or is_surely_within(args, self._limits.args_bytes_max // 2)
        if not is_small:
            self._check_size(function, args)
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

    def _check_size(self, function: FunctionDefinition, args: Mapping[str, Value]) -> None:
        most = self._limits.args_bytes_max
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

    def _invoke(self, function: FunctionDefinition, run: Run, args: Mapping[str, Value]) -> Any:
        self.runs[function.name] = self.runs.get(function.name, 0) + 1
        context: QueryContext | MutationContext
        if function.kind == "mutation":
            assert isinstance(run.snapshot, Transaction)
            context = MutationContext(DatabaseWriter(run.snapshot, self), self, run)
        else:
            context = QueryContext(DatabaseReader(run.snapshot, self), self, run)
        try:
            return function.call(context, args)
        except (SystemExit, GeneratorExit, KeyboardInterrupt) as leaving:
            if _is_of_a_signal(leaving):
                raise
            # It would end the thread that runs it: a service's loop, the one that tells followers.
            raise FunctionTypeError(
                f"{function.name!r} raised {leaving!r}. A function of a workspace runs for many, "
                "and ends by returning or by raising an Exception."
            ) from leaving

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
        run = self.nested_run()
        if run is None:
            raise FunctionTypeError("ctx is used after its function has returned")
        return self._sql.read_sql_at(snapshot, text, params, on_start=run.watch)

    def ask_identity(self) -> Identity | None:
        """Who the run in progress is for."""
        run = self.nested_run()
        if run is None:
            raise FunctionTypeError("ctx is used after its function has returned")
        return None if run.call is None else run.call.ask_identity()

    # -- upkeep --------------------------------------------------------------------------------

    def oldest_active(self) -> int | None:
        """The oldest number a run in progress reads at; None when nothing runs.

        A run that has read its snapshot for `Limits.snapshot_s_max` no longer counts.
        """
        began_s = self._clock.monotonic_s() - self._limits.snapshot_s_max
        oldest: int | None = None
        for run, number in list(self._active.items()):
            if run.since_s < began_s:
                run.is_expired = True
            elif oldest is None or number < oldest:
                oldest = number
        return oldest

    def _refuse_expired(self, function: FunctionDefinition, run: Run) -> None:
        """Say that a run took too long, instead of running it again for as long."""
        if run.is_expired:
            raise SnapshotTooOldError(
                f"{function.name} read the same snapshot for longer than Limits.snapshot_s_max "
                f"({self._limits.snapshot_s_max:g} s), and what it was is no longer kept. Do the "
                "slow part outside of the function, or raise the limit.",
                code=SNAPSHOT_EXPIRED,
            )

    def close(self) -> None:
        self._watchdog.close()

    def _warn(self, function: FunctionDefinition, snapshot: Snapshot) -> None:
        for line in snapshot.usage.warnings():
            logger.warning("%s used %s", function.name, line)


def _answers_requests(function: FunctionDefinition) -> FunctionTypeError:
    return FunctionTypeError(
        f"{function.name!r} is an HTTP action: it answers requests, and nothing calls it. Put what "
        "both need into an action, a query or a mutation."
    )


def _no_action_in_transaction(function: FunctionDefinition) -> FunctionTypeError:
    return FunctionTypeError(
        f"A query or mutation cannot run the action {function.name!r}, of which nothing can be "
        "undone. Run the action itself, and let it run queries and mutations."
    )


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


def hash_arguments(name: str, args: Mapping[str, Value]) -> bytes:
    """What tells one call from another: the function and its arguments, in any order."""
    ordered = encode_value([[key, args[key]] for key in sorted(args)])
    return hashlib.blake2b(name.encode() + b"\x00" + ordered, digest_size=16).digest()
