"""Datetimes without a time zone: given the one the user names, or refused."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from livedb.errors import LoadError


def in_zone(column: pa.Array[Any], name: str, tz: str) -> pa.Array[Any]:
    """The moments that naive timestamps are in zone `tz`.

    Raises:
        LoadError: there is no such zone, or it had one of the times twice or never.
    """
    try:
        moments: pa.Array[Any] = pc.call_function(
            "assume_timezone", [column], pc.AssumeTimezoneOptions(tz)
        )
    except pa.ArrowInvalid as error:
        raise LoadError(f"Column {name!r} in zone {tz!r}: {error}") from error
    return moments


def check_zone(tz: str) -> None:
    """Refuse a zone that does not exist, whether or not a column needs it."""
    wanted = 'tz is the name of one, such as "America/New_York" or "UTC"'
    if not isinstance(tz, str):
        raise LoadError(f"{tz!r} is no time zone; {wanted}.")
    epoch = pa.array([0], pa.timestamp("us"))
    try:
        pc.call_function("assume_timezone", [epoch], pc.AssumeTimezoneOptions(tz))
    except pa.ArrowException as error:
        raise LoadError(f"{tz!r} is no time zone; {wanted}.") from error


def no_zone(name: str) -> LoadError:
    """The refusal of a column of naive datetimes."""
    return LoadError(
        f"Column {name!r} holds datetimes without a time zone; say which one they are in, "
        f'such as tz="America/New_York" or tz="UTC".'
    )
