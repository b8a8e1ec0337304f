"""The size of a value as Convex counts it, and whether it is plain.

Source: spec semantics.md 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from livedb.values import UNSET, Document, Int64, Value, is_canonical_run

_UTF8_BYTES_MAX: Final = 4
"""Bytes that one character takes at most."""


def size_of(value: Value) -> int:
    """The Convex size of a canonical value in bytes; a document counts its system fields too."""
    return measure(value)[0]


def measure(value: Value) -> tuple[int, bool]:
    """The Convex size of a canonical value, and whether it is plain: msgspec alone round-trips it.

    Not plain are bytes, Int64, datetimes, NaN and the infinities.
    """
    kind = type(value)
    if kind is str:
        return (len(value) if value.isascii() else len(value.encode())) + 2, True
    if kind is int:
        return 9, True
    if kind is float:
        return 9, value - value == 0.0
    if value is None or kind is bool:
        return 1, True
    if kind is list:
        return _measure_list(value)
    if kind is dict or kind is Document:
        return _measure_dict(value)
    if kind is bytes:
        return len(value) + 2, False
    if kind is Int64 or kind is datetime:
        return 9, False
    assert value is UNSET, f"not a canonical value: {kind}"
    return 0, False


def _measure_list(items: list[Value]) -> tuple[int, bool]:
    if is_canonical_run(items):
        is_text = type(items[0]) is str
        return 2 + (sum(map(len, items)) + 2 * len(items) if is_text else 9 * len(items)), True
    size = 2
    is_plain = True
    for item in items:
        item_size, item_is_plain = measure(item)
        size += item_size
        is_plain = is_plain and item_is_plain
    return size, is_plain


def _measure_dict(fields: dict[str, Value]) -> tuple[int, bool]:
    size = 2
    is_plain = True
    for name, value in fields.items():
        value_size, value_is_plain = measure(value)
        size += len(name) + 1 + value_size
        is_plain = is_plain and value_is_plain
    return size, is_plain


def needs_no_tags(value: Value) -> bool:
    """Whether a canonical value is plain; see `measure`. Cost: about 0.03 us a primitive."""
    kind = type(value)
    if kind in _ALWAYS_PLAIN:
        return True
    if kind is float:
        return bool(value - value == 0.0)
    if kind is list:
        items = value
    elif kind is dict or kind is Document:
        items = value.values()
    else:
        return False
    for item in items:
        kind = type(item)
        if kind is float:
            if item - item != 0.0:
                return False
        elif kind not in _ALWAYS_PLAIN and not needs_no_tags(item):
            return False
    return True


_ALWAYS_PLAIN = frozenset({type(None), bool, int, str})


def is_surely_within(fields: Mapping[str, Value], size_max: int) -> bool:
    """Whether a look at a few primitives shows that their Convex size is at most `size_max`.

    False says only that it takes `size_of` to know. Cost: about 0.05 us a field.
    """
    size = 2
    for name, value in fields.items():
        kind = type(value)
        if kind is str:
            size += len(value) * _UTF8_BYTES_MAX + 2
        elif value is None or kind is bool or kind is int or kind is float:
            size += 9
        else:
            return False
        size += len(name) + 1
    return size <= size_max


def system_fields_size(document_id: str) -> int:
    """What `_id` and `_creationTime` add to the size of a document."""
    # Two names with a separator each, the text of the id and a float64.
    return len("_id") + 1 + len(document_id) + 2 + len("_creationTime") + 1 + 9
