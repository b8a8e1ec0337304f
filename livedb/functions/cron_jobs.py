"""Crons as documents: which there are, when each is due, and what became of its last runs.

    _cron_jobs       {name, function, args: [{..}], schedule, source, nextTime, state}
    _cron_job_logs   {cron, function, args, scheduledTime, startedTime, completedTime, status, ..}

Those of `crons.py` (`source` "folder") are replaced as a set with the functions of the folder, in
the same commit; those of cells ("workspace") stay until they are removed. The rest is as with
scheduled functions. Nothing here runs anything.

Source: spec features.md 8, semantics.md 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from livedb.errors import InvalidValueError
from livedb.functions.definition import FunctionDefinition
from livedb.functions.query_builder import DocumentQuery
from livedb.functions.schedules import IMMINENT_MS, Schedule
from livedb.functions.scheduling import (
    SystemTable,
    checked_arguments,
    require_schedulable,
    unbounded,
)
from livedb.limits import CRON_LOGS_KEPT
from livedb.schema.tables import CRON_LOGS_TABLE, CRONS_TABLE, SYSTEM_DEFINITIONS
from livedb.transactions.transaction import Snapshot, Transaction
from livedb.values import Document, Value

CRONS = SYSTEM_DEFINITIONS[CRONS_TABLE].definition
CRON_LOGS = SYSTEM_DEFINITIONS[CRON_LOGS_TABLE].definition

Source = Literal["folder", "workspace"]


@dataclass(frozen=True, slots=True)
class CronSpec:
    """A cron that is to be: its function exists, and its arguments fit it."""

    name: str
    schedule: Schedule
    function: str
    args: list[Value]


def specify(
    name: str,
    schedule: Schedule,
    function: FunctionDefinition,
    args: Mapping[str, Any],
) -> CronSpec:
    """A cron of a function that a folder declares.

    Raises:
        FunctionTypeError: it is a query, or an HTTP action.
        ArgumentValidationError: the arguments do not fit it.
        LimitError: they are too large.
    """
    require_schedulable(function)
    bound = function.bind((), args)
    return CronSpec(name, schedule, function.name, checked_arguments(function, bound))


def crons_of(snapshot: Snapshot) -> list[Document]:
    """All crons, by name."""
    rows: DocumentQuery[Document] = DocumentQuery(snapshot, CRONS_TABLE)
    return rows.with_index("by_name").collect() if snapshot.table(CRONS_TABLE) else []


def put_cron(transaction: Transaction, spec: CronSpec, *, source: Source, now_ms: float) -> None:
    """Have a cron of that name; one with the same schedule keeps its next time.

    Raises:
        InvalidValueError: a cell takes the name of a cron that a folder has.
    """
    with unbounded(transaction):
        known = _named(transaction, spec.name)
        if known is not None and known["source"] == "folder" and source == "workspace":
            raise InvalidValueError(
                f"The cron {spec.name!r} is declared in crons.py; change it there, or take another "
                "name",
                code="InvalidCron",
            )
        fields: dict[str, Value] = {
            "name": spec.name,
            "function": spec.function,
            "args": spec.args,
            "schedule": spec.schedule.to_document(),
            "source": source,
        }
        crons = SystemTable(transaction, CRONS)
        if known is None:
            first_ms = spec.schedule.first_ms(spec.name, now_ms)
            crons.insert(fields | {"nextTime": first_ms, "state": {"kind": "pending"}})
            return
        if known["schedule"] != fields["schedule"]:
            next_ms = spec.schedule.first_ms(spec.name, now_ms)
            if abs(next_ms - known["nextTime"]) >= IMMINENT_MS:
                fields["nextTime"] = next_ms
        if known["function"] != spec.function and known["state"]["kind"] == "pending":
            fields["state"] = {"kind": "pending"}  # it waits for the other one no more
        if any(known.get(name) != value for name, value in fields.items()):
            crons.patch(known, fields)


def remove_cron(transaction: Transaction, name: str, *, source: Source) -> bool:
    """Have no cron of that name, nor what is remembered of its runs; whether there was one.

    Raises:
        InvalidValueError: a cell removes what a folder has.
    """
    with unbounded(transaction):
        known = _named(transaction, name)
        if known is None:
            return False
        if known["source"] != source and source == "workspace":
            raise InvalidValueError(
                f"The cron {name!r} is declared in crons.py; remove it there", code="InvalidCron"
            )
        _delete(transaction, known)
        return True


def put_folder_crons(transaction: Transaction, specs: Sequence[CronSpec], *, now_ms: float) -> None:
    """Have exactly these crons of a folder; those of cells stay, but for names that it has."""
    declared = {spec.name for spec in specs}
    with unbounded(transaction):
        for known in crons_of(transaction):
            if known["source"] == "folder" and known["name"] not in declared:
                _delete(transaction, known)
    for spec in specs:
        put_cron(transaction, spec, source="folder", now_ms=now_ms)


def log_run(transaction: Transaction, cron: Document, run: dict[str, Value]) -> None:
    """Remember a run, and forget all but the last ones."""
    logs = SystemTable(transaction, CRON_LOGS)
    known = {"cron": cron["name"], "function": cron["function"], "args": cron["args"]}
    logs.insert(known | run)
    for old in _logs_of(transaction, cron["name"])[:-CRON_LOGS_KEPT]:
        logs.delete(old["_id"])


def _named(snapshot: Snapshot, name: str) -> Document | None:
    if snapshot.table(CRONS_TABLE) is None:
        return None
    rows: DocumentQuery[Document] = DocumentQuery(snapshot, CRONS_TABLE)
    return rows.with_index("by_name", name=name).unique()


def _logs_of(snapshot: Snapshot, name: str) -> list[Document]:
    if snapshot.table(CRON_LOGS_TABLE) is None:
        return []
    rows: DocumentQuery[Document] = DocumentQuery(snapshot, CRON_LOGS_TABLE)
    return rows.with_index("by_cron", cron=name).collect()


def _delete(transaction: Transaction, cron: Document) -> None:
    SystemTable(transaction, CRONS).delete(cron["_id"])
    for log in _logs_of(transaction, cron["name"]):
        SystemTable(transaction, CRON_LOGS).delete(log["_id"])
