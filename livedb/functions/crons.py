"""Crons as they are said: functions that run again and again, in `crons.py` or at run time.

    crons = livedb.cron_jobs()
    crons.daily("clean up", hour_utc=2, fn=clean_up)

`db.crons` of cells and `ctx.crons` of mutations and actions have the same verbs. They ask livedb's
own functions (`cron_functions`), so that what a mutation says is part of its commit.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from livedb.errors import InvalidValueError
from livedb.functions import schedules
from livedb.functions.definition import FunctionKind
from livedb.functions.schedules import Schedule
from livedb.values import shown

_NONE: Mapping[str, Any] = {}

Function = Callable[..., Any] | str

SET = "_system/crons:set"
REMOVE = "_system/crons:remove"
LIST = "_system/crons:list"

Done = TypeVar("Done")
"""What a verb gives: nothing, or something to await."""


class CronVerbs(ABC, Generic[Done]):
    """The ways to say when a cron runs; all times are UTC.

    A function is a mutation or an action, or its name; `args` are its arguments by name. At most
    one run of a cron is in progress, and what is missed while nothing runs is left out.
    """

    def interval(
        self,
        name: str,
        *,
        seconds: float | None = None,
        minutes: float | None = None,
        hours: float | None = None,
        fn: Function,
        args: Mapping[str, Any] = _NONE,
    ) -> Done:
        """Run every so often, the first time at once. Give one of the three.

        Raises:
            InvalidValueError: the name or the time is none, or the name is taken.
        """
        schedule = schedules.interval(seconds=seconds, minutes=minutes, hours=hours)
        return self._checked(name, schedule, fn, args)

    def hourly(
        self,
        name: str,
        *,
        minute_utc: int | None = None,
        fn: Function,
        args: Mapping[str, Any] = _NONE,
    ) -> Done:
        """Run once an hour; without a minute at one of the cron's own. Raises: as `interval`."""
        return self._checked(name, schedules.hourly(minute_utc), fn, args)

    def daily(
        self,
        name: str,
        *,
        hour_utc: int,
        minute_utc: int | None = None,
        fn: Function,
        args: Mapping[str, Any] = _NONE,
    ) -> Done:
        """Run once a day. Raises: as `interval`."""
        return self._checked(name, schedules.daily(hour_utc, minute_utc), fn, args)

    def weekly(
        self,
        name: str,
        *,
        day_of_week: str,
        hour_utc: int,
        minute_utc: int | None = None,
        fn: Function,
        args: Mapping[str, Any] = _NONE,
    ) -> Done:
        """Run once a week, on "monday" or another day. Raises: as `interval`."""
        return self._checked(name, schedules.weekly(day_of_week, hour_utc, minute_utc), fn, args)

    def monthly(
        self,
        name: str,
        *,
        day: int,
        hour_utc: int,
        minute_utc: int | None = None,
        fn: Function,
        args: Mapping[str, Any] = _NONE,
    ) -> Done:
        """Run once a month; a month without that day is left out. Raises: as `interval`."""
        return self._checked(name, schedules.monthly(day, hour_utc, minute_utc), fn, args)

    def cron(
        self, name: str, expression: str, *, fn: Function, args: Mapping[str, Any] = _NONE
    ) -> Done:
        """Run as a crontab says: minute, hour, day of the month, month, day of the week.

        Raises: as `interval`.
        """
        return self._checked(name, schedules.cron(expression), fn, args)

    def _checked(
        self, name: str, schedule: Schedule, function: Function, args: Mapping[str, Any]
    ) -> Done:
        schedules.check_name(name)
        if not isinstance(args, Mapping):
            raise InvalidValueError(
                f"A cron cannot be made so: args= are the function's arguments by name, as in "
                f"args={{'n': 1}}, and this is {shown(args)}",
                code="InvalidCron",
            )
        return self._put(name, schedule, function, args)

    @abstractmethod
    def _put(
        self, name: str, schedule: Schedule, function: Function, args: Mapping[str, Any]
    ) -> Done:
        """Have this cron."""


