"""SQL that says of each document of a table whether it fits a schema: yes, no, or not decidable.

A schema change asks this of every existing document, so it is one expression that DuckDB evaluates
column by column, in SQL's three values: TRUE fits, FALSE does not, NULL is for Python to decide
from the text. The answer is never another than Python's (property test); it may only be NULL.

    a column that holds a value   says its type, and its value, for the price of reading it
    a column that is NULL         the JSON in `_doc` says: absent, null, or what the column cannot
                                  hold; so do fields without a column
    containers                    not decidable, except that a text is no object and no array

What the old schema proves already is not asked again: a field whose new type takes all that its old
one did, and names that no document can have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from livedb.limits import INT_SAFE_MAX
from livedb.schema.subset import accepts_subset
from livedb.schema.validators import (
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    UnionValidator,
    Validator,
)
from livedb.store.columns import Columns, ColumnType
from livedb.store.connection import quote, quote_text
from livedb.values import Int64

TEXT: Final = "substr(decode(_doc), 2)"
"""A document's JSON, without the flag byte."""

_IS_PLAIN: Final = "_doc < '\\x01'::blob"
_FIELD_NAMES: Final = f"json_keys({TEXT})"

UnknownIds = Callable[[str, Sequence[str]], Sequence[str] | None]
"""(column, table names) -> the texts in the column that are no id of one of these tables; None when
they are too many to name."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one table's documents are judged.

    Attributes:
        columns: the columns that the table has.
        filled: top-level fields that will be there, although a document lacks them now.
        unknown_ids: looks into a column of ids.
    """

    columns: Columns
    filled: frozenset[str]
    unknown_ids: UnknownIds

    def sql(self, new: Validator, old: Validator | None) -> str:
        """The expression over a row of the table.

        Args:
            new: the type a document is to have.
            old: the type every document has; None when nothing is known.
        """
        if isinstance(new, UnionValidator):
            return _any_of(self.sql(member, None) for member in new.members)
        if not isinstance(new, ObjectValidator):
            return "true" if new.kind == "any" else "null"
        known = old.fields if isinstance(old, ObjectValidator) else None
        parts = [
            self._field(name, validator)
            for name, validator in new.items
            if known is None or name not in known or not accepts_subset(known[name], validator)
        ]
        return _all_of([*parts, *self._no_other_names(new, known)])

    def _no_other_names(
        self, new: ObjectValidator, known: Mapping[str, Validator] | None
    ) -> list[str]:
        if known is None:
            names = ", ".join(quote_text(name) for name in new.fields)
            return [f"list_has_all([{names}]::varchar[], {_FIELD_NAMES})"]
        gone = [name for name in known if name not in new.fields]
        return [f"({is_absent(self.columns, name)})" for name in gone]

    def _field(self, name: str, validator: Validator) -> str:
        members = list(_iter_members(validator))
        if any(member.kind == "any" for member in members):
            if validator.is_optional or name in self.filled:
                return "true"
            return f"not ({is_absent(self.columns, name)})"
        may_lack = validator.is_optional or name in self.filled
        by_json = _Json(name, members, is_absent_right=may_lack).sql()
        column = _column_of(self.columns, name)
        if column is None:
            return by_json
        by_column = self._by_column(quote(name), column, members)
        if by_column is None:
            return by_json
        condition, verdict = by_column
        return f"case when {condition} then {verdict} else {by_json} end"

    def _by_column(
        self, column: str, column_type: ColumnType, members: Sequence[Validator]
    ) -> tuple[str, str] | None:
        """(where the column alone decides, what it says there)."""
        has_value = f"{column} is not null"
        kinds = {member.kind for member in members}
        match column_type:
            case "varchar":
                return has_value, self._text(column, members)
            case "boolean":
                allowed = ["true"] if "boolean" in kinds else []
                allowed += [
                    f"{column} = {str(each.value).lower()}"
                    for each in _literals(members)
                    if isinstance(each.value, bool)
                ]
                return has_value, _any_of(allowed)
            case "timestamptz":
                return has_value, _sql_bool("datetime" in kinds)
            case "blob":
                return has_value, _sql_bool("bytes" in kinds)
            case "bigint" | "double":
                # An int64 has a tag in the text, and beyond 2^53 a double is not what was written.
                is_exact = (
                    f"{column} > -{INT_SAFE_MAX} and {column} < {INT_SAFE_MAX} and {_IS_PLAIN}"
                )
                return is_exact, _number(f"{column}::double", members)
        return None

    def _text(self, column: str, members: Sequence[Validator]) -> str:
        """Whether a member takes the text in a column of texts."""
        if any(member.kind == "string" for member in members):
            return "true"
        texts = [each.value for each in _literals(members) if isinstance(each.value, str)]
        # A NUL character cannot stand in the text of a statement.
        allowed = ["null" if "\x00" in text else f"{column} = {quote_text(text)}" for text in texts]
        tables = [member.table for member in members if isinstance(member, IdValidator)]
        if tables:
            unknown = self.unknown_ids(column, tables)
            if unknown is None:
                allowed.append("null")
            elif unknown:
                allowed.append(f"{column} not in ({', '.join(map(quote_text, unknown))})")
            else:
                allowed.append("true")
        return _any_of(allowed)


