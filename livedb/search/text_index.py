"""A table's documents by the words of one text field.

Postings of documents that came lately are few and small; they are merged as they get more, the
smaller into the larger, so that a search looks at O(log n) of them and a document is moved O(log n)
times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from livedb.schema.search_indexes import SearchIndexDefinition
from livedb.search.base_rows import BaseRows
from livedb.search.fields import Equality
from livedb.search.postings import Postings
from livedb.search.ranking import best, scores
from livedb.search.slots import Array, Growing
from livedb.search.versioned import Hit, OwnWrites, VersionedIndex
from livedb.search.words import TextQuery, words_of

_WAITING_MAX = 16_384
"""Documents of one list of postings; bounds the memory that making it takes."""


class TextIndex(VersionedIndex[str]):
    """See `VersionedIndex`.

    Memory of a document: 28 bytes, 4 for each filter field, 5 for each different word, and its
    share of the words, 40 bytes each; of one that changed since its table was packed 150 more.
    """

    def __init__(self, index: SearchIndexDefinition, base: BaseRows) -> None:
        super().__init__(index, base)
        self._lengths = Growing(np.int32)
        self._postings: list[Postings] = []
        self._waiting: list[tuple[int, list[bytes]]] = []
        self._oldest = 0

    def _content_bytes(self) -> int:
        return self._lengths.size_bytes + sum(part.size_bytes for part in self._postings)

    def _add(self, first: int, values: Sequence[str]) -> None:
        found = [words_of(text) for text in values]
        self._lengths.extend([len(words) for words in found])
        self._waiting.extend(enumerate(found, first))
        if len(self._waiting) >= _WAITING_MAX:
            self.settle(self._oldest)

    def settle(self, oldest: int) -> None:
        """See `VersionedIndex.settle`."""
        self._oldest = oldest
        if self._waiting:
            self._postings.append(Postings.of_documents(self._waiting))
            self._waiting = []
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

        Cost: O(postings of the words), about 10 ns each.
        """
        slots, counts = self._found(query, filters, number, own)
        lengths = self._lengths.values[slots].astype(np.float64)
        times = self._slots.creation_times(slots)
        ids: list[str] = []
        added: list[tuple[list[int], int, float]] = []
        for document_id, stored in own.items():
            indexed = self._fields.of_text(None if stored is None else stored[1])
            if stored is None or indexed is None:
                continue
            text, keys = indexed
            words = words_of(text)
            of_words = query.counts(words)
            if any(of_words) and all(keys[field] == key for field, key in filters):
                ids.append(document_id)
                added.append((of_words, len(words), stored[0]))
        if added:
            columns = np.array([each[0] for each in added], np.float64).T
            counts = np.concatenate([counts, columns], axis=1)
            lengths = np.concatenate([lengths, [each[1] for each in added]])
            times = np.concatenate([times, [each[2] for each in added]])
        if not len(lengths):
            return []
        score = scores(counts, lengths)
        in_index = len(slots)
        found = [
            (
                float(score[place]),
                float(times[place]),
                self._slots.id_of(slots[place]) if place < in_index else ids[place - in_index],
            )
            for place in best(score, times, limit).tolist()
        ]
        found.sort(reverse=True)
        return [Hit(document_id, one) for one, _, document_id in found[:limit]]

    def _found(
        self, query: TextQuery, filters: Sequence[Equality], number: int, own: OwnWrites
    ) -> tuple[Array, Array]:
        """The slots that a search finds, and how often each has each word."""
        rows = [
            *(_joined([part.of_word(word) for part in self._postings]) for word in query.words),
            _joined([part.of_prefix(query.prefix) for part in self._postings]),
        ]
        is_found = np.zeros(len(self._slots), np.bool_)
        for slots, _ in rows:
            is_found[slots] = True
        if own:
            is_found[list(self._slots.all_of(own))] = False
        found = np.flatnonzero(is_found)
        passing = self._slots.is_alive(number, found)
        for equality in filters:
            passing &= self._slots.passes(equality, found)
        found = found[passing]
        places = np.full(len(self._slots), -1, np.int32)
        places[found] = np.arange(len(found), dtype=np.int32)
        counts = np.zeros((len(rows), len(found)))
        for row, (slots, occurrences) in zip(counts, rows, strict=True):
            at = places[slots]
            is_there = at >= 0
            row[:] = np.bincount(at[is_there], occurrences[is_there], len(found))
        return found, counts

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        for part in self._postings:
            part._check()  # noqa: SLF001 - each structure checks itself
        assert self._lengths.count == len(self._slots)


def _joined(parts: Sequence[tuple[Any, Any]]) -> tuple[Array, Array]:
    """Postings of several lists as one."""
    if not parts:
        return np.empty(0, np.int32), np.empty(0, np.uint8)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
