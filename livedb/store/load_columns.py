"""The columns of a source as the columns of a table: converted where exact, refused where not.

Set-wise wherever Arrow can say it: a column of the field's own type, whole floats for an int field,
literals, ids, datetimes. What only Python can decide (lists, objects, unions, JSON text, decimals)
goes value by value through `canonical` and the field's validator, so both ways accept the same.

A null stands for null where the field allows it, for absence where it may be absent (or has a
default), and is refused otherwise. A source that tells absence apart (`marks.absent_field`) is
taken at its word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from livedb.canonical import canonical
from livedb.errors import InvalidValueError, LoadError, SchemaEnforcementError, ValidationError
from livedb.limits import DOCUMENT_NESTING_MAX, INT_SAFE_MAX
from livedb.schema.check import check_document
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import (
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    TableNumbers,
    UnionValidator,
    Validator,
)
from livedb.sizes import measure
from livedb.store.arrow_types import is_bytes, is_text
from livedb.store.id_columns import decode_ids
from livedb.store.load_text import TextKind
from livedb.store.marks import has_mark
from livedb.text import decode_value, encode_value
from livedb.values import INT64_MAX, INT64_MIN, Int64, Value, path_step

DATETIME = pa.timestamp("us", tz="UTC")
JSON = pa.json_(pa.large_string())

ARROW_TYPES: Mapping[TextKind, pa.DataType] = {
    "string": pa.large_string(),
    "id": pa.large_string(),
    "boolean": pa.bool_(),
    "int": pa.int64(),
    "int64": pa.int64(),
    "float": pa.float64(),
    "datetime": DATETIME,
    "bytes": pa.large_binary(),
    "json": pa.large_string(),
    "null": pa.null(),
}

_KINDS: Mapping[str, TextKind] = {
    "string": "string",
    "id": "id",
    "boolean": "boolean",
    "integer": "int",
    "number": "float",
    "bigint": "int64",
    "datetime": "datetime",
    "bytes": "bytes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPlan:
    """What a field of a table asks of a column.

    Attributes:
        kind: how its values are written; "json" where they have no one column type.
        validator: what its values must be; None for a field that no schema names.
        check: checks and converts one value; raises ValidationError.
        literals: the texts allowed, when only some are.
        id_table: the number of the table its ids belong to; None when it has none or any will do.
        is_null_allowed: whether null is a value of the field.
        is_absent_allowed: whether a document may lack it; a default counts.
    """

    name: str
    kind: TextKind
    validator: Validator | None = None
    check: Callable[[Value], Value] = field(default=lambda value: value)
    literals: tuple[str, ...] | None = None
    id_table: int | None = None
    is_null_allowed: bool = True
    is_absent_allowed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A column as its field wants it.

    Attributes:
        values: of the Arrow type of `kind`.
        tagged: for JSON text, which values hold tags; None where the kind decides.
    """

    kind: TextKind
    values: pa.Array[Any]
    tagged: pa.Array[Any] | None = None


def nulls(count: int, kind: TextKind) -> pa.Array[Any]:
    """A column of `kind` that holds nothing."""
    return pa.nulls(count).cast(ARROW_TYPES[kind])


def plan_field(
    definition: TableDefinition, name: str, validator: Validator, tables: TableNumbers | None
) -> FieldPlan:
    """The plan of a field that the schema names."""
    members = _members(validator)
    others = [member for member in members if member.kind != "null"]
    kind, literals = _kind_of(others)
    has_inner_defaults = any(
        path.startswith((f"{name}.", f"{name}[")) for path in definition.defaults
    )
    id_table = None
    if kind == "id" and tables is not None:
        numbers = {tables.number_of(each.table) for each in others if isinstance(each, IdValidator)}
        kind, id_table = ("id", numbers.pop()) if len(numbers) == 1 else ("json", None)
        if id_table is None:
            kind = "json"
    return FieldPlan(
        name=name,
        kind="json" if has_inner_defaults else kind,
        validator=validator,
        check=_checker(definition, name, validator, tables),
        literals=literals,
        id_table=id_table,
        is_null_allowed=len(others) < len(members) or any(each.kind == "any" for each in others),
        is_absent_allowed=validator.is_optional or name in definition.defaults,
    )


