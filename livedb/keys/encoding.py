"""Order-preserving bytes: index keys whose byte order is Convex's order of values.

One component of a key is a type tag and a payload:

    undefined 01 < null 03 < int64 04..0C < number 0D < false 0E < true 0F
    < string 10 < bytes 11 < array 12 < object 15

A number is its float64 in IEEE total order (int n has the key of float n, a datetime that of its
milliseconds), so -0.0 < 0.0 and NaN equals NaN. Strings and bytes end with 00, a 00 inside is 00
FF. Arrays and objects end with 00, which sorts before any tag and any name; an object is its sorted
(name, value) pairs. Every component thus says itself where it ends, and the key of an index entry
is the concatenation of its fields' components, then that of `_creationTime`, then that of `_id`.

Source: spec semantics.md 1; Convex value/src/sorting.rs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from struct import Struct
from typing import Any

from livedb.errors import InvalidValueError
from livedb.limits import INT_SAFE_MAX
from livedb.values import UNSET, Document, Int64, Missing, Value, milliseconds_of

_UNDEFINED, _NULL, _ZERO_INT64, _NUMBER = 0x01, 0x03, 0x08, 0x0D
_FALSE, _TRUE, _STRING, _BYTES, _ARRAY, _OBJECT = 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x15

_UNDEFINED_KEY, _NULL_KEY = bytes([_UNDEFINED]), bytes([_NULL])
_FALSE_KEY, _TRUE_KEY = bytes([_FALSE]), bytes([_TRUE])

_END = b"\x00"
_EMPTY_NAME = b"\x00\xff"
_INT_MIN, _INT_MAX = -INT_SAFE_MAX, INT_SAFE_MAX

_pack_number = Struct(">Bd").pack
_pack_double = Struct(">d").pack
_unpack_double = Struct(">d").unpack
_flip_all = bytes(range(255, -1, -1))
"""Translation table that inverts every bit."""

_ZERO_KEY = _pack_number(_NUMBER, -0.0)
_MINUS_ZERO_KEY = bytes([_NUMBER]) + _pack_double(-0.0).translate(_flip_all)
_NAN_KEY = bytes.fromhex("0dfff8000000000000")


def encode_key(value: Value) -> bytes:
    """The key of one component; `UNSET` is an absent field.

    Raises:
        InvalidValueError: not a canonical value (`livedb.canonical.canonical`).
    Cost: at most 0.5 us for a str, float, int or None.
    """
    kind = type(value)
    if kind is str:
        try:
            data: bytes = value.encode()
        except UnicodeEncodeError:
            raise InvalidValueError("the string has a lone surrogate, which is no text") from None
        return b"\x10" + data.replace(b"\x00", b"\x00\xff") + b"\x00"
    if kind is float:
        return _number_key(value)
    if kind is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise InvalidValueError(f"{value} is beyond +-2^53; use livedb.Int64")
        return _number_key(float(value))
    if value is None:
        return _NULL_KEY
    encoder = _ENCODERS.get(kind)
    if encoder is None:
        raise InvalidValueError(f"a value of type {kind.__name__} has no place in an index key")
    return encoder(value)


def _number_key(value: float) -> bytes:
    # Setting the sign bit of a positive number is negating it: one call does all.
    if value > 0.0:
        return _pack_number(_NUMBER, -value)
    if value < 0.0:
        return b"\x0d" + _pack_double(value).translate(_flip_all)
    if value == 0.0:
        return _ZERO_KEY if _pack_double(value)[0] == 0 else _MINUS_ZERO_KEY
    return _NAN_KEY


def encode_parts(values: Iterable[Value]) -> list[bytes]:
    """The components of several values; joined, they are the key or a prefix of it."""
    return [encode_key(value) for value in values]


def decode_key(data: bytes) -> list[Value]:
    """The values of a key's components; numbers come back as float.

    Raises:
        ValueError: `data` is no key.
    """
    values = []
    at = 0
    while at < len(data):
        value, at = _decode(data, at)
        values.append(value)
    return values


def prefix_end(prefix: bytes) -> bytes | None:
    """The end of the keys that start with the components of `prefix`; None when it is empty.

    Every key whose first components are exactly those of `prefix` lies in
    [prefix, prefix_end(prefix)), and no other key does.
    """
    # A further component starts with a tag, 15 at most. Counting the last byte up instead would be
    # wrong: the prefix of "a" ends with 00, and "a\0b" goes on with FF, being another string.
    return prefix + b"\xff" if prefix else None


def id_of_key(key: bytes) -> str:
    """The `_id` at the end of an index key."""
    # The characters of an id lie above every tag, so the last tag byte is that of the id.
    return key[key.rindex(b"\x10") + 1 : -1].decode("ascii")


def _escape(data: bytes) -> bytes:
    return data.replace(b"\x00", b"\x00\xff") + _END


def _encode_int64(value: Int64) -> bytes:
    number = int(value)
    if number == 0:
        return bytes([_ZERO_INT64])
    magnitude_bits = (number if number > 0 else ~number).bit_length()
    step = next(step for step in (1, 2, 3, 4) if magnitude_bits < 8 << step - 1)
    tag = _ZERO_INT64 + (step if number > 0 else -step)
    return bytes([tag]) + number.to_bytes(1 << step - 1, "big", signed=True)


def _encode_object(value: dict[str, Value]) -> bytes:
    parts = [bytes([_OBJECT])]
    for name in sorted(value):
        parts.append(name.encode("ascii") + _END if name else _EMPTY_NAME)
        parts.append(encode_key(value[name]))
    parts.append(_END)
    return b"".join(parts)


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    bool: lambda value: _TRUE_KEY if value else _FALSE_KEY,
    Missing: lambda _: _UNDEFINED_KEY,
    Int64: _encode_int64,
    datetime: lambda value: _number_key(milliseconds_of(value)),
    bytes: lambda value: b"\x11" + _escape(value),
    list: lambda value: b"\x12" + b"".join(map(encode_key, value)) + _END,
    dict: _encode_object,
    Document: _encode_object,
}


def _decode(data: bytes, at: int) -> tuple[Value, int]:
    """The value of the component at `at`, and where the next one starts."""
    tag = data[at]
    at += 1
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag == _NUMBER:
        return _decode_number(data[at : at + 8]), at + 8
    if tag in (_STRING, _BYTES):
        content, at = _decode_escaped(data, at)
        return (content.decode() if tag == _STRING else content), at
    if tag == _ARRAY:
        return _decode_array(data, at)
    if tag == _OBJECT:
        return _decode_object(data, at)
    if 0x04 <= tag <= 0x0C:
        size = 1 << (abs(tag - _ZERO_INT64) - 1)
        return Int64(int.from_bytes(data[at : at + size], "big", signed=True)), at + size
    raise ValueError(f"{tag:#04x} is no tag of an index key")


_CONSTANTS: dict[int, Value] = {
    _UNDEFINED: UNSET,
    _NULL: None,
    _FALSE: False,
    _TRUE: True,
    _ZERO_INT64: Int64(0),
}


def _decode_number(data: bytes) -> float:
    is_negative = data[0] < 0x80
    number: float = _unpack_double(data.translate(_flip_all) if is_negative else data)[0]
    return number if is_negative else -number


def _decode_escaped(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.index(0, at)
    while data[end + 1 : end + 2] == b"\xff":
        end = data.index(0, end + 2)
    return data[at:end].replace(b"\x00\xff", b"\x00"), end + 1


def _decode_array(data: bytes, at: int) -> tuple[list[Value], int]:
    items = []
    while data[at] != 0:
        item, at = _decode(data, at)
        items.append(item)
    return items, at + 1


def _decode_object(data: bytes, at: int) -> tuple[dict[str, Value], int]:
    fields: dict[str, Value] = {}
    while True:
        if data[at : at + 2] == _EMPTY_NAME:
            name, at = "", at + 2
        elif data[at] == 0:
            return fields, at + 1
        else:
            end = data.index(0, at)
            name, at = data[at:end].decode("ascii"), end + 1
        fields[name], at = _decode(data, at)
