"""The packed documents of a table, as indexes ask for them: by row, in id order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from livedb.search.slots import Array  # with numpy


class BaseRows(Protocol):
    """What an index needs to know of documents that it does not keep itself."""

    def row_of(self, document_id: str) -> int | None:
        """Where a document is."""

    def id_at(self, row: int) -> str:
        """The document at a row."""

    def creation_times(self, rows: Array) -> Array:
        """When the documents at these rows were created."""


class NoRows:
    """The rows of a table that has none."""

    def row_of(self, document_id: str) -> int | None:  # noqa: ARG002  # there is none
        """See `BaseRows`."""
        return None

    def id_at(self, row: int) -> str:
        """See `BaseRows`."""
        raise AssertionError(row)

    def creation_times(self, rows: Array) -> Array:
        """See `BaseRows`."""
        assert not len(rows), rows
        return rows.astype(float)
