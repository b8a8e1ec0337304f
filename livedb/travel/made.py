"""Python objects that are no livedb values and still travel: tuples, dates, patterns, partials.

Each kind says which objects are of it, what to take of one, and how to make an equal one of that.
What is taken is a value, or a list of things of which some are values and others functions.
"""

from __future__ import annotations

import functools
import logging
import re
import typing
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ForwardRef, NamedTuple
from zoneinfo import ZoneInfo

from livedb.values import Document


class Kind(NamedTuple):
    """How objects of one class travel; `take` gives None for one that cannot."""

    take: Callable[[Any], Any]
    make: Callable[[Any], Any]


def _in_one_order(items: Any) -> list[Any]:
    return sorted(items, key=lambda item: (type(item).__name__, repr(item)))


def _pairs(value: Mapping[Any, Any]) -> list[list[Any]]:
    return [list(item) for item in value.items()]


def _moment(value: datetime | time) -> list[Any]:
    """What the clock says, which of two it means when the clock is set back, and the zone."""
    return [value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo]


def _made_moment(cls: Any) -> Callable[[Any], Any]:
    return lambda parts: cls.fromisoformat(parts[0]).replace(fold=parts[1], tzinfo=parts[2])


def _no_subscription(value: Any) -> Any:
    has_more = value.__constraints__ or value.__bound__
    return None if has_more else [value.__name__, value.__covariant__, value.__contravariant__]


_CACHED: Any = type(functools.cache(lambda: None))

_KINDS: dict[str, tuple[type, Kind]] = {
    "tuple": (tuple, Kind(list, tuple)),
    "set": (set, Kind(_in_one_order, set)),
    "frozenset": (frozenset, Kind(_in_one_order, frozenset)),
    "dict": (dict, Kind(_pairs, dict)),
    "Document": (Document, Kind(dict, Document)),
    "Counter": (Counter, Kind(_pairs, lambda pairs: Counter(dict(pairs)))),
    "defaultdict": (
        defaultdict,
        Kind(
            lambda value: [value.default_factory, _pairs(value)],
            lambda parts: defaultdict(parts[0], parts[1]),
        ),
    ),
    "int": (int, Kind(hex, lambda text: int(text, 16))),  # of any length, unlike decimals
    "complex": (
        complex,
        Kind(lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    ),
    "date": (date, Kind(date.isoformat, date.fromisoformat)),
    "time": (time, Kind(_moment, _made_moment(time))),
    "datetime": (datetime, Kind(_moment, _made_moment(datetime))),
    "timedelta": (
        timedelta,
        Kind(
            lambda value: [value.days, value.seconds, value.microseconds],
            lambda parts: timedelta(*parts),
        ),
    ),
    "timezone": (
        timezone,
        Kind(lambda value: list(value.__getinitargs__()), lambda parts: timezone(*parts)),
    ),
    "ZoneInfo": (ZoneInfo, Kind(lambda value: value.key, ZoneInfo)),
    "Decimal": (Decimal, Kind(str, Decimal)),
    "Logger": (logging.Logger, Kind(lambda value: value.name, logging.getLogger)),
    "Pattern": (
        re.Pattern,
        Kind(lambda value: [value.pattern, value.flags], lambda parts: re.compile(*parts)),
    ),
    "range": (
        range,
        Kind(lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)),
    ),
    "partial": (
        functools.partial,
        Kind(
            lambda value: [value.func, list(value.args), _pairs(value.keywords)],
            lambda parts: functools.partial(parts[0], *parts[1], **dict(parts[2])),
        ),
    ),
    "cache": (
        _CACHED,
        Kind(
            lambda value: [value.__wrapped__, *value.cache_parameters().values()],
            lambda parts: functools.lru_cache(*parts[1:])(parts[0]),
        ),
    ),
    "ForwardRef": (ForwardRef, Kind(lambda value: value.__forward_arg__, ForwardRef)),
    "NewType": (
        typing.NewType,
        Kind(
            lambda value: [value.__name__, value.__supertype__],
            lambda parts: typing.NewType(*parts),
        ),
    ),
    "TypeVar": (
        typing.TypeVar,
        Kind(
            _no_subscription,
            lambda parts: typing.TypeVar(parts[0], covariant=parts[1], contravariant=parts[2]),
        ),
    ),
    "mappingproxy": (
        MappingProxyType,
        Kind(_pairs, lambda pairs: MappingProxyType(dict(pairs))),
    ),
}

KINDS: dict[str, Kind] = {name: kind for name, (_, kind) in _KINDS.items()} | {
    "namedtuple": Kind(
        lambda value: [type(value), list(value)], lambda parts: parts[0]._make(parts[1])
    )
}
_NAMES = {cls: name for name, (cls, _) in _KINDS.items()}


def kind_of(value: object) -> str | None:
    """The name of the kind an object is of; None for all others."""
    if isinstance(value, tuple) and hasattr(type(value), "_fields"):
        return "namedtuple"
    return _NAMES.get(type(value))
