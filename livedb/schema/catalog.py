"""The tables of a workspace at one commit: an immutable map that changes by making a new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from livedb.errors import SchemaDefinitionError
from livedb.ids import FIRST_TABLE_NUMBER
from livedb.limits import TABLES_MAX
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import Json


@dataclass(frozen=True, slots=True)
class CatalogTable:
    """One table: the number that its ids carry, and its definition."""

    number: int
    definition: TableDefinition


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The tables at commit `number`, by name and by table number.

    Attributes:
        number: the commit that made this catalog.
        next_number: the table number of the next new table. It never goes back: an id of a
            deleted table must not become one of another.
    """

    number: int = 0
    next_number: int = FIRST_TABLE_NUMBER
    _by_name: Mapping[str, CatalogTable] = field(default_factory=dict)
    _by_number: Mapping[int, CatalogTable] = field(default_factory=dict)

    def get(self, name: str) -> CatalogTable | None:
        """The table of that name. Cost: one dict look-up."""
        return self._by_name.get(name)

    def by_number(self, number: int) -> CatalogTable | None:
        """The table of that number. Cost: one dict look-up."""
        return self._by_number.get(number)

    def number_of(self, name: str) -> int | None:
        """The number of the table of that name."""
        table = self._by_name.get(name)
        return None if table is None else table.number

    def name_of(self, number: int) -> str | None:
        """The name of the table of that number."""
        table = self._by_number.get(number)
        return None if table is None else table.definition.name

    def names(self) -> list[str]:
        """The names of all tables but livedb's own, sorted."""
        return sorted(name for name in self._by_name if name[0] != "_")

    def next_table_number(self) -> int:
        """The number that a new table gets."""
        return self.next_number

    def __iter__(self) -> Iterator[CatalogTable]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Catalog):
            return NotImplemented
        return (self.number, self.next_number, self._by_name) == (
            other.number,
            other.next_number,
            other._by_name,
        )

    __hash__ = None  # type: ignore[assignment]  # compared in tests, never a key

    def with_table(self, number: int, table: CatalogTable) -> Self:
        """The catalog at commit `number`, with `table` new, changed, or renamed.

        Raises:
            SchemaDefinitionError: another table has the name, in any case, or there are too many.
        Cost: O(tables).
        """
        name = table.definition.name
        self._refuse_name_taken(name, table.number)
        by_name = {
            other: known for other, known in self._by_name.items() if known.number != table.number
        }
        if len(by_name) >= TABLES_MAX:
            raise SchemaDefinitionError(
                f"The workspace has {TABLES_MAX} tables, which is the most there can be",
                code="TooManyTables",
            )
        return type(self)(
            number,
            max(self.next_number, table.number + 1),
            by_name | {name: table},
            {**self._by_number, table.number: table},
        )

    def without(self, number: int, name: str) -> Self:
        """The catalog at commit `number`, without the table `name`."""
        gone = self._by_name[name]
        return type(self)(
            number,
            self.next_number,
            {other: table for other, table in self._by_name.items() if other != name},
            {known: table for known, table in self._by_number.items() if known != gone.number},
        )

    def at(self, number: int) -> Self:
        """The same tables, as the catalog of commit `number`."""
        return type(self)(number, self.next_number, self._by_name, self._by_number)

    def changed_names(self, before: Catalog) -> frozenset[str]:
        """The names whose table is new, changed or gone since `before`. Cost: O(tables)."""
        mine, theirs = self._by_name, before._by_name
        return frozenset(
            name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)
        )

    def to_json(self) -> Json:
        """All of it, for the commit log."""
        return {
            "number": self.number,
            "nextTableNumber": self.next_number,
            "tables": [
                {"tableNumber": table.number, **table.definition.to_json()} for table in self
            ],
        }

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """The catalog that `to_json` wrote."""
        tables = [
            CatalogTable(part["tableNumber"], TableDefinition.from_json(part))
            for part in data["tables"]
        ]
        return cls(
            data["number"],
            data["nextTableNumber"],
            {table.definition.name: table for table in tables},
            {table.number: table for table in tables},
        )

    def _refuse_name_taken(self, name: str, number: int) -> None:
        for other, table in self._by_name.items():
            if table.number == number or other.lower() != name.lower():
                continue
            raise SchemaDefinitionError(
                f"There is a table {other!r} already, and names that differ only in case are one "
                f"name in SQL; {name!r} cannot be added",
                code="TableNamesNotUnique",
            )
