"""What a column of an Arrow table means beyond its Arrow type, written in the field's metadata.

Arrow has no word for "JSON text in livedb's text form", for the difference between int and Int64,
or for "this row lacks the field". Sources and exports mark such columns, bulk load reads the marks;
Parquet keeps them. A column without a mark means what its Arrow type says.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa

Mark: TypeAlias = Literal["json", "int64", "absent"]

HIDDEN_MARK: Final = {"livedb.hidden": "true"}
"""Metadata of a staged file in which some field of some document may have no column."""

_KEY: Final = b"livedb"
_ABSENT_PREFIX: Final = "$absent."


def marked(field: pa.Field[Any], mark: Mark) -> pa.Field[Any]:
    """`field` with a mark."""
    metadata: dict[bytes | str, bytes | str] = {_KEY: mark.encode()}
    for key, value in (field.metadata or {}).items():
        metadata.setdefault(key, value)
    return field.with_metadata(metadata)


def has_mark(field: pa.Field[Any], mark: Mark) -> bool:
    """Whether `field` bears the mark; Arrow's own JSON type counts as "json"."""
    if mark == "json" and isinstance(field.type, pa.JsonType):
        return True
    return (field.metadata or {}).get(_KEY) == mark.encode()


def absent_field(name: str) -> pa.Field[Any]:
    """The boolean column that is true where a row lacks the field `name`."""
    return marked(pa.field(_ABSENT_PREFIX + name, pa.bool_()), "absent")


def absent_name(field: pa.Field[Any]) -> str | None:
    """The field whose absence this column tells; None when it is a column of values."""
    return field.name.removeprefix(_ABSENT_PREFIX) if has_mark(field, "absent") else None
