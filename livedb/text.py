"""The one text form of documents: compact JSON in which every value comes back to the last bit.

`3` is an int and `3.0` a float. Four tags hold what JSON has no form for:

    {"$bytes": base64}  {"$int64": "decimal"}  {"$float": "nan" | "inf" | "-inf"}
    {"$datetime": "2026-01-31T12:00:00.000000Z"}

No field name starts with `$`, so a tag is never mistaken for a document's own object. The commit
log, the row store and DuckDB all hold this form; Convex's wire form is made at the edge
(`livedb.protocol.convex_json`).

A stored text starts with one flag byte. Most documents are *plain*: msgspec alone writes and reads
them, several times faster than anything that walks the tree in Python. The others are *tagged*.
The flag, not the content, decides how a text is read, because msgspec by itself would turn NaN into
null and bytes and datetimes into text.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from livedb.errors import InvalidValueError
from livedb.sizes import needs_no_tags
from livedb.values import Document, Int64, Value

PLAIN = b"\x00"
"""First byte of a text that msgspec alone reads."""
TAGGED = b"\x01"
"""First byte of a text that holds tags."""

_PLAIN_BYTE = PLAIN[0]
_AFTER_FLAG = slice(1, None)  # made once: building it costs a third of taking it
_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode
_decode_lines = msgspec.json.Decoder().decode_lines

_find_texts = re.compile(rb"[\x00\x01][^\x00\x01]*").findall
"""Cuts texts that lie one after the other: JSON escapes control characters, so a flag is one."""
_FLAGS_TO_NEWLINES = bytes.maketrans(PLAIN + TAGGED, b"\n\n")
_NO_FLAGS = bytes(range(2, 256))

_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def encode_fields(fields: Mapping[str, Value], *, is_plain: bool | None = None) -> bytes:
    """The stored text of a document's canonical fields, `_id` and `_creationTime` left out.

    Args:
        fields: in canonical types.
        is_plain: as `prepare_fields` or `measure` said; None looks here.
    Cost: about 0.3 us for six plain primitives when `is_plain` is given.
    """
    if "_id" in fields or "_creationTime" in fields:
        fields = {
            name: value for name, value in fields.items() if name not in ("_id", "_creationTime")
        }
    if needs_no_tags(fields) if is_plain is None else is_plain:
        return PLAIN + _encode_json(fields)
    return TAGGED + _encode_json(_with_tags(fields))


def decode_fields(text: bytes | memoryview) -> dict[str, Value]:
    """The fields of a stored text. Cost: about 0.35 us for six plain primitives."""
    fields: dict[str, Value] = _decode_json(text[_AFTER_FLAG])
    if text[0] != _PLAIN_BYTE:
        _untag_dict(fields)
    return fields


def decode_document(document_id: str, stored: tuple[float, bytes]) -> Document:
    """The document of a stored version: a private copy. Cost: about 0.55 us for six fields.

    Args:
        document_id: the `_id` it is stored under.
        stored: creation time and stored text, a `livedb.store.contract.StoredDocument`.
    """
    creation_time, text = stored
    document = Document(_decode_json(text[_AFTER_FLAG]))
    if text[0]:
        _untag_dict(document)
    document["_id"] = document_id
    document["_creationTime"] = creation_time
    return document


def decode_texts(texts: bytes) -> list[dict[str, Value]]:
    """The fields of stored texts that lie one after the other.

    Cost: about 0.3 us for six plain primitives: with their flags made newlines, the texts are JSON
    Lines, which msgspec reads in one call.
    """
    if TAGGED not in texts:
        return _decode_lines(texts.replace(PLAIN, b"\n"))
    decoded: list[dict[str, Value]] = _decode_lines(texts.translate(_FLAGS_TO_NEWLINES))
    flags = texts.translate(None, _NO_FLAGS)
    row = flags.find(TAGGED)
    while row >= 0:
        _untag_dict(decoded[row])
        row = flags.find(TAGGED, row + 1)
    return decoded


def decode_block(
    ids: Sequence[str], creation_times: Sequence[float], texts: bytes
) -> list[Document]:
    """The documents of a block of an index scan (`livedb.store.contract.Block`)."""
    documents = list(map(Document, decode_texts(texts)))
    for document, document_id, creation_time in zip(documents, ids, creation_times, strict=True):
        document["_id"] = document_id
        document["_creationTime"] = creation_time
    return documents


def split_texts(texts: bytes) -> list[bytes]:
    """Stored texts that lie one after the other, each by itself."""
    found: list[bytes] = _find_texts(texts)
    return found


def encode_value(value: Value) -> bytes:
    """The text of any canonical value, without a flag: tags are always looked for when read."""
    return _encode_json(value if needs_no_tags(value) else _with_tags(value))


def decode_value(data: bytes | memoryview) -> Value:
    """The value of a text made by `encode_value`, or of a stored text without its flag."""
    return _without_tags(_decode_json(data))


def parse_value(text: str) -> Value:
    """The value of a text that a person wrote in the form of `encode_value`.

    Raises:
        InvalidValueError: it is none.
    """
    try:
        return decode_value(text.encode())
    except (msgspec.DecodeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidValueError(f"This is no JSON of a value: {error}") from error


def _with_tags(value: Value) -> Value:
    """A copy of `value` that msgspec writes as the tagged form."""
    kind = type(value)
    if kind is dict or kind is Document:
        return {
            name: item if type(item) in _UNTAGGED else _with_tags(item)
            for name, item in value.items()
        }
    if kind is list:
        return [item if type(item) in _UNTAGGED else _with_tags(item) for item in value]
    if kind is float:
        return value if value - value == 0.0 else {"$float": repr(value)}
    if kind is bytes:
        return {"$bytes": b64encode(value).decode()}
    if kind is Int64:
        return {"$int64": str(value)}
    if kind is datetime:
        return {"$datetime": _datetime_text(value)}
    assert kind in _UNTAGGED, f"not a canonical value: {kind}"
    return value


def _datetime_text(value: datetime) -> str:
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _without_tags(value: Value) -> Value:
    """`value` as decoded from JSON with its tags replaced, in place where it is a container."""
    kind = type(value)
    if kind is list:
        for index, item in enumerate(value):
            if type(item) in _CONTAINERS:
                value[index] = _without_tags(item)
    elif kind is dict:
        if len(value) == 1:
            (name,) = value
            if name[:1] == "$":
                return _READERS[name](value[name])
        _untag_dict(value)
    return value


def _untag_dict(fields: dict[str, Value]) -> None:
    for name, item in fields.items():
        if type(item) in _CONTAINERS:
            fields[name] = _without_tags(item)  # an existing key: the dict keeps its shape


_UNTAGGED = frozenset({type(None), bool, int, str})
_CONTAINERS = frozenset({dict, list})
_READERS: dict[str, Any] = {
    "$bytes": b64decode,
    "$int64": lambda text: Int64(int(text)),
    "$float": _FLOATS.__getitem__,
    "$datetime": datetime.fromisoformat,
}
