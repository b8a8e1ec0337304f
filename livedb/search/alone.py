"""Searches of a table that only the transaction has which makes it."""

from __future__ import annotations

from collections.abc import Sequence

from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.search.fields import Equality
from livedb.search.slots import Array
from livedb.search.text_index import TextIndex
from livedb.search.vector_index import VectorIndex
from livedb.search.vectors import VectorQuery
from livedb.search.versioned import Hit, OwnWrites
from livedb.search.words import TextQuery


def search_text_alone(
    index: SearchIndexDefinition,
    query: TextQuery,
    filters: Sequence[Equality],
    *,
    limit: int,
    own: OwnWrites,
) -> list[Hit]:
    """As `TextIndex.search`, of own writes alone."""
    nothing = TextIndex(index, _NoRows())
    return nothing.search(query, filters, number=0, limit=limit, own=own)


def search_vectors_alone(
    index: VectorIndexDefinition, query: VectorQuery, *, own: OwnWrites
) -> list[Hit]:
    """As `VectorIndex.search`, of own writes alone."""
    return VectorIndex(index, _NoRows()).search(query, number=0, own=own)


class _NoRows:
    """The rows of a table that has none."""

    def row_of(self, document_id: str) -> int | None:  # noqa: ARG002  # there is none
        return None

    def id_at(self, row: int) -> str:
        raise AssertionError(row)

    def creation_times(self, rows: Array) -> Array:
        assert not len(rows), rows
        return rows.astype(float)
