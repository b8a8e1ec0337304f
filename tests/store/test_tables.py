"""The tables in DuckDB hold every document of one commit, whatever the documents are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from livedb.clock import ManualClock
from livedb.errors import ClosedError, FoldError
from livedb.ids import IdFactory
from livedb.limits import Limits
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.namespace import v
from livedb.schema.tables import TableDefinition
from livedb.store.contract import StoredDocument, Write
from livedb.store.tables import TableStore
from livedb.text import encode_fields
from livedb.values import Value

TASKS = 10_001


def catalog_of(number: int = 1, **tables: object) -> Catalog:
    catalog = Catalog()
    for at, (name, document) in enumerate(tables.items()):
        definition = TableDefinition(name, document, ())
        catalog = catalog.with_table(number, CatalogTable(TASKS + at, definition))
    return catalog


def write(document_id: str, fields: dict[str, Value] | None, *, table: int = TASKS) -> Write:
    new = None if fields is None else StoredDocument(float(len(document_id)), encode_fields(fields))
    return Write(table, document_id, None, new, ())


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TableStore]:
    path = tmp_path / "tables.duckdb" if request.param == "file" else None
    store = TableStore(path, limits=Limits(), clock=ManualClock(), loads_folder=tmp_path / "loads")
    yield store
    store.close()


@pytest.fixture
def ids() -> IdFactory:
    return IdFactory(ManualClock())


def test_a_folded_document_is_read_by_sql(store: TableStore, ids: IdFactory) -> None:
    catalog = catalog_of(tasks=None)
    one = ids.new(TASKS)
    store.fold(catalog, [(1, [write(one, {"title": "a", "n": 1})])], until=1, chain=b"c1")
    table, read = store.run_sql("select _id, title, n from tasks", None, catalog=catalog)
    assert table.to_pylist() == [{"_id": one, "title": "a", "n": 1}]
    assert read == {"tasks"}
    assert (store.folded_number, store.folded_chain) == (1, b"c1")
