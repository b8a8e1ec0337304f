"""Why a value was refused: the path, what was found, what was expected, and near misses.

Runs only after a compiled check has refused. It walks down to the one place that is wrong:
declared fields first, then extra ones, as Convex does. In a union it follows the member the value
was most likely meant for (the only one of its type, or the one whose literals agree), where Convex
names the whole union.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import NoReturn

from livedb.errors import InvalidIdError, ValidationError
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
from livedb.values import Int64, Value, path_step
from livedb.wording import listed

_SHOWN_CHARACTERS_MAX = 200

NO_MATCH = "Value does not match validator: "
"""What Convex begins with where a value is of another type; the rest says it as well."""


def raise_refusal(
    validator: Validator,
    value: Value,
    path: str,
    *,
    tables: TableNumbers | None,
    from_wire: bool,
) -> NoReturn:
    """Raise the `ValidationError` for a value that `validator` is known to refuse."""
    _Explanation(tables, from_wire=from_wire).refuse(validator, value, path)


class _Explanation:
    def __init__(self, tables: TableNumbers | None, *, from_wire: bool) -> None:
        self.tables = tables
        self.from_wire = from_wire

    def refuse(self, validator: Validator, value: Value, path: str) -> NoReturn:
        """Raise for the first thing wrong in `value`; something is."""
        match validator:
            case ObjectValidator() if isinstance(value, dict):
                self._refuse_object(validator, value, path)
            case ArrayValidator() if isinstance(value, list):
                for position, element in enumerate(value):
                    self._descend(validator.element, element, path + path_step(position))
            case RecordValidator() if isinstance(value, dict):
                for key, item in value.items():
                    self._descend(validator.keys, key, f"{path}.keys()")
                    self._descend(validator.values, item, path + path_step(key))
            case UnionValidator():
                meant = self._meant_member(validator, value)
                if meant is not None:
                    self.refuse(meant, value, path)
            case IdValidator() if isinstance(value, str):
                self._refuse_id(validator, value, path)
        self._refuse_here(validator, value, path)

    def _accepts(self, validator: Validator, value: Value) -> bool:
        check = validator.compiled_for_wire if self.from_wire else validator.compiled
        return check(value, self.tables) is not REFUSED

    def _descend(self, validator: Validator, value: Value, path: str) -> None:
        if not self._accepts(validator, value):
            self.refuse(validator, value, path)

    def _refuse_object(
        self, validator: ObjectValidator, value: dict[str, Value], path: str
    ) -> None:
        extra = [name for name in value if name not in validator.fields]
        for name, inner in validator.items:
            if name in value:
                self._descend(inner, value[name], path + path_step(name))
            elif not inner.is_optional:
                self._refuse_missing(validator, value, path, name, extra)
        if extra:
            absent = [name for name in validator.fields if name not in value]
            headline = (
                f"Object contains extra field `{extra[0]}` that is not in the validator."
                f"{_did_you_mean(extra[0], absent or list(validator.fields))}"
            )
            raise self._error("ExtraField", headline, validator, value, path, thing="Object")

    def _refuse_missing(
        self,
        validator: ObjectValidator,
        value: dict[str, Value],
        path: str,
        name: str,
        extra: list[str],
    ) -> NoReturn:
        near = get_close_matches(name, extra, n=1)
        hint = (
            f"It has `{near[0]}`; did you mean `{name}`?"
            if near
            else "Consider `v.optional(...)` or an annotation `... | Missing` if this is expected."
        )
        headline = f"Object is missing the required field `{name}`. {hint}"
        raise self._error("MissingRequiredField", headline, validator, value, path, thing="Object")

    def _meant_member(self, union: UnionValidator, value: Value) -> Validator | None:
        """The member whose own refusal says more than "none of these"."""
        if len(union.members) == 1:
            return union.members[0]
        fitting = [member for member in union.members if _is_of_kind(member, value)]
        if len(fitting) > 1 and isinstance(value, dict):
            fitting = [member for member in fitting if self._literals_agree(member, value)]
        return fitting[0] if len(fitting) == 1 else None

    def _literals_agree(self, member: Validator, value: dict[str, Value]) -> bool:
        """Whether the fields that tell the members of a tagged union apart fit this one."""
        if not isinstance(member, ObjectValidator):
            return False
        tags = [item for item in member.items if isinstance(item[1], LiteralValidator)]
        return bool(tags) and all(
            name in value and self._accepts(literal, value[name]) for name, literal in tags
        )

    def _refuse_id(self, validator: IdValidator, value: str, path: str) -> NoReturn:
        try:
            number = table_number_of(value)
        except InvalidIdError:
            headline = f"Expected an id of table `{validator.table}` and found text that is no id."
            raise self._error("NoMatch", headline, validator, value, path) from None
        found = None if self.tables is None else self.tables.name_of(number)
        where = f"table `{found}`" if found is not None else f"no table here (number {number})"
        headline = (
            f'Found ID "{value}" from {where}, which does not match the table name in validator '
            f"`{validator}`."
        )
        raise self._error("TableNamesDoNotMatch", headline, validator, value, path)

    def _refuse_here(self, validator: Validator, value: Value, path: str) -> NoReturn:
        kind, headline = _headline(validator, value)
        raise self._error(kind, headline, validator, value, path)

    @staticmethod
    def _error(
        kind: str,
        headline: str,
        validator: Validator,
        value: Value,
        path: str,
        *,
        thing: str = "Value",
    ) -> ValidationError:
        lines = [headline, ""]
        if path:
            lines.append(f"Path: {path}")
        lines.append(f"{thing}: {_shown(value)}")
        lines.append(f"Validator: {_shortened(str(validator.required()))}")
        return ValidationError("\n".join(lines), path=path, kind=kind)


def _headline(validator: Validator, value: Value) -> tuple[str, str]:
    """The error kind and first line for a value that is wrong in itself."""
    found = f"found {_described(value)}"
    is_number = type(value) in (int, float)
    if is_number and validator.kind == "integer" and not float(value).is_integer():
        return "NotIntegral", f"Expected a whole number and {found}."
    if is_number and validator.kind in ("integer", "number") and abs(value) > INT_SAFE_MAX:
        return "OutOfRange", f"Expected a number within +-2**53 and {found}; see livedb.Int64."
    if validator.kind == "bigint" and type(value) is int:
        return "NoMatch", f"Expected an Int64 and {found}; write livedb.Int64({value})."
    if validator.kind == "datetime" and is_number:
        return "NoMatch", (
            f"Expected a datetime and {found}; write datetime.fromtimestamp(seconds, UTC)."
        )
    if isinstance(validator, LiteralValidator):
        return "LiteralValuesDoNotMatch", f"Expected {validator.value!r} and {found}."
    if isinstance(validator, UnionValidator):
        return _union_headline(validator, value)
    return "NoMatch", f"{NO_MATCH}expected {_EXPECTED[validator.kind]} and {found}."


def _union_headline(validator: UnionValidator, value: Value) -> tuple[str, str]:
    literals = [
        member.value for member in validator.members if isinstance(member, LiteralValidator)
    ]
    if not literals or len(literals) < len(validator.members) - 1:
        expected = _shortened(listed(_alternatives(validator) or ["nothing"], "or"))
        return "NoMatch", f"{NO_MATCH}expected {expected} and found {_described(value)}."
    hint = ""
    if isinstance(value, str):
        hint = _did_you_mean(value, [text for text in literals if isinstance(text, str)])
    choices = ", ".join(map(repr, literals))
    or_null = " or None" if len(literals) < len(validator.members) else ""
    return (
        "LiteralValuesDoNotMatch",
        f"Expected one of {choices}{or_null} and found {_described(value)}.{hint}",
    )


def _alternatives(validator: Validator) -> list[str]:
    """What fits, in words, each once and None last."""
    if isinstance(validator, UnionValidator):
        found = {text: None for member in validator.members for text in _alternatives(member)}
        return sorted(found, key="None".__eq__)
    if isinstance(validator, LiteralValidator):
        return [repr(validator.value)]
    return [_EXPECTED[validator.kind]]


_EXPECTED = {
    "any": "anything",
    "null": "None",
    "number": "a float",
    "integer": "an int",
    "bigint": "an Int64",
    "boolean": "a bool",
    "string": "a str",
    "bytes": "a bytes",
    "datetime": "an aware datetime",
    "id": "an id",
    "array": "a list",
    "record": "a dict",
    "object": "a dict",
}


def _is_of_kind(member: Validator, value: Value) -> bool:
    """Whether a refused value has the outer type of `member`, so that the fault lies within."""
    if isinstance(value, dict):
        return isinstance(member, ObjectValidator | RecordValidator)
    if isinstance(value, list):
        return isinstance(member, ArrayValidator)
    if isinstance(value, Int64):
        return False
    if type(value) in (int, float):
        return member.kind in ("integer", "number")
    return isinstance(value, str) and isinstance(member, IdValidator)


def _described(value: Value) -> str:
    if value is None:
        return "None"
    return f"the {type(value).__name__} {_shown(value)}"


def _shown(value: Value) -> str:
    """The value's repr, cut before it is built in full."""
    if isinstance(value, str | bytes) and len(value) > _SHOWN_CHARACTERS_MAX:
        return f"{value[:_SHOWN_CHARACTERS_MAX]!r}..."
    if isinstance(value, dict):
        shown = (f"{key!r}: {_brief(item)}" for key, item in list(value.items())[:20])
        return _shortened("{" + ", ".join(shown) + (", ...}" if len(value) > 20 else "}"))
    if isinstance(value, list):
        end = ", ...]" if len(value) > 20 else "]"
        return _shortened("[" + ", ".join(map(_brief, value[:20])) + end)
    return _shortened(repr(value))


def _brief(value: Value) -> str:
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, list):
        return "[...]" if value else "[]"
    return repr(value[:40]) + "..." if isinstance(value, str) and len(value) > 40 else repr(value)


def _shortened(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS_MAX:
        return text
    return text[:_SHOWN_CHARACTERS_MAX] + "..."


def _did_you_mean(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f" Did you mean `{near[0]}`?" if near else ""
