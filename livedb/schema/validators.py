"""Validators: immutable descriptions of the values a field, an argument or a result may hold.

A validator is plain data: comparable by value, hashable, written as Convex's validator JSON (plus
our own types `integer` and `datetime`) and read back. What it *does* lives beside it:

* `compile` turns it into closures once, the hot path of every insert and call;
* `explain` walks it a second time, only after a refusal, to say where and why;
* `subset` proves that one accepts no more than another, which spares a scan of the table.

Source: Convex's `v` namespace (features.md 4); `v.integer` and `v.datetime` are ours.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from livedb.errors import SchemaDefinitionError
from livedb.limits import FIELD_NAME_LENGTH_MAX, INT_SAFE_MAX, OBJECT_FIELDS_MAX
from livedb.values import Int64, Value

if TYPE_CHECKING:
    from livedb.schema.compile import Check

ColumnType = Literal["boolean", "bigint", "double", "varchar", "blob", "json", "timestamptz"]

Json = Any
"""A value of Python's `json` module."""


class TableNumbers(Protocol):
    """What an id check asks: which table has which number. A `Catalog` answers."""

    def number_of(self, name: str) -> int | None:
        """The number of the table of that name, None when there is none."""

    def name_of(self, number: int) -> str | None:
        """The name of the table of that number, None when there is none."""


