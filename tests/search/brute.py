"""What searches give, computed anew the plain way: every document looked at, nothing kept."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
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
    """Ids and scores, best first: BM25 over the documents that have one of the words."""
    asked = words(text)[:16]
    if not asked:
        return []
    prefix = asked[-1]
    asked = list(dict.fromkeys(asked))
    found = []
    for document in documents:
        value = at(document.fields, field)
        if not isinstance(value, str):
            continue
        if not all(same(at(document.fields, path), wanted) for path, wanted in equal.items()):
            continue
        own = words(value)
        counts = [min(own.count(word), 255) for word in asked]
        counts.append(sum(min(own.count(w), 255) for w in set(own) if w.startswith(prefix)))
        if any(counts):
            found.append((document, counts, len(own)))
    if not found:
        return []
    average = sum(length for _, _, length in found) / len(found)
    weights = []
    for column in range(len(asked) + 1):
        having = sum(1 for _, counts, _ in found if counts[column])
        weights.append(1 + math.log1p(len(found) / having) if having else 0.0)
    ranked = []
    for document, counts, length in found:
        norm = 1.2 * (1 - 0.75 + 0.75 * length / average)
        score = 0.0
        for weight, count in zip(weights, counts, strict=True):
            if weight:
                score += weight * (count * 2.2 / (count + norm))
        ranked.append((score, document.created, document.id))
    ranked.sort(reverse=True)
    return [(document_id, score) for score, _, document_id in ranked]


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
