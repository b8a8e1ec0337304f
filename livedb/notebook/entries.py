"""A value as text that a person edits, and what a person typed as a value. No comm, no thread.

Texts are literal in a field of text. Elsewhere a value is written as the table shows it: `12`,
`0.5`, `true`, `2026-03-01 14:30`, `0x1f`, JSON for lists and objects. A field that may hold several
types reads a text as the type of the value that was there, if it can be, else as the first that
fits; a text in a field of any type is JSON if it is, else text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from livedb.canonical import canonical
from livedb.errors import InvalidValueError
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
    NullValidator,
    NumberValidator,
    ObjectValidator,
    RecordValidator,
    StringValidator,
    UnionValidator,
    Validator,
)
from livedb.text import encode_value, parse_value
from livedb.values import UNSET, Int64, Missing, Value, same_value
from livedb.wording import listed

EXPECTED: dict[type[Validator], str] = {
    BooleanValidator: "true or false",
    BytesValidator: "bytes, such as 0x1f8b",
    DatetimeValidator: "a time, such as 2026-03-01 14:30",
    Int64Validator: "a whole number",
    IntegerValidator: "a whole number",
    NumberValidator: "a number",
    ArrayValidator: "a list as JSON, such as [1, 2]",
    ObjectValidator: 'an object as JSON, such as {"a": 1}',
    RecordValidator: 'an object as JSON, such as {"a": 1}',
    NullValidator: "null",
}


def text_of_entry(value: Value | Missing, validator: Validator) -> str:
    """The text to edit; it reads as the same value again. Nothing for what is absent or null."""
    if value is None or isinstance(value, Missing):
        return ""
    text = _short_text(value)
    return text if _reads_back(text, value, validator) else encode_value(value).decode()


def _short_text(value: Value) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.astimezone(UTC).isoformat(sep=" ").removesuffix("+00:00")
        case bytes():
            return "0x" + value.hex()
        case int():  # an Int64 too
            return str(int(value))
        case float():
            return repr(value).removesuffix(".0")
        case _:
            return encode_value(value).decode()


def _reads_back(text: str, value: Value, validator: Validator) -> bool:
    try:
        return same_value(value_of_entry(text, validator, like=value), value)
    except InvalidValueError:
        return False


def value_of_entry(text: str, validator: Validator, *, like: Value | Missing = UNSET) -> Value:
    """The value that a text means in a field.

    Args:
        like: the value that was there.

    Raises:
        InvalidValueError: it means none that the field may hold; the message says what would do.
    """
    refusal: InvalidValueError | None = None
    members = list(_members(validator))
    members.sort(key=lambda member: not _accepts(member, like))
    for member in members:
        for value in _readings(text, member):
            try:
                return validator.check(canonical(value))
            except InvalidValueError as error:
                refusal = refusal or error
    if refusal is not None:
        raise refusal
    raise InvalidValueError(f"{_shortened(text)} is not {_expected(members)}.")


def cleared_entry(validator: Validator) -> Value | Missing:
    """What stands in a field that its reader empties: nothing if it may be absent, else null.

    Raises:
        InvalidValueError: the field must have a value.
    """
    if validator.is_optional:
        return UNSET
    if _accepts(validator, None):
        return None
    expected = _expected(list(_members(validator)))
    raise InvalidValueError(f"This field must have a value: {expected}.")


def _members(validator: Validator) -> Iterator[Validator]:
    if isinstance(validator, UnionValidator):
        for member in validator.members:
            yield from _members(member)
    else:
        yield validator


def _accepts(validator: Validator, value: Value | Missing) -> bool:
    if isinstance(value, Missing):
        return False
    try:
        validator.check(value)
    except InvalidValueError:
        return False
    return True


def _readings(text: str, member: Validator) -> Iterator[Value]:
    """What a text may mean for a validator that is no union; not yet checked by it."""
    if isinstance(member, StringValidator | IdValidator):
        yield text
    elif isinstance(member, LiteralValidator):
        if text == (member.value if isinstance(member.value, str) else text_of_literal(member)):
            yield member.value
    elif isinstance(member, AnyValidator):
        yield from _of_any(text)
    else:
        read = _READERS.get(type(member))
        if read is not None:
            try:
                yield read(text.strip())
            except (ValueError, OverflowError, InvalidValueError):
                return


def text_of_literal(member: LiteralValidator) -> str:
    """How a literal is written."""
    value = member.value
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _of_any(text: str) -> Iterator[Value]:
    try:
        yield parse_value(text)
    except InvalidValueError:
        yield text


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


def _number(text: str) -> float:
    return float(text.replace(",", "").replace("∞", "inf"))


def _whole(text: str) -> int:
    return int(text.replace(",", ""))


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _bytes(text: str) -> bytes:
    if not text.lower().startswith("0x"):
        raise ValueError
    return bytes.fromhex(text[2:])


def _null(text: str) -> None:
    if text != "null":
        raise ValueError


_READERS: dict[type[Validator], Callable[[str], Value]] = {
    BooleanValidator: _boolean,
    BytesValidator: _bytes,
    DatetimeValidator: _instant,
    Int64Validator: lambda text: Int64(_whole(text)),
    IntegerValidator: _whole,
    NumberValidator: _number,
    NullValidator: _null,
    ArrayValidator: parse_value,
    ObjectValidator: parse_value,
    RecordValidator: parse_value,
}


def _expected(members: list[Validator]) -> str:
    texts: list[str] = []
    for member in members:
        if isinstance(member, LiteralValidator):
            text = text_of_literal(member)
        else:
            text = EXPECTED.get(type(member), str(member))
        if text not in texts:
            texts.append(text)
    return listed(texts, "or") if texts else ""


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
