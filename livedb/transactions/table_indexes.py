"""The ordered indexes of a table, as a transaction makes the keys of its documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from livedb.keys.index_key import Path, index_key, key_suffix, split_path
from livedb.schema.tables import TableDefinition
from livedb.values import Value

BY_CREATION_TIME = "by_creation_time"


class IndexPaths(NamedTuple):
    """One declared index of a table."""

    name: str
    paths: tuple[Path, ...]
    is_unique: bool


class TableIndexes:
    """The ordered indexes of a table, `by_creation_time` first, as a transaction uses them.

    Attributes:
        names: of all of them, in the order of every tuple of keys here.
        declared: all but `by_creation_time`.
        has_unique: whether some index is unique.
    """

    __slots__ = ("_fields", "declared", "has_unique", "names")

    def __init__(self, definition: TableDefinition) -> None:
        self.declared = tuple(
            IndexPaths(index.name, tuple(map(split_path, index.fields)), index.is_unique)
            for index in definition.indexes
        )
        self.names = (BY_CREATION_TIME, *[index.name for index in self.declared])
        self.has_unique = any(index.is_unique for index in self.declared)
        self._fields = frozenset(path[0] for index in self.declared for path in index.paths)

    def keys(
        self, fields: dict[str, Value], creation_time: float, document_id: str
    ) -> tuple[bytes, ...]:
        """The keys of a document with these fields."""
        suffix = key_suffix(creation_time, document_id)
        return (suffix, *[index_key(fields, index.paths, suffix) for index in self.declared])

    def are_moved_by(self, changed: Iterable[str]) -> bool:
        """Whether a change of these top-level fields may change a key."""
        return not self._fields.isdisjoint(changed)


_TABLE_INDEXES: dict[TableDefinition, TableIndexes] = {}


def table_indexes(definition: TableDefinition) -> TableIndexes:
    """The indexes of a table. Cost: one dict hit."""
    found = _TABLE_INDEXES.get(definition)
    if found is None:
        if len(_TABLE_INDEXES) > 4096:  # redefinitions in a long session; cheap to make again
            _TABLE_INDEXES.clear()
        found = _TABLE_INDEXES[definition] = TableIndexes(definition)
    return found
