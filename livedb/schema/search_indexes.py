"""Indexes for searches: by the words of a text, and by the direction of a vector.

Source of rules and JSON: Convex's `searchIndex` and `vectorIndex` (features.md 5).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from livedb.errors import SchemaDefinitionError
from livedb.limits import VECTOR_DIMENSIONS_MAX, VECTOR_DIMENSIONS_MIN
from livedb.schema.validators import Json


@dataclass(frozen=True, slots=True)
class SearchIndexDefinition:
    """The documents of a table by the words of one text field.

    A document whose `field` is no text is not in the index.

    Attributes:
        field: a dotted path.
        filters: dotted paths of fields that a search may ask to be equal to something.
        name: the index's; empty until a table gives it one.
    """

    field: str
    filters: tuple[str, ...] = ()
    name: str = ""

    def __str__(self) -> str:
        """The index as it is added to a table in Python."""
        filters = f", filters={json.dumps(self.filters)}" if self.filters else ""
        return f".search_index({json.dumps(self.name)}, {json.dumps(self.field)}{filters})"

    def to_json(self) -> Json:
        """Convex's search index JSON."""
        return {
            "indexDescriptor": self.name,
            "searchField": self.field,
            "filterFields": list(self.filters),
        }

    @classmethod
    def from_json(cls, data: Json) -> SearchIndexDefinition:
        """The definition that `to_json` wrote."""
        return cls(data["searchField"], tuple(data["filterFields"]), data["indexDescriptor"])


@dataclass(frozen=True, slots=True)
class VectorIndexDefinition:
    """The documents of a table by the direction of one field, a list of numbers.

    A document whose `field` is no list of so many finite numbers is not in the index.

    Attributes:
        field: a dotted path.
        dimensions: how many numbers a vector has.
        filters: dotted paths of fields that a search may ask to be equal to something.
        name: the index's; empty until a table gives it one.
    """

    field: str
    dimensions: int
    filters: tuple[str, ...] = ()
    name: str = ""

    def __str__(self) -> str:
        """The index as it is added to a table in Python."""
        filters = f", filters={json.dumps(self.filters)}" if self.filters else ""
        given = f"{json.dumps(self.name)}, {json.dumps(self.field)}, dimensions={self.dimensions}"
        return f".vector_index({given}{filters})"

    def to_json(self) -> Json:
        """Convex's vector index JSON."""
        return {
            "indexDescriptor": self.name,
            "vectorField": self.field,
            "dimensions": self.dimensions,
            "filterFields": list(self.filters),
        }

    @classmethod
    def from_json(cls, data: Json) -> VectorIndexDefinition:
        """The definition that `to_json` wrote."""
        return cls(
            data["vectorField"],
            int(data["dimensions"]),
            tuple(data["filterFields"]),
            data["indexDescriptor"],
        )


def search_index(field: str, *, filters: Sequence[str] = ()) -> SearchIndexDefinition:
    """An index for searches by the words of a text field.

    Args:
        field: the field with the text, `"a.b"` for a nested one.
        filters: up to 16 fields by which a search may be narrowed, each to one value.

    Example:
        @db.table("notes", search_indexes={"by_text": livedb.search_index("body")})

    Raises:
        SchemaDefinitionError: these are no names of fields.
    """
    return SearchIndexDefinition(_field(field), _filters(filters))


def vector_index(
    field: str, *, dimensions: int, filters: Sequence[str] = ()
) -> VectorIndexDefinition:
    """An index for searches by the direction of a vector, such as the embedding of a text.

    Args:
        field: the field with a list of numbers, `"a.b"` for a nested one.
        dimensions: how many numbers, 2 to 4096.
        filters: up to 16 fields by which a search may be narrowed.

    Raises:
        SchemaDefinitionError: these are no names of fields, or `dimensions` is out of bounds.
    """
    is_whole = type(dimensions) is int
    if not is_whole or not VECTOR_DIMENSIONS_MIN <= dimensions <= VECTOR_DIMENSIONS_MAX:
        raise SchemaDefinitionError(
            f"Vector dimensions must be a whole number between {VECTOR_DIMENSIONS_MIN} and "
            f"{VECTOR_DIMENSIONS_MAX}, and are {dimensions!r}",
            code="InvalidVectorDimensions",
        )
    return VectorIndexDefinition(_field(field), dimensions, _filters(filters))


Definition = TypeVar("Definition", SearchIndexDefinition, VectorIndexDefinition)


def named_indexes(
    given: Mapping[str, Any] | None, kind: type[Definition], maker: str
) -> tuple[Definition, ...]:
    """The indexes of a table by their names, as a class decorator takes them.

    Raises:
        SchemaDefinitionError: one was not made with `maker`.
    """
    for name, index in (given or {}).items():
        if not isinstance(index, kind):
            raise SchemaDefinitionError(
                f"Index {name!r} must be made with livedb.{maker}(...), and is {index!r}",
                code="InvalidIndexField",
            )
    return tuple(replace(index, name=name) for name, index in (given or {}).items())


def _field(field: str) -> str:
    if not isinstance(field, str):
        raise SchemaDefinitionError(
            f"The field of a search index is one name, and not {field!r}", code="InvalidIndexField"
        )
    return field


def _filters(filters: Sequence[str]) -> tuple[str, ...]:
    if isinstance(filters, str) or not all(isinstance(name, str) for name in filters):
        raise SchemaDefinitionError(
            f"The filters of a search index are a list of field names, and not {filters!r}",
            code="InvalidIndexField",
        )
    return tuple(filters)
