"""Which documents have which words and where: immutable lists, words in order, merged as they grow.

A document is a number here, its *slot* (`slots`). A posting is 5 bytes: the slot, and how often the
word occurs there, where 255 stands for more; and 2 for the place of each of these occurrences among
the words of its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from livedb.limits import SEARCH_TERM_BYTES_MAX
from livedb.search.words import WORD_COUNT_MAX, WORD_PLACE_MAX

Slots: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]
Counts: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
WordPlaces: TypeAlias = np.ndarray[Any, np.dtype[np.uint16]]
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_WORD = np.dtype(f"S{SEARCH_TERM_BYTES_MAX}")

_PLACE_BITS = WORD_PLACE_MAX.bit_length()

_GATHERED = 2**18
"""Postings whose places are copied at once; bounds the memory that merging takes beside."""


class Found(NamedTuple):
    """The postings of a word, or of several.

    Attributes:
        slots: of each posting; those of one word ascend.
        counts: how many places each has.
        places: of all postings, one after another, each in order.
    """

    slots: Slots
    counts: Counts
    places: WordPlaces

    @classmethod
    def joined(cls, parts: Sequence[Found]) -> Found:
        """Postings of several lists as one."""
        if not parts:
            return cls(np.empty(0, np.int32), np.empty(0, np.uint8), np.empty(0, np.uint16))
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def starts(self) -> Numbers:
        """Where the places of each posting start. Cost: 2 ns for each posting."""
        return np.cumsum(self.counts, dtype=np.int64) - self.counts

    def places_at(self, starts: Numbers, counts: Counts) -> WordPlaces:
        """The places of some postings, given by where these start and how many they are."""
        lengths = counts.astype(np.int64)
        before = np.cumsum(lengths) - lengths
        at = np.repeat(starts - before, lengths)
        at += np.arange(len(at))
        places: WordPlaces = self.places[at]
        return places

    def reordered(self, postings: Numbers) -> Found:
        """Some postings, which are given by their positions here, in this order."""
        starts = self.starts()[postings]
        counts = self.counts[postings]
        places = [
            self.places_at(starts[at : at + _GATHERED], counts[at : at + _GATHERED])
            for at in range(0, max(len(postings), 1), _GATHERED)
        ]
        return Found(self.slots[postings], counts, np.concatenate(places))


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
        place_starts: where the places of each word start, likewise.
        found: all postings.
    """

    __slots__ = ("found", "place_starts", "starts", "words")

    def __init__(self, words: np.ndarray[Any, Any], starts: Numbers, found: Found) -> None:
        self.words = words
        self.starts = starts
        self.found = found
        ends = np.append(0, np.cumsum(found.counts, dtype=np.int64))
        self.place_starts: Numbers = ends[starts]

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
        ends = np.cumsum(np.array(lengths, np.int64))
        places = np.arange(len(found)) - (ends - lengths)[documents_of]
        # One number each, to sort by word, document and place at once: 33 bits are left for words.
        occurrences = (pairs << _PLACE_BITS) | np.minimum(places, WORD_PLACE_MAX)
        occurrences.sort()
        pairs = occurrences >> _PLACE_BITS
        places = occurrences & WORD_PLACE_MAX
        firsts = np.flatnonzero(np.diff(pairs, prepend=-1))
        counts = np.diff(firsts, append=len(pairs))
        nth = np.arange(len(pairs)) - np.repeat(firsts, counts)
        of_word, of_document = np.divmod(pairs[firsts], documents_count)
        return cls(
            words_in_order[order],
            np.searchsorted(of_word, np.arange(len(order) + 1)),
            Found(
                np.array(given, np.int32)[of_document],
                np.minimum(counts, WORD_COUNT_MAX).astype(np.uint8),
                places[nth < WORD_COUNT_MAX].astype(np.uint16),
            ),
        )

    @classmethod
    def merged(cls, parts: Sequence[Postings], keep: Callable[[Slots], Any]) -> Postings:
        """Several as one, without the slots for which `keep` is not true."""
        words, numbers = np.unique(
            np.concatenate([part.words for part in parts]), return_inverse=True
        )
        sizes = np.concatenate([np.diff(part.starts) for part in parts])
        of_word = np.repeat(numbers, sizes)
        found = Found.joined([part.found for part in parts])
        kept = np.flatnonzero(keep(found.slots))
        of_word = of_word[kept]
        order = np.argsort(of_word, kind="stable")
        starts = np.searchsorted(of_word[order], np.arange(len(words) + 1))
        is_used = np.diff(starts) > 0
        return cls(
            words[is_used],
            np.append(starts[:-1][is_used], starts[-1]),
            found.reordered(kept[order]),
        )

    def __len__(self) -> int:
        return len(self.found.slots)

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        arrays = (self.words, self.starts, self.place_starts, *self.found)
        return sum(array.nbytes for array in arrays)

    def of_word(self, word: bytes) -> Found:
        """The postings of one word. Cost: one bisection."""
        at = int(np.searchsorted(self.words, np.array(word, _WORD)))
        is_there = at < len(self.words) and self.words[at] == word
        return self._of_words(at, at + is_there)

    def of_prefix(self, prefix: bytes) -> Found:
        """The postings of all words that begin so; a slot comes once for each of its words."""
        beyond = prefix.ljust(SEARCH_TERM_BYTES_MAX, b"\xff")  # which is in no UTF-8
        first = np.searchsorted(self.words, np.array(prefix, _WORD))
        end = np.searchsorted(self.words, np.array(beyond, _WORD))
        return self._of_words(int(first), int(end))

    def _of_words(self, first: int, end: int) -> Found:
        span = slice(self.starts[first], self.starts[end])
        places = slice(self.place_starts[first], self.place_starts[end])
        return Found(self.found.slots[span], self.found.counts[span], self.found.places[places])

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        slots, counts, places = self.found
        state = f"{self.words}, {self.starts}, {self.place_starts}, {self.found}"
        assert list(self.words) == sorted(set(self.words)), state
        assert len(self.starts) == len(self.place_starts) == len(self.words) + 1, state
        assert self.starts[0] == 0, state
        assert self.starts[-1] == len(slots) == len(counts), state
        assert (np.diff(self.starts) > 0).all(), state
        assert self.place_starts[-1] == counts.sum(dtype=np.int64) == len(places), state
        for at in range(len(self.words)):
            assert (np.diff(self._of_words(at, at + 1).slots) > 0).all(), state
