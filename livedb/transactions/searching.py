"""Searches of a run: the documents at its commit with its own writes over them, and what was read.

A search is a read like any other: it is recorded, counts as one index range, and a commit in
between that it depended on is a conflict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from livedb.schema.catalog import CatalogTable
from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.search.base_rows import NoRows
from livedb.search.fields import Equality
from livedb.search.reads import TextRead, VectorRead
from livedb.search.words import TextQuery
from livedb.transactions.transaction import Snapshot

if TYPE_CHECKING:
    from livedb.search.vectors import VectorQuery
    from livedb.search.versioned import Hit


def search_text(
    run: Snapshot,
    table: CatalogTable,
    index: SearchIndexDefinition,
    query: TextQuery,
    filters: tuple[Equality, ...],
    *,
    limit: int,
) -> list[Hit]:
    """The best `limit` documents with the words, best first."""
    run.usage.count_range(table.definition.name)
    run.reads.searches.add(TextRead(table.number, index, query, filters))
    own = run.own_writes(table)
    if not run.is_stored(table):
        from livedb.search.text_index import TextIndex  # the store has loaded it, with numpy

        nothing = TextIndex(index, NoRows())
        return nothing.search(query, filters, number=run.number, limit=limit, own=own)
    return run.store.search_text(
        table.number, index, query, filters, number=run.number, limit=limit, own=own
    )


def search_vectors(
    run: Snapshot, table: CatalogTable, index: VectorIndexDefinition, query: VectorQuery
) -> list[Hit]:
    """The nearest documents, nearest first."""
    run.usage.count_range(table.definition.name)
    own = run.own_writes(table)
    if run.is_stored(table):
        found = run.store.search_vectors(table.number, index, query, number=run.number, own=own)
    else:
        from livedb.search.vector_index import VectorIndex  # the store has loaded it, with numpy

        found = VectorIndex(index, NoRows()).search(query, number=run.number, own=own)
    last = None if len(found) < query.limit else (found[-1].score, found[-1].id)
    run.reads.searches.add(VectorRead(table.number, index, query, last))
    return found
