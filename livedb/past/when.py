"""What says which commit is meant: its number, or a moment."""

from __future__ import annotations

import operator
from datetime import UTC, datetime
from typing import Any

from livedb.errors import InvalidValueError

_WANTED = "the number of a commit, such as db.number"


def checked_when(when: object) -> int | datetime:
    """A commit's number as an int, or a moment in UTC.

    Whatever is an exact whole number counts as one, as those of a frame do.

    Raises:
        InvalidValueError: it is neither; a datetime has no time zone; a number is below 0, or
            beyond those that commits can have.
    """
    if isinstance(when, datetime):
        return _moment(when)
    number = _whole(when)
    if number is None:
        raise InvalidValueError(
            f"A past is {_WANTED}, or a datetime with a time zone, not {when!r}"
        )
    return _in_range(number)


def checked_number(number: object) -> int:
    """A commit's number as an int.

    Raises:
        InvalidValueError: it is none.
    """
    whole = _whole(number)
    if whole is None:
        raise InvalidValueError(
            f"undo() takes {_WANTED}, and not {number!r}; db.history(table, id) and "
            "db.changes(since) tell the numbers"
        )
    return _in_range(whole)


def _whole(number: Any) -> int | None:
    if isinstance(number, bool):
        return None
    try:
        return int(operator.index(number))
    except TypeError:
        return None


def _in_range(number: int) -> int:
    if number < 0:
        raise InvalidValueError(
            f"A commit's number is 0, before the first one, or more; {number} was given"
        )
    if number >= 1 << 53:
        raise InvalidValueError(f"There is no commit {number}; db.number is the newest")
    return number


def _moment(moment: datetime) -> datetime:
    """The same in UTC, as a datetime of Python's own."""
    if moment != moment:  # noqa: PLR0124  # pandas' NaT is a datetime, and no moment
        raise InvalidValueError(f"{moment!r} is no moment, so nobody knows which commit is meant")
    if moment.utcoffset() is None:
        raise InvalidValueError(
            f"{moment!r} has no time zone, so it may be any of several moments; give one, as "
            "in datetime(2026, 1, 1, 12, tzinfo=UTC)"
        )
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:  # before the year 1, or after 9999
        first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return first if moment.year == 1 else last
    day, time = utc.date(), utc.time()
    return datetime.combine(day, time, tzinfo=UTC)
