"""`v`: the validators as they are written, as in Convex.

v.object({"title": v.string(), "due": v.optional(v.datetime())})
"""

from __future__ import annotations

from collections.abc import Mapping

from livedb.errors import SchemaDefinitionError
from livedb.schema.validators import (
    AnyValidator,
    ArrayValidator,
    BooleanValidator,
    BytesValidator,
    DatetimeValidator,
    IdValidator,
    Int64Validator,
    IntegerValidator,
    LiteralValidator,
    LiteralValue,
    NullValidator,
    NumberValidator,
    ObjectValidator,
    RecordValidator,
    StringValidator,
    UnionValidator,
    Validator,
    require_validator,
)


class v:  # noqa: N801 - the one-letter name is Convex's, and what users type dozens of times
    """The types of values; each method makes a validator."""

    @staticmethod
    def id(table: str | type) -> IdValidator:
        """The id of a document of `table`: a table's name, or a class made by `db.table`."""
        name = getattr(table, "__livedb_table__", table)
        if not isinstance(name, str):
            raise SchemaDefinitionError(
                f"v.id takes the name of a table or a class decorated with db.table, not {table!r}"
            )
        return IdValidator(name)

    @staticmethod
    def null() -> NullValidator:
        """`None`."""
        return NullValidator()

    @staticmethod
    def number() -> NumberValidator:
        """A float; an int becomes one."""
        return NumberValidator()

    float64 = number

    @staticmethod
    def integer() -> IntegerValidator:
        """A whole number within +-2**53; a whole float becomes an int."""
        return IntegerValidator()

    @staticmethod
    def int64() -> Int64Validator:
        """A `livedb.Int64`, JavaScript's bigint."""
        return Int64Validator()

    bigint = int64

    @staticmethod
    def boolean() -> BooleanValidator:
        """`True` or `False`."""
        return BooleanValidator()

    @staticmethod
    def string() -> StringValidator:
        """A `str`."""
        return StringValidator()

    @staticmethod
    def bytes() -> BytesValidator:
        """A `bytes`."""
        return BytesValidator()

    @staticmethod
    def datetime() -> DatetimeValidator:
        """A moment: an aware `datetime`, kept in UTC and microseconds."""
        return DatetimeValidator()

    @staticmethod
    def literal(value: LiteralValue) -> LiteralValidator:
        """Exactly this value."""
        return LiteralValidator(value)

    @staticmethod
    def array(element: Validator) -> ArrayValidator:
        """A list of such elements."""
        return ArrayValidator(element)

    @staticmethod
    def object(fields: Mapping[str, Validator]) -> ObjectValidator:
        """A dict with exactly these fields."""
        return ObjectValidator(tuple(fields.items()))

    @staticmethod
    def record(keys: Validator, values: Validator) -> RecordValidator:
        """A dict with any such keys and such values."""
        return RecordValidator(keys, values)

    @staticmethod
    def union(*members: Validator) -> UnionValidator:
        """A value that fits one of the members."""
        return UnionValidator(members)

    @staticmethod
    def any() -> AnyValidator:
        """Any value."""
        return AnyValidator()

    @staticmethod
    def optional(validator: Validator) -> Validator:
        """For a field that may be absent, which is not the same as null."""
        return require_validator(validator, "v.optional").optional()

    @staticmethod
    def nullable(validator: Validator) -> UnionValidator:
        """The validator's values, or null."""
        return UnionValidator((validator, NullValidator()))