@dataclass(frozen=True)
class Validator(ABC):
    """What all validators share.

    Attributes:
        is_optional: whether the object field this validator stands for may be absent.
    """

    kind: ClassVar[str]
    """Convex's name of the type, as in its JSON."""
    column_type: ClassVar[ColumnType] = "json"
    """The type of the DuckDB column of a field of this type."""

    is_optional: bool = field(default=False, kw_only=True)

    def check(
        self,
        value: Value,
        path: str = "",
        *,
        tables: TableNumbers | None = None,
        from_wire: bool = False,
    ) -> Value:
        """Return `value` as this validator's type, or refuse it.

        Whole floats become `int` for `v.integer()` and ints become `float` for `v.number()`; a
        container with such a change inside is rebuilt in the order written. Everything else is
        returned itself, never changed.

        Args:
            value: a canonical value (see `livedb.canonical.canonical`).
            path: where the value is, for the message, such as ".tags[2]".
            tables: with it an id must be of the validator's table; without, only well-formed.
            from_wire: whether the value came over Convex's protocol, where a datetime is a number.

        Raises:
            ValidationError: names the path, what was found, and what was expected.
        Cost: about 0.3 us a field.
        """
        check = self.compiled_for_wire if from_wire else self.compiled
        checked = check(value, tables)
        if checked is REFUSED:
            # Only a refusal needs the words, so only a refusal loads and pays for them.
            from livedb.schema.explain import raise_refusal

            raise_refusal(self, value, path, tables=tables, from_wire=from_wire)
        return checked

    def accepts_subset_of(self, other: Validator) -> bool:
        """Whether provably every value this validator accepts, `other` accepts too.

        False means "not proven". Cost: O(size of both), times the members of unions.
        """
        from livedb.schema.subset import accepts_subset

        return accepts_subset(self, other)

    def optional(self) -> Self:
        """The same validator for a field that may be absent."""
        return dataclasses.replace(self, is_optional=True)

    def required(self) -> Self:
        """The same validator for a field that must be present."""
        return dataclasses.replace(self, is_optional=False) if self.is_optional else self

    def to_json(self) -> Json:
        """Convex's validator JSON. `is_optional` is part of the object around, as in Convex."""
        return {"type": self.kind}

    @staticmethod
    def from_json(data: Json) -> Validator:
        """The validator that `to_json` wrote.

        Raises:
            SchemaDefinitionError: `data` is not validator JSON.
        """
        return validator_from_json(data)

    def __str__(self) -> str:
        """The validator as it is written in Python."""
        text = self._notation()
        return f"v.optional({text})" if self.is_optional else text

    @abstractmethod
    def _notation(self) -> str: ...

    @cached_property
    def compiled(self) -> Check:
        """The closure behind `check`: answers `REFUSED` instead of raising."""
        from livedb.schema.compile import compile_check

        return compile_check(self, from_wire=False)

    @cached_property
    def compiled_for_wire(self) -> Check:
        """The same for values that came over Convex's protocol."""
        from livedb.schema.compile import compile_check

        return compile_check(self, from_wire=True)

    def __getstate__(self) -> dict[str, Any]:
        """The data without the compiled closures, which cannot be copied or pickled."""
        return {part.name: getattr(self, part.name) for part in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _Refused:
    """The type of `REFUSED`: what a compiled check answers instead of raising."""

    def __repr__(self) -> str:
        return "REFUSED"


REFUSED = _Refused()


@dataclass(frozen=True)
class AnyValidator(Validator):
    """Any value."""

    kind = "any"

    def _notation(self) -> str:
        return "v.any()"


@dataclass(frozen=True)
class NullValidator(Validator):
    """`None`."""

    kind = "null"

    def _notation(self) -> str:
        return "v.null()"


@dataclass(frozen=True)
class NumberValidator(Validator):
    """A float; an int becomes one."""

    kind = "number"
    column_type = "double"

    def _notation(self) -> str:
        return "v.number()"


@dataclass(frozen=True)
class IntegerValidator(Validator):
    """A whole number within +-2^53; a whole float becomes an int. Ours."""

    kind = "integer"
    column_type = "bigint"

    def _notation(self) -> str:
        return "v.integer()"


@dataclass(frozen=True)
class Int64Validator(Validator):
    """A `livedb.Int64`, which JavaScript calls bigint."""

    kind = "bigint"
    column_type = "bigint"

    def _notation(self) -> str:
        return "v.int64()"


@dataclass(frozen=True)
class BooleanValidator(Validator):
    """`True` or `False`."""

    kind = "boolean"
    column_type = "boolean"

    def _notation(self) -> str:
        return "v.boolean()"


@dataclass(frozen=True)
class StringValidator(Validator):
    """A `str`."""

    kind = "string"
    column_type = "varchar"

    def _notation(self) -> str:
        return "v.string()"


@dataclass(frozen=True)
class BytesValidator(Validator):
    """A `bytes`."""

    kind = "bytes"
    column_type = "blob"

    def _notation(self) -> str:
        return "v.bytes()"


@dataclass(frozen=True)
class DatetimeValidator(Validator):
    """An aware `datetime`, in UTC and microseconds; on Convex's wire its milliseconds. Ours."""

    kind = "datetime"
    column_type = "timestamptz"

    def _notation(self) -> str:
        return "v.datetime()"


@dataclass(frozen=True)
class IdValidator(Validator):
    """The id of a document of `table`, which need not exist."""

    kind = "id"
    column_type = "varchar"

    table: str

    def to_json(self) -> Json:
        """Convex's validator JSON."""
        return {"type": "id", "tableName": self.table}

    def _notation(self) -> str:
        return f"v.id({json.dumps(self.table)})"


LiteralValue = str | bool | int | float | Int64


@dataclass(frozen=True, eq=False)
class LiteralValidator(Validator):
    """Exactly one string, number, Int64 or boolean; 3 and 3.0 are one number, True is not 1."""

    kind = "literal"

    value: LiteralValue

    def __post_init__(self) -> None:
        if type(self.value) not in (str, bool, int, float, Int64):
            raise SchemaDefinitionError(
                f"v.literal takes a str, int, float, bool or Int64 and got {self.value!r}"
            )
        if type(self.value) is int and abs(self.value) > INT_SAFE_MAX:
            raise SchemaDefinitionError(
                f"The literal {self.value} is beyond +-2**53; write livedb.Int64({self.value})"
            )

    @property
    def column_type(self) -> ColumnType:  # type: ignore[override]  # depends on the value here
        """The column type of the literal's own type."""
        types: dict[type, ColumnType] = {
            str: "varchar",
            bool: "boolean",
            int: "bigint",
            float: "double",
            Int64: "bigint",
        }
        return types[type(self.value)]

    @property
    def sameness(self) -> tuple[str, object]:
        """Equal for literals that accept the same values; Python's == would mix True, 1, Int64."""
        if type(self.value) in (int, float):
            return ("number", repr(float(self.value)))
        return (type(self.value).__name__, self.value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LiteralValidator):
            return NotImplemented
        return (self.sameness, type(self.value), self.is_optional) == (
            other.sameness,
            type(other.value),
            other.is_optional,
        )

    def __hash__(self) -> int:
        return hash((self.sameness, self.is_optional))

    def to_json(self) -> Json:
        """Convex's validator JSON."""
        return {"type": "literal", "value": _literal_to_json(self.value)}

    def _notation(self) -> str:
        if isinstance(self.value, str):
            return f"v.literal({json.dumps(self.value, ensure_ascii=False)})"
        return f"v.literal({self.value!r})"


@dataclass(frozen=True)
class ArrayValidator(Validator):
    """A list whose elements all fit `element`."""

    kind = "array"

    element: Validator

    def __post_init__(self) -> None:
        _refuse_optional(self.element, "the elements of v.array")

    def to_json(self) -> Json:
        """Convex's validator JSON."""
        return {"type": "array", "value": self.element.to_json()}

    def _notation(self) -> str:
        return f"v.array({self.element})"


@dataclass(frozen=True)
class RecordValidator(Validator):
    """A dict with any keys that fit `keys`, and values that fit `values`."""

    kind = "record"

    keys: Validator
    values: Validator

    def __post_init__(self) -> None:
        _refuse_optional(self.keys, "the keys of v.record")
        _refuse_optional(self.values, "the values of v.record")
        if not _is_text(self.keys):
            raise SchemaDefinitionError(
                f"The keys of v.record must be v.string(), v.id(..) or a union of these, "
                f"and are {self.keys}; for fixed keys use v.object"
            )

    def to_json(self) -> Json:
        """Convex's validator JSON."""
        values = {"fieldType": self.values.to_json(), "optional": False}
        return {"type": "record", "keys": self.keys.to_json(), "values": values}

    def _notation(self) -> str:
        return f"v.record({self.keys}, {self.values})"


@dataclass(frozen=True)
class UnionValidator(Validator):
    """A value that fits one of `members`; the first that needs no conversion, else the first."""

    kind = "union"

    members: tuple[Validator, ...]

    def __post_init__(self) -> None:
        for member in self.members:
            _refuse_optional(member, "a member of v.union")

    @cached_property
    def column_type(self) -> ColumnType:  # type: ignore[override]  # depends on the members here
        """The type all members but null share; bigint and double widen to double; else json."""
        found = {member.column_type for member in self.members if member.kind != "null"}
        if found == {"bigint", "double"}:
            return "double"
        return found.pop() if len(found) == 1 else "json"

    def to_json(self) -> Json:
        """Convex's validator JSON."""
        return {"type": "union", "value": [member.to_json() for member in self.members]}

    def _notation(self) -> str:
        return f"v.union({', '.join(map(str, self.members))})"


@dataclass(frozen=True)
class ObjectValidator(Validator):
    """A dict with exactly these fields; an optional one may be absent, no other may be present."""

    kind = "object"

    items: tuple[tuple[str, Validator], ...]
    """The fields in the order declared. Two objects are equal when their fields are."""

    def __post_init__(self) -> None:
        if len(self.items) > OBJECT_FIELDS_MAX:
            raise SchemaDefinitionError(
                f"v.object has {len(self.items)} fields; at most {OBJECT_FIELDS_MAX} are allowed"
            )
        for name, validator in self.items:
            check_field_name(name)
            require_validator(validator, f"field {name!r}")

    @cached_property
    def fields(self) -> dict[str, Validator]:
        """The fields by name; not to be changed."""
        return dict(self.items)

    @cached_property
    def compiled_fields(self) -> dict[str, Check]:
        """The closures of the fields by name; see `compiled`."""
        return {name: validator.compiled for name, validator in self.items}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObjectValidator):
            return NotImplemented
        return self.is_optional == other.is_optional and self.fields == other.fields

    def __hash__(self) -> int:
        return hash((self.is_optional, frozenset(self.items)))

    def pick(self, *names: str) -> ObjectValidator:
        """Only these fields."""
        self._refuse_unknown(names)
        return self._with(item for item in self.items if item[0] in names)

    def omit(self, *names: str) -> ObjectValidator:
        """All but these fields."""
        self._refuse_unknown(names)
        return self._with(item for item in self.items if item[0] not in names)

    def partial(self) -> ObjectValidator:
        """The same fields, all optional."""
        return self._with((name, validator.optional()) for name, validator in self.items)

    def extend(self, fields: Mapping[str, Validator]) -> ObjectValidator:
        """These fields too; a name that exists already is replaced."""
        return self._with((self.fields | dict(fields)).items())

    def to_json(self) -> Json:
        """Convex's validator JSON."""
        return {
            "type": "object",
            "value": {
                name: {"fieldType": validator.to_json(), "optional": validator.is_optional}
                for name, validator in self.items
            },
        }

    def _notation(self) -> str:
        fields = (f"{json.dumps(name)}: {validator}" for name, validator in self.items)
        return "v.object({" + ", ".join(fields) + "})"

    def _with(self, items: Iterable[tuple[str, Validator]]) -> ObjectValidator:
        return dataclasses.replace(self, items=tuple(items))

    def _refuse_unknown(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.fields:
                raise SchemaDefinitionError(
                    f"There is no field {name!r}; the fields are {', '.join(self.fields)}"
                )


def require_validator(value: object, place: str) -> Validator:
    """`value` itself, or an error that says what belongs there."""
    if not isinstance(value, Validator):
        raise SchemaDefinitionError(
            f"Expected a validator such as v.string() for {place} and got {value!r}"
        )
    return value


def check_field_name(name: object) -> None:
    """Refuse what can be no field of an object.

    Wider than Convex, which asks for an identifier in a schema: a loaded CSV file has columns
    like "Unit price", and its table needs a schema as much as any other.
    """
    if not isinstance(name, str):
        raise SchemaDefinitionError(f"A field name must be a str and is {name!r}")
    if name.startswith("$") or len(name) > FIELD_NAME_LENGTH_MAX:
        raise SchemaDefinitionError(
            f"The field name {name[:80]!r} is not allowed: at most {FIELD_NAME_LENGTH_MAX} "
            f"characters, not starting with '$'"
        )
    if not (name.isascii() and name.isprintable()):
        raise SchemaDefinitionError(
            f"The field name {name[:80]!r} is not allowed: only printable ASCII characters"
        )


def _refuse_optional(validator: object, place: str) -> None:
    if require_validator(validator, place).is_optional:
        raise SchemaDefinitionError(
            f"v.optional says that an object's field may be absent; {place} cannot be: {validator}"
        )


def _is_text(keys: Validator) -> bool:
    if isinstance(keys, UnionValidator):
        return all(map(_is_text, keys.members))
    return isinstance(keys, StringValidator | IdValidator)


def iter_nested(validator: Validator) -> Iterator[Validator]:
    """The validator and everything inside it, outermost first."""
    yield validator
    match validator:
        case ArrayValidator():
            yield from iter_nested(validator.element)
        case RecordValidator():
            yield from iter_nested(validator.keys)
            yield from iter_nested(validator.values)
        case UnionValidator():
            for member in validator.members:
                yield from iter_nested(member)
        case ObjectValidator():
            for _, inner in validator.items:
                yield from iter_nested(inner)


# -- JSON ------------------------------------------------------------------------------------------

_WITHOUT_PARTS: dict[str, type[Validator]] = {
    "any": AnyValidator,
    "null": NullValidator,
    "number": NumberValidator,
    "integer": IntegerValidator,
    "bigint": Int64Validator,
    "boolean": BooleanValidator,
    "string": StringValidator,
    "bytes": BytesValidator,
    "datetime": DatetimeValidator,
}


def validator_from_json(data: Json) -> Validator:
    """See `Validator.from_json`."""
    try:
        return _from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise SchemaDefinitionError(f"Not the JSON of a validator: {data!r:.200}") from error


def _from_json(data: Json) -> Validator:
    kind = data["type"]
    if kind in _WITHOUT_PARTS:
        return _WITHOUT_PARTS[kind]()
    match kind:
        case "id":
            return IdValidator(data["tableName"])
        case "literal":
            return LiteralValidator(_literal_from_json(data["value"]))
        case "array":
            return ArrayValidator(_from_json(data["value"]))
        case "record":
            return RecordValidator(_from_json(data["keys"]), _field_from_json(data["values"]))
        case "union":
            return UnionValidator(tuple(map(_from_json, data["value"])))
        case "object":
            fields = data["value"].items()
            return ObjectValidator(tuple((name, _field_from_json(part)) for name, part in fields))
    raise ValueError(f"unknown type {kind!r}")


def _field_from_json(data: Json) -> Validator:
    validator = _from_json(data["fieldType"])
    return validator.optional() if data["optional"] else validator


def _literal_to_json(value: LiteralValue) -> Json:
    """Int64, and the floats that JSON cannot write, as Convex's `$integer` and `$float`."""
    if isinstance(value, Int64):
        return {"$integer": base64.b64encode(struct.pack("<q", value)).decode()}
    if isinstance(value, float) and (not math.isfinite(value) or str(value) == "-0.0"):
        return {"$float": base64.b64encode(struct.pack("<d", value)).decode()}
    return value


def _literal_from_json(data: Json) -> LiteralValue:
    match data:
        case {"$integer": text}:
            return Int64(struct.unpack("<q", base64.b64decode(text))[0])
        case {"$float": text}:
            return float(struct.unpack("<d", base64.b64decode(text))[0])
        case str() | bool() | int() | float():
            return data
    raise ValueError(f"no literal: {data!r}")
