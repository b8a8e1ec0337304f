"""What indexes of a table may be: names, fields, how many.

Codes and texts of the errors are Convex's where Convex has the rule (features.md 5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from livedb.errors import SchemaDefinitionError
from livedb.limits import (
    IDENTIFIER_LENGTH_MAX,
    INDEX_FIELDS_MAX,
    INDEX_FILTER_FIELDS_MAX,
    INDEXES_PER_TABLE_MAX,
    SEARCH_INDEXES_PER_TABLE_MAX,
)
from livedb.schema.validators import ObjectValidator, RecordValidator, UnionValidator, Validator

if TYPE_CHECKING:
    from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
    from livedb.schema.tables import IndexDefinition, TableDefinition

BUILT_IN_INDEXES = ("by_id", "by_creation_time")

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)


def check_indexes(table: TableDefinition) -> None:
    """Refuse indexes that contradict each other, the documents, or the rules for names.

    Raises:
        SchemaDefinitionError: `code` says which rule.
    """
    _check_counts(table)
    _check_names(table)
    by_fields: dict[tuple[str, ...], str] = {}
    for index in table.indexes:
        _check_index_fields(table, index)
        if index.fields in by_fields:
            raise SchemaDefinitionError(
                f'In table "{table.name}" index "{index.name}" and index '
                f'"{by_fields[index.fields]}" have the same fields. Indexes must be unique within '
                f"a table.",
                code="IndexNotUnique",
            )
        by_fields[index.fields] = index.name
    for text_index in table.search_indexes:
        _check_searched_fields(table, text_index)
    for vector_index in table.vector_indexes:
        _check_searched_fields(table, vector_index)


def _check_counts(table: TableDefinition) -> None:
    counts = (
        (len(table.every_index), INDEXES_PER_TABLE_MAX, "indexes"),
        (len(table.search_indexes), SEARCH_INDEXES_PER_TABLE_MAX, "search indexes"),
        (len(table.vector_indexes), SEARCH_INDEXES_PER_TABLE_MAX, "vector indexes"),
    )
    for count, most, kind in counts:
        if count > most:
            raise SchemaDefinitionError(
                f'Table "{table.name}" has {count} {kind}; at most {most} are allowed.',
                code="TooManyIndexes",
            )


def _check_names(table: TableDefinition) -> None:
    names: set[str] = set()
    for index in table.every_index:
        _check_index_name(table.name, index.name)
        if index.name in names:
            raise SchemaDefinitionError(
                f'Table "{table.name}" has two or more definitions of index "{index.name}".',
                code="IndexNamesNotUnique",
            )
        names.add(index.name)


def _check_index_name(table: str, name: str) -> None:
    if name.startswith("_") or name in BUILT_IN_INDEXES:
        raise SchemaDefinitionError(
            f'In table "{table}" cannot name an index "{name}" because the name is reserved. '
            f'Indexes may not start with an underscore or be named "by_id" or "by_creation_time".',
            code="IndexNameReserved",
        )
    if not is_identifier(name):
        raise SchemaDefinitionError(
            f'Invalid index name: "{name!s:.80}". Identifiers must be 64 characters or less, '
            f"start with a letter, and only contain letters, digits, underscores.",
            code="InvalidIndexName",
        )


def _check_index_fields(table: TableDefinition, index: IndexDefinition) -> None:
    if not index.fields:
        raise SchemaDefinitionError(
            f'In table "{table.name}" index "{index.name}" must have at least one field.',
            code="EmptyIndex",
        )
    place = f'In table "{table.name}": In index "{index.name}": '
    if len(index.fields) > INDEX_FIELDS_MAX:
        raise SchemaDefinitionError(
            f"{place}Indexes may have up to {INDEX_FIELDS_MAX} fields.", code="IndexTooManyFields"
        )
    _check_paths(table, index.fields, place)


def _check_searched_fields(
    table: TableDefinition, index: SearchIndexDefinition | VectorIndexDefinition
) -> None:
    place = f'In table "{table.name}": In index "{index.name}": '
    if len(index.filters) > INDEX_FILTER_FIELDS_MAX:
        raise SchemaDefinitionError(
            f"{place}Search and vector indexes may have up to {INDEX_FILTER_FIELDS_MAX} filter "
            "fields.",
            code="IndexTooManyFields",
        )
    _check_paths(table, (index.field,), place)
    _check_paths(table, index.filters, place)


def _check_paths(table: TableDefinition, paths: Sequence[str], place: str) -> None:
    seen: set[str] = set()
    for path in paths:
        _check_index_field(path, place)
        if path in seen:
            raise SchemaDefinitionError(
                f"{place}Duplicate field {path}. Index fields must be unique within an index.",
                code="FieldsNotUniqueWithinIndex",
            )
        seen.add(path)
        if table.document is not None and not can_have(table.document, path.split(".")):
            raise SchemaDefinitionError(
                f'{place}Invalid index field: "{path}". The documents have no such field; they '
                f"have {', '.join(table.fields) or 'none at all'}.",
                code="InvalidIndexField",
            )


def _check_index_field(path: str, place: str) -> None:
    if path == "_id":
        raise SchemaDefinitionError(
            f"{place}`_id` is not a valid index field. To load documents by ID, use "
            f"`ctx.db.get(id)`.",
            code="IndexFieldsContainId",
        )
    if path == "_creationTime":
        raise SchemaDefinitionError(
            f"{place}`_creationTime` is automatically added to the end of each index. It should "
            f"not be added explicitly in the index definition.",
            code="IndexFieldsContainCreationTime",
        )
    names = path.split(".")
    if any(name.startswith("_") for name in names):
        raise SchemaDefinitionError(
            f"{place}Reserved fields (starting with `_`) are not allowed in indexes.",
            code="IndexFieldNameReserved",
        )
    # Convex asks for identifiers; a field is whatever a document may have, dots apart.
    if not all(name and name.isascii() and name.isprintable() for name in names):
        raise SchemaDefinitionError(
            f'{place}Invalid index field: "{path}"', code="InvalidIndexField"
        )


def can_have(validator: Validator, path: Sequence[str]) -> bool:
    """Whether some value of the type has something at `path`."""
    if not path or validator.kind == "any":
        return True
    match validator:
        case ObjectValidator():
            inner = validator.fields.get(path[0])
            return inner is not None and can_have(inner, path[1:])
        case RecordValidator():
            return can_have(validator.values, path[1:])
        case UnionValidator():
            return any(can_have(member, path) for member in validator.members)
    return False


def is_identifier(name: object) -> bool:
    """Whether `name` starts with a letter and has only letters, digits and underscores, <= 64."""
    return (
        isinstance(name, str)
        and len(name) <= IDENTIFIER_LENGTH_MAX
        and _IDENTIFIER.fullmatch(name) is not None
    )
