"""How well texts fit a search: BM25 over the documents that the search finds.

BM25 weighs a word by how rare it is, and a text by how long it is beside others. Here "others" are
the documents found: those that have one of the words and pass the filters. So what a search gives
depends on nothing else: a commit that writes none of them cannot change it, and what one user may
see does not tell of what others have. A word that is in n of N documents found weighs
1 + ln(1 + N/n). Convex takes the statistics of the whole index.

The last word counts twice: as itself, and together with all words that begin with it. So a document
with the word itself comes before those that only begin alike.

Words that stand side by side in the search are to stand near each other in the text: how near they
do (`proximity`, at most 1) is weighed as one more word, which weighs what the lighter of the two
does. So a phrase that is there as it is asked for counts up to twice, and a text is never worse for
it.

Source: Rasolofo and Savoy 2003 for the pairs, of which theirs are all and not just neighbours;
Robertson and Zaragoza 2009 for BM25, with k1 = 1.2 and b = 0.75 as Lucene and tantivy have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Places: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
Chosen: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

K1 = 1.2
B = 0.75

_LOOKED_AT_ONCE = 1_024
"""Documents whose words' places are looked up at once, to know how much the best have."""


def scores(
    counts: Floats,
    lengths: Floats,
    pairs: Sequence[tuple[int, int]],
    nearness: Callable[[int, int, Places], Floats],
    *,
    limit: int,
) -> Floats:
    """The score of each document that may be among the `limit` best; others have less than these.

    Each is the same to the last bit whatever order the documents come in.

    Args:
        counts: one row a term, one column a document: how often the document has the term.
        lengths: words of each document.
        pairs: terms that are to stand near each other.
        nearness: how near two of them stand (`proximity`) in some documents that have both.
        limit: how many are wanted. Most documents of a common word cannot be among so many even if
            their words stood side by side: nobody looks where these stand.
    """
    found = len(lengths)
    average = float(lengths.sum()) / found
    norm = K1 * (1 - B + B * lengths / average)
    having = counts > 0
    weights = [1 + math.log1p(found / n) if n else 0.0 for n in having.sum(axis=1).tolist()]
    total = np.zeros(found)
    for weight, row in zip(weights, counts, strict=True):
        total += weight * _saturated(row, norm)
    if not pairs:
        return total

    def add_pairs(score: Floats, among: Chosen, near: Callable[[int, int, Places], Any]) -> None:
        for left, right in pairs:
            have_both = np.flatnonzero(having[left] & having[right] & among)
            worth = _saturated(near(left, right, have_both), norm[have_both])
            score[have_both] += min(weights[left], weights[right]) * worth

    rest = np.ones(found, np.bool_)
    at_once = max(limit, _LOOKED_AT_ONCE)
    if found > at_once:
        most = total.copy()
        add_pairs(most, rest, lambda *_: 1.0)
        first = most >= _nth_largest(most, at_once)
        add_pairs(total, first, nearness)
        rest = (most >= _nth_largest(total[first], limit)) & ~first
    add_pairs(total, rest, nearness)
    return total


def _saturated(row: Any, norm: Floats) -> Floats:
    """What so many occurrences are worth, of which each further one is worth less."""
    return np.asarray(row * (K1 + 1) / (row + norm), np.float64)


def _nth_largest(values: Floats, n: int) -> float:
    at = max(len(values) - n, 0)
    return float(np.partition(values, at)[at])


def best(score: Floats, newness: Floats, limit: int) -> Places:
    """Where the `limit` best are, best first, ties newest first.

    Those that tie with the last one in both are all there, so there may be more.
    """
    places = np.flatnonzero(score >= _nth_largest(score, limit))
    order = places[np.lexsort((newness[places], score[places]))[::-1]]
    if len(order) <= limit:
        return order
    last = order[limit - 1]
    ties = (score[order] == score[last]) & (newness[order] == newness[last])
    return order[: int(np.flatnonzero(ties)[-1]) + 1]
