"""A result in memory that implements `RowSource`, for tests without a workspace.

`MemorySource` is to the widget what a query handle is: it holds published states and tells its
table of changes. Every state it gives stays what it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from livedb.errors import NonexistentDocumentError
from livedb.notebook.downloads import PageFile
from livedb.notebook.formats import ColumnFormat
from livedb.notebook.rows import RowSource, RowState


class MemorySource:
    """Documents by `_id`, in order; `commit` publishes a new state and notifies."""

    editor = None
    selected: Sequence[str] = ()
    cell: tuple[str, str] | None = None

    def __init__(
        self,
        documents: Sequence[Mapping[str, Any]] = (),
        *,
        schema: pa.Schema | None = None,
        fields: Mapping[str, str] | None = None,
        title: str = "memory()",
        key: str | None = "_id",
    ) -> None:
        self.title = title
        self.fields = dict(fields or {})
        self.key = key
        self.formats: Mapping[str, ColumnFormat] = {}
        self.notify: Callable[[], object] = lambda: None
        self.windows_read: list[tuple[int, int]] = []
        self._lock = threading.Lock()
        self._schema = schema
        self._documents = {
            str(each.get("_id", at)): dict(each) for at, each in enumerate(documents)
        }
        self._state = self._published(number=1, error=None)

    @classmethod
    def of_table(
        cls, table: pa.Table, *, title: str = "memory()", key: str | None = None
    ) -> MemorySource:
        """A source of rows that never change."""
        source = cls(title=title, key=key)
        source._state = _state_of(source, table, number=1, error=None)
        return source

    def select(self, keys: Sequence[str], cell: tuple[str, str] | None) -> None:
        self.selected, self.cell = keys, cell

    def file(self, name: str, *, is_picture: bool) -> PageFile:
        raise NonexistentDocumentError("This source has no files.")

    def reference(self, key: str) -> None:
        """Its ids name nothing."""

    def gather(self, sources: Sequence[RowSource]) -> Sequence[tuple[RowSource, RowState]]:
        return [(self, self.current())]

    def current(self) -> RowState:
        return replace(self._state, formats=self.formats)

    def shown(self) -> RowState:
        return self.current()

    def commit(self, changes: Mapping[str, Mapping[str, Any] | None] = ()) -> None:
        """Patch, insert (at the end) or, with None, delete documents by id."""
        with self._lock:
            for key, fields in dict(changes).items():
                if fields is None:
                    del self._documents[key]
                else:
                    self._documents[key] = (
                        {"_id": key} | self._documents.get(key, {}) | dict(fields)
                    )
            self._state = self._published(number=self._state.number + 1, error=None)
        self.notify()

    def put_first(self, key: str, fields: Mapping[str, Any]) -> None:
        """Insert a document above all others."""
        self._documents = {key: {"_id": key} | dict(fields)} | self._documents
        self.commit({key: fields})

    def fail(self, message: str | None) -> None:
        """Publish a failed run: the message beside the last good rows; None is a good run again."""
        self._state = self._published(number=self._state.number + 1, error=message)
        self.notify()

    def _published(self, *, number: int, error: str | None) -> RowState:
        table = pa.Table.from_pylist(self._rows(), schema=self._schema)
        return _state_of(self, table, number=number, error=error)

    def _rows(self) -> list[dict[str, Any]]:
        """Every document with all fields that any has: pyarrow looks at the first only."""
        names = dict.fromkeys(name for each in self._documents.values() for name in each)
        return [{name: each.get(name) for name in names} for each in self._documents.values()]


def _state_of(source: MemorySource, table: pa.Table, *, number: int, error: str | None) -> RowState:
    def window(start: int, stop: int) -> pa.Table:
        source.windows_read.append((start, stop))
        return table.slice(start, stop - start)

    return RowState(
        number=number,
        row_count=table.num_rows,
        fields=source.fields or dict.fromkeys(table.column_names, "any"),
        error=error,
        key=source.key,
        window=window,
        identity=table,
    )
