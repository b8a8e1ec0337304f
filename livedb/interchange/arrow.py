"""Documents as Arrow tables, typed by the schema and never by the data where a schema speaks.

A column's type is decided by the field's validator, so an empty result, a result full of nulls and
a full one have the same Arrow schema. Only fields without any schema type are inferred, by a fixed
rule (`infer_fields`). Null and absent both become an Arrow null; functions tell them apart.

What has no column type of its own (`v.any()`, records, unions of several types) is JSON text in
livedb's own text form, as SQL shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from livedb import text
from livedb.errors import InvalidValueError
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import Validator
from livedb.store.marks import has_mark, marked
from livedb.values import Int64, Value

FieldType: TypeAlias = Literal[
    "id",
    "string",
    "boolean",
    "int",
    "int64",
    "float",
    "datetime",
    "bytes",
    "list",
    "object",
    "json",
    "any",
]

DATETIME = pa.timestamp("us", tz="UTC")

_SCALAR_TYPES: dict[FieldType, pa.DataType] = {
    "id": pa.string(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "int": pa.int64(),
    "int64": pa.int64(),
    "float": pa.float64(),
    "datetime": DATETIME,
    "bytes": pa.binary(),
}

_KIND_FIELDS: dict[str, FieldType] = {
    "id": "id",
    "string": "string",
    "boolean": "boolean",
    "integer": "int",
    "bigint": "int64",
    "number": "float",
    "datetime": "datetime",
    "bytes": "bytes",
    "array": "list",
    "object": "object",
}

_OBJECTS = frozenset({"object", "record"})

_PYTHON_TYPES: dict[FieldType, frozenset[type]] = {
    "id": frozenset({str}),
    "string": frozenset({str}),
    "boolean": frozenset({bool}),
    "int": frozenset({int}),
    "int64": frozenset({int, Int64}),
    "float": frozenset({float, int}),
    "datetime": frozenset({datetime}),
    "bytes": frozenset({bytes}),
}


class Fields(dict[str, FieldType]):
    """The fields of a table or result in column order, each with its type.

    Attributes:
        arrow: the Arrow type of each list and object field whose elements the schema names; one
            that is not here is JSON text.
    """

    def __init__(
        self, fields: Mapping[str, FieldType] = {}, arrow: Mapping[str, pa.DataType] = {}
    ) -> None:
        super().__init__(fields)
        self.arrow = dict(arrow)


def fields_of(definition: TableDefinition | Validator | None) -> Fields:
    """The typed fields of a table (system fields first) or of a result's validator.

    A validator of a list gives the fields of its elements. What says nothing about fields gives
    an empty mapping; `documents_to_arrow` infers the rest.
    """
    if isinstance(definition, TableDefinition):
        fields = Fields({"_id": "id", "_creationTime": "float"})
        document = definition.document
    else:
        fields, document = Fields(), definition
    if document is not None:
        for name, json in _object_fields(document.to_json()).items():
            fields[name], arrow = _field_of(json["fieldType"])
            if arrow is not None:
                fields.arrow[name] = arrow
    return fields


def documents_to_arrow(
    documents: Sequence[Mapping[str, Value]], fields: Mapping[str, FieldType] | None
) -> pa.Table:
    """One column per field of `fields`, then one per further field the documents have.

    Raises:
        InvalidValueError: a value that is not of its field's type.
    Cost: O(documents x fields), no Python object per value beyond the documents' own.
    """
    known = fields if isinstance(fields, Fields) else Fields(fields or {})
    further = [name for name in _names(documents) if name not in known]
    inferred = infer_fields(documents, further)
    arrays = [
        _column(name, kind, source.arrow.get(name), [each.get(name) for each in documents])
        for source in (known, inferred)
        for name, kind in source.items()
    ]
    schema = [_arrow_field(name, source) for source in (known, inferred) for name in source]
    return pa.table(arrays, schema=pa.schema(schema))


def result_to_arrow(
    value: Value, fields: Mapping[str, FieldType] | None, returns: Validator | None
) -> pa.Table:
    """A query's result: a row for each object of a list, one for an object, else one `value`.

    Where the return type says which of them it is, neither an empty list nor a None changes it:
    None in place of objects is no rows.

    Args:
        fields: those that are known of the objects, by the return type or by their table.
        returns: the return type; without one, the value says what it is.

    Raises:
        InvalidValueError: a value that is not of its field's type.
    """
    shape = None if returns is None else returns.to_json()
    of_what = None if shape is None else _kinds_of_rows(shape)
    if shape is not None and of_what is not None and not of_what & _OBJECTS:
        kind, arrow = _field_of(shape)
        if kind != "any":
            known = Fields({"value": kind}, {} if arrow is None else {"value": arrow})
            with suppress(InvalidValueError, pa.ArrowException):  # of before it was redefined
                return documents_to_arrow([{"value": value}], known)
    if value is None and of_what is not None and of_what <= _OBJECTS and of_what:
        value = []
    rows = value if isinstance(value, list) else [value]
    documents = [each for each in rows if isinstance(each, dict)]
    if len(documents) < len(rows):
        return documents_to_arrow([{"value": value}], None)
    if of_what == {"record"} and shape is not None:
        fields = _fields_of_record(shape, _names(documents))
    return documents_to_arrow(documents, fields)


def infer_fields(
    documents: Sequence[Mapping[str, Value]], names: Iterable[str] | None = None
) -> Fields:
    """The types of fields that no schema names, from the values seen.

    One Python type gives its field type; int with float gives float; lists and objects get Arrow
    types when their elements agree; a mix, or nothing but null, gives "any" (JSON text).
    """
    found = Fields()
    for name in _names(documents) if names is None else names:
        values = [each[name] for each in documents if each.get(name) is not None]
        found[name], arrow = _infer_values(values)
        if arrow is not None:
            found.arrow[name] = arrow
    return found


def field_arrow_type(kind: FieldType, element: pa.DataType | None = None) -> pa.DataType:
    """The Arrow type of a column of `kind`; `element` is the type the schema gives a container."""
    return element or _SCALAR_TYPES.get(kind, pa.string())


def json_field(name: str) -> pa.Field[Any]:
    """The Arrow field of a column of JSON text, marked as such for whoever reads it again."""
    return marked(pa.field(name, pa.string()), "json")


def mark_int64(table: pa.Table, fields: Mapping[str, FieldType]) -> pa.Table:
    """`table` with its int64 fields marked, which SQL cannot tell from ints."""
    for position, field in enumerate(table.schema):
        if fields.get(field.name) == "int64":
            table = table.set_column(position, marked(field, "int64"), table.column(position))
    return table


def typed_containers(table: pa.Table, fields: Mapping[str, FieldType]) -> pa.Table:
    """`table` with JSON text as the lists and structs that the schema makes of these fields.

    SQL shows every list and object as JSON text, which is exact: it tells null from absent and
    Int64 from int, so files are made of it. Frames have a type for them when the schema does.
    """
    arrow = fields.arrow if isinstance(fields, Fields) else {}
    for position, field in enumerate(table.schema):
        if field.name in arrow and has_mark(field, "json"):
            values = map(_json_value, table.column(position).to_pylist())
            try:
                column = _column(field.name, fields[field.name], arrow[field.name], list(values))
            except (pa.ArrowException, TypeError):
                continue  # rows of before the table was redefined, which a frozen handle shows
            typed = pa.field(field.name, column.type)
            table = table.set_column(position, typed, column)
    return table


def empty_table(fields: Fields) -> pa.Table:
    """The table of no documents with these fields."""
    return documents_to_arrow([], fields)


def narrow_huge_integers(table: pa.Table) -> pa.Table:
    """`table` with each decimal(38, 0), DuckDB's HUGEINT, as BIGINT when all its values fit.

    `sum` of an integer column is a HUGEINT; nobody should get a decimal for it, nor a float.
    """
    for position, field in enumerate(table.schema):
        if field.type == pa.decimal128(38, 0):
            try:
                narrow = table.column(position).cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            table = table.set_column(position, field.with_type(pa.int64()), narrow)
    return table


def _names(documents: Iterable[Mapping[str, Value]]) -> list[str]:
    """All field names, in the order of first appearance."""
    return list(dict.fromkeys(chain.from_iterable(documents)))


def _arrow_field(name: str, fields: Fields) -> pa.Field[Any]:
    kind = fields[name]
    if kind not in _SCALAR_TYPES and name not in fields.arrow:
        return json_field(name)
    field = pa.field(name, field_arrow_type(kind, fields.arrow.get(name)))
    return marked(field, "int64") if kind == "int64" else field


def _column(
    name: str, kind: FieldType, arrow: pa.DataType | None, values: list[Value]
) -> pa.Array[Any]:
    allowed = _PYTHON_TYPES.get(kind)
    if kind == "int":
        # Written as a float before its field became an int: the same number, and so in SQL.
        values = [int(v) if type(v) is float and v.is_integer() else v for v in values]
    if allowed is not None:
        for found in set(map(type, values)) - {type(None)} - allowed:
            raise InvalidValueError(
                f"Field {name!r} holds a {found.__name__} where its schema type is {kind}.",
                path=f".{name}",
            )
        return pa.array(values, _SCALAR_TYPES[kind])
    if arrow is None:
        return pa.array([_json_text(value) for value in values], pa.string())
    return pa.array([_shaped(value, arrow) for value in values], arrow)


def _json_text(value: Value) -> str | None:
    return None if value is None else text.encode_value(value).decode()


def _json_value(stored: str | None) -> Value:
    return None if stored is None else text.decode_value(stored.encode())


def _shaped(value: Value, arrow: pa.DataType) -> Value:
    """`value` as pyarrow takes it for `arrow`: JSON text where a container has no type."""
    if value is None:
        return None
    if pa.types.is_list(arrow) and isinstance(value, list):
        return [_shaped(each, arrow.value_type) for each in value]
    if pa.types.is_struct(arrow) and isinstance(value, dict):
        return {each.name: _shaped(value.get(each.name), each.type) for each in arrow}
    if pa.types.is_string(arrow) and type(value) is not str:
        return _json_text(value)
    return value


def _object_fields(json: dict[str, Any]) -> dict[str, Any]:
    """The fields a validator names: of the object, of a list's objects, of null or an object."""
    match json["type"]:
        case "object":
            return dict(json["value"])
        case "array":
            return _object_fields(json["value"])
        case "union":
            members = [each for each in json["value"] if each["type"] != "null"]
            return _object_fields(members[0]) if len(members) == 1 else _merged_fields(members)
    return {}


