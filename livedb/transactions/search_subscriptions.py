"""Which searches of one table does a write touch? The part of `subscriptions` that knows.

The words of a document are looked up, and what they begin with: so a commit looks at the text
searches that have a word in common with it, whatever number of others there is. A vector is
compared with those of all vector searches at once, about 0.5 us each.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.search.fields import indexed_fields
from livedb.search.reads import SearchRead, TextRead, VectorRead
from livedb.search.words import words_of
from livedb.store.contract import StoredDocument, Write

S = TypeVar("S", bound=Hashable)


class _TextSearches(Generic[S]):
    """The searches of one text index."""

    def __init__(self, index: SearchIndexDefinition) -> None:
        self._index = index
        self.followers: dict[TextRead, set[S]] = {}
        self._by_word: dict[bytes, set[TextRead]] = {}
        self._by_prefix: dict[bytes, set[TextRead]] = {}
        self._lengths: dict[int, int] = {}
        """How many prefixes there are of each length."""

    def add(self, search: TextRead, subscription: S) -> None:
        followers = self.followers.setdefault(search, set())
        if not followers:
            for word in search.query.words:
                self._by_word.setdefault(word, set()).add(search)
            prefix = search.query.prefix
            if prefix not in self._by_prefix:
                self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1
            self._by_prefix.setdefault(prefix, set()).add(search)
        followers.add(subscription)

    def remove(self, search: TextRead, subscription: S) -> None:
        followers = self.followers[search]
        followers.discard(subscription)
        if followers:
            return
        del self.followers[search]
        for word in search.query.words:
            _discard(self._by_word, word, search)
        prefix = search.query.prefix
        _discard(self._by_prefix, prefix, search)
        if prefix not in self._by_prefix:
            self._lengths[len(prefix)] -= 1
            if not self._lengths[len(prefix)]:
                del self._lengths[len(prefix)]

    def collect(self, document: StoredDocument, into: set[S]) -> None:
        indexed = indexed_fields(self._index).of_text(document.text)
        if indexed is None:
            return
        text, keys = indexed
        for search in self._with_words(set(words_of(text))):
            if all(keys[field] == key for field, key in search.filters):
                into |= self.followers[search]

    def _with_words(self, words: set[bytes]) -> set[TextRead]:
        found: set[TextRead] = set()
        for word in words:
            found |= self._by_word.get(word, _NONE)
            for length in self._lengths:
                found |= self._by_prefix.get(word[:length], _NONE)
        return found


class _VectorSearches(Generic[S]):
    """The searches of one vector index."""

    def __init__(self, index: VectorIndexDefinition) -> None:
        self._index = index
        self.followers: dict[VectorRead, set[S]] = {}
        self._by_vector: dict[bytes, set[VectorRead]] = {}
        self._asked: tuple[list[bytes], Any] | None = None
        """The vectors searched for, and the matrix of them; None until a write needs it."""

    def add(self, search: VectorRead, subscription: S) -> None:
        self.followers.setdefault(search, set()).add(subscription)
        vector = search.query.vector
        if vector not in self._by_vector:
            self._asked = None
        self._by_vector.setdefault(vector, set()).add(search)

    def remove(self, search: VectorRead, subscription: S) -> None:
        _discard(self.followers, search, subscription)
        if search not in self.followers:
            vector = search.query.vector
            _discard(self._by_vector, vector, search)
            if vector not in self._by_vector:
                self._asked = None

    def collect(self, document_id: str, document: StoredDocument, into: set[S]) -> None:
        from livedb.search.vectors import directions, scores  # the store has loaded it, with numpy

        indexed = indexed_fields(self._index).of_text(document.text)
        if indexed is None:
            return
        if self._asked is None:
            vectors = list(self._by_vector)
            self._asked = vectors, directions(vectors)
        vectors, asked = self._asked
        numbers, keys = indexed
        for vector, score in zip(vectors, scores(numbers, asked), strict=True):
            for search in self._by_vector[vector]:
                if search.finds(document_id, score, keys):
                    into |= self.followers[search]


class SearchSubscriptions(Generic[S]):
    """The searches of one table by what touches them; false when there are none."""

    def __init__(self) -> None:
        self._text: dict[SearchIndexDefinition, _TextSearches[S]] = {}
        self._vector: dict[VectorIndexDefinition, _VectorSearches[S]] = {}

    def __bool__(self) -> bool:
        return bool(self._text or self._vector)

    def add(self, search: SearchRead, subscription: S) -> None:
        """Register a search of a subscription."""
        if isinstance(search, TextRead):
            if search.index not in self._text:
                self._text[search.index] = _TextSearches(search.index)
            self._text[search.index].add(search, subscription)
        else:
            if search.index not in self._vector:
                self._vector[search.index] = _VectorSearches(search.index)
            self._vector[search.index].add(search, subscription)

    def remove(self, search: SearchRead, subscription: S) -> None:
        """Forget a search that was registered."""
        if isinstance(search, TextRead):
            texts = self._text[search.index]
            texts.remove(search, subscription)
            if not texts.followers:
                del self._text[search.index]
        else:
            vectors = self._vector[search.index]
            vectors.remove(search, subscription)
            if not vectors.followers:
                del self._vector[search.index]

    def collect(self, write: Write, into: set[S]) -> None:
        """Add the subscriptions whose searches a write touches."""
        for document in _versions(write):
            for texts in self._text.values():
                texts.collect(document, into)
            for vectors in self._vector.values():
                vectors.collect(write.id, document, into)


def _versions(write: Write) -> Iterator[StoredDocument]:
    if write.old is not None:
        yield write.old
    if write.new is not None:
        yield write.new


_NONE: frozenset[TextRead] = frozenset()

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Hashable)


def _discard(multimap: dict[K, set[T]], key: K, item: T) -> None:
    found = multimap[key]
    found.discard(item)
    if not found:
        del multimap[key]
