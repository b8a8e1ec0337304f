"""Scheduled functions: `ctx.scheduler`, and the documents that say what is to run and what became.

A scheduled function is a document of `_scheduled_functions`, written by the transaction that
schedules it: so it is there if that commits, live queries see it through `ctx.db.system`, and what
runs it (`livedb.scheduler`) finds it after any restart. Nothing here runs anything.

    {name, args: [{..}], scheduledTime, completedTime?, state: {kind, error?, waitingFor?}}

Source: spec features.md 8, semantics.md 9. Ours: `waitingFor`, the function that a pending one
needs and that is not defined at the moment.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from livedb.canonical import canonical
from livedb.errors import (
    FunctionNotFoundError,
    FunctionTypeError,
    InvalidIdError,
    InvalidValueError,
    LimitError,
)
from livedb.functions.call import NO_ARGUMENTS, run_arguments
from livedb.functions.definition import FunctionDefinition, a_kind
from livedb.limits import SCHEDULED_ARGS_BYTES_MAX, SCHEDULED_DELAY_S_MAX, Limits
from livedb.schema.tables import SCHEDULED_TABLE, SYSTEM_DEFINITIONS, TableDefinition
from livedb.sizes import size_of
from livedb.store.contract import StoredDocument
from livedb.text import decode_document, encode_fields
from livedb.transactions.transaction import Transaction
from livedb.transactions.usage import Usage
from livedb.values import UNSET, Document, Value

JOBS = SYSTEM_DEFINITIONS[SCHEDULED_TABLE].definition

SCHEDULE = "_system/scheduler:schedule"
CANCEL = "_system/scheduler:cancel"
IS_CANCELLED = "_system/scheduler:isCancelled"

UNBOUNDED = Limits(
    documents_read_max=1 << 40,
    bytes_read_max=1 << 50,
    index_ranges_max=1 << 40,
    documents_written_max=1 << 40,
    bytes_written_max=1 << 50,
)
"""For livedb's own reads and writes of these tables, which are not the function's."""


class SystemTable:
    """Writes documents of a system table, whatever their size, in a transaction in progress."""

    def __init__(self, transaction: Transaction, definition: TableDefinition) -> None:
        self.transaction = transaction
        self._definition = definition

    def get(self, document_id: str) -> Document | None:
        """The document, if it is one of this table.

        Raises:
            InvalidIdError: it is no id, or that of another table.
        """
        transaction = self.transaction
        entry = transaction.table_of(document_id)
        name = self._definition.name
        if entry is None or entry.definition.name != name:
            found = "no table" if entry is None else entry.definition.name
            raise InvalidIdError(
                f'expected to be an Id<"{name}">, got Id<"{found}"> instead: {document_id}'
            )
        stored = transaction.get(entry, document_id)
        return None if stored is None else decode_document(document_id, stored)

    def insert(self, fields: dict[str, Value]) -> str:
        transaction = self.transaction
        entry = transaction.writable_table(self._definition.name)
        document_id = transaction.new_id(entry)
        stored = StoredDocument(transaction.next_creation_time(), encode_fields(fields))
        transaction.insert(entry, document_id, fields, stored)
        return document_id

    def patch(self, document: Document, changes: Mapping[str, Any]) -> None:
        """Put or, with `UNSET`, take away fields of a document that `get` or a query gave."""
        fields = {name: document[name] for name in document if name[0] != "_"} | dict(changes)
        fields = {name: value for name, value in fields.items() if value is not UNSET}
        document_id = document["_id"]
        entry = self.transaction.writable_table(self._definition.name)
        old = self.transaction.get(entry, document_id)
        assert old is not None, "it was read in this transaction"
        stored = StoredDocument(old.creation_time, encode_fields(fields))
        self.transaction.replace(entry, document_id, old, None, fields, stored)

    def delete(self, document_id: str) -> None:
        entry = self.transaction.writable_table(self._definition.name)
        old = self.transaction.get(entry, document_id)
        if old is not None:
            self.transaction.delete(entry, document_id, old)


class unbounded:  # noqa: N801  # a context manager, named as one reads it
    """Within it, what a transaction reads and writes does not count."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def __enter__(self) -> None:
        self._usage = self._transaction.usage
        self._transaction.usage = Usage(UNBOUNDED)

    def __exit__(self, *_: object) -> None:
        self._transaction.usage = self._usage


