"""What a search depended on, so precisely that a commit which cannot change it does not touch it.

A text search depends on the documents that have one of its words and pass its filters: their
statistics are all there are (`ranking`). A vector search depends on the documents it found, and on
those that would come before the last of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.search.fields import Equality, Keys, indexed_fields
from livedb.search.words import TextQuery, words_of

if TYPE_CHECKING:
    from livedb.search.vectors import VectorQuery  # with numpy


@dataclass(frozen=True, slots=True)
class TextRead:
    """One text search."""

    table: int
    index: SearchIndexDefinition
    query: TextQuery
    filters: tuple[Equality, ...]

    def touches(self, document_id: str, text: bytes | None) -> bool:  # noqa: ARG002  # VectorRead
        """Whether the search found, or would find, a document with this stored text."""
        indexed = indexed_fields(self.index).of_text(text)
        if indexed is None:
            return False
        value, keys = indexed
        return all(keys[field] == key for field, key in self.filters) and self.query.is_in(
            set(words_of(value))
        )


@dataclass(frozen=True, slots=True)
class VectorRead:
    """One vector search.

    Attributes:
        last: score and id of the last document found; None when there were fewer than asked for,
            so that every further one would be found.
    """

    table: int
    index: VectorIndexDefinition
    query: VectorQuery
    last: tuple[float, str] | None

    def touches(self, document_id: str, text: bytes | None) -> bool:
        """Whether the search found, or would find, this version of a document."""
        indexed = indexed_fields(self.index).of_text(text)
        if indexed is None:
            return False
        return self.finds(document_id, self.query.score(indexed[0]), indexed[1])

    def finds(self, document_id: str, score: float, keys: Keys) -> bool:
        """Whether a document with this score and these filter keys is, or would be, found."""
        if not self.query.takes(keys):
            return False
        if self.last is None:
            return True
        last_score, last_id = self.last
        return (-score, document_id) <= (-last_score, last_id)


SearchRead: TypeAlias = TextRead | VectorRead
