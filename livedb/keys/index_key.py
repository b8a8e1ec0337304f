"""The key of a document in an index: its fields' keys, then its creation time's, then its id's.

Everybody who orders documents makes keys here, so the order of a loaded table, of a transaction's
own writes and of a subscription cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct

from livedb.keys.encoding import encode_key
from livedb.values import UNSET, Missing, Value

Path = tuple[str, ...]

_pack_time = Struct(">BdB").pack


def split_path(field: str) -> Path:
    """`"a.b"` as the names to walk."""
    return tuple(field.split("."))


def value_at(fields: Mapping[str, Value], path: Path) -> Value | Missing:
    """The value at `path`, UNSET where a name is absent or the walk meets something else."""
    value: Value = fields
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return UNSET
        value = value[name]
    return value


def key_suffix(creation_time: float, document_id: str) -> bytes:
    """The end of every index key of a document; alone, its key in `by_creation_time`.

    The same as `encode_key` of both: creation times are positive, whose key negates them, and an id
    has nothing to escape.
    """
    return _pack_time(0x0D, -creation_time, 0x10) + document_id.encode() + b"\x00"


def index_key(fields: Mapping[str, Value], paths: Sequence[Path], suffix: bytes) -> bytes:
    """The key of a document with these `fields` in an index over `paths`."""
    parts = [
        encode_key(fields.get(path[0], UNSET) if len(path) == 1 else value_at(fields, path))
        for path in paths
    ]
    parts.append(suffix)
    return b"".join(parts)
