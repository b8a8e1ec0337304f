"""Validators as closures: the hot path of every insert and call.

A closure takes a canonical value and answers the value to keep, or `REFUSED`. It raises nothing
and builds no message: a refusal inside a union is ordinary, and raising would cost more than the
check itself. `explain` finds the words afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache

from livedb.errors import InvalidIdError, InvalidValueError
from livedb.ids import table_number_of
from livedb.limits import INT_SAFE_MAX
from livedb.schema.validators import (
    REFUSED,
    ArrayValidator,
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    RecordValidator,
    TableNumbers,
    UnionValidator,
    Validator,
)
from livedb.values import Int64, Value, datetime_of

Check = Callable[[Value, TableNumbers | None], Value]


def compile_check(validator: Validator, *, from_wire: bool) -> Check:
    """The closure for `validator`, made once for each validator object."""
    match validator:
        case IdValidator():
            return _id_check(validator.table)
        case LiteralValidator():
            return _literal_check(validator)
        case ArrayValidator():
            return _array_check(_compiled(validator.element, from_wire=from_wire))
        case RecordValidator():
            keys = _compiled(validator.keys, from_wire=from_wire)
            return _record_check(keys, _compiled(validator.values, from_wire=from_wire))
        case ObjectValidator():
            return _object_check(validator, from_wire=from_wire)
        case UnionValidator():
            return _union_check(validator, from_wire=from_wire)
    if from_wire and validator.kind == "datetime":
        return _wire_datetime
    return _SIMPLE[validator.kind]


def _compiled(validator: Validator, *, from_wire: bool) -> Check:
    return validator.compiled_for_wire if from_wire else validator.compiled


def _any(value: Value, _tables: TableNumbers | None) -> Value:
    return value


def _null(value: Value, _tables: TableNumbers | None) -> Value:
    return None if value is None else REFUSED


def _number(value: Value, _tables: TableNumbers | None) -> Value:
    kind = type(value)
    if kind is float:
        return value
    if kind is int and -INT_SAFE_MAX <= value <= INT_SAFE_MAX:
        return float(value)
    return REFUSED


def _integer(value: Value, _tables: TableNumbers | None) -> Value:
    kind = type(value)
    if kind is int:
        return value if -INT_SAFE_MAX <= value <= INT_SAFE_MAX else REFUSED
    if kind is float and value.is_integer() and -INT_SAFE_MAX <= value <= INT_SAFE_MAX:
        return int(value)
    return REFUSED


def _int64(value: Value, _tables: TableNumbers | None) -> Value:
    return value if type(value) is Int64 else REFUSED


def _boolean(value: Value, _tables: TableNumbers | None) -> Value:
    return value if value is True or value is False else REFUSED


def _string(value: Value, _tables: TableNumbers | None) -> Value:
    return value if isinstance(value, str) else REFUSED


def _bytes(value: Value, _tables: TableNumbers | None) -> Value:
    return value if isinstance(value, bytes) else REFUSED


def _datetime(value: Value, _tables: TableNumbers | None) -> Value:
    return value if isinstance(value, datetime) and value.tzinfo is not None else REFUSED


def _wire_datetime(value: Value, _tables: TableNumbers | None) -> Value:
    """Convex's protocol has no datetime: it travels as milliseconds since the epoch."""
    if type(value) is not float and type(value) is not int:
        return _datetime(value, None)
    try:
        return datetime_of(value)
    except InvalidValueError:
        return REFUSED


_SIMPLE: dict[str, Check] = {
    "any": _any,
    "null": _null,
    "number": _number,
    "integer": _integer,
    "bigint": _int64,
    "boolean": _boolean,
    "string": _string,
    "bytes": _bytes,
    "datetime": _datetime,
}


_known_number_of = lru_cache(maxsize=1 << 14)(table_number_of)
"""Decoding an id costs more than the rest of a document's check, and most ids come again."""


def _id_check(table: str) -> Check:
    def check(value: Value, tables: TableNumbers | None) -> Value:
        if not isinstance(value, str):
            return REFUSED
        try:
            number = _known_number_of(value)
        except InvalidIdError:
            return REFUSED
        if tables is not None and number != tables.number_of(table):
            return REFUSED
        return value

    return check


def _literal_check(validator: LiteralValidator) -> Check:
    literal = validator.value
    kind = type(literal)
    if kind is not int and kind is not float:
        return lambda value, _tables: value if type(value) is kind and value == literal else REFUSED
    number = float(literal)

    def check(value: Value, _tables: TableNumbers | None) -> Value:
        if type(value) is not int and type(value) is not float:
            return REFUSED
        if not _is_same_number(value, number):
            return REFUSED
        return value if type(value) is kind else literal

    return check


