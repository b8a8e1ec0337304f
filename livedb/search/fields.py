"""What an index takes of a document: its text or vector, and the values to filter by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from livedb.keys.encoding import encode_key
from livedb.keys.index_key import split_path, value_at
from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.text import decode_fields
from livedb.values import Value

Keys: TypeAlias = tuple[bytes, ...]
"""The key (`keys.encoding`) of the value of each filter field, in the order of the index."""

Equality: TypeAlias = tuple[int, bytes]
"""The position of a filter field, and the key of the value that it is to have."""

SearchedIndex: TypeAlias = SearchIndexDefinition | VectorIndexDefinition


class IndexedFields:
    """The fields of one index."""

    def __init__(self, index: SearchedIndex) -> None:
        self._path = split_path(index.field)
        self._filters = tuple(map(split_path, index.filters))
        self._dimensions = index.dimensions if isinstance(index, VectorIndexDefinition) else None

    def value(self, fields: Mapping[str, Value]) -> Any:
        """The text, or the list of numbers; None when there is none that fits."""
        value = value_at(fields, self._path)
        if self._dimensions is None:
            return value if isinstance(value, str) else None
        return value if fits(value, self._dimensions) else None

    def keys(self, fields: Mapping[str, Value]) -> Keys:
        """The values to filter by."""
        return tuple([encode_key(value_at(fields, path)) for path in self._filters])

    def of_text(self, text: bytes | None) -> tuple[Any, Keys] | None:
        """Value and filter keys of a stored text (`livedb.text`); None if it is not indexed."""
        if text is None:
            return None
        fields = decode_fields(text)
        value = self.value(fields)
        return None if value is None else (value, self.keys(fields))


@lru_cache(256)
def indexed_fields(index: SearchedIndex) -> IndexedFields:
    """The fields of an index, made once."""
    return IndexedFields(index)


def fits(value: Any, dimensions: int) -> bool:
    """Whether `value` is a list of so many finite numbers."""
    if not isinstance(value, list) or len(value) != dimensions:
        return False
    return all(type(number) in (float, int) and math.isfinite(number) for number in value)
