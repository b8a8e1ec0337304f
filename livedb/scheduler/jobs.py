"""The ledger of scheduled functions: `_scheduled_functions`."""

from __future__ import annotations

from livedb.functions.query_builder import DocumentQuery
from livedb.functions.scheduling import JOBS, SystemTable
from livedb.limits import SCHEDULED_KEPT_S
from livedb.scheduler.tasks import BATCH, INTERRUPTED, Outcome, Task, in_progress
from livedb.transactions.transaction import Snapshot, Transaction
from livedb.values import Document, Value

ERROR_CHARACTERS_MAX = 10_000
"""Of what a failed function's document says; the rest is cut."""


class Jobs:
    """Enters what becomes of scheduled functions."""

    table = JOBS

    def task_of(self, document: Document) -> Task:
        return Task(
            ledger=self,
            id=document["_id"],
            job=document["_id"],
            name=document["name"],
            args=document["args"][0],
            due_ms=document["scheduledTime"],
            title=f"the scheduled function {document['name']}",
        )

    def begin(self, transaction: Transaction, task: Task) -> bool:
        jobs = SystemTable(transaction, JOBS)
        job = jobs.get(task.id)
        if job is None or job["state"]["kind"] != "pending":
            return False
        jobs.patch(job, {"state": {"kind": "inProgress"}})
        return True

    def end(self, transaction: Transaction, task: Task, outcome: Outcome) -> None:
        """A cancelled one stays so."""
        jobs = SystemTable(transaction, JOBS)
        job = jobs.get(task.id)
        if job is None or job["state"]["kind"] not in {"pending", "inProgress"}:
            return
        state: dict[str, Value] = {"kind": "success"}
        if outcome.error is not None:
            state = {"kind": "failed", "error": outcome.error[:ERROR_CHARACTERS_MAX]}
        jobs.patch(job, {"completedTime": outcome.ended_ms, "state": state})

    def resume(self, transaction: Transaction, document: Document, now_ms: float) -> None:  # noqa: ARG002
        """What is late runs at once."""
        SystemTable(transaction, JOBS).patch(document, {"state": {"kind": "pending"}})

    def abandon(self, transaction: Transaction, now_ms: float) -> bool:
        found = in_progress(self, transaction)
        for job in found:
            SystemTable(transaction, JOBS).patch(
                job, {"completedTime": now_ms, "state": {"kind": "failed", "error": INTERRUPTED}}
            )
        return len(found) == BATCH


def oldest_ended_ms(snapshot: Snapshot) -> float | None:
    """When the one that ended first of all that are kept did."""
    found = _ended(snapshot).first() if snapshot.table(JOBS.name) is not None else None
    return None if found is None else float(found["completedTime"])


def forget_ended(transaction: Transaction, now_ms: float) -> bool:
    """Delete what has been kept for long enough; whether there is more."""
    found = _ended(transaction).take(BATCH)
    old = [job for job in found if job["completedTime"] <= now_ms - SCHEDULED_KEPT_S * 1000]
    for job in old:
        SystemTable(transaction, JOBS).delete(job["_id"])
    return len(old) == BATCH


def _ended(snapshot: Snapshot) -> DocumentQuery[Document]:
    rows: DocumentQuery[Document] = DocumentQuery(snapshot, JOBS.name)
    return rows.with_index("by_completed", lambda q: q.gte("completedTime", 0.0))
