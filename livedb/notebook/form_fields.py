"""A function's arguments as fields of a form, and what was typed into them as arguments.

Pure: validators come in, plain JSON goes out to pages (`fields_of`); drafts come back, which are
what the fields hold, and become values by the very validators that a call is checked with
(`read_drafts`). So a page knows nothing of types but how to draw them.

A draft is text for everything that is typed, a boolean, the position of a choice, a list, an
object of drafts, `{"of": position, "draft": ..}` for one of several types, and null for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from livedb.canonical import canonical
from livedb.errors import InvalidValueError, ValidationError
from livedb.notebook.overview import type_text
from livedb.schema.annotations import FunctionSignature
from livedb.schema.validators import (
    ArrayValidator,
    BooleanValidator,
    IdValidator,
    LiteralValidator,
    NullValidator,
    ObjectValidator,
    TableNumbers,
    UnionValidator,
    Validator,
    iter_nested,
)
from livedb.text import encode_value, parse_value
from livedb.values import Int64, Missing, Value, path_step

Json = Any

LONG_TEXTS = frozenset(
    {"body", "comment", "comments", "content", "description", "details", "message", "note"}
    | {"notes", "summary", "text"}
)
"""Names of texts that people write more than a line into."""

_TYPED = {
    "string": "text",
    "integer": "integer",
    "bigint": "integer",
    "number": "number",
    "datetime": "datetime",
}
NEEDED = "This is needed."

_WHOLE = re.compile(r"[+-]?\d{1,30}$")


class _Absent:
    """What a field gives that says nothing."""


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Shape:
    """A validator with `None` taken out of it: what a field asks for.

    Attributes:
        choices: the values to choose from, when it is a choice.
    """

    validator: Validator
    is_nullable: bool
    choices: tuple[Value, ...] | None


@dataclass(slots=True)
class Reading:
    """What has been read of drafts, and what is wrong with it by path."""

    tables: TableNumbers | None = None
    errors: dict[str, str] = field(default_factory=dict)

    def refuse(self, path: str, message: str) -> _Absent:
        """Note what is wrong; the first thing said of a place stays."""
        self.errors.setdefault(path, message)
        return ABSENT


def shape_of(validator: Validator) -> Shape:
    """What a field of this type asks for."""
    members = validator.members if isinstance(validator, UnionValidator) else (validator,)
    others = tuple(each for each in members if not isinstance(each, NullValidator))
    is_nullable = len(others) < len(members)
    if others and all(isinstance(each, LiteralValidator) for each in others):
        literals = [each.value for each in others if isinstance(each, LiteralValidator)]
        return Shape(validator, is_nullable, tuple(literals))
    if is_nullable and len(others) == 1 and isinstance(others[0], BooleanValidator):
        return Shape(validator, is_nullable, (True, False))
    if len(others) == 1:
        return Shape(others[0], is_nullable, None)
    return Shape(UnionValidator(others) if others else validator, is_nullable, None)


def fields_of(signature: FunctionSignature) -> list[Json]:
    """The fields of a function's arguments, in order."""
    filled = _with_default(signature)
    return [_field(name, of, has_default=name in filled) for name, of in signature.args.items]


def _with_default(signature: FunctionSignature) -> frozenset[str]:
    """The arguments, by wire name, that have a value when none is given."""
    return frozenset(
        signature.wire_names[name]
        for name, value in signature.defaults.items()
        if not isinstance(value, Missing)
    )


def tables_of(signature: FunctionSignature) -> frozenset[str]:
    """The tables whose documents are picked in the form."""
    return frozenset(
        each.table for each in iter_nested(signature.args) if isinstance(each, IdValidator)
    )


def _field(name: str, validator: Validator, *, has_default: bool = False) -> Json:
    is_long = name.lower() in LONG_TEXTS
    return _node(validator, is_long=is_long) | {
        "name": name,
        "step": path_step(name),
        "optional": validator.is_optional,
        "default": has_default,
    }


def _node(validator: Validator, *, is_long: bool = False) -> Json:
    shape = shape_of(validator)
    return {"nullable": shape.is_nullable, "type": type_text(validator)} | _kind(shape, is_long)


def _kind(shape: Shape, is_long: bool) -> Json:  # noqa: FBT001 - one caller
    of = shape.validator
    if shape.choices is not None:
        return {"kind": "choice", "options": [_option(each) for each in shape.choices]}
    match of:
        case BooleanValidator():
            return {"kind": "checkbox"}
        case IdValidator():
            return {"kind": "id", "table": of.table}
        case ArrayValidator():
            return {"kind": "list", "element": _node(of.element)}
        case ObjectValidator():
            return {"kind": "object", "fields": [_field(name, each) for name, each in of.items]}
        case UnionValidator():
            return {"kind": "variant", "members": [_node(each) for each in of.members]}
    kind = _TYPED.get(of.kind, "json")
    return {"kind": kind} | ({"long": is_long} if kind == "text" else {})


def _option(value: Value) -> str:
    return value if isinstance(value, str) else str(value)


# -- values to drafts ------------------------------------------------------------------------------


def draft_of(validator: Validator, value: Value) -> Json:
    """What a field of this type holds that shows a value: a default, something preset."""
    shape, value = shape_of(validator), canonical(value)
    of = shape.validator
    if value is None and (shape.is_nullable or of.kind == "null"):
        return None
    if shape.choices is not None:
        same = [type(each) is type(value) and each == value for each in shape.choices]
        return same.index(True) if True in same else None
    match of:
        case BooleanValidator():
            return bool(value)
        case ArrayValidator() if isinstance(value, list):
            return [draft_of(of.element, each) for each in value]
        case ObjectValidator() if isinstance(value, dict):
            fields = of.fields
            return {name: draft_of(fields[name], each) for name, each in value.items()}
        case UnionValidator():
            return _draft_of_member(of, value)
    return _typed_text(of, value)


