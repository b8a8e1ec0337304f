"""`db.crons`: functions that run again and again, from a cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from livedb.functions.calling import name_of
from livedb.functions.cron_functions import LIST_CRONS, REMOVE_CRON, SET_CRON
from livedb.functions.crons import CronVerbs, Function
from livedb.functions.schedules import Schedule

if TYPE_CHECKING:
    from livedb.client.database import Database


class Crons(CronVerbs):
    """The crons of a workspace, kept in it until they are removed.

    `db.crons.daily("clean up", hour_utc=2, fn=clean_up)` makes one, or changes the one of that
    name; inside a mutation it is part of its commit. They run while somebody has the workspace open
    and the function is defined there. `_cron_jobs` and `_cron_job_logs` show them to queries, by
    `ctx.db.system`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def _put(
        self, name: str, schedule: Schedule, function: Function, args: Mapping[str, Any]
    ) -> None:
        asked = {
            "name": name,
            "schedule": schedule.to_document(),
            "fn": name_of(function),
            "args": dict(args),
        }
        self._database.backend.run(SET_CRON, SET_CRON.bind((), asked))

    def remove(self, name: str) -> bool:
        """Remove a cron, with what is remembered of its runs; whether there was one.

        Raises:
            InvalidValueError: `crons.py` declares it.
        """
        removed: bool = self._database.backend.run(
            REMOVE_CRON, REMOVE_CRON.bind((), {"name": name})
        )
        return removed

    def list(self) -> list[dict[str, Any]]:
        """All crons as they stand in `_cron_jobs`, by name."""
        found: list[dict[str, Any]] = self._database.backend.run(LIST_CRONS, {})
        return found

    def __repr__(self) -> str:
        return f"<crons: {', '.join(each['name'] for each in self.list()) or 'none'}>"
