"""What a commit did, as the bytes the log keeps: a sequence of tagged, versioned parts.

Replay, other nodes, time travel and backups all read these bytes, years later perhaps. A part's
tag names its kind and the version of its layout, `documents:1`; a layout never changes without a
new version, which is a new struct beside the old one. A reader meeting a tag it does not know
refuses with `FormatError` instead of guessing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from livedb.errors import DamagedError, FormatError


class DocumentWrite(NamedTuple):
    """One document after the commit."""

    table: int
    id: str
    creation_time: float
    text: bytes | None
    """The flagged text of `livedb.text`; None when the commit deleted the document."""


class DocumentsPart(msgspec.Struct, tag="documents:1", array_like=True, frozen=True):
    """Documents written or deleted, in the order of the mutation's writes."""

    writes: Sequence[DocumentWrite]


class LoadPart(msgspec.Struct, tag="load:1", array_like=True, frozen=True):
    """A staged Parquet file, named by this commit, whose rows were added to one table."""

    table: int
    file: str
    """Its name inside the workspace's `loads/` folder."""
    rows: int
    sha256: bytes


class FillPart(msgspec.Struct, tag="fill:1", array_like=True, frozen=True):
    """Defaults that every document of one table without them got."""

    table: int
    defaults: Mapping[str, bytes]
    """By path, as in `schema.filling`: the text of each value, `livedb.text.encode_value`."""


class ClearPart(msgspec.Struct, tag="clear:1", array_like=True, frozen=True):
    """Every document of one table was deleted; loads of the same commit come after it."""

    table: int


class SchemaPart(msgspec.Struct, tag="schema:1", array_like=True, frozen=True):
    """Tables of the catalog as they are from this commit on."""

    catalog_json: bytes
    """The whole new definition of each table that was added or changed."""
    removed: Sequence[str] = ()
    """Names of the tables that are gone."""


REMOVED = "removed"
"""The kind of a function that is gone from its commit on; the rest of it says nothing."""


class PushedFunction(msgspec.Struct, frozen=True):
    """A function as it was pushed, or that it was removed."""

    name: str
    kind: str
    """As `functions.definition.FunctionKind`, or `REMOVED`."""
    visibility: str
    source: str | None
    """None where Python could not say."""
    args: Any
    """Convex's validator JSON."""
    returns: Any
    """The same; None when the function does not say."""


class FunctionsPart(msgspec.Struct, tag="functions:1", array_like=True, frozen=True):
    """Functions pushed, or pushed anew with another source or signature."""

    body: bytes
    """JSON; `functions_of` reads it."""


class SettingsPart(msgspec.Struct, tag="settings:1", array_like=True, frozen=True):
    """Settings of the workspace that changed, each as it is from this commit on."""

    body: bytes
    """JSON; `settings_of` reads it."""


def schema_part(catalog: object) -> SchemaPart:
    """The part that says what the tables are from this commit on, from `Catalog.to_json()`."""
    return SchemaPart(msgspec.json.encode(catalog))


def catalog_of(part: SchemaPart) -> Any:
    """What `schema_part` was given."""
    return msgspec.json.decode(part.catalog_json)


def functions_part(functions: Sequence[PushedFunction]) -> FunctionsPart:
    """The part that says what functions are from this commit on."""
    return FunctionsPart(msgspec.json.encode(functions))


def functions_of(part: FunctionsPart) -> list[PushedFunction]:
    """What `functions_part` was given."""
    return msgspec.json.decode(part.body, type=list[PushedFunction])


def settings_part(changed: Mapping[str, Any]) -> SettingsPart:
    """The part that says what settings are from this commit on: JSON values by name."""
    return SettingsPart(msgspec.json.encode(changed))


def settings_of(part: SettingsPart) -> dict[str, Any]:
    """What `settings_part` was given."""
    return msgspec.json.decode(part.body, type=dict[str, Any])


Part = DocumentsPart | LoadPart | FillPart | ClearPart | SchemaPart | FunctionsPart | SettingsPart

WholeTablePart = LoadPart | FillPart | ClearPart
"""A part that changes a table as a whole: what it did is in no `Write`, and the fold does it."""

_NEWEST_VERSIONS = {
    "documents": 1,
    "load": 1,
    "fill": 1,
    "clear": 1,
    "schema": 1,
    "functions": 1,
    "settings": 1,
}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Part]).decode


def encode_payload(parts: Sequence[Part]) -> bytes:
    """The bytes a commit with these parts keeps. Cost: below 1 us for one document."""
    return _encode(parts)


def decode_payload(data: bytes) -> list[Part]:
    """The parts of a commit.

    Raises:
        FormatError: a part of a kind or version that a newer livedb wrote.
        DamagedError: bytes that no livedb wrote.
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refusal(data) from error


def _refusal(data: bytes) -> FormatError | DamagedError:
    """Why `data` did not decode; only the tags of its parts are looked at."""
    for tag in _tags(data):
        kind, _, version = tag.partition(":")
        newest = _NEWEST_VERSIONS.get(kind, 0)
        if version.isascii() and version.isdecimal() and int(version) > newest:
            return FormatError(
                f"a commit holds a part {tag!r}, and this livedb knows {kind!r} up to version"
                f" {newest}; open the workspace with a newer livedb"
            )
    return DamagedError(
        "a commit's payload cannot be read; run livedb.repair(path) to see what is left"
    )


def _tags(data: bytes) -> list[str]:
    try:
        parts: Any = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    if not isinstance(parts, list):
        return []
    return [part[0] for part in parts if isinstance(part, list) and part and type(part[0]) is str]
