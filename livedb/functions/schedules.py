"""When a cron is due: pure functions of its schedule and of a moment.

An interval is anchored at its first run, so that it does not drift. All else is a time of the
clock, in UTC, plus a spread that is the cron's own and stays the same: crons of one minute do not
all begin in its first second, and one that names no minute takes one of its own.

Source: spec semantics.md 10.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from livedb.errors import InvalidValueError
from livedb.functions.run import EPOCH
from livedb.limits import CRON_NAME_LENGTH_MAX, CRON_SKIPS_COUNTED_MAX, SECONDS_MAX
from livedb.values import whole

DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

ScheduleKind = Literal["interval", "hourly", "daily", "weekly", "monthly", "cron"]

IMMINENT_MS = 30_000.0
"""A run that is so near the one of a changed schedule stays where it is (Convex)."""

_MINUTE_S = 60
_HOUR_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a cron runs. Made by the functions below, which check it.

    Attributes:
        seconds: of an interval.
        expression: of all else, as crontab has it; its minute is 0 where none is given.
        has_minute: whether a minute is given.
        shown: as it is written in documents.
    """

    kind: ScheduleKind
    seconds: float = 0.0
    expression: str = ""
    has_minute: bool = True
    shown: tuple[tuple[str, Any], ...] = ()

    def to_document(self) -> dict[str, Any]:
        """As it stands in `_cron_jobs`."""
        return {"kind": self.kind, **dict(self.shown)}

    @classmethod
    def of_document(cls, document: Any) -> Schedule:
        """The schedule that `to_document` wrote."""
        match document:
            case {"kind": "interval", "seconds": seconds}:
                return interval(seconds=seconds)
            case {"kind": "cron", "expression": expression}:
                return cron(expression)
            case {"kind": "hourly"}:
                return hourly(document.get("minuteUTC"))
            case {"kind": "daily", "hourUTC": hour}:
                return daily(hour, document.get("minuteUTC"))
            case {"kind": "weekly", "dayOfWeek": day, "hourUTC": hour}:
                return weekly(day, hour, document.get("minuteUTC"))
            case {"kind": "monthly", "day": day, "hourUTC": hour}:
                return monthly(day, hour, document.get("minuteUTC"))
        raise InvalidValueError(f"{document!r} is no schedule of a cron", code="InvalidCron")

    def first_ms(self, name: str, now_ms: float) -> float:
        """When a cron that is new at `now_ms` runs: at once, or at the next time of the clock."""
        return now_ms if self.kind == "interval" else self.next_ms(name, now_ms)

    def next_ms(self, name: str, after_ms: float) -> float:
        """The first time after `after_ms`, which is a time of this schedule if it is an interval.

        Args:
            name: the cron's, which its spread follows from.
        """
        if self.kind == "interval":
            return after_ms + self.seconds * 1000
        spread_s = _spread_s(name, _MINUTE_S if self.has_minute else _HOUR_S)
        base = EPOCH + timedelta(milliseconds=after_ms - spread_s * 1000)
        found = next(_occurrences(self.expression, base))
        since: timedelta = found - EPOCH
        return since / timedelta(milliseconds=1) + spread_s * 1000

    def skip_ms(self, name: str, slot_ms: float, now_ms: float) -> tuple[float, int]:
        """The first time after the one at `slot_ms` that is not past, and how many are."""
        following = self.next_ms(name, slot_ms)
        if following >= now_ms:
            return following, 0
        if self.kind == "interval":
            period_ms = self.seconds * 1000
            skipped = int(-(-(now_ms - following) // period_ms))
            return following + skipped * period_ms, skipped
        skipped = 1
        while skipped < CRON_SKIPS_COUNTED_MAX:
            following = self.next_ms(name, following)
            if following >= now_ms:
                return following, skipped
            skipped += 1
        return self.next_ms(name, now_ms), skipped


def interval(
    *, seconds: float | None = None, minutes: float | None = None, hours: float | None = None
) -> Schedule:
    """Every so often; one of the three."""
    given = [
        (value, unit)
        for value, unit in ((seconds, 1), (minutes, _MINUTE_S), (hours, _HOUR_S))
        if value is not None
    ]
    if len(given) != 1:
        raise _wrong("an interval has one of seconds=, minutes= and hours=")
    value, unit = given[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(f"an interval is a number, not {value!r}")
    period_s = value * unit
    if not 1 <= period_s <= SECONDS_MAX:
        raise _wrong(f"an interval is at least 1 second and at most 31 years, not {value!r}")
    return Schedule(kind="interval", seconds=period_s, shown=(("seconds", period_s),))


def hourly(minute_utc: int | None = None) -> Schedule:
    """Once an hour."""
    return _clock("hourly", f"{_minute(minute_utc)} * * * *", minute_utc)


def daily(hour_utc: int, minute_utc: int | None = None) -> Schedule:
    """Once a day."""
    hour = _whole("hour_utc", hour_utc, 0, 23)
    expression = f"{_minute(minute_utc)} {hour} * * *"
    return _clock("daily", expression, minute_utc, ("hourUTC", hour))


def weekly(day_of_week: str, hour_utc: int, minute_utc: int | None = None) -> Schedule:
    """Once a week, on "monday" or another day."""
    if day_of_week not in DAYS:
        raise _wrong(f"day_of_week is one of {', '.join(DAYS)}, not {day_of_week!r}")
    hour = _whole("hour_utc", hour_utc, 0, 23)
    expression = f"{_minute(minute_utc)} {hour} * * {DAYS.index(day_of_week)}"
    return _clock("weekly", expression, minute_utc, ("dayOfWeek", day_of_week), ("hourUTC", hour))


def monthly(day: int, hour_utc: int, minute_utc: int | None = None) -> Schedule:
    """Once a month; a month without that day is left out."""
    day = _whole("day", day, 1, 31)
    hour = _whole("hour_utc", hour_utc, 0, 23)
    expression = f"{_minute(minute_utc)} {hour} {day} * *"
    return _clock("monthly", expression, minute_utc, ("day", day), ("hourUTC", hour))


def cron(expression: Any) -> Schedule:
    """As a crontab says: minute, hour, day of the month, month, day of the week, in UTC."""
    fields = expression.split() if isinstance(expression, str) else []
    if len(fields) != 5:
        raise _wrong(
            f"a cron has five fields (minute, hour, day of the month, month, day of the week), as "
            f"in '0 9 * * 1', and this is {expression!r}"
        )
    expression = " ".join(fields)
    try:
        next(_occurrences(expression, EPOCH))
    except (ValueError, StopIteration) as error:
        any_month = " ".join((*fields[:3], "*", fields[4]))
        any_day = " ".join((*fields[:2], "*", *fields[3:]))
        if _is_understood(any_month) and _is_understood(any_day):
            raise _wrong(
                f"the cron {expression!r} is never due: no month it names has such a day"
            ) from None
        raise _wrong(f"the cron {expression!r} is not understood: {error}") from error
    return Schedule(kind="cron", expression=expression, shown=(("expression", expression),))


def _is_understood(expression: str) -> bool:
    try:
        next(_occurrences(expression, EPOCH))
    except (ValueError, StopIteration):
        return False
    return True


def check_name(name: Any) -> None:
    """Refuse what names no cron.

    Raises:
        InvalidValueError.
    """
    is_name = isinstance(name, str) and 0 < len(name) <= CRON_NAME_LENGTH_MAX
    if not is_name or not (name.isascii() and name.isprintable()):
        raise _wrong(
            f"its name is printable ASCII of 1 to {CRON_NAME_LENGTH_MAX} characters, not {name!r}"
        )


def _clock(
    kind: ScheduleKind, expression: str, minute_utc: int | None, *shown: tuple[str, Any]
) -> Schedule:
    has_minute = minute_utc is not None
    if has_minute:
        shown = (*shown, ("minuteUTC", _minute(minute_utc)))
    return Schedule(kind=kind, expression=expression, has_minute=has_minute, shown=shown)


def _minute(minute_utc: int | None) -> int:
    return 0 if minute_utc is None else _whole("minute_utc", minute_utc, 0, 59)


def _whole(what: str, value: Any, least: int, most: int) -> int:
    number = whole(value)
    if number is None or not least <= number <= most:
        raise _wrong(f"{what} is a whole number from {least} to {most}, not {value!r}")
    return number


def _occurrences(expression: str, after: datetime) -> Iterator[datetime]:
    """The times that an expression names after a moment, in order.

    Raises:
        ValueError: it is none.
    """
    # Loaded when the first cron is made: `import livedb` stays light.
    from cronsim import CronSim, CronSimError

    try:
        return CronSim(expression, after)
    except CronSimError as error:
        raise ValueError(str(error)) from error


def _spread_s(name: str, within_s: int) -> int:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % within_s


def _wrong(what: str) -> InvalidValueError:
    return InvalidValueError(f"A cron cannot be made so: {what}", code="InvalidCron")
