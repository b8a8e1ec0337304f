"""Proof that one validator accepts no more than another.

A proof spares the scan of a table when its schema changes: widening, a new optional field, a
literal that becomes its type, an id that becomes a string. It may fail to prove what is true; it
never proves what is false (property test against sampled values).

Source: Convex skips its scan by the same argument (features.md 4, "enforcement at deploy").
"""

from __future__ import annotations

from livedb.limits import INT_SAFE_MAX
from livedb.schema.validators import (
    ArrayValidator,
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    RecordValidator,
    StringValidator,
    UnionValidator,
    Validator,
)
from livedb.values import Int64


def accepts_subset(narrow: Validator, wide: Validator) -> bool:
    """Whether `wide` provably accepts every value that `narrow` does."""
    if narrow.is_optional and not wide.is_optional:
        return False
    return _is_within(narrow, wide)


def _is_within(narrow: Validator, wide: Validator) -> bool:
    if wide.kind == "any":
        return True
    if isinstance(narrow, UnionValidator):
        return all(_is_within(member, wide) for member in narrow.members)
    if isinstance(wide, UnionValidator):
        return any(_is_within(narrow, member) for member in wide.members) or (
            narrow.kind == "boolean" and _has_both_booleans(wide)
        )
    match narrow, wide:
        case LiteralValidator(), _:
            return _literal_is_within(narrow, wide)
        case IdValidator(), IdValidator():
            return narrow.table == wide.table
        case IdValidator(), StringValidator():
            return True
        case ArrayValidator(), ArrayValidator():
            return _is_within(narrow.element, wide.element)
        case RecordValidator(), RecordValidator():
            return _is_within(narrow.keys, wide.keys) and _is_within(narrow.values, wide.values)
        case ObjectValidator(), ObjectValidator():
            return _object_is_within(narrow, wide)
        case ObjectValidator(), RecordValidator():
            return _is_within(StringValidator(), wide.keys) and all(
                _is_within(inner, wide.values) for _, inner in narrow.items
            )
    if narrow.kind == "integer" and wide.kind == "number":
        return True
    return narrow.kind == wide.kind and narrow.kind in _WITHOUT_PARTS


_WITHOUT_PARTS = frozenset(
    ("any", "null", "number", "integer", "bigint", "boolean", "string", "bytes", "datetime")
)


def _has_both_booleans(union: UnionValidator) -> bool:
    found = {
        member.value
        for member in union.members
        if isinstance(member, LiteralValidator) and isinstance(member.value, bool)
    }
    return len(found) == 2


def _literal_is_within(narrow: LiteralValidator, wide: Validator) -> bool:
    if isinstance(wide, LiteralValidator):
        return narrow.sameness == wide.sameness
    value = narrow.value
    if isinstance(value, str):
        return wide.kind == "string"
    if isinstance(value, bool):
        return wide.kind == "boolean"
    if isinstance(value, Int64):
        return wide.kind == "bigint"
    if wide.kind == "integer":
        return float(value).is_integer() and abs(value) <= INT_SAFE_MAX
    return wide.kind == "number"


def _object_is_within(narrow: ObjectValidator, wide: ObjectValidator) -> bool:
    for name, inner in narrow.items:
        if name not in wide.fields or not accepts_subset(inner, wide.fields[name]):
            return False
    return all(inner.is_optional for name, inner in wide.items if name not in narrow.fields)
