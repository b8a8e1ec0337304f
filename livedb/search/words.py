"""The words of a text, as indexes have them and as searches ask for them.

A word is a run of letters and digits, with the marks that combine with them (the vowels of many
scripts are such), in lower case, in UTF-8; one of more than 32 bytes is left
out. There is no stemming and no list of stop words. Text that is the same to a reader is the same
here, composed (NFC): an accented letter may be one character or two.

Source: features.md 5; Convex splits as tantivy's SimpleTokenizer does, also at some such marks.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import chain, pairwise
from typing import NamedTuple

from livedb.limits import SEARCH_TERM_BYTES_MAX, SEARCH_TERMS_MAX

WORD_COUNT_MAX = 255
"""How often a word counts in one text; where it stands more often, no search could tell."""

WORD_PLACE_MAX = 2**16 - 1
"""The last place in a text that is told from those after it."""

_MARKS = (range(0x300, 0x20000), range(0xE0100, 0xE01F0))
"""Where characters lie that combine with the one before."""
_COMBINING = {"Mn", "Mc"}

_FOLDED = bytes(
    (ord(chr(code).lower()) if chr(code).isascii() and chr(code).isalnum() else 0x20)
    for code in range(256)
)
"""Translates ASCII: letters to lower case, digits to themselves, everything else to a space."""


def words_of(text: str) -> list[bytes]:
    """The words of `text` in their order. Cost: about 5 us for 100 words of ASCII."""
    if text.isascii():
        found = text.encode().translate(_FOLDED).split()
    else:
        composed = unicodedata.normalize("NFC", text)
        found = [word.lower().encode() for word in _words().findall(composed)]
    if max(map(len, found), default=0) > SEARCH_TERM_BYTES_MAX:
        return [word for word in found if len(word) <= SEARCH_TERM_BYTES_MAX]
    return found


@cache
def _words() -> re.Pattern[str]:
    """Finds words of any script. Cost: 15 ms for the first text that is not ASCII."""
    codes = chain.from_iterable(_MARKS)
    marks = "".join(chr(code) for code in codes if unicodedata.category(chr(code)) in _COMBINING)
    return re.compile(rf"(?:[^\W_]+[{marks}]*)+")


class TextQuery(NamedTuple):
    """What a text search asks for.

    Its *terms* are the words, and then any word that begins with the last one.

    Attributes:
        words: each different word, in the order of the text asked for.
        prefix: the last word, which any word may also begin with.
        pairs: the terms that stand side by side in the text asked for, by their positions.
    """

    words: tuple[bytes, ...]
    prefix: bytes
    pairs: tuple[tuple[int, int], ...]

    def is_in(self, words: set[bytes]) -> bool:
        """Whether a text of these words is found."""
        return not words.isdisjoint(self.words) or any(
            word.startswith(self.prefix) for word in words
        )


def text_query(text: str) -> TextQuery | None:
    """What the text of a search asks for; None for nothing, and words after the 16th are not."""
    found = words_of(text)[:SEARCH_TERMS_MAX]
    if not found:
        return None
    words = tuple(dict.fromkeys(found))
    terms = [*(words.index(word) for word in found[:-1]), len(words)]
    pairs = dict.fromkeys((min(pair), max(pair)) for pair in pairwise(terms))
    return TextQuery(words, found[-1], tuple(pairs))
