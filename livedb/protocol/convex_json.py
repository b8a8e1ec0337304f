"""Convex's wire form of values: `to_wire` for what leaves, `from_wire` for what arrives.

On the wire every JSON number is a float64, however it is written; an int64 is `{"$integer": ..}`,
bytes are `{"$bytes": ..}`, and NaN, the infinities and -0.0 are `{"$float": ..}`, each with the
base64 of its little-endian bytes. Whole floats are written with a point (`3.0`): the older Python
client refuses a JSON integer where it expects a number. A `datetime` leaves as its number of
milliseconds; that a number is meant as an `int` or a `datetime` only the schema knows, so
validators turn it back, not this module.

Source: spec sync-protocol.md 2, checked against the official encoder (tests/vectors/values.json).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import datetime
from struct import Struct
from typing import Any

from livedb.canonical import canonical
from livedb.errors import InvalidValueError
from livedb.limits import VALUE_NESTING_MAX
from livedb.values import UNSET, Document, Int64, Value, milliseconds_of, path_step

Json = Any
"""What `json.loads` and msgspec give and take: None, bool, int, float, str, list, dict."""

_int64 = Struct("<q")
_float64 = Struct("<d")


def to_wire(value: Value) -> Json:
    """The wire form of a canonical value, ready for any JSON encoder.

    Fields that are `UNSET` are left out.

    Raises:
        InvalidValueError: not a canonical value.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is float:
        return _float_to_wire(value)
    if kind is int:
        return float(value)
    if kind is dict or kind is Document:
        return {name: to_wire(item) for name, item in value.items() if item is not UNSET}
    if kind is list:
        return [to_wire(item) for item in value]
    if kind is Int64:
        return {"$integer": _base64(_int64.pack(value))}
    if kind is bytes:
        return {"$bytes": _base64(value)}
    if kind is datetime:
        return milliseconds_of(value)
    raise InvalidValueError(f"{value!r} of type {kind.__name__} has no wire form")


def from_wire(json: Json, *, path: str = "") -> Value:
    """The canonical value of a wire form; every number but int64 comes back as float.

    Args:
        json: as `json.loads` or msgspec decoded it.
        path: where it stands in something larger, for messages.

    Raises:
        InvalidValueError: no value, or one beyond the limits of values; its `path` says where.
    """
    return canonical(_from_wire(json, (None, path), VALUE_NESTING_MAX), path=path)


def to_lossy_json(value: Value) -> Json:
    """Convex's `json` export format: as the wire form, but plain text for what JSON cannot hold.

    An int64 becomes its decimal, bytes their base64, NaN and the infinities their JavaScript names.
    """
    kind = type(value)
    if kind is dict or kind is Document:
        return {name: to_lossy_json(item) for name, item in value.items() if item is not UNSET}
    if kind is list:
        return [to_lossy_json(item) for item in value]
    if kind is Int64:
        return str(value)
    if kind is bytes:
        return _base64(value)
    if kind is float and value - value != 0.0:
        return _JAVASCRIPT_NAMES[repr(value)]
    return value if kind is float else to_wire(value)


_JAVASCRIPT_NAMES = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _float_to_wire(value: float) -> Json:
    is_ordinary = value - value == 0.0 and (value != 0.0 or _float64.pack(value)[7] == 0)
    return value if is_ordinary else {"$float": _base64(_float64.pack(value))}


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


_Where = tuple[Any, object]
"""A place in a value: the place around it (None for the root), and its name or index there.

Built for every item and turned to text only for a message.
"""


def _from_wire(json: Json, where: _Where, nesting_left: int) -> Value:
    kind = type(json)
    if json is None or kind is str or kind is bool or kind is float:
        return json
    if kind is int:
        return _as_float(json, where)
    if kind is dict and len(json) == 1:
        (name,) = json
        if name in _READERS:
            return _READERS[name](json[name], where)
    if kind is not list and kind is not dict:
        raise _refusal(f"{kind.__name__} is no JSON value", where)
    if nesting_left <= 0:
        raise _refusal("the value is nested too deeply", where, code="TooNestedError")
    if kind is list:
        return [
            _from_wire(item, (where, index), nesting_left - 1) for index, item in enumerate(json)
        ]
    return {name: _from_wire(item, (where, name), nesting_left - 1) for name, item in json.items()}


def _refusal(reason: str, where: _Where, *, code: str | None = None) -> InvalidValueError:
    steps = []
    around, step = where
    while around is not None:
        steps.append(path_step(step))
        around, step = around
    path = str(step) + "".join(reversed(steps))
    return InvalidValueError(f"{reason} (at {path})" if path else reason, path=path, code=code)


def _as_float(number: int, where: _Where) -> float:
    # A JSON number means the nearest float64, as JavaScript reads it too.
    try:
        return float(number)
    except OverflowError:
        raise _refusal("a number is out of range", where) from None


def _payload(name: str, payload: Json, where: _Where, size: int | None) -> bytes:
    if type(payload) is str:
        try:
            data = b64decode(payload, validate=True)
        except ValueError:
            data = None
        if data is not None and (size is None or len(data) == size):
            return data
    wanted = "the base64 of any bytes" if size is None else f"the base64 of {size} bytes"
    raise _refusal(f"{name} must be {wanted}", where)


def _read_integer(payload: Json, where: _Where) -> Int64:
    return Int64(_int64.unpack(_payload("$integer", payload, where, 8))[0])


def _read_float(payload: Json, where: _Where) -> float:
    value: float = _float64.unpack(_payload("$float", payload, where, 8))[0]
    if type(_float_to_wire(value)) is float:
        raise _refusal(f"$float must not hold the ordinary number {value!r}", where)
    return value


def _read_bytes(payload: Json, where: _Where) -> bytes:
    return _payload("$bytes", payload, where, None)


_READERS: dict[str, Callable[[Json, _Where], Value]] = {
    "$integer": _read_integer,
    "$float": _read_float,
    "$bytes": _read_bytes,
}