def infer_plan(column: pa.Field[Any]) -> FieldPlan:
    """The plan of a field that no schema names: by the column's type and mark alone.

    Raises:
        LoadError: the type has no livedb type.
    """
    is_ = pa.types
    arrow = column.type
    if has_mark(column, "json") or is_.is_nested(arrow) or is_.is_decimal(arrow):
        kind: TextKind = "json"
    elif is_.is_null(arrow):
        kind = "null"
    elif is_text(arrow):
        kind = "string"
    elif is_.is_boolean(arrow):
        kind = "boolean"
    elif is_.is_integer(arrow):
        kind = "int64" if has_mark(column, "int64") else "int"
    elif is_.is_floating(arrow):
        kind = "float"
    elif is_.is_timestamp(arrow) or is_.is_date(arrow):
        kind = "datetime"
    elif is_bytes(arrow):
        kind = "bytes"
    else:
        raise LoadError(f"Column {column.name!r} is of type {arrow}, which livedb has none for.")
    return FieldPlan(name=column.name, kind=kind)


def convert_column(
    column: pa.Array[Any],
    source: pa.Field[Any],
    plan: FieldPlan,
    absent: pa.Array[Any] | None,
    *,
    first_row: int,
) -> Converted:
    """One batch of a column as `plan` wants it.

    Args:
        absent: where the rows lack the field, if the source says so.
        first_row: the number of the batch's first row in the source, for messages.

    Raises:
        SchemaEnforcementError, LoadError: names the column, the first offending row, its value.
    """
    place = _Place(plan=plan, first_row=first_row)
    _check_gaps(column, plan, absent, place)
    if column.null_count == len(column) and plan.kind != "json":
        return Converted(kind=plan.kind, values=nulls(len(column), plan.kind))
    convert = None if has_mark(source, "json") else _CONVERT.get(plan.kind)
    values = None if convert is None else convert(column, place)
    if values is None:
        return _through_python(column, source, place)
    return Converted(kind=plan.kind, values=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a batch lies in the source, to name an offending value."""

    plan: FieldPlan
    first_row: int

    def refuse_where(self, column: pa.Array[Any], is_wrong: pa.Array[Any], why: str) -> None:
        """Refuse the first value for which `is_wrong` holds; do nothing when none does."""
        if pc.any(is_wrong).as_py():
            position = pc.index(is_wrong.fill_null(False), True).as_py()
            self.refuse(position, column[position].as_py(), why)

    def refuse(self, position: int, value: Value, why: str, code: str | None = None) -> NoReturn:
        """Refuse one value, in the validator's words where it has some."""
        name, row = self.plan.name, self.first_row + position
        path = path_step(name)
        if self.plan.validator is None:
            raise LoadError(f"Column {name!r}, row {row}: {why}", code=code)
        try:
            self.plan.check(canonical(value))
        except InvalidValueError as error:
            path, why = error.path or path, error.message
        raise SchemaEnforcementError(f"Column {name!r}, row {row}: {why}", path=path)


def _checker(
    definition: TableDefinition, name: str, validator: Validator, tables: TableNumbers | None
) -> Callable[[Value], Value]:
    """Checks one value as `check_document` would check it in its document."""
    defaults = {
        path: value
        for path, value in definition.defaults.items()
        if path.startswith((f"{name}.", f"{name}["))
    }
    alone = TableDefinition(
        definition.name, ObjectValidator(((name, validator),)), defaults=defaults
    )
    assert alone.document is not None
    document = alone.document

    def check(value: Value) -> Value:
        if defaults:
            return check_document(alone, {name: value}, tables=tables)[name]
        return document.check({name: value}, tables=tables)[name]

    return check


def _members(validator: Validator) -> list[Validator]:
    if isinstance(validator, UnionValidator):
        return [inner for member in validator.members for inner in _members(member)]
    return [validator]


def _kind_of(members: list[Validator]) -> tuple[TextKind, tuple[str, ...] | None]:
    """The one kind of a union's members other than null, and the texts allowed, if not all."""
    if members and all(isinstance(each, LiteralValidator) for each in members):
        values = [each.value for each in members if isinstance(each, LiteralValidator)]
        if all(type(value) is str for value in values):
            return "string", tuple(map(str, values))
        return "json", None
    kinds = {_KINDS.get(each.kind, "json") for each in members}
    return (kinds.pop() if len(kinds) == 1 else "json"), None


def _check_gaps(
    column: pa.Array[Any], plan: FieldPlan, absent: pa.Array[Any] | None, place: _Place
) -> None:
    """Refuse nulls of a field that may neither be null nor be absent."""
    if column.null_count == 0 or (plan.is_null_allowed and plan.is_absent_allowed):
        return
    is_null = column.is_null()
    if absent is not None:
        if not plan.is_absent_allowed:
            place_of = pc.index(absent, True).as_py()
            if place_of >= 0:
                _refuse_absent(plan, place.first_row + place_of)
        is_null = pc.and_(is_null, pc.invert(absent))
    if not plan.is_null_allowed and not plan.is_absent_allowed:
        place.refuse_where(column, is_null, "null is not allowed")


def _refuse_absent(plan: FieldPlan, row: int) -> NoReturn:
    raise SchemaEnforcementError(
        f"Row {row} lacks the required field {plan.name!r}.",
        path=path_step(plan.name),
        kind="MissingRequiredField",
    )


# --- set-wise -------------------------------------------------------------------------------------


def _to_string(column: pa.Array[Any], place: _Place) -> pa.Array[Any] | None:
    if not is_text(column.type):
        return None
    values = column.cast(pa.large_string())
    if place.plan.literals is not None:
        allowed = pa.array(place.plan.literals, pa.large_string())
        is_wrong = pc.and_(values.is_valid(), pc.invert(pc.is_in(values, allowed)))
        place.refuse_where(values, is_wrong, "not one of the literals")
    return values


def _to_id(column: pa.Array[Any], place: _Place) -> pa.Array[Any] | None:
    if not is_text(column.type):
        return None
    numbers = decode_ids(column).table_numbers
    wanted = place.plan.id_table
    is_wrong = pa.array(numbers == 0 if wanted is None else numbers != wanted)
    place.refuse_where(column, pc.and_(column.is_valid(), is_wrong), "not an id of this table")
    return column.cast(pa.large_string())


def _to_boolean(column: pa.Array[Any], _place: _Place) -> pa.Array[Any] | None:
    return column if pa.types.is_boolean(column.type) else None


def _to_int(column: pa.Array[Any], place: _Place) -> pa.Array[Any] | None:
    if pa.types.is_integer(column.type):
        _refuse_unsafe(column, place)
        return column.cast(pa.int64())
    if not pa.types.is_floating(column.type) or place.plan.validator is None:
        return None
    values = column.cast(pa.float64())
    is_whole = pc.and_(
        pc.equal(values, pc.trunc(values)),
        pc.less_equal(pc.abs(values), pa.scalar(float(INT_SAFE_MAX))),
    )
    place.refuse_where(values, pc.invert(is_whole), "not a whole number")
    return values.cast(pa.int64())


def _to_float(column: pa.Array[Any], place: _Place) -> pa.Array[Any] | None:
    if pa.types.is_integer(column.type):
        _refuse_unsafe(column, place)
        return column.cast(pa.float64())
    return column.cast(pa.float64()) if pa.types.is_floating(column.type) else None


def _to_int64(column: pa.Array[Any], place: _Place) -> pa.Array[Any] | None:
    if not pa.types.is_integer(column.type):
        return None
    if column.type == pa.uint64():
        is_wrong = pc.greater(column, pa.scalar(2**63 - 1, pa.uint64()))
        place.refuse_where(column, is_wrong, "does not fit into a 64-bit signed integer")
    return column.cast(pa.int64())


def _to_datetime(column: pa.Array[Any], place: _Place) -> pa.Array[Any] | None:
    is_ = pa.types
    if is_.is_date(column.type):
        column = column.cast(pa.timestamp("ms")).cast(pa.timestamp("us"))
    elif not is_.is_timestamp(column.type):
        return None
    elif column.type.tz is None:
        raise LoadError(
            f"Column {place.plan.name!r} holds datetimes without a time zone; say which one they "
            f'are in, such as tz="UTC".'
        )
    elif column.type.unit == "ns":
        ticks = column.cast(pa.int64())
        is_wrong = pc.not_equal(pc.multiply(pc.divide(ticks, 1000), 1000), ticks)
        place.refuse_where(
            column.cast(pa.timestamp("us", column.type.tz), safe=False),
            is_wrong,
            "has nanoseconds; livedb keeps microseconds",
        )
    try:
        values = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise LoadError(f"Column {place.plan.name!r}: {error}") from error
    is_outside: pa.BooleanArray = pc.or_(
        pc.less(values, pa.scalar(_YEAR_1)), pc.greater(values, pa.scalar(_YEAR_9999))
    )
    if pc.any(is_outside).as_py():
        # Python has no datetime for it, so neither has the validator words.
        row = place.first_row + pc.index(is_outside.fill_null(False), True).as_py()
        raise LoadError(
            f"Column {place.plan.name!r}, row {row}: the moment is outside the years 1 to 9999."
        )
    return values.cast(pa.timestamp("us")).cast(DATETIME)


_YEAR_1 = -62_135_596_800_000_000
_YEAR_9999 = 253_402_300_799_999_999


def _to_bytes(column: pa.Array[Any], _place: _Place) -> pa.Array[Any] | None:
    return column.cast(pa.large_binary()) if is_bytes(column.type) else None


def _to_null(column: pa.Array[Any], _place: _Place) -> pa.Array[Any] | None:
    return column


_CONVERT: Mapping[TextKind, Callable[[pa.Array[Any], _Place], pa.Array[Any] | None]] = {
    "string": _to_string,
    "id": _to_id,
    "boolean": _to_boolean,
    "int": _to_int,
    "float": _to_float,
    "int64": _to_int64,
    "datetime": _to_datetime,
    "bytes": _to_bytes,
    "null": _to_null,
}


def _refuse_unsafe(column: pa.Array[Any], place: _Place) -> None:
    if column.type.bit_width < 64:
        return
    bound = pa.scalar(INT_SAFE_MAX, column.type)
    is_wrong = pc.greater(column, bound)
    if pa.types.is_signed_integer(column.type):
        is_wrong = pc.or_(is_wrong, pc.less(column, pa.scalar(-INT_SAFE_MAX, column.type)))
    if pc.any(is_wrong).as_py():
        position = pc.index(is_wrong.fill_null(False), True).as_py()
        value = column[position].as_py()
        is_int64 = INT64_MIN <= value <= INT64_MAX
        what = "declare the field v.int64()" if is_int64 else "give them as text"
        why = f"{value} is beyond +-2^53; {what} to keep such numbers"
        place.refuse(position, value, why)


# --- value by value -------------------------------------------------------------------------------


def _through_python(column: pa.Array[Any], source: pa.Field[Any], place: _Place) -> Converted:
    kind = place.plan.kind
    read = _READERS[_mark_of(source)]
    values = [
        None if value is None else _checked(value, position, place, read)
        for position, value in enumerate(column.to_pylist())
    ]
    if kind != "json":
        return Converted(kind=kind, values=pa.array(values, ARROW_TYPES[kind]))
    measured = [value is not None and not measure(value)[1] for value in values]
    texts = [None if value is None else encode_value(value).decode() for value in values]
    return Converted(
        kind="json",
        values=pa.array(texts, ARROW_TYPES["json"]),
        tagged=pa.array(measured, pa.bool_()),
    )


_READERS: Mapping[str, Callable[[Value], Value]] = {
    "json": lambda value: decode_value(value.encode()),
    "int64": Int64,
    "": lambda value: value,
}
"""What a value of a marked column is."""


def _mark_of(source: pa.Field[Any]) -> str:
    if has_mark(source, "json"):
        return "json"
    return "int64" if has_mark(source, "int64") else ""


def _checked(value: Value, position: int, place: _Place, read: Callable[[Value], Value]) -> Value:
    """One value in canonical type, as the field's validator makes it."""
    original = value
    try:
        value = read(value)
        if type(value) is int and place.plan.kind == "int64":
            value = Int64(value)
        return place.plan.check(canonical(value, nesting_max=DOCUMENT_NESTING_MAX - 1))
    except ValidationError as error:
        raise SchemaEnforcementError(
            f"Column {place.plan.name!r}, row {place.first_row + position}: {error.message}",
            path=error.path,
            kind=error.kind,
        ) from None
    except InvalidValueError as error:
        place.refuse(position, original, error.message, error.code)
    except (ValueError, KeyError, TypeError) as error:
        place.refuse(position, original, f"{original!r:.60} is no JSON: {error}")
