"""What a `ctx` lacks and people look for in it, with what to do instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livedb.functions.definition import FunctionKind

_SCHEDULES = "schedules nothing: it may run again at any time. Schedule in a mutation or an action"

_NO_TRANSACTION = "is no transaction: ask in the queries and mutations that it runs"

_INSTEAD: dict[tuple[str, str], str] = {
    ("action", "db"): (
        "reads and writes by functions of the workspace: ctx.run_query(f, ..), "
        "ctx.run_mutation(f, ..)"
    ),
    ("query", "scheduler"): _SCHEDULES,
    ("query", "crons"): (
        "has no effects: ctx.db.system.query('_cron_jobs') reads them. Have or remove crons in a "
        "mutation or an action"
    ),
    ("query", "run_mutation"): "only reads. Make the function a mutation",
    ("query", "run_action"): "has no effects. Call the action from an action",
    ("query", "meta.get_request_metadata"): (
        "gives all who ask the same: who asks is for mutations and actions, and ctx.auth says "
        "who is logged in"
    ),
    ("action", "meta.get_transaction_metrics"): _NO_TRANSACTION,
    ("action", "meta.get_snapshot_number"): _NO_TRANSACTION,
    ("action", "meta.get_snapshot_ts"): _NO_TRANSACTION,
    ("mutation", "run_action"): (
        "may run again, and an action may not: ctx.scheduler.run_after(0, f, ..) runs one once "
        "the mutation is committed"
    ),
}
"""By the kind of function and the name."""


def absent(kind: FunctionKind, name: str) -> AttributeError:
    """What asking a `ctx` for a name that it lacks raises; `meta.x` is one of `ctx.meta`."""
    instead = _INSTEAD.get((kind, name))
    article = "an" if kind[0] in "aeiou" else "a"
    of, _, last = f"ctx.{name}".rpartition(".")
    text = f"{of} of {article} {kind} has no {last!r}"
    return AttributeError(text if instead is None else f"{text}: {article} {kind} {instead}.")
