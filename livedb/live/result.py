"""A result as it is kept, compared and told: text, not objects.

"Did it change" compares text forms, because Python's `==` says that `True == 1` and that NaN is not
NaN; and a result kept as text gives each reader a private copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from livedb.canonical import canonical
from livedb.text import decode_value, encode_value
from livedb.values import Document, Value

if TYPE_CHECKING:
    import pyarrow as pa


class Result(Protocol):
    """One value of a live query or live SQL."""

    def is_same(self, other: Result) -> bool:
        """Whether `other` is the same value to the last bit."""

    @property
    def size_bytes(self) -> int:
        """About how many bytes it takes on the wire."""

    def value(self) -> Any:
        """A private copy of the value."""


@dataclass(slots=True, eq=False)
class DocumentsResult:
    """A list of documents: one text each, so that unchanged ones are neither sent nor decoded.

    Never changed. Not frozen, which would make each three times as dear, one for every run.
    """

    ids: tuple[str, ...] | None
    """The documents' `_id`s when all have one and they differ; else None."""
    texts: tuple[bytes, ...]

    def is_same(self, other: Result) -> bool:
        return isinstance(other, DocumentsResult) and self.texts == other.texts

    @property
    def size_bytes(self) -> int:
        """Bytes of its texts."""
        return sum(map(len, self.texts))

    def value(self) -> list[Value]:
        return [_as_document(decode_value(text)) for text in self.texts]


@dataclass(slots=True, eq=False)
class ValueResult:
    """Any other value; never changed, and not frozen for the reason `DocumentsResult` gives."""

    text: bytes

    def is_same(self, other: Result) -> bool:
        return isinstance(other, ValueResult) and self.text == other.text

    @property
    def size_bytes(self) -> int:
        """Bytes of its text."""
        return len(self.text)

    def value(self) -> Value:
        return _as_document(decode_value(self.text))


@dataclass(frozen=True, slots=True, eq=False)
class TableResult:
    """The rows of a SQL statement; immutable, so that it can be handed out as it is."""

    table: pa.Table

    def is_same(self, other: Result) -> bool:
        if not isinstance(other, TableResult) or self.table.schema != other.table.schema:
            return False
        if self.table.equals(other.table):
            return True
        # Arrow says that NaN differs from NaN; rows that hold one are compared by their bytes.
        return ipc_bytes(self.table) == ipc_bytes(other.table)

    @property
    def size_bytes(self) -> int:
        """Bytes of its columns."""
        return int(self.table.nbytes)

    def value(self) -> pa.Table:
        return self.table


def ipc_bytes(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def result_of(value: Any, *, is_canonical: bool = False) -> DocumentsResult | ValueResult:
    """The result a function returned, as it is kept.

    Args:
        is_canonical: its validator has made it so; else it is copied and checked here.

    Raises:
        InvalidValueError: it cannot be a livedb value.
    """
    if isinstance(value, (list, tuple)) and all(isinstance(row, dict) for row in value):
        rows = value if is_canonical else map(canonical, value)
        texts = tuple([encode_value(row) for row in rows])
        ids = tuple([row.get("_id") for row in value])
        has_ids = all(isinstance(key, str) for key in ids) and len(set(ids)) == len(ids)
        return DocumentsResult(ids if has_ids else None, texts)
    return ValueResult(encode_value(value if is_canonical else canonical(value)))


def _as_document(value: Value) -> Value:
    return Document(value) if isinstance(value, dict) else value