def _is_same_number(value: float, literal: float) -> bool:
    """Convex's equality: NaN is NaN, and -0.0 is not 0.0."""
    if value != literal:
        return math.isnan(value) and math.isnan(literal)
    return value != 0 or math.copysign(1, value) == math.copysign(1, literal)


# A container that needs no conversion is returned itself, so that whoever asks can see by `is` that
# nothing changed; the value is a private copy already.


def _array_check(check_element: Check) -> Check:
    def check(value: Value, tables: TableNumbers | None) -> Value:
        if not isinstance(value, list):
            return REFUSED
        checked = []
        is_same = type(value) is list
        for element in value:
            kept = check_element(element, tables)
            if kept is not element:
                if kept is REFUSED:
                    return REFUSED
                is_same = False
            checked.append(kept)
        return value if is_same else checked

    return check if check_element is not _any else _any_array


def _any_array(value: Value, _tables: TableNumbers | None) -> Value:
    return value if isinstance(value, list) else REFUSED


def _record_check(check_key: Check, check_value: Check) -> Check:
    def check(value: Value, tables: TableNumbers | None) -> Value:
        if not isinstance(value, dict):
            return REFUSED
        changed = {}
        for key, item in value.items():
            if check_key(key, tables) is REFUSED:
                return REFUSED
            kept = check_value(item, tables)
            if kept is not item:
                if kept is REFUSED:
                    return REFUSED
                changed[key] = kept
        return {**value, **changed} if changed or type(value) is not dict else value

    return check


def _object_check(validator: ObjectValidator, *, from_wire: bool) -> Check:
    check_of = {name: _compiled(inner, from_wire=from_wire) for name, inner in validator.items}.get
    required = {name for name, inner in validator.items if not inner.is_optional}
    count = len(validator.items)

    def check(value: Value, tables: TableNumbers | None) -> Value:
        if not isinstance(value, dict):
            return REFUSED
        changed: dict[str, Value] | None = None
        for name, item in value.items():
            check_field = check_of(name)
            if check_field is None:
                return REFUSED
            kept = check_field(item, tables)
            if kept is not item:
                if kept is REFUSED:
                    return REFUSED
                if changed is None:
                    changed = {}
                changed[name] = kept
        if len(value) != count and not required <= value.keys():
            return REFUSED
        if changed is None:
            return value if type(value) is dict else dict(value)
        return {**value, **changed}  # in the order written: that is how the document is kept

    return check


# -- unions ----------------------------------------------------------------------------------------

_TYPES: tuple[type, ...] = (
    type(None),
    bool,
    int,
    float,
    Int64,
    str,
    bytes,
    datetime,
    list,
    dict,
)
"""Every type of a canonical value."""

_NATIVE: dict[str, type] = {
    "null": type(None),
    "boolean": bool,
    "integer": int,
    "number": float,
    "bigint": Int64,
    "string": str,
    "id": str,
    "bytes": bytes,
    "datetime": datetime,
    "array": list,
    "record": dict,
    "object": dict,
}
"""The type a validator keeps as it is."""


def _union_check(validator: UnionValidator, *, from_wire: bool) -> Check:
    """Ask only members that can take the value's type, those that need not convert it first.

    So 3 stays an int and 3.0 a float in `v.union(v.number(), v.integer())`, whatever the order.
    """
    members = list(_iter_members(validator))
    by_type = {
        kind: tuple(_compiled(member, from_wire=from_wire) for member in _candidates(members, kind))
        for kind in _TYPES
    }
    find = by_type.get

    def check(value: Value, tables: TableNumbers | None) -> Value:
        candidates = find(type(value))
        if candidates is None:  # a Document, or another subclass
            candidates = _by_base(by_type, value)
        for check_member in candidates:
            checked = check_member(value, tables)
            if checked is not REFUSED:
                return checked
        return REFUSED

    return check


def _iter_members(validator: UnionValidator) -> Iterable[Validator]:
    """The members with nested unions opened, so that conversion is the last resort of all."""
    for member in validator.members:
        if isinstance(member, UnionValidator):
            yield from _iter_members(member)
        else:
            yield member


def _candidates(members: list[Validator], kind: type) -> list[Validator]:
    native = [member for member in members if _native_type(member) in (kind, None)]
    if kind is not int and kind is not float:
        return native
    return native + [member for member in members if _converts(member, kind)]


def _native_type(member: Validator) -> type | None:
    if isinstance(member, LiteralValidator):
        return type(member.value)
    return _NATIVE.get(member.kind)


def _converts(member: Validator, kind: type) -> bool:
    native = _native_type(member)
    return native is not kind and native in (int, float, datetime)


def _by_base(by_type: dict[type, tuple[Check, ...]], value: Value) -> tuple[Check, ...]:
    for kind in (dict, list, str, bytes, datetime):
        if isinstance(value, kind):
            return by_type[kind]
    return ()