# --- what is asked for ----------------------------------------------------------------------------


def due_ms_after(seconds: Any, now_ms: float) -> float:
    """When something is due that is to run in `seconds`.

    Raises:
        InvalidValueError: `code` InvalidScheduledFunctionDelay.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise _wrong_delay(f"`seconds` must be a number, and is {seconds!r}")
    if not math.isfinite(seconds):
        raise _wrong_delay(f"`seconds` must be finite, and is {seconds!r}")
    if seconds < 0:
        raise _wrong_delay(f"`seconds` must be non-negative, and is {seconds!r}")
    return _within_bounds(now_ms + seconds * 1000, now_ms)


def due_ms_at(time: Any, now_ms: float) -> float:
    """When something is due that is to run at `time`, a datetime or seconds since 1970.

    Raises:
        InvalidValueError: `code` InvalidScheduledFunctionDelay.
    """
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise _wrong_delay(f"{time!r} has no time zone: use datetime.now(UTC) or the like")
        return _within_bounds(time.timestamp() * 1000, now_ms)
    if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time):
        raise _wrong_delay(f"a time is a datetime or seconds since 1970, and this is {time!r}")
    if abs(time - now_ms) <= SCHEDULED_DELAY_S_MAX * 1000:
        raise _wrong_delay(f"a time is in seconds since 1970, and {time!r} looks like milliseconds")
    return _within_bounds(time * 1000, now_ms)


def _within_bounds(due_ms: float, now_ms: float) -> float:
    if abs(due_ms - now_ms) > SCHEDULED_DELAY_S_MAX * 1000:
        raise _wrong_delay("a function is scheduled for at most 5 years from now, or ago")
    return due_ms


def _wrong_delay(what: str) -> InvalidValueError:
    return InvalidValueError(
        f"The function cannot be scheduled so: {what}", code="InvalidScheduledFunctionDelay"
    )


def require_schedulable(function: FunctionDefinition) -> None:
    """Refuse what can never run by itself.

    Raises:
        FunctionTypeError: it is a query, or an HTTP action.
    """
    if function.kind not in {"mutation", "action"}:
        raise FunctionTypeError(
            f"{function.name!r} is {a_kind(function.kind)}, and what runs by itself is a mutation "
            "or an action",
            code="InvalidScheduledFunction",
        )


def checked_arguments(function: FunctionDefinition, args: Mapping[str, Value]) -> list[Value]:
    """Bound arguments as they are stored.

    Raises:
        LimitError: they are too large.
        InvalidValueError: they nest too deep.
    """
    size = size_of(args)
    if size > SCHEDULED_ARGS_BYTES_MAX:
        raise LimitError(
            f"Arguments for {function.name} are too large to be scheduled (actual: {size:,} bytes, "
            f"limit: {SCHEDULED_ARGS_BYTES_MAX:,} bytes). Pass an id, and read the rest when it "
            "runs.",
            code="ScheduledFunctionsArgumentsTooLarge",
        )
    canonical([[args]])  # as deep as they are read in a result
    return [dict(args)]


def missing_function(error: FunctionNotFoundError) -> FunctionNotFoundError:
    """Why a function that does not exist is not scheduled."""
    return FunctionNotFoundError(
        f"Attempted to schedule a function that does not exist. {error.message}",
        code="InvalidScheduledFunction",
    )


# --- the documents --------------------------------------------------------------------------------


def insert_job(
    transaction: Transaction,
    *,
    name: str,
    args: list[Value],
    due_ms: float,
    now_ms: float,
    parent: str | None,
) -> str:
    """Schedule a function; one that a cancelled function schedules is cancelled already.

    Args:
        parent: the scheduled function by which or for which this is called.
    """
    transaction.usage.count_scheduled(size_of(args))
    jobs = SystemTable(transaction, JOBS)
    with unbounded(transaction):
        job: dict[str, Value] = {"name": name, "args": args, "scheduledTime": due_ms}
        caller = None if parent is None else jobs.get(parent)
        if caller is not None and caller["state"]["kind"] == "canceled":
            job |= {"completedTime": now_ms, "state": {"kind": "canceled"}}
        else:
            job["state"] = {"kind": "pending"}
        return jobs.insert(job)


def cancel_job(
    transaction: Transaction, document_id: str, *, now_ms: float, parent: str | None
) -> None:
    """Cancel what has not ended; what runs goes on, and its outcome is not told.

    Raises:
        InvalidIdError: it is the id of something else.
        InvalidValueError: a function cancels itself.
    """
    jobs = SystemTable(transaction, JOBS)
    if parent is not None and document_id == parent:
        raise InvalidValueError(
            "A scheduled function cannot cancel itself. Return, or raise an error.",
            code="ScheduledFunctionCancelingItself",
        )
    with unbounded(transaction):
        job = jobs.get(document_id)
        if job is not None and job["state"]["kind"] in {"pending", "inProgress"}:
            jobs.patch(job, {"completedTime": now_ms, "state": {"kind": "canceled"}})


# --- `ctx.scheduler` ------------------------------------------------------------------------------


class Scheduling(Protocol):
    """Schedules for the run or the action in progress."""

    def now_ms(self) -> float: ...

    def schedule(self, function: Any, args: Mapping[str, Any], due_ms: float) -> Any: ...

    def cancel(self, document_id: str) -> None: ...


class Scheduler:
    """`ctx.scheduler` of mutations and of actions that are a plain `def`.

    In a mutation, what is scheduled is part of its commit. In an action each is a commit of its
    own, there as soon as the call returns. Whoever is signed in now is not when it runs: pass what
    it needs to know.
    """

    def __init__(self, scheduling: Scheduling) -> None:
        self._scheduling = scheduling

    def run_after(
        self,
        seconds: float,
        function: Callable[..., Any] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run a mutation or an action in so many seconds; returns its id in `_scheduled_functions`.

        Args:
            function: a function of this workspace, or its name.
            arguments: by name, in one dict, as in Convex; or give each by its keyword.

        Raises:
            FunctionNotFoundError: there is none.
            ArgumentValidationError: the arguments do not fit it.
            InvalidValueError: the delay is negative, or longer than 5 years.
            LimitError: too many, or with arguments too large.
        """
        due_ms = due_ms_after(seconds, self._scheduling.now_ms())
        return self._scheduling.schedule(function, run_arguments(arguments, args), due_ms)

    def run_at(
        self,
        time: datetime | float,
        function: Callable[..., Any] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run a mutation or an action at a time, a datetime or seconds since 1970; if past, soon.

        Args, Raises: as `run_after`.
        """
        due_ms = due_ms_at(time, self._scheduling.now_ms())
        return self._scheduling.schedule(function, run_arguments(arguments, args), due_ms)

    def cancel(self, id: str, /) -> None:  # noqa: A002  # as `ctx.db.get(id)`
        """Cancel a scheduled function. One that has ended stays as it is; one that runs goes on,
        and what it schedules is cancelled from the start.

        Raises:
            InvalidIdError: it is no id of a scheduled function.
            InvalidValueError: a function cancels itself.
        """  # noqa: D205  # one thought
        self._scheduling.cancel(id)


class AsyncScheduler(Scheduler):
    """`ctx.scheduler` of an `async def` action: its methods are awaited."""

    async def run_after(
        self,
        seconds: float,
        function: Callable[..., Any] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run a function in so many seconds; see `Scheduler`."""
        return await asyncio.to_thread(super().run_after, seconds, function, arguments, **args)

    async def run_at(
        self,
        time: datetime | float,
        function: Callable[..., Any] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run a function at a time; see `Scheduler`."""
        return await asyncio.to_thread(super().run_at, time, function, arguments, **args)

    async def cancel(self, id: str, /) -> None:  # type: ignore[override]  # noqa: A002
        """Cancel a scheduled function; see `Scheduler`."""
        await asyncio.to_thread(super().cancel, id)
