"""What the tests of the tables share: catalogs, writes and a store, small."""

from __future__ import annotations

from pathlib import Path

from livedb.clock import ManualClock
from livedb.ids import IdFactory
from livedb.limits import Limits
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import Validator
from livedb.store.contract import StoredDocument, Write
from livedb.store.tables import TableStore
from livedb.text import encode_fields
from livedb.values import Value

TASKS = 10_001
FIRST_TABLE = TASKS


def catalog_of(number: int = 1, **tables: Validator | None) -> Catalog:
    """A catalog of the tables named, numbered from `FIRST_TABLE` in the order given."""
    catalog = Catalog()
    for at, (name, document) in enumerate(tables.items()):
        definition = TableDefinition(name, document, ())
        catalog = catalog.with_table(number, CatalogTable(FIRST_TABLE + at, definition))
    return catalog


def stored(fields: dict[str, Value], *, creation_time: float = 1.0) -> StoredDocument:
    return StoredDocument(creation_time, encode_fields(fields))


def write(
    document_id: str,
    fields: dict[str, Value] | None,
    *,
    table: int = TASKS,
    creation_time: float = 1.0,
) -> Write:
    """A write as a fold needs it; None deletes."""
    new = None if fields is None else stored(fields, creation_time=creation_time)
    return Write(table, document_id, None, new)


def open_store(
    folder: Path, *, in_memory: bool = False, limits: Limits | None = None
) -> TableStore:
    return TableStore(
        None if in_memory else folder / "tables.duckdb",
        limits=limits or Limits(),
        clock=ManualClock(),
        loads_folder=folder / "loads",
    )


def new_ids(count: int, *, table: int = TASKS) -> list[str]:
    factory = IdFactory(ManualClock())
    return [factory.new(table) for _ in range(count)]


class Folder:
    """Folds one commit after another into a store."""

    def __init__(self, store: TableStore, catalog: Catalog) -> None:
        self.store = store
        self.catalog = catalog
        self.number = store.folded_number
        self.knows_old = True
        """Whether the writes say what they replace, as a replay of the log does not."""
        self._documents: dict[str, StoredDocument | None] = {}

    def fold(self, *commits: list[Write]) -> None:
        if self.knows_old:
            commits = tuple([self._with_old(each) for each in commit] for commit in commits)
        first = self.number + 1
        self.number += len(commits)
        entries = list(enumerate(commits, start=first))
        chain = b"%d" % self.number
        self.store.fold(self.catalog, entries, until=self.number, chain=chain)

    def _with_old(self, write: Write) -> Write:
        old = self._documents.get(write.id)
        self._documents[write.id] = write.new
        return write._replace(old=old)

    def rows(self, text: str, params: object = None) -> list[dict[str, Value]]:
        table, _ = self.store.run_sql(text, params, catalog=self.catalog)  # type: ignore[arg-type]
        return table.to_pylist()