def _kinds_of_rows(json: dict[str, Any]) -> set[str] | None:
    """The kinds of what a result is, or is a list of, null aside; None where it may be either."""
    members = [_kind(each) for each in _members(json) if _kind(each) != "null"]
    if "array" in members and members.count("array") < len(members):
        return None
    kinds = {_kind(each) for each in _rows_of(json)} - {"null"}
    return None if "any" in kinds else kinds


def _rows_of(json: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a result, those of a list being the alternatives of its elements."""
    found = []
    for member in _members(json):
        found += _members(member["value"]) if member["type"] == "array" else [member]
    return found


def _fields_of_record(json: dict[str, Any], names: Iterable[str]) -> Fields:
    """The fields of records, whose names the data says and whose types the record's values."""
    [record] = [each for each in _rows_of(json) if _kind(each) == "record"]
    kind, arrow = _field_of(record["values"]["fieldType"])
    if kind == "any":  # `-> list[dict]` says no more than no annotation
        return Fields()
    fields = Fields(dict.fromkeys(names, kind))
    if arrow is not None:
        fields.arrow.update(dict.fromkeys(names, arrow))
    return fields


def _merged_fields(members: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields of a union of objects; a field with several types becomes their union."""
    if not members or any(each["type"] != "object" for each in members):
        return {}
    merged: dict[str, list[Any]] = {}
    for member in members:
        for name, field in member["value"].items():
            merged.setdefault(name, []).append(field["fieldType"])
    return {
        name: {"fieldType": {"type": "union", "value": types}} for name, types in merged.items()
    }


def _field_of(json: dict[str, Any]) -> tuple[FieldType, pa.DataType | None]:
    """The field type of a validator, and the Arrow type if it is a container with known insides."""
    kinds = {_kind(member): member for member in _members(json)}
    kinds.pop("null", None)
    if kinds.keys() == {"integer", "number"}:
        return "float", None
    if len(kinds) != 1:
        return "any", None
    ((kind, member),) = kinds.items()
    if kind == "record":
        return "json", None
    field = _KIND_FIELDS.get(kind, "any")
    if field not in ("list", "object"):
        return field, None
    if len({str(each) for each in _members(json) if _kind(each) == kind}) > 1:
        return "json", None
    return field, _arrow_of(member)


def _members(json: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a validator, nested unions flattened."""
    if json["type"] != "union":
        return [json]
    return [each for member in json["value"] for each in _members(member)]


def _kind(json: dict[str, Any]) -> str:
    """The validator's type, a literal counting as the type of its value."""
    if json["type"] != "literal":
        return str(json["type"])
    match json["value"]:
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case None:
            return "null"
    return "bigint"


def _arrow_of(json: dict[str, Any]) -> pa.DataType | None:
    """The Arrow type of a list or object validator; None where Arrow has no equal."""
    if json["type"] == "array":
        return pa.list_(_inner_type(json["value"]))
    fields = json["value"]
    if not fields:
        return None
    return pa.struct([(name, _inner_type(each["fieldType"])) for name, each in fields.items()])


def _inner_type(json: dict[str, Any]) -> pa.DataType:
    return field_arrow_type(*_field_of(json))


def _infer_values(values: Sequence[Value]) -> tuple[FieldType, pa.DataType | None]:
    kinds = set(map(type, values))
    if kinds == {int, float}:
        return "float", None
    if len(kinds) != 1:
        return "any", None
    found = kinds.pop()
    if issubclass(found, dict):
        return _infer_objects(values)
    if found is list:
        kind, arrow = _infer_values(
            [each for value in values for each in value if each is not None]
        )
        return (
            ("json", None)
            if kind in ("any", "json")
            else ("list", pa.list_(field_arrow_type(kind, arrow)))
        )
    for kind, types in _PYTHON_TYPES.items():
        if kind != "id" and found in types:
            return ("int64" if found is Int64 else kind), None
    return "any", None


def _infer_objects(values: Sequence[Mapping[str, Value]]) -> tuple[FieldType, pa.DataType | None]:
    fields = infer_fields(values)
    if not fields:
        return "json", None
    arrow = [
        (name, field_arrow_type(kind, fields.arrow.get(name))) for name, kind in fields.items()
    ]
    return "object", pa.struct(arrow)
