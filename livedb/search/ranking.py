"""How well texts fit a search: BM25 over the documents that the search finds.

BM25 weighs a word by how rare it is, and a text by how long it is beside others. Here "others" are
the documents found: those that have one of the words and pass the filters. So what a search gives
depends on nothing else: a commit that writes none of them cannot change it, and what one user may
see does not tell of what others have. A word that is in n of N documents found weighs
1 + ln(1 + N/n). Convex takes the statistics of the whole index.

The last word counts twice: as itself, and together with all words that begin with it. So a document
with the word itself comes before those that only begin alike.

Source: Robertson and Zaragoza 2009 for BM25, with k1 = 1.2 and b = 0.75 as Lucene and tantivy have.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Places: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]

K1 = 1.2
B = 0.75


def scores(counts: Floats, lengths: Floats) -> Floats:
    """The score of each document that a search finds.

    Each is the same to the last bit whatever order the documents come in.

    Args:
        counts: one row a word, one column a document: how often the document has the word.
        lengths: words of each document.
    """
    found = len(lengths)
    average = float(lengths.sum()) / found
    norm = K1 * (1 - B + B * lengths / average)
    total = np.zeros(found)
    for row in counts:
        having = int(np.count_nonzero(row))
        if having:
            weight = 1 + math.log1p(found / having)
            total += weight * (row * (K1 + 1) / (row + norm))
    return total


def best(score: Floats, newness: Floats, limit: int) -> Places:
    """Where the `limit` best are, best first, ties newest first.

    Those that tie with the last one in both are all there, so there may be more.
    """
    if limit < len(score):
        least = np.partition(score, len(score) - limit)[len(score) - limit]
        places = np.flatnonzero(score >= least)
    else:
        places = np.arange(len(score))
    order = places[np.lexsort((newness[places], score[places]))[::-1]]
    if len(order) <= limit:
        return order
    last = order[limit - 1]
    ties = (score[order] == score[last]) & (newness[order] == newness[last])
    return order[: int(np.flatnonzero(ties)[-1]) + 1]