def _draft_of_member(of: UnionValidator, value: Value) -> Json:
    for at, member in enumerate(of.members):
        try:
            member.check(value)
        except ValidationError:
            continue
        return {"of": at, "draft": draft_of(member, value)}
    return None


def _typed_text(of: Validator, value: Value) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if of.kind in _TYPED or of.kind == "id":
        return str(value)
    return encode_value(value).decode()


# -- drafts to values ------------------------------------------------------------------------------


def read_drafts(
    signature: FunctionSignature, drafts: Json, *, tables: TableNumbers | None
) -> tuple[dict[str, Value], dict[str, str]]:
    """The arguments that drafts say, and what is wrong with them, by path such as `.tags[2]`."""
    reading = Reading(tables)
    values = _read_fields(signature.args, drafts, "", reading, _with_default(signature))
    return values, reading.errors


def _read_fields(
    of: ObjectValidator,
    drafts: Json,
    path: str,
    reading: Reading,
    with_default: frozenset[str] = frozenset(),
) -> dict[str, Value]:
    given: Mapping[str, Json] = drafts if isinstance(drafts, dict) else {}
    found: dict[str, Value] = {}
    for name, each in of.items:
        here = path + path_step(name)
        if each.is_optional and _says_nothing(
            each, given.get(name), has_default=name in with_default
        ):
            continue
        # Nobody who leaves a field alone means an empty text, unless it is the default.
        may_be_empty = name in with_default
        value = _read(each.required(), given.get(name), here, reading, may_be_empty=may_be_empty)
        if not isinstance(value, _Absent):
            found[name] = value
    return found


def _is_text(validator: Validator) -> bool:
    """Whether a field asks for a text, and for nothing else."""
    shape = shape_of(validator)
    return shape.choices is None and not shape.is_nullable and shape.validator.kind == "string"


def _says_nothing(validator: Validator, draft: Json, *, has_default: bool) -> bool:
    """Whether an argument that need not be given is not."""
    shape = shape_of(validator)
    if shape.is_nullable and has_default:
        return False  # cleared: it is None now, and not the default again
    return draft is None or (draft == "" and not (_is_text(validator) and has_default))


def _read(
    validator: Validator, draft: Json, path: str, reading: Reading, *, may_be_empty: bool
) -> Value | _Absent:
    shape = shape_of(validator)
    if draft is None or (draft == "" and not (may_be_empty and _is_text(validator))):
        return _nothing(shape, path, reading)
    if shape.choices is not None:
        if type(draft) is int and 0 <= draft < len(shape.choices):
            return shape.choices[draft]
        return reading.refuse(path, "Choose one.")
    of = shape.validator
    match of:
        case ArrayValidator() if isinstance(draft, list):
            return _read_list(of, draft, path, reading)
        case ObjectValidator() if isinstance(draft, dict):
            return _read_fields(of, draft, path, reading)
        case UnionValidator() if isinstance(draft, dict):
            at = draft.get("of")
            if type(at) is not int or not 0 <= at < len(of.members):
                return reading.refuse(path, "Choose a type.")
            member, inner = of.members[at], draft.get("draft")
            return _read(member, inner, path, reading, may_be_empty=may_be_empty)
    return _checked(of, draft, path, reading)


def _nothing(shape: Shape, path: str, reading: Reading) -> Value | _Absent:
    if shape.is_nullable or shape.validator.kind == "null":
        return None
    if isinstance(shape.validator, BooleanValidator):
        return False
    if isinstance(shape.validator, ArrayValidator):
        return []
    if isinstance(shape.validator, ObjectValidator):
        return _read_fields(shape.validator, {}, path, reading)
    chosen = shape.choices is not None or shape.validator.kind in {"id", "union"}
    return reading.refuse(path, "Choose one." if chosen else NEEDED)


def _read_list(of: ArrayValidator, draft: Sequence[Json], path: str, reading: Reading) -> Value:
    values = [
        _read(of.element, each, path + path_step(at), reading, may_be_empty=True)
        for at, each in enumerate(draft)
    ]
    return [each for each in values if not isinstance(each, _Absent)]


def _checked(of: Validator, draft: Json, path: str, reading: Reading) -> Value | _Absent:
    """A value that a person typed, by its validator."""
    try:
        value = _typed_value(of, draft)
        return of.check(canonical(value), path, tables=reading.tables)
    except _NotTypedError as error:
        return reading.refuse(path, str(error))
    except InvalidValueError as error:
        return reading.refuse(path, first_line(error.message))


class _NotTypedError(Exception):
    """A text is none of what a field asks for; a message for whoever types."""


def _typed_value(of: Validator, draft: Json) -> Value:
    kind = _TYPED.get(of.kind, "json")
    if not isinstance(draft, str) or isinstance(of, BooleanValidator | IdValidator):
        return draft  # a page's JSON, which is checked next
    text = draft.strip()
    try:
        match kind:
            case "integer":
                if not _WHOLE.match(text):
                    raise _NotTypedError("This is no whole number.")
                return Int64(int(text)) if of.kind == "bigint" else int(text)
            case "number":
                return float(text)
            case "datetime":
                return datetime.fromisoformat(text)
            case "json":
                return parse_value(text)
    except (ValueError, TypeError, OverflowError) as error:
        wanted = {"number": "number", "datetime": "date and time"}[kind]
        raise _NotTypedError(f"This is no {wanted}.") from error
    return draft


def first_line(message: str) -> str:
    """What is wrong, without the place and the value, which stand beside it."""
    return message.partition("\n")[0]
