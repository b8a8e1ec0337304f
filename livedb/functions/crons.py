"""Crons as they are declared: functions that run again and again, in `crons.py` or from a cell.

crons = livedb.cron_jobs()
crons.daily("clean up", hour_utc=2, fn=clean_up)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from livedb.errors import InvalidValueError
from livedb.functions import schedules
from livedb.functions.schedules import Schedule

_NONE: Mapping[str, Any] = {}

Function = Callable[..., Any] | str


class CronVerbs(ABC):
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
    ) -> None:
        """Run every so often, the first time at once. Give one of the three.

        Raises:
            InvalidValueError: the name or the time is none, or the name is taken.
        """
        schedule = schedules.interval(seconds=seconds, minutes=minutes, hours=hours)
        self._checked(name, schedule, fn, args)

    def hourly(
        self,
        name: str,
        *,
        minute_utc: int | None = None,
        fn: Function,
        args: Mapping[str, Any] = _NONE,
    ) -> None:
        """Run once an hour; without a minute at one of the cron's own. Raises: as `interval`."""
        self._checked(name, schedules.hourly(minute_utc), fn, args)

    def daily(
        self,
        name: str,
        *,
        hour_utc: int,
        minute_utc: int | None = None,
        fn: Function,
        args: Mapping[str, Any] = _NONE,
    ) -> None:
        """Run once a day. Raises: as `interval`."""
        self._checked(name, schedules.daily(hour_utc, minute_utc), fn, args)

    def weekly(
        self,
        name: str,
        *,
        day_of_week: str,
        hour_utc: int,
        minute_utc: int | None = None,
        fn: Function,
        args: Mapping[str, Any] = _NONE,
    ) -> None:
        """Run once a week, on "monday" or another day. Raises: as `interval`."""
        self._checked(name, schedules.weekly(day_of_week, hour_utc, minute_utc), fn, args)

    def monthly(
        self,
        name: str,
        *,
        day: int,
        hour_utc: int,
        minute_utc: int | None = None,
        fn: Function,
        args: Mapping[str, Any] = _NONE,
    ) -> None:
        """Run once a month; a month without that day is left out. Raises: as `interval`."""
        self._checked(name, schedules.monthly(day, hour_utc, minute_utc), fn, args)

    def cron(
        self, name: str, expression: str, *, fn: Function, args: Mapping[str, Any] = _NONE
    ) -> None:
        """Run as a crontab says: minute, hour, day of the month, month, day of the week.

        Raises: as `interval`.
        """
        self._checked(name, schedules.cron(expression), fn, args)

    def _checked(
        self, name: str, schedule: Schedule, function: Function, args: Mapping[str, Any]
    ) -> None:
        schedules.check_name(name)
        self._put(name, schedule, function, args)

    @abstractmethod
    def _put(
        self, name: str, schedule: Schedule, function: Function, args: Mapping[str, Any]
    ) -> None:
        """Have this cron."""


@dataclass(frozen=True, slots=True)
class DeclaredCron:
    """A cron as `crons.py` has it: the function is not looked up yet."""

    name: str
    schedule: Schedule
    function: Function
    args: Mapping[str, Any]


class CronJobs(CronVerbs):
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
