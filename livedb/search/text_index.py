"""A table's documents by the words of one text field.

Postings of documents that came lately are few and small; they are merged as they get more, the
smaller into the larger, so that a search looks at O(log n) of them and a document is moved O(log n)
times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from livedb.schema.search_indexes import SearchIndexDefinition
from livedb.search.base_rows import BaseRows
from livedb.search.fields import Equality
from livedb.search.postings import Found, Postings
from livedb.search.proximity import Term, nearness
from livedb.search.ranking import Floats, best, scores
from livedb.search.slots import Array, Growing
from livedb.search.versioned import Hit, OwnWrites, VersionedIndex
from livedb.search.words import TextQuery, words_of

_WAITING_MAX = 16_384
_WAITING_WORDS_MAX = 2_000_000
"""Documents of one list of postings, and their words; bounds the memory that making it takes, some
100 bytes a word."""


class TextIndex(VersionedIndex[str]):
    """See `VersionedIndex`.

    Memory of a document: 28 bytes, 4 for each filter field, 5 for each different word, 2 for each
    word, and its share of all different words, 48 bytes each; of one that changed since its table
    was packed 150 more.
    """

    def __init__(self, index: SearchIndexDefinition, base: BaseRows) -> None:
        super().__init__(index, base)
        self._lengths = Growing(np.int32)
        self._postings: list[Postings] = []
        self._waiting: list[tuple[int, list[bytes]]] = []
        self._waiting_words = 0
        self._oldest = 0

    def _content_bytes(self) -> int:
        return self._lengths.size_bytes + sum(part.size_bytes for part in self._postings)

    def _add(self, first: int, values: Sequence[str]) -> None:
        for slot, text in enumerate(values, first):
            words = words_of(text)
            self._lengths.extend([len(words)])
            self._waiting.append((slot, words))
            self._waiting_words += len(words)
            if len(self._waiting) >= _WAITING_MAX or self._waiting_words >= _WAITING_WORDS_MAX:
                self.settle(self._oldest)

    def settle(self, oldest: int) -> None:
        """See `VersionedIndex.settle`."""
        self._oldest = oldest
        if self._waiting:
            self._postings.append(Postings.of_documents(self._waiting))
            self._waiting = []
            self._waiting_words = 0
        parts = self._postings
        while len(parts) > 1 and len(parts[-2]) <= 2 * len(parts[-1]):
            parts[-2:] = [
                Postings.merged(parts[-2:], lambda slots: self._slots.is_needed(oldest, slots))
            ]

    def search(
        self,
        query: TextQuery,
        filters: Sequence[Equality],
        *,
        number: int,
        limit: int,
        own: OwnWrites,
    ) -> list[Hit]:
        """The best `limit` documents at commit `number`, best first, ties newest first.

        Cost: O(postings of the words), about 15 ns each; how near words stand is looked up in the
        documents that can be among the best by it.
        """
        mine = list(self._mine(own, filters))
        parts = self._postings
        if mine:
            words = enumerate((each.words for each in mine), len(self._slots))
            parts = [*parts, Postings.of_documents(words)]
        terms = [
            *(Found.joined([part.of_word(word) for part in parts]) for word in query.words),
            Found.joined([part.of_prefix(query.prefix) for part in parts]),
        ]
        slots = self._alive(terms, filters, number, own, len(mine))
        if not len(slots):
            return []
        in_index = int(np.searchsorted(slots, len(self._slots)))
        mine = [mine[slot - len(self._slots)] for slot in slots[in_index:].tolist()]
        indexed = slots[:in_index]
        lengths = np.append(self._lengths.values[indexed], [len(each.words) for each in mine])
        times = np.append(self._slots.creation_times(indexed), [each.created for each in mine])
        score = _scores(query, terms, slots, lengths, limit)
        found = [
            (
                float(score[place]),
                float(times[place]),
                self._slots.id_of(slots[place]) if place < in_index else mine[place - in_index].id,
            )
            for place in best(score, times, limit).tolist()
        ]
        found.sort(reverse=True)
        return [Hit(document_id, one) for one, _, document_id in found[:limit]]

    def _mine(self, own: OwnWrites, filters: Sequence[Equality]) -> Iterator[_Mine]:
        """What of a transaction's writes the index would have, and passes the filters."""
        for document_id, stored in own.items():
            indexed = self._fields.of_text(None if stored is None else stored[1])
            if stored is None or indexed is None:
                continue
            text, keys = indexed
            if all(keys[field] == key for field, key in filters):
                yield _Mine(document_id, stored[0], words_of(text))

    def _alive(
        self,
        terms: Sequence[Found],
        filters: Sequence[Equality],
        number: int,
        own: OwnWrites,
        mine_count: int,
    ) -> Array:
        """The slots that a search finds, in order; those of a transaction's writes are last."""
        in_index = len(self._slots)
        is_found = np.zeros(in_index + mine_count, np.bool_)
        for term in terms:
            is_found[term.slots] = True
        if own:
            is_found[list(self._slots.all_of(own))] = False
        found = np.flatnonzero(is_found)
        indexed = found[: np.searchsorted(found, in_index)]
        passing = np.ones(len(found), np.bool_)
        passing[: len(indexed)] = self._slots.is_alive(number, indexed)
        for equality in filters:
            passing[: len(indexed)] &= self._slots.passes(equality, indexed)
        return found[passing]

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        for part in self._postings:
            part._check()  # noqa: SLF001 - each structure checks itself
        assert self._lengths.count == len(self._slots)


class _Mine(NamedTuple):
    """A document that a transaction wrote, before it commits."""

    id: str
    created: float
    words: list[bytes]


def _scores(
    query: TextQuery, postings: Sequence[Found], slots: Array, lengths: Array, limit: int
) -> Floats:
    """How well the documents of some slots, which are in order, fit a search."""
    last = max(int(each.slots.max(initial=0)) for each in postings)
    documents = np.full(last + 1, len(slots), np.int32)
    documents[slots] = np.arange(len(slots), dtype=np.int32)
    terms = [Term(each, documents[each.slots], len(slots)) for each in postings]
    return scores(
        np.stack([term.counts() for term in terms]),
        lengths,
        query.pairs,
        lambda left, right, chosen: nearness(terms[left], terms[right], chosen),
        limit=limit,
    )
