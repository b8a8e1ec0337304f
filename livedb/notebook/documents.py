"""The rows of an Arrow table as documents: what `len`, iteration and `[...]` of a result give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from livedb.interchange.arrow import FieldType, typed_containers
from livedb.values import Document
from livedb.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 1024
"""Rows made at once while a table is iterated."""


class RowDocuments(Sequence[Document]):
    """The rows of a table, each made a document when it is asked for.

    The values are those of SQL: a field that a document lacks is None, as a null one is.

    Args:
        fields: the schema types of columns; without them lists and objects are JSON text.
    """

    def __init__(self, table: pa.Table, fields: Mapping[str, FieldType] | None = None) -> None:
        self._table = table
        self._fields = fields

    def __len__(self) -> int:
        return self._table.num_rows

    def __iter__(self) -> Iterator[Document]:
        for start in range(0, len(self), _BATCH_ROWS):
            yield from self._documents(self._table.slice(start, _BATCH_ROWS))

    @overload
    def __getitem__(self, at: int) -> Document: ...
    @overload
    def __getitem__(self, at: slice) -> list[Document]: ...

    def __getitem__(self, at: Any) -> Document | list[Document]:
        if isinstance(at, str):
            raise TypeError(
                f"Rows are taken by number, as [0] or [1:]; column {at!r} is .df[{at!r}]"
            )
        if isinstance(at, int) and not -len(self) <= at < len(self):
            raise IndexError(f"There is no row {at}: the result has {counted(len(self), 'row')}")
        places = range(len(self))[at]
        if isinstance(places, int):
            return self._documents(self._table.slice(places, 1))[0]
        return self._documents(self._table.take(list(places)))

    def _documents(self, rows: pa.Table) -> list[Document]:
        if self._fields:
            rows = typed_containers(rows, self._fields)
        return [Document(row) for row in rows.to_pylist()]