@dataclass(frozen=True, slots=True)
class DeclaredCron:
    """A cron as `crons.py` has it: the function is not looked up yet."""

    name: str
    schedule: Schedule
    function: Function
    args: Mapping[str, Any]


class CronJobs(CronVerbs[None]):
    """The crons of a folder of functions: `crons = livedb.cron_jobs()` in its `crons.py`."""

    def __init__(self) -> None:
        self._declared: dict[str, DeclaredCron] = {}

    def declared(self) -> list[DeclaredCron]:
        """All of them, in the order of their declaration."""
        return list(self._declared.values())

    def _put(
        self, name: str, schedule: Schedule, function: Function, args: Mapping[str, Any]
    ) -> None:
        if name in self._declared:
            raise InvalidValueError(
                f"There are two crons named {name!r}; rename one", code="InvalidCron"
            )
        self._declared[name] = DeclaredCron(name, schedule, function, dict(args))


def cron_jobs() -> CronJobs:
    """An object to declare crons with, for `crons.py` of a folder of functions.

    It must be a variable named `crons` there. Whoever loads the folder makes them the crons of the
    workspace: one with another schedule is due anew, one that is gone runs no more.
    """
    return CronJobs()


# --- at run time ----------------------------------------------------------------------------------

Ask = Callable[[FunctionKind, str, Mapping[str, Any]], Any]
"""Runs one of livedb's own functions: in the run in progress, or as a commit of its own."""


class Crons(CronVerbs[None]):
    """The crons of a workspace, kept in it until they are removed.

    `db.crons.daily("clean up", hour_utc=2, fn=clean_up)` in a cell, `ctx.crons` in mutations and in
    actions that are a plain `def`, make one, or change the one of that name. Inside a mutation it
    is part of its commit, else a commit of its own. They run while somebody has the workspace open
    and the function is defined there. `_cron_jobs` and `_cron_job_logs` show them to queries, by
    `ctx.db.system`.
    """

    def __init__(self, ask: Ask, name_of: Callable[[Any], str]) -> None:
        self._ask = ask
        self._name_of = name_of

    def _put(
        self, name: str, schedule: Schedule, function: Function, args: Mapping[str, Any]
    ) -> None:
        self._ask("mutation", SET, _asked(name, schedule, self._name_of(function), args))

    def remove(self, name: str) -> bool:
        """Remove a cron, with what is remembered of its runs; whether there was one.

        Raises:
            InvalidValueError: `crons.py` declares it.
        """
        removed: bool = self._ask("mutation", REMOVE, {"name": name})
        return removed

    def list(self) -> list[dict[str, Any]]:
        """All crons as they stand in `_cron_jobs`, by name."""
        found: list[dict[str, Any]] = self._ask("query", LIST, {})
        return found

    def __repr__(self) -> str:
        return f"<crons: {', '.join(each['name'] for each in self.list()) or 'none'}>"


class AsyncCrons(CronVerbs[Awaitable[None]]):
    """`ctx.crons` of an `async def` action: as `Crons`, and its methods are awaited."""

    def __init__(self, ask: Ask, name_of: Callable[[Any], str]) -> None:
        self._ask = ask
        self._name_of = name_of

    def _put(
        self, name: str, schedule: Schedule, function: Function, args: Mapping[str, Any]
    ) -> Awaitable[None]:
        asked = _asked(name, schedule, self._name_of(function), args)
        return asyncio.to_thread(self._ask, "mutation", SET, asked)

    async def remove(self, name: str) -> bool:
        """Remove a cron; see `Crons`."""
        removed: bool = await asyncio.to_thread(self._ask, "mutation", REMOVE, {"name": name})
        return removed

    async def list(self) -> list[dict[str, Any]]:
        """All crons; see `Crons`."""
        found: list[dict[str, Any]] = await asyncio.to_thread(self._ask, "query", LIST, {})
        return found


def _asked(name: str, schedule: Schedule, function: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `SET`."""
    return {"name": name, "schedule": schedule.to_document(), "fn": function, "args": dict(args)}
