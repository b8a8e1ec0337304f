"""The ledger of crons: `_cron_jobs`, with what is remembered of their runs.

A run that ends says when the next one is, which is never before now: what was missed is counted,
logged once, and not made up for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from livedb.functions.cron_jobs import CRONS, log_run
from livedb.functions.query_builder import DocumentQuery
from livedb.functions.schedules import Schedule
from livedb.functions.scheduling import SystemTable
from livedb.limits import CRON_LOG_CHARACTERS_MAX
from livedb.scheduler.tasks import BATCH, INTERRUPTED, Outcome, Task, in_progress
from livedb.transactions.transaction import Transaction
from livedb.values import UNSET, Document, Value

logger = logging.getLogger("livedb")


class CronRuns:
    """Enters what becomes of crons."""

    table = CRONS

    def task_of(self, document: Document) -> Task:
        return Task(
            ledger=self,
            id=document["_id"],
            job=None,
            name=document["function"],
            args=document["args"][0],
            due_ms=document["nextTime"],
            title=f"the cron {document['name']!r}",
        )

    def begin(self, transaction: Transaction, task: Task) -> bool:
        crons = SystemTable(transaction, CRONS)
        cron = crons.get(task.id)
        if cron is None or cron["state"]["kind"] != "pending" or cron["nextTime"] != task.due_ms:
            return False
        crons.patch(cron, {"state": {"kind": "inProgress"}})
        return True

    def end(self, transaction: Transaction, task: Task, outcome: Outcome) -> None:
        """One that was removed meanwhile has no entry any more."""
        cron = SystemTable(transaction, CRONS).get(task.id)
        if cron is not None:
            _ended(transaction, cron, task.due_ms, outcome)

    def abandon(self, transaction: Transaction, now_ms: float) -> bool:
        found = in_progress(self, transaction)
        for cron in found:
            outcome = Outcome(error=INTERRUPTED, began_ms=cron["nextTime"], ended_ms=now_ms)
            _ended(transaction, cron, cron["nextTime"], outcome)
        late = _late(transaction, now_ms)
        for cron in late:
            self.resume(transaction, cron, now_ms)
        return BATCH in {len(found), len(late)}

    def resume(self, transaction: Transaction, document: Document, now_ms: float) -> None:
        """What it missed is skipped."""
        changes: dict[str, Value] = {"state": {"kind": "pending"}}
        slot_ms = document["nextTime"]
        if slot_ms < now_ms:
            schedule = Schedule.of_document(document["schedule"])
            changes["nextTime"], skipped = schedule.skip_ms(document["name"], slot_ms, now_ms)
            _log_skips(transaction, document, skipped + 1, now_ms)
        SystemTable(transaction, CRONS).patch(document, changes)


def _late(transaction: Transaction, now_ms: float) -> list[Document]:
    if transaction.table(CRONS.name) is None:
        return []
    rows: DocumentQuery[Document] = DocumentQuery(transaction, CRONS.name)
    return rows.with_index(
        "by_due",
        lambda q: (
            q.eq("state.kind", "pending").eq("state.waitingFor", UNSET).lt("nextTime", now_ms)
        ),
    ).take(BATCH)


def _ended(transaction: Transaction, cron: Document, slot_ms: float, outcome: Outcome) -> None:
    status: dict[str, Value] = {"kind": "success"}
    if outcome.error is not None:
        status = {"kind": "failed", "error": outcome.error[:CRON_LOG_CHARACTERS_MAX]}
    log_run(
        transaction,
        cron,
        {
            "scheduledTime": slot_ms,
            "startedTime": outcome.began_ms,
            "completedTime": outcome.ended_ms,
            "status": status,
            "logLines": _cut(outcome.lines),
        },
    )
    changes: dict[str, Value] = {"state": {"kind": "pending"}}
    if cron["nextTime"] == slot_ms:  # else its schedule was changed meanwhile
        schedule = Schedule.of_document(cron["schedule"])
        next_ms, skipped = schedule.skip_ms(cron["name"], slot_ms, outcome.ended_ms)
        changes["nextTime"] = next_ms
        if skipped:
            _log_skips(transaction, cron, skipped, outcome.ended_ms)
    SystemTable(transaction, CRONS).patch(cron, changes)


def _log_skips(transaction: Transaction, cron: Document, skipped: int, now_ms: float) -> None:
    logger.warning(
        "the cron %r missed %s of its times, which are skipped", cron["name"], f"{skipped:,}"
    )
    log_run(
        transaction,
        cron,
        {
            "scheduledTime": cron["nextTime"],
            "startedTime": now_ms,
            "completedTime": now_ms,
            "status": {"kind": "canceled", "numCanceled": skipped},
            "logLines": [],
        },
    )


def _cut(lines: Sequence[str]) -> list[Value]:
    left = CRON_LOG_CHARACTERS_MAX
    kept: list[Value] = []
    for line in lines:
        if left <= 0:
            break
        kept.append(line[:left])
        left -= len(line)
    return kept
