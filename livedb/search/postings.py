"""Which documents have which words: immutable lists, words in order, merged as they grow.

A document is a number here, its *slot* (`slots`). A posting is 5 bytes: the slot, and how often the
word occurs there, where 255 stands for more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from livedb.limits import SEARCH_TERM_BYTES_MAX
from livedb.search.words import WORD_COUNT_MAX

Slots: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]
Counts: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

_WORD = np.dtype(f"S{SEARCH_TERM_BYTES_MAX}")


class _Numbers(dict[bytes, int]):
    """Word -> its number, in the order in which they come."""

    def __missing__(self, word: bytes) -> int:
        number = self[word] = len(self)
        return number


class Postings:
    """The postings of some documents. Nothing changes after it was made.

    Attributes:
        words: in order.
        starts: where the postings of each word start, and the end of the last.
        slots: of all postings.
        counts: of all postings.
    """

    __slots__ = ("counts", "slots", "starts", "words")

    def __init__(
        self,
        words: np.ndarray[Any, Any],
        starts: np.ndarray[Any, np.dtype[np.int64]],
        slots: Slots,
        counts: Counts,
    ) -> None:
        self.words = words
        self.starts = starts
        self.slots = slots
        self.counts = counts

    @classmethod
    def of_documents(cls, documents: Iterable[tuple[int, Sequence[bytes]]]) -> Postings:
        """Those of documents given as slot and words."""
        numbers = _Numbers()
        given: list[int] = []
        found: list[int] = []
        lengths: list[int] = []
        for slot, words in documents:
            given.append(slot)
            lengths.append(len(words))
            found.extend(map(numbers.__getitem__, words))
        words_in_order = np.array(list(numbers), _WORD)
        order = np.argsort(words_in_order)
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        documents_count = max(len(given), 1)
        documents_of = np.repeat(np.arange(len(given)), lengths)
        pairs = ranks[np.array(found, np.int64)] * documents_count + documents_of
        distinct, occurrences = np.unique(pairs, return_counts=True)
        of_word, of_document = np.divmod(distinct, documents_count)
        return cls(
            words_in_order[order],
            np.searchsorted(of_word, np.arange(len(order) + 1)),
            np.array(given, np.int32)[of_document],
            np.minimum(occurrences, WORD_COUNT_MAX).astype(np.uint8),
        )

    @classmethod
    def merged(cls, parts: Sequence[Postings], keep: Callable[[Slots], Any]) -> Postings:
        """Several as one, without the slots for which `keep` is not true."""
        words, numbers = np.unique(
            np.concatenate([part.words for part in parts]), return_inverse=True
        )
        sizes = np.concatenate([np.diff(part.starts) for part in parts])
        of_word = np.repeat(numbers, sizes)
        slots = np.concatenate([part.slots for part in parts])
        kept = keep(slots)
        of_word, slots = of_word[kept], slots[kept]
        counts = np.concatenate([part.counts for part in parts])[kept]
        order = np.argsort(of_word, kind="stable")
        starts = np.searchsorted(of_word[order], np.arange(len(words) + 1))
        is_used = np.diff(starts) > 0
        return cls(
            words[is_used],
            np.append(starts[:-1][is_used], starts[-1]),
            slots[order],
            counts[order],
        )

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        arrays = (self.words, self.starts, self.slots, self.counts)
        return sum(array.nbytes for array in arrays)

    def of_word(self, word: bytes) -> tuple[Slots, Counts]:
        """The postings of one word. Cost: one bisection."""
        at = int(np.searchsorted(self.words, np.array(word, _WORD)))
        if at == len(self.words) or self.words[at] != word:
            return self.slots[:0], self.counts[:0]
        span = slice(self.starts[at], self.starts[at + 1])
        return self.slots[span], self.counts[span]

    def of_prefix(self, prefix: bytes) -> tuple[Slots, Counts]:
        """The postings of all words that begin so; a slot comes once for each of its words."""
        beyond = prefix.ljust(SEARCH_TERM_BYTES_MAX, b"\xff")  # which is in no UTF-8
        first = np.searchsorted(self.words, np.array(prefix, _WORD))
        end = np.searchsorted(self.words, np.array(beyond, _WORD))
        span = slice(self.starts[first], self.starts[end])
        return self.slots[span], self.counts[span]

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        state = f"{self.words}, {self.starts}, {self.slots}, {self.counts}"
        assert list(self.words) == sorted(set(self.words)), state
        assert len(self.starts) == len(self.words) + 1, state
        assert self.starts[0] == 0, state
        assert self.starts[-1] == len(self.slots) == len(self.counts), state
        assert (np.diff(self.starts) > 0).all(), state
