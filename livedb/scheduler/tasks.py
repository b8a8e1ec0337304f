"""What the scheduler runs next, and the books it keeps of it.

A ledger is the documents of one kind of thing that runs by itself. Each of its methods reads and
writes in a transaction that the worker makes, so that a mutation and its entry are one commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from livedb.functions.query_builder import DocumentQuery
from livedb.functions.scheduling import SystemTable
from livedb.schema.tables import TableDefinition
from livedb.transactions.transaction import Snapshot, Transaction
from livedb.values import UNSET, Document, Value

BATCH = 256
"""Documents that one commit of the scheduler's own changes."""

INTERRUPTED = "Transient error while executing action"
"""What became of an action whose process died, or closed the workspace, while it ran (Convex)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One run that is due, or will be.

    Attributes:
        id: of its document.
        job: the same, where a scheduled function may ask for it; None of a cron.
        name: the function's.
        title: what messages call it.
    """

    ledger: Ledger
    id: str
    job: str | None
    name: str
    args: Mapping[str, Value]
    due_ms: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        error: what it raised; None when it succeeded.
        began_ms: when it began.
        lines: what it printed.
        trace: where `error` came from, as `traces.trace_of`.
    """

    error: str | None = None
    began_ms: float
    ended_ms: float
    lines: Sequence[str] = ()
    trace: Sequence[str] = ()

    @property
    def told(self) -> str | None:
        """The error with where it came from, for who runs the service or the notebook."""
        return None if self.error is None else "\n".join([self.error, *self.trace])


class Ledger(Protocol):
    """The documents of what runs by itself."""

    table: TableDefinition

    def task_of(self, document: Document) -> Task: ...

    def begin(self, transaction: Transaction, task: Task) -> bool:
        """Enter that it runs; False when it is not to run any more, or not now."""

    def end(self, transaction: Transaction, task: Task, outcome: Outcome) -> None:
        """Enter how it ended."""

    def resume(self, transaction: Transaction, document: Document, now_ms: float) -> None:
        """Enter that one which waited for its function is due again."""

    def abandon(self, transaction: Transaction, now_ms: float) -> bool:
        """Enter what became of all this in an earlier process; whether there is more."""


def iter_due(ledger: Ledger, snapshot: Snapshot) -> Iterator[Task]:
    """What is pending and waits for no function, by the time it is due."""
    if snapshot.table(ledger.table.name) is None:
        return
    rows: DocumentQuery[Document] = DocumentQuery(snapshot, ledger.table.name)
    for row in rows.with_index(
        "by_due", lambda q: q.eq("state.kind", "pending").eq("state.waitingFor", UNSET)
    ):
        yield ledger.task_of(row)


def names_waited_for(ledger: Ledger, snapshot: Snapshot) -> list[str]:
    """The functions that pending ones wait for."""
    names: list[str] = []
    if snapshot.table(ledger.table.name) is None:
        return names
    while True:
        after = names[-1] if names else ""
        found = _first_waiting(ledger, snapshot, after)
        if found is None:
            return names
        names.append(found["state"]["waitingFor"])


def _first_waiting(ledger: Ledger, snapshot: Snapshot, after: str) -> Document | None:
    rows: DocumentQuery[Document] = DocumentQuery(snapshot, ledger.table.name)
    return rows.with_index(
        "by_due", lambda q: q.eq("state.kind", "pending").gt("state.waitingFor", after)
    ).first()


def waiting_for(ledger: Ledger, transaction: Transaction, name: str) -> list[Document]:
    """Some of the pending ones that wait for a function."""
    rows: DocumentQuery[Document] = DocumentQuery(transaction, ledger.table.name)
    return rows.with_index(
        "by_due", lambda q: q.eq("state.kind", "pending").eq("state.waitingFor", name)
    ).take(BATCH)


def in_progress(ledger: Ledger, transaction: Transaction) -> list[Document]:
    """Some of those that run, or did when their process died."""
    if transaction.table(ledger.table.name) is None:
        return []
    rows: DocumentQuery[Document] = DocumentQuery(transaction, ledger.table.name)
    return rows.with_index("by_due", lambda q: q.eq("state.kind", "inProgress")).take(BATCH)


def let_wait(tasks: Sequence[Task], transaction: Transaction) -> None:
    """Enter that pending ones wait for their functions to be defined."""
    for task in tasks:
        table = SystemTable(transaction, task.ledger.table)
        document = table.get(task.id)
        if document is not None and document["state"] == {"kind": "pending"}:
            table.patch(document, {"state": {"kind": "pending", "waitingFor": task.name}})


def let_go_on(ledger: Ledger, name: str, now_ms: float, transaction: Transaction) -> bool:
    """Enter that the function is there; whether more wait for it."""
    found = waiting_for(ledger, transaction, name)
    for document in found:
        ledger.resume(transaction, document, now_ms)
    return len(found) == BATCH