class _Json:
    """The verdict on one field from the JSON in `_doc`."""

    def __init__(self, name: str, members: Sequence[Validator], *, is_absent_right: bool) -> None:
        self._members = members
        self._is_absent_right = is_absent_right
        self._pointer = pointer(name)
        self._kinds = {member.kind for member in members}

    def sql(self) -> str:
        kinds = self._kinds
        value = f"try_cast(json_extract_string({TEXT}, {self._pointer}) as double)"
        number = f"case when abs({value}) < {INT_SAFE_MAX} then {_number(value, self._members)} end"
        has_text = any(isinstance(each.value, str) for each in _literals(self._members))
        has_boolean = any(isinstance(each.value, bool) for each in _literals(self._members))
        cases = {
            "NULL": _sql_bool("null" in kinds),
            "VARCHAR": _decided("string" in kinds, maybe=has_text or "id" in kinds),
            "BOOLEAN": _decided("boolean" in kinds, maybe=has_boolean),
            "UBIGINT": number,
            "BIGINT": number,
            "DOUBLE": number,
            "ARRAY": _decided(False, maybe="array" in kinds),
            "OBJECT": self._object(),
        }
        found = f"json_type({TEXT}, {self._pointer})"
        whens = " ".join(f"when '{json_type}' then {then}" for json_type, then in cases.items())
        absent = _sql_bool(self._is_absent_right)
        return f"case coalesce({found}, 'absent') when 'absent' then {absent} {whens} end"

    def _object(self) -> str:
        """An object of the user's, or the tag of a value that JSON has no form for."""
        kinds = self._kinds
        literals = {type(each.value) for each in _literals(self._members)}
        tags = {
            "$int64": _decided("bigint" in kinds, maybe=Int64 in literals),
            "$float": _decided("number" in kinds, maybe=float in literals),
            "$datetime": _sql_bool("datetime" in kinds),
            "$bytes": _sql_bool("bytes" in kinds),
        }
        other = _decided(False, maybe=kinds & {"object", "record"})
        if len({*tags.values(), other}) == 1:
            return other
        first = f"coalesce(json_keys({TEXT}, {self._pointer})[1], '')"
        whens = " ".join(f"when '{tag}' then {then}" for tag, then in tags.items())
        return f"case {first} {whens} else {other} end"


def is_absent(columns: Columns, name: str) -> str:
    """Whether a document lacks a top-level field, in SQL over a row of its table."""
    lacks = f"json_type({TEXT}, {pointer(name)}) is null"
    return lacks if _column_of(columns, name) is None else f"{quote(name)} is null and {lacks}"


def pointer(name: str) -> str:
    """A field's place in JSON, as a SQL string."""
    return quote_text("/" + name.replace("~", "~0").replace("/", "~1"))


def _column_of(columns: Columns, name: str) -> ColumnType | None:
    for column in columns:
        if column.field == name and not column.is_spill and column.type != "null":
            return column.type
    return None


def _number(value: str, members: Sequence[Validator]) -> str:
    """Whether a member takes the number `value`: a double, finite, below 2^53 in size."""
    kinds = {member.kind for member in members}
    if "number" in kinds:
        return "true"
    allowed = [f"{value} = trunc({value})"] if "integer" in kinds else []
    numbers = [each.value for each in _literals(members) if type(each.value) in (int, float)]
    # As numbers 0.0 is -0.0, as literals they are two; and NaN is no number here.
    allowed += [
        f"{value} = {float(number)!r}::double"
        if number and abs(float(number)) < INT_SAFE_MAX
        else f"nullif({value} = 0, true)"
        for number in numbers
    ]
    return _any_of(allowed)


def _literals(members: Iterable[Validator]) -> list[LiteralValidator]:
    return [member for member in members if isinstance(member, LiteralValidator)]


def _iter_members(validator: Validator) -> Iterable[Validator]:
    if isinstance(validator, UnionValidator):
        for member in validator.members:
            yield from _iter_members(member)
    else:
        yield validator


def _sql_bool(is_right: object) -> str:
    return "true" if is_right else "false"


def _decided(is_right: object, *, maybe: object) -> str:
    if is_right:
        return "true"
    return "null" if maybe else "false"


def _any_of(parts: Iterable[str]) -> str:
    return " or ".join(f"({part})" for part in parts) or "false"


def _all_of(parts: Sequence[str]) -> str:
    return " and ".join(f"({part})" for part in parts) or "true"
