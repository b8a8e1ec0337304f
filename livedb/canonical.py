"""Canonical values: private copies of what a user gives, in exactly the types of `livedb.values`.

It converts what has one exact equal: numpy scalars, pandas' `Timestamp`, `NaT` and `NA`, `Decimal`,
an `Enum` by its value, tuples, and a `date` as its midnight in UTC. It refuses everything else,
with the path to it, and never rounds. No numpy or pandas is imported for that: their types are told
by the name of their module. A NaN is kept as the one quiet NaN: payload and sign of a NaN mean
nothing in any of the places a value travels to.

Source: spec semantics.md 1; design section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from math import isnan
from typing import Any, Final

from livedb.errors import InvalidValueError
from livedb.limits import (
    ARRAY_LENGTH_MAX,
    DOCUMENT_BYTES_MAX,
    DOCUMENT_NESTING_MAX,
    FIELD_NAME_LENGTH_MAX,
    INT_SAFE_MAX,
    OBJECT_FIELDS_MAX,
    VALUE_NESTING_MAX,
)
from livedb.sizes import measure
from livedb.values import (
    INT64_MAX,
    INT64_MIN,
    UNSET,
    Document,
    Int64,
    Value,
    is_canonical_run,
    path_step,
    shown,
)

_INT_MIN, _INT_MAX = -INT_SAFE_MAX, INT_SAFE_MAX
_NAN: Final = float("nan")


def canonical(
    value: Value,
    *,
    path: str = "",
    nesting_max: int = VALUE_NESTING_MAX,
    allow_unset: bool = False,
) -> Value:
    """A private deep copy of `value` in canonical types.

    Args:
        value: anything.
        path: where `value` stands, for messages.
        nesting_max: levels of containers allowed; a list or dict of primitives is one.
        allow_unset: leave out fields that are `UNSET`, at every level, as Convex does with
            `undefined`; a lone `UNSET` is returned. In a list it is refused in any case.

    Raises:
        InvalidValueError: something in `value` cannot be stored; its `path` says where.
    Cost: O(size); about 0.2 us per primitive.
    """
    if value is UNSET and allow_unset:
        return UNSET
    try:
        return _canonical(value, nesting_max, allow_unset=allow_unset)
    except _Refusal as refusal:
        raise refusal.as_error(path) from None


def canonical_arguments(given: Mapping[str, Value]) -> dict[str, Value]:
    """Private canonical copies of a call's arguments; those that are `UNSET` are left out.

    Raises:
        InvalidValueError: as `canonical`; its `path` starts with the argument.
    Cost: about 0.1 us for a primitive.
    """
    result: dict[str, Value] = {}
    for name, value in given.items():
        kind = type(value)
        if (kind is str and value.isascii()) or value is None or kind is bool:
            result[name] = value
        elif value is not UNSET:
            result[name] = canonical(value, path=f".{name}")
    return result


def prepare_fields(fields: Mapping[str, Value]) -> tuple[dict[str, Value], int, bool]:
    """What a write needs of a new document's fields, in one pass.

    Fields that are `UNSET` are left out.

    Returns:
        the canonical private copy, its Convex size without the system fields (add
        `sizes.system_fields_size`), and whether msgspec alone round-trips it (see `livedb.text`).

    Raises:
        InvalidValueError: a value, a name or the whole cannot be stored, or a name starts with "_".
    Cost: about 1.5 us for six primitives.
    """
    try:
        return _prepare(fields)
    except _Refusal as refusal:
        raise refusal.as_error("") from None


class _Refusal(Exception):  # noqa: N818 - never leaves this module
    """A value that cannot be stored; collects its path while the recursion unwinds."""

    def __init__(self, reason: str, *, code: str | None = None) -> None:
        self.reason = reason
        self.code = code
        self.steps: list[str] = []

    def as_error(self, path: str) -> InvalidValueError:
        path += "".join(reversed(self.steps))
        where = f" (at {path})" if path else ""
        return InvalidValueError(f"{self.reason}{where}", path=path, code=self.code)


def _prepare(fields: Mapping[str, Value]) -> tuple[dict[str, Value], int, bool]:
    # An exact dict is asked first: `isinstance` of an abstract class is slow.
    if type(fields) is not dict and not isinstance(fields, Mapping):
        raise _Refusal(f"a document is a dict of fields, not {shown(fields)}")
    result: dict[str, Value] = {}
    size = 2
    is_plain = True
    names = _TOP_NAMES
    name = None
    try:
        for name, given in fields.items():
            value = given
            kind = type(value)
            if kind is str:
                # `isascii` is a flag on the string: no pass over it.
                size += (len(value) if value.isascii() else _utf8_length(value)) + 2
            elif kind is int:
                if not _INT_MIN <= value <= _INT_MAX:
                    raise _int_refusal(value)
                size += 9
            elif kind is float:
                if value - value != 0.0:  # NaN or infinite; cheaper than a call
                    value = _canonical_float(value)
                    is_plain = False
                size += 9
            elif value is None or kind is bool:
                size += 1
            elif value is UNSET:
                continue
            else:
                value = _canonical(value, DOCUMENT_NESTING_MAX - 1, allow_unset=True)
                value_size, value_is_plain = measure(value)
                size += value_size
                is_plain = is_plain and value_is_plain
            canonical_name = names[name]
            result[canonical_name] = value
            size += len(canonical_name) + 1
    except _Refusal as refusal:
        refusal.steps.append(path_step(name))
        raise
    _check_document(result, size)
    return result, size, is_plain


def _check_document(fields: dict[str, Value], size: int) -> None:
    if len(fields) > OBJECT_FIELDS_MAX:
        raise _too_many_fields(len(fields))
    if size > DOCUMENT_BYTES_MAX:
        raise _Refusal(
            f"the document is too large ({size} bytes, limit {DOCUMENT_BYTES_MAX})",
            code="ValueTooLarge",
        )


def _canonical(value: Value, nesting_left: int, *, allow_unset: bool) -> Value:
    kind = type(value)
    if kind is str:
        if not value.isascii():
            _utf8_length(value)
        return value
    if value is None or kind is bool or kind is bytes or kind is Int64:
        return value
    if kind is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise _int_refusal(value)
        return value
    if kind is float:
        return _canonical_float(value)
    if kind is list or kind is tuple:
        return _canonical_list(value, nesting_left, allow_unset=allow_unset)
    if kind is dict or kind is Document:
        return _canonical_dict(value, nesting_left, allow_unset=allow_unset)
    if kind is datetime:
        return _canonical_datetime(value)
    return _converted(value, nesting_left, allow_unset=allow_unset)


def _canonical_list(
    items: list[Value] | tuple[Value, ...], nesting_left: int, *, allow_unset: bool
) -> list[Value]:
    if nesting_left <= 0:
        raise _too_nested()
    if len(items) > ARRAY_LENGTH_MAX:
        raise _Refusal(
            f"array length is too long ({len(items)}, limit {ARRAY_LENGTH_MAX})",
            code="ArrayTooLong",
        )
    if is_canonical_run(items):
        return list(items)
    result: list[Value] = []
    inner_left = nesting_left - 1
    try:
        # No comprehension: when it fails, the length of `result` is the index that failed.
        for item in items:
            result.append(_canonical(item, inner_left, allow_unset=allow_unset))  # noqa: PERF401
    except _Refusal as refusal:
        refusal.steps.append(path_step(len(result)))
        raise
    return result


def _canonical_dict(
    fields: Mapping[str, Value], nesting_left: int, *, allow_unset: bool
) -> dict[str, Value]:
    if nesting_left <= 0:
        raise _too_nested()
    if len(fields) > OBJECT_FIELDS_MAX:
        raise _too_many_fields(len(fields))
    result: dict[str, Value] = {}
    name = None
    try:
        for name, value in fields.items():
            kind = type(value)
            # Most values need no call: every result and every nested object comes through here.
            if (
                (kind is str and value.isascii())
                or value is None
                or kind is bool
                or (kind is int and _INT_MIN <= value <= _INT_MAX)
                or (kind is float and value == value)  # noqa: PLR0124  # NaN has one form
            ):
                result[_NAMES[name]] = value
            elif value is not UNSET or not allow_unset:
                result[_NAMES[name]] = _canonical(value, nesting_left - 1, allow_unset=allow_unset)
    except _Refusal as refusal:
        refusal.steps.append(path_step(name))
        raise
    return result


def _canonical_float(value: float) -> float:
    return _NAN if isnan(value) else value


def _canonical_datetime(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise _Refusal(f"{value!r} has no time zone; give it one, such as tzinfo=UTC")
    if value.tzinfo is UTC and value.fold == 0:
        return value
    try:
        return value.astimezone(UTC).replace(fold=0)
    except OverflowError:
        raise _Refusal(f"{value!r} is outside the years 1 to 9999 in UTC") from None


# --- conversions of foreign types -----------------------------------------------------------------


def _converted(value: Value, nesting_left: int, *, allow_unset: bool) -> Value:
    """`value`, of none of the canonical types, as the one value it is exactly equal to."""
    if value is UNSET:
        raise _Refusal("UNSET means that a field is absent; it cannot be a value here")
    if isinstance(value, Enum):
        return _canonical(value.value, nesting_left, allow_unset=allow_unset)
    module = type(value).__module__.partition(".")[0]
    if module == "numpy":
        return _from_numpy(value, nesting_left)
    if module == "pandas":
        return _from_pandas(value)
    for base, convert in _BASES:
        if isinstance(value, base):
            return _canonical(convert(value), nesting_left, allow_unset=allow_unset)
    if isinstance(value, Mapping):
        return _canonical_dict(value, nesting_left, allow_unset=allow_unset)
    raise _unsupported(value)


def _from_numpy(value: Value, nesting_left: int) -> Value:
    name = type(value).__name__
    if name in {"datetime64", "timedelta64"}:
        if str(value) == "NaT":
            return None
        raise _Refusal(
            f"{shown(value)} has no time zone; convert it to a datetime with one"
            if name == "datetime64"
            else f"{shown(value)} is not a supported type; store a number of seconds"
        )
    if not hasattr(value, "item") or getattr(value, "shape", None) != ():
        raise _unsupported(value)
    plain = value.item()
    if type(plain) is type(value):  # a longdouble stays itself: wider than any type of ours
        plain = float(value)
        if plain != value and not isnan(plain):
            raise _Refusal(f"{shown(value)} is no exact float")
    if type(plain) not in _NUMPY_RESULTS:
        raise _unsupported(value)
    return _canonical(plain, nesting_left, allow_unset=False)


_NUMPY_RESULTS = frozenset({bool, int, float, str, bytes})


def _from_pandas(value: Value) -> Value:
    name = type(value).__name__
    if name in {"NAType", "NaTType"}:
        return None
    if name == "Timestamp":
        return _canonical_datetime(_exact_datetime(value))
    raise _unsupported(value)


def _from_decimal(value: Decimal) -> int | float:
    if value.is_snan():
        raise _Refusal(f"{value!r} is a signaling NaN")
    if not value.is_finite():
        return float(value)
    # Digits decide, not size: Decimal("3") is an int, Decimal("3.0") a float, as in the text form.
    if value.as_tuple().exponent == 0 and not (value.is_zero() and value.is_signed()):
        return int(value)
    number = float(value)
    if Decimal(number) != value:
        raise _Refusal(f"{value!r} is no exact float; store float(x) or str(x) instead")
    return number


def _from_date(value: date) -> datetime:
    return datetime(value.year, value.month, value.day, tzinfo=UTC)


def _exact_datetime(value: datetime) -> datetime:
    if getattr(value, "nanosecond", 0):  # a subclass of pandas' Timestamp
        raise _Refusal(f"{shown(value)} has nanoseconds; livedb keeps microseconds")
    return datetime.combine(value.date(), value.timetz())


# The order matters: Int64 before int, datetime before date. The unbound methods give the exact
# base type and cannot be overridden by the subclass.
_BASES: tuple[tuple[type, Callable[[Any], Value]], ...] = (
    (str, str.__str__),
    (Int64, lambda value: Int64(int.__int__(value))),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda value: bytes(memoryview(value))),
    (bytearray, bytes),
    (memoryview, bytes),
    (datetime, _exact_datetime),
    (date, _from_date),
    (Decimal, _from_decimal),
    (list, list.copy),
    (tuple, lambda value: tuple.__getitem__(value, slice(None))),
)


# --- names and refusals ---------------------------------------------------------------------------


class _Names(dict[str, str]):
    """Field names found valid, so that each is examined once. Bounded: user data may be keys."""

    CAPACITY = 10_000

    def __init__(self, *, is_top: bool) -> None:
        super().__init__()
        self._is_top = is_top

    def __missing__(self, name: object) -> str:
        checked = _checked_name(name)
        if self._is_top and checked.startswith("_"):
            raise _system_field(checked)
        if len(self) >= self.CAPACITY:
            self.clear()
        self[checked] = checked
        return checked


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise _Refusal(f"field name {shown(name)} is not a string")
    if isinstance(name, Enum):
        name = name.value
    name = str.__str__(name)  # an exact str, whatever the subclass
    if len(name) > FIELD_NAME_LENGTH_MAX:
        raise _Refusal(
            f"field name {name[:20]}... has {len(name)} characters, limit {FIELD_NAME_LENGTH_MAX}"
        )
    if name.startswith("$"):
        raise _Refusal(f"field name {name!r} starts with a '$', which is reserved")
    for character in name:
        if not " " <= character <= "~":
            raise _Refusal(
                f"field name {name!r} has invalid character {character!r}: "
                "field names can only contain non-control ASCII characters"
            )
    return name


_NAMES = _Names(is_top=False)
_TOP_NAMES = _Names(is_top=True)


def _system_field(name: str) -> _Refusal:
    code = {"_id": "InvalidIdError", "_creationTime": "InvalidCreationTimeError"}.get(name)
    if code is None:
        return _Refusal(f"field name {name!r} starts with '_', which is reserved for system fields")
    return _Refusal(f"{name!r} is given by livedb and cannot be written", code=code)


def _unsupported(value: object) -> _Refusal:
    hint = ""
    if isinstance(value, (set, frozenset)):
        hint = "; a set has no order, store a sorted list"
    elif hasattr(value, "tolist"):
        hint = "; store its .tolist()"
    return _Refusal(f"{shown(value)} is not a supported type{hint}")


def _too_nested() -> _Refusal:
    return _Refusal("the value is nested too deeply, or contains itself", code="TooNestedError")


def _too_many_fields(count: int) -> _Refusal:
    return _Refusal(
        f"object has too many fields ({count}, limit {OBJECT_FIELDS_MAX})",
        code="TooManyFieldsError",
    )


def _int_refusal(value: int) -> _Refusal:
    shown = value if value.bit_length() < 100 else f"an int of {value.bit_length()} bits"
    use = "livedb.Int64 or str" if INT64_MIN <= value <= INT64_MAX else "str"
    return _Refusal(f"{shown} is beyond +-2^53, where a number is no longer exact; use {use}")


def _utf8_length(value: str) -> int:
    try:
        return len(value.encode())
    except UnicodeEncodeError as error:
        raise _Refusal(
            f"the string has a lone surrogate at position {error.start}, which is no text"
        ) from None
