"""How near two words of a search stand in the texts that it finds.

Only the two occurrences that stand nearest count, however far the others are: of the measures that
Tao and Zhai compare, this least distance told best which texts are relevant. 1 stands for side by
side, in either order; two words apart are 1/4, n words apart 1/n^2, as Rasolofo and Savoy have it.

Source: Tao and Zhai 2007, "An exploration of proximity measures in information retrieval"; Rasolofo
and Savoy 2003, "Term proximity scoring for keyword-based retrieval systems".
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from livedb.search.postings import Found, Numbers
from livedb.search.words import WORD_PLACE_MAX

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_PLACE_BITS = WORD_PLACE_MAX.bit_length() + 1
"""Bits for a place; one more than it needs, so that two documents are farther apart than any two
places of one."""

_FAR = 2**62


class Term:
    """A word of a search, or all that begin like its last one, in the documents that it found."""

    def __init__(
        self,
        found: Found,
        documents: np.ndarray[Any, np.dtype[np.int32]],
        documents_count: int,
    ) -> None:
        """As said.

        Args:
            found: the postings.
            documents: the document of each, by its position among those found, in which they
                ascend; those of others have `documents_count`.
            documents_count: how many were found.
        """
        self._found = found
        self._documents = documents
        self._documents_count = documents_count

    def counts(self) -> Floats:
        """How often each document has it."""
        found = np.bincount(self._documents, self._found.counts, self._documents_count + 1)
        return found[:-1].astype(np.float64)

    def places(self, documents: Numbers) -> Numbers:
        """Where it stands in some documents, in order, numbered through all of them."""
        is_wanted = np.zeros(self._documents_count + 1, np.bool_)
        is_wanted[documents] = True
        postings = np.flatnonzero(is_wanted[self._documents])
        starts = self._documents[postings].astype(np.int64) << _PLACE_BITS
        counts = self._found.counts[postings]
        places = np.repeat(starts, counts)
        places |= self._found.places_at(self._starts[postings], counts)
        places.sort(kind="stable")  # it is in order, but for words that begin alike
        return places

    @cached_property
    def _starts(self) -> Numbers:
        return self._found.starts()


def nearness(left: Term, right: Term, documents: Numbers) -> Floats:
    """How near two terms stand in each of some documents that have both, which ascend.

    A term is not near itself: what counts is two places. 0 when there are none.

    Cost: 50 ns for each place of the rarer one in these documents, 10 ns for one of the other.
    """
    near = np.zeros(len(documents))
    if not len(documents):
        return near
    fewer, more = sorted((left.places(documents), right.places(documents)), key=len)
    more = np.concatenate([[-_FAR], more, [_FAR]])
    before = fewer - more[np.searchsorted(more, fewer, "left") - 1]
    after = more[np.searchsorted(more, fewer, "right")] - fewer
    firsts = np.searchsorted(fewer, documents << _PLACE_BITS)
    least = np.minimum.reduceat(np.minimum(before, after), firsts)
    is_near = least <= WORD_PLACE_MAX
    near[is_near] = 1.0 / (least[is_near] * least[is_near])
    return near
