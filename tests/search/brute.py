"""What searches give, computed anew the plain way: every document looked at, nothing kept."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from livedb.keys.encoding import encode_key
from livedb.values import UNSET


class Document(NamedTuple):
    """A document as these functions take it."""

    id: str
    created: float
    fields: Mapping[str, Any]


def words(text: str) -> list[str]:
    """Letters and digits in a row, with their marks, in lower case, at most 32 bytes."""
    found, word = [], ""
    for character in [*unicodedata.normalize("NFC", text), " "]:
        is_mark = unicodedata.category(character) in {"Mn", "Mc"}
        if character.isalnum() or (word and is_mark):
            word += character
        elif word:
            found.append(word.lower())
            word = ""
    return [word for word in found if len(word.encode()) <= 32]


def at(fields: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path."""
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return UNSET
        value = value[name]
    return value


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal as a filter sees it."""
    return encode_key(left) == encode_key(right)


def text_search(
    documents: Iterable[Document], field: str, text: str, equal: Mapping[str, Any]
) -> list[tuple[str, float]]:
    """Ids and scores, best first: BM25 over the documents that have one of the words,
    and of neighbours in the search how near they stand."""
    asked = words(text)[:16]
    if not asked:
        return []
    found = []
    for document in documents:
        value = at(document.fields, field)
        if not isinstance(value, str):
            continue
        if not all(same(at(document.fields, path), wanted) for path, wanted in equal.items()):
            continue
        own = words(value)
        each = [places(own, lambda word, term=term: word == term) for term in asked]
        each.append(places(own, lambda word: word.startswith(asked[-1])))
        if any(each):
            found.append((document, each, len(own)))
    if not found:
        return []
    average = sum(length for _, _, length in found) / len(found)
    weights = []
    for term in range(len(asked) + 1):
        having = sum(1 for _, each, _ in found if each[term])
        weights.append(1 + math.log1p(len(found) / having) if having else 0.0)
    ranked = []
    for document, each, length in found:
        norm = 1.2 * (1 - 0.75 + 0.75 * length / average)
        score = 0.0
        for term in [*distinct(asked), len(asked)]:
            count = len(each[term])
            score += weights[term] * (count * 2.2 / (count + norm))
        for left, right in pairs(asked):
            near = nearness(each[left], each[right])
            score += min(weights[left], weights[right]) * (near * 2.2 / (near + norm))
        ranked.append((score, document.created, document.id))
    ranked.sort(reverse=True)
    return [(document_id, score) for score, _, document_id in ranked]


def places(own: list[str], is_wanted: Callable[[str], bool]) -> list[int]:
    """Where a text has some words; each of them counts at most 255 times."""
    seen: Counter[str] = Counter()
    found = []
    for place, word in enumerate(own):
        if is_wanted(word) and seen[word] < 255:
            seen[word] += 1
            found.append(min(place, 65_535))
    return found


def distinct(asked: list[str]) -> list[int]:
    """The terms of a search that are words, each once."""
    return [term for term, word in enumerate(asked) if asked.index(word) == term]


def pairs(asked: list[str]) -> list[tuple[int, int]]:
    """Which terms of a search stand side by side in it; the last is any word that begins so."""
    terms = [asked.index(word) for word in asked[:-1]] + [len(asked)]
    found = [tuple(sorted(pair)) for pair in pairwise(terms)]
    return sorted(set(found), key=found.index)


def nearness(left: list[int], right: list[int]) -> float:
    """How near two terms stand: 1 side by side, 1/4 with a word between them, and so on."""
    apart = [abs(one - other) for one in left for other in right if one != other]
    return 1 / min(apart) ** 2 if apart else 0.0


def cosine(left: Iterable[float], right: Iterable[float]) -> float:
    """Of the angle between two vectors; 0 for a vector of zeros."""
    left, right = list(left), list(right)
    lengths = math.hypot(*left) * math.hypot(*right)
    return math.fsum(a * b for a, b in zip(left, right, strict=True)) / lengths if lengths else 0.0


def has_vector(document: Document, field: str, dimensions: int) -> bool:
    """Whether a vector index has the document."""
    value = at(document.fields, field)
    return (
        isinstance(value, list)
        and len(value) == dimensions
        and all(type(n) in (int, float) and math.isfinite(n) for n in value)
    )


def vector_search(
    documents: Iterable[Document],
    field: str,
    vector: list[float],
    any_of: list[tuple[str, Any]] | None,
) -> list[tuple[str, float]]:
    """Ids and cosines of every document that passes, nearest first, ties by id."""
    found = [
        (-round(cosine(at(document.fields, field), vector), 6), document.id)
        for document in documents
        if has_vector(document, field, len(vector))
        and (
            any_of is None
            or any(same(at(document.fields, path), wanted) for path, wanted in any_of)
        )
    ]
    return [(document_id, -score) for score, document_id in sorted(found)]
