"""The runner: a run for each call from outside, and as many as it takes.

A query runs on a snapshot at the published number and never waits. A mutation runs on the applied
state and hands a finished request to the committer; when what it read went stale it runs again, in
the turn at last. What happens inside of a run is `functions.calling`'s.

The caller's thread runs only the user's function and touches only its own transaction, so an
interrupt at any bytecode spoils only what is thrown away anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from livedb.canonical import canonical
from livedb.clock import Clock
from livedb.errors import ConflictError, ReadOnlyError, SnapshotTooOldError
from livedb.functions.actions import Exchange, nested_call, run_action, run_http_action
from livedb.functions.call import Call, IdentityWantedError
from livedb.functions.calling import (
    Calling,
    SqlReader,
    answers_requests,
    is_running,
    name_of,
    no_action_in_transaction,
)
from livedb.functions.definition import FunctionDefinition, FunctionKind
from livedb.functions.mutation_ids import MutationIds, hash_arguments
from livedb.functions.pagination import ends_of, journal_of
from livedb.functions.run import PastRun, Run
from livedb.functions.scheduling import IS_CANCELLED
from livedb.functions.storage import Contents
from livedb.ids import IdFactory
from livedb.limits import Limits
from livedb.schema.catalog import Catalog
from livedb.store.contract import DocumentStore
from livedb.text import encode_value
from livedb.transactions.commit_request import CommitDetails, CommitRequest
from livedb.transactions.committer import Committer
from livedb.transactions.reads import ReadSet
from livedb.transactions.transaction import Snapshot, Transaction
from livedb.transactions.turn import Turn, TurnHolder
from livedb.values import Value

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


class PastReads(Protocol):
    """An earlier commit that can be read."""

    number: int
    catalog: Catalog

    @property
    def rows(self) -> DocumentStore:
        """Its documents."""

    @property
    def sql(self) -> SqlReader:
        """Its SQL."""


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


class Runner:
    """Runs functions of one workspace.

    Args:
        held: the snapshot that this thread or task reads by, if it holds one.
        find_commit: the logged commit of a mutation id.
    """

    def __init__(
        self,
        *,
        calling: Calling,
        committer: Committer,
        store: DocumentStore,
        turn: Turn,
        ids: IdFactory,
        clock: Clock,
        limits: Limits,
        held: Callable[[], HeldSnapshot | None],
        find_commit: Callable[[str], Any],
    ) -> None:
        self.calling = calling
        self.registry = calling.registry
        self._committer = committer
        self._store = store
        self._turn = turn
        self._ids = ids
        self._clock = clock
        self._limits = limits
        self._held = held
        self._mutation_ids = MutationIds(committer, find_commit)
        self._active: dict[Run, int] = {}
        """The runs in progress, each with the number whose versions must be kept for it."""

    @property
    def workspace(self) -> str:
        """Its name."""
        return self.calling.workspace

    @property
    def places(self) -> Mapping[str, str]:
        """Environment variables that say where the workspace is served."""
        return self.calling.places

    @property
    def contents(self) -> Contents:
        """Where the contents of files lie."""
        return self.calling.contents

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
        run.snapshot = Snapshot(self._store, catalog, number, self._limits)
        return self._run_query_on(function, args, run)

    def _run_query_on(
        self, function: FunctionDefinition, args: Mapping[str, Value], run: Run
    ) -> QueryRun:
        snapshot = run.snapshot
        number = snapshot.number
        run.now_ns = self._clock.now_ns()
        reads = snapshot.reads
        value, error = None, None
        call = run.call
        if call is not None:
            call.begin_run()
            snapshot.earlier_ends = ends_of(call.journal)
        try:
            value = self.calling.call(function, run, args)
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
            call.journal = journal_of(snapshot.page_ends)
        return _new_tuple(QueryRun, (value, error, number, reads, run.is_observed))

    def run_past(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        past: PastReads,
        call: Call | None = None,
    ) -> Any:
        """The result of a query as it is now, on the documents of an earlier commit.

        Raises:
            ReadOnlyError: it is no query.
            whatever it raises.
        """
        if function.kind != "query":
            raise ReadOnlyError(
                f"The {function.kind} {function.name!r} cannot run at commit {past.number}: the "
                "past can only be read, by queries and SQL"
            )
        run = PastRun(self._clock.monotonic_s(), self._clock.random, call, past.sql)
        run.snapshot = Snapshot(past.rows, past.catalog, past.number, self._limits)
        done = self._run_query_on(function, args, run)
        if done.error is not None:
            raise done.error
        return done.value

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
                looked_at, known = self._mutation_ids.find(call, args_hash)
                if known is not None:
                    return known[0]
            number, epoch, catalog = committer.begin()
            run.epoch = epoch
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
                result = self.calling.call(function, run, args)
            except Exception:
                committer.settle(number, epoch)
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
                committer.settle(number, epoch)
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
            committer.commit(request)
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
            self.calling.check_result_size(function, len(kept))
        lines = encode_value(list(call.log_lines)) if call.log_lines else None
        details = (function.name, call.author, call.mutation_id, args_hash, kept, lines)
        return _new_tuple(CommitDetails, details)

    # -- actions -------------------------------------------------------------------------------

    def run_action(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        call: Call | None = None,
        at: int | None = None,
    ) -> Any:
        """Run an action, once; what its functions committed stays when it raises.

        Args:
            at: the commit that its queries read; None is the newest.

        Raises: as `actions.run_action`, and FunctionTypeError inside a query or mutation.
        """
        if is_running():
            raise no_action_in_transaction(function)
        self.calling.check_arguments_size(function, args)
        call = Call() if call is None else call
        with self._recorded(function, call):
            return run_action(
                self, function, args, call=call, clock=self._clock, limits=self._limits, at=at
            )

    def run_http_action(self, function: FunctionDefinition, exchange: Exchange, call: Call) -> None:
        """Run an HTTP action, once, until its response is sent.

        Raises: as `actions.run_http_action`.
        """
        with self._recorded(function, call):
            run_http_action(
                self, function, exchange, call=call, clock=self._clock, limits=self._limits
            )

    @contextmanager
    def _recorded(self, function: FunctionDefinition, call: Call) -> Iterator[None]:
        """Within it an action runs."""
        record = self.calling.runs[function.name]
        record.runs += 1
        began_s = self._clock.monotonic_s()
        try:
            yield
        except Exception as error:
            record.fail(error)
            raise
        finally:
            call.end_run()
            record.end(began_s, self._clock.monotonic_s())

    def run_alone(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        call: Call | None = None,
        at: int | None = None,
    ) -> Any:
        """Run a function of any kind on its own; its result, or what it raises.

        Without a `call` it is the action's in progress, if there is one. A query, also one of an
        action, reads by the snapshot that this thread or task holds; if it holds none, at commit
        `at`, or else the newest.
        """
        call = nested_call() if call is None else call
        if function.kind == "http_action":
            raise answers_requests(function)
        if function.kind == "mutation":
            return self.run_mutation(function, args, call)
        held = self._held()
        number = at if held is None else held.number
        if function.kind == "action":
            return self.run_action(function, args, call, number)
        if number is None:
            run = self.run_query(function, args, call=call)
        else:
            run = self._run_at(number, function, args, call)
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

    def name_of(self, function: Any) -> str:
        """The name of a function of this workspace."""
        return name_of(function)

    def call_alone(
        self,
        kind: FunctionKind,
        function: Any,
        args: Mapping[str, Any],
        call: Call | None = None,
        at: int | None = None,
    ) -> Any:
        """Run a function that is given by name, or as a module has it; as `run_alone`."""
        definition = self.calling.of_kind(kind, name_of(function))
        committer = self._committer
        tables = committer.catalog_at(committer.published)
        return self.run_alone(definition, definition.bind((), args, tables=tables), call, at)

    def is_cancelled(self, job: str) -> bool:
        """Whether a scheduled function that runs was cancelled by now; past a held snapshot."""
        run = self.run_query(self.registry.get(IS_CANCELLED), {"id": job})
        if run.error is not None:
            raise run.error
        return bool(run.value)

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

    def _warn(self, function: FunctionDefinition, snapshot: Snapshot) -> None:
        for line in snapshot.usage.warnings():
            logger.warning("%s used %s", function.name, line)
