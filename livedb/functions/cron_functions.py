"""What `db.crons` and `ctx.crons` ask, as functions that whoever has the workspace runs."""

from __future__ import annotations

from typing import Any

from livedb.functions.context import MutationContext, QueryContext
from livedb.functions.cron_jobs import CronSpec, crons_of, put_cron, remove_cron
from livedb.functions.crons import LIST, REMOVE, SET
from livedb.functions.definition import define
from livedb.functions.schedules import Schedule, check_name


def _set_cron(
    ctx: MutationContext, name: str, schedule: dict[str, Any], fn: str, args: dict[str, Any]
) -> None:
    """Have a cron, made or changed by a cell or a function."""
    check_name(name)
    function, given = ctx._caller.to_schedule(fn, args)  # noqa: SLF001  # livedb's own function
    spec = CronSpec(name, Schedule.of_document(schedule), function, given)
    transaction = ctx.db._snapshot  # noqa: SLF001
    put_cron(transaction, spec, source="workspace", now_ms=ctx.now.timestamp() * 1000)


def _remove_cron(ctx: MutationContext, name: str) -> bool:
    """Have no cron of that name; whether there was one."""
    return remove_cron(ctx.db._snapshot, name, source="workspace")  # noqa: SLF001


def _list_crons(ctx: QueryContext) -> list[dict[str, Any]]:
    """All crons, by name."""
    return [dict(cron) for cron in crons_of(ctx.db._snapshot)]  # noqa: SLF001


CRON_FUNCTIONS = (
    define(_set_cron, kind="mutation", visibility="internal", name=SET),
    define(_remove_cron, kind="mutation", visibility="internal", name=REMOVE),
    define(_list_crons, kind="query", visibility="internal", name=LIST),
)
