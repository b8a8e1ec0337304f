"""The values a document may hold, their Python types, and when two are the same.

A value is one of

    None  bool  int (within +-2^53)  float  Int64  str  bytes  list  dict  datetime (aware, UTC)

`int` and `float` are one type, *number*, to validators and indexes, yet each comes back as written.
`Int64` is a type of its own, as in Convex. What else is taken for one of these, `livedb.canonical`
says; what they weigh, `livedb.sizes`.

"Is it the same value" is `same_value`, never `==`: Python says {'x': True} == {'x': 1} == {'x':
1.0} == {'x': Int64(1)}, 0.0 == -0.0 and NaN != NaN.

Source: spec semantics.md 1; design section 2.
"""

from __future__ import annotations

import difflib
import operator
from datetime import UTC, datetime, timedelta
from math import copysign, isfinite, isnan
from typing import Any, Final, Self, SupportsIndex, final

from livedb.errors import InvalidValueError
from livedb.limits import INT_SAFE_MAX

Value = Any
"""Where documents of users enter or leave; the one use of `Any`."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Int64(int):
    """A 64-bit integer, Convex's `int64`: `Int64(3)`.

    Another type than the number 3: it is stored, indexed and validated apart, and sorts before all
    numbers. Arithmetic gives a plain `int`.

    Raises:
        InvalidValueError: outside -2^63 .. 2^63 - 1.
        TypeError: not a whole number, or a bool.
    """

    __slots__ = ()

    def __new__(cls, value: SupportsIndex = 0) -> Self:
        """An Int64 of a whole number; neither text nor a float is taken for one."""
        if isinstance(value, bool):
            raise TypeError(f"Int64 takes a whole number, not {value!r}")
        number = operator.index(value)
        if not INT64_MIN <= number <= INT64_MAX:
            raise InvalidValueError(f"{number} does not fit into a 64-bit signed integer")
        return super().__new__(cls, number)

    def __repr__(self) -> str:
        return f"Int64({int.__repr__(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)


@final
class Missing:
    """The type of `UNSET`: a field that is not there, as opposed to one that is None.

    Annotate a field that may be absent as `str | Missing = UNSET`.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"


UNSET: Final = Missing()
"""The only `Missing`: compare with `is`."""


class Document(dict[str, Value]):
    """A document that was read: a dict that also reads its fields as attributes.

    It is a private copy; changing the dict changes nothing stored. A field named like a method of
    dict (`items`, `get`, ...) is read as `document["items"]`. Copies and pickles are plain dicts.
    """

    __slots__ = ()

    _lacks = "the document has no field"

    def __getattr__(self, name: str) -> Value:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(self._missing_message(name), name=name, obj=self) from None

    def __setattr__(self, name: str, value: object) -> None:
        message = _READ_ONLY_MESSAGE.format(verb="setting", name=name, new="...")
        raise AttributeError(message, name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        message = _READ_ONLY_MESSAGE.format(verb="deleting", name=name, new="livedb.UNSET")
        raise AttributeError(message, name=name, obj=self)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self if name.isidentifier())]

    def __reduce__(self) -> tuple[type[dict[str, Value]], tuple[dict[str, Value]]]:
        return (dict, (dict(self),))

    def __copy__(self) -> dict[str, Value]:
        return dict(self)

    def _missing_message(self, name: str) -> str:
        near = difflib.get_close_matches(name, list(self), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{self._lacks} {name!r}{hint}"


_READ_ONLY_MESSAGE = (
    "a document is a copy, {verb} {name!r} on it would store nothing; "
    "in a mutation use ctx.db.patch(id, {{{name!r}: {new}}})"
)


def same_value(left: Value, right: Value) -> bool:
    """Whether two canonical values have the same text form: same types, same bits, same key order.

    A `Document` is its dict. Cost: O(size) without building the texts.
    """
    kind = type(left)
    if kind is not type(right):
        return _is_dict(left) and _is_dict(right) and _same_dict(left, right)
    if kind is float:
        # Unequal floats may both be NaN; equal ones may be the two zeros.
        if left != right:
            return isnan(left) and isnan(right)
        return left != 0.0 or copysign(1.0, left) == copysign(1.0, right)
    if kind is list:
        return len(left) == len(right) and all(map(same_value, left, right))
    if kind is dict or kind is Document:
        return _same_dict(left, right)
    return bool(left == right)


def _is_dict(value: Value) -> bool:
    return type(value) is dict or type(value) is Document


def _same_dict(left: dict[str, Value], right: dict[str, Value]) -> bool:
    return list(left) == list(right) and all(map(same_value, left.values(), right.values()))


def is_canonical_run(items: list[Value] | tuple[Value, ...]) -> bool:
    """Whether `items` are numbers or texts of one type that may stay as they are.

    Vectors of floats are common and long; this examines them at the speed of C. False may also mean
    that only a closer look can tell.
    """
    kinds = set(map(type, items))
    if kinds == _FLOATS_ONLY:
        return isfinite(sum(items))
    if kinds == _INTS_ONLY:
        return bool(min(items) >= -INT_SAFE_MAX and max(items) <= INT_SAFE_MAX)
    return kinds == _TEXTS_ONLY and all(map(str.isascii, items))


_FLOATS_ONLY, _INTS_ONLY, _TEXTS_ONLY = {float}, {int}, {str}


def whole(value: object) -> int | None:
    """The whole number that a value is, or None.

    Numbers of clients are floats unless a validator says `int`, so 3.0 is one. A bool is none.
    """
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def path_step(step: object) -> str:
    """One step of a path into a value: `.title`, `[2]`, `["a b"]` for other names."""
    if isinstance(step, str) and step.isidentifier() and step.isascii():
        return f".{step}"
    return f"[{shown(step)}]"


def shown(value: object) -> str:
    """A short text for a message; a broken `__repr__` cannot break it."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the user's __repr__ may raise anything
        text = "..."
    if len(text) > 80:
        text = text[:77] + "..."
    return text if isinstance(value, (str, int)) else f"{text} of type {type(value).__name__}"


def milliseconds_of(value: datetime) -> float:
    """A datetime as on Convex's wire and in index keys: milliseconds since the Unix epoch.

    Exact to the microsecond until the year 2248; beyond, the nearest float64.
    """
    # One correctly rounded division of whole numbers; `timestamp()` rounds to a float of seconds.
    return ((value - _EPOCH) // _MICROSECOND) / 1000


def datetime_of(milliseconds: float) -> datetime:
    """The datetime nearest to a number of milliseconds since the Unix epoch, in UTC.

    Raises:
        InvalidValueError: not finite, or outside the years 1 to 9999.
    """
    try:
        return _EPOCH + timedelta(microseconds=round(milliseconds * 1000))
    except (OverflowError, ValueError):
        raise InvalidValueError(
            f"{milliseconds!r} milliseconds since 1970 is no date of the years 1 to 9999"
        ) from None
