"""Existing documents against a new schema, a new unique index, a staged load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from livedb.clock import ManualClock
from livedb.errors import LoadError, UniqueError
from livedb.ids import IdFactory
from livedb.interchange.sources import open_source
from livedb.limits import Limits
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.namespace import v
from livedb.schema.tables import IndexDefinition, TableDefinition
from livedb.store.check_rows import Misfits, load_clashes, misfits, unique_clashes
from livedb.store.contract import StoredDocument, Write
from livedb.store.loads import StagedLoad, stage_load
from livedb.store.tables import TableStore
from livedb.text import encode_fields
from livedb.values import Int64, Value

NUMBER = 10_001
BY_N = IndexDefinition("by_n", ("n", "m.x"), is_unique=True)
TABLE = CatalogTable(NUMBER, TableDefinition("things", None, (BY_N,)))


class World:
    """A table store with one table, and what it takes to fill it."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(seed=1)
        self.ids = IdFactory(self.clock)
        self.loads = folder / "loads"
        self.loads.mkdir()
        self.catalog = Catalog().with_table(1, TABLE)
        self.store = TableStore(None, limits=Limits(), clock=self.clock, loads_folder=self.loads)

    def fill(self, documents: Sequence[Mapping[str, Value]]) -> list[str]:
        ids = [self.ids.new(NUMBER) for _ in documents]
        writes = [
            Write(NUMBER, each, None, StoredDocument(1.0 + at, encode_fields(document)))
            for at, (each, document) in enumerate(zip(ids, documents, strict=True))
        ]
        self.store.fold(self.catalog, [(2, writes)], until=2, chain=b"x")
        return ids

    def stage(self, source: object, *, keep_ids: bool = False) -> StagedLoad:
        return stage_load(
            open_source(source).reader(),
            TABLE.definition,
            NUMBER,
            clock=self.clock,
            ids=self.ids,
            folder=self.loads,
            keep_ids=keep_ids,
        )

    def check(self, staged: StagedLoad) -> None:
        with self.store.snapshot() as snapshot:
            load_clashes(snapshot, TABLE, self.loads / staged.file, staged)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def misfits_of(world: World, fields: Mapping[str, object]) -> Misfits:
    definition = TableDefinition("things", v.object(fields))  # type: ignore[arg-type]
    with world.store.snapshot() as snapshot:
        return misfits(snapshot, TABLE, definition)


def test_documents_that_fit_are_no_misfits(world: World) -> None:
    world.fill([{"a": 1, "b": "x"}, {"a": 2.0}])
    fields = {"a": v.union(v.integer(), v.number()), "b": v.optional(v.string())}
    assert misfits_of(world, fields) == Misfits()
    with world.store.snapshot() as snapshot:
        assert misfits(snapshot, TABLE, TableDefinition("things")) == Misfits()


def test_misfits_are_counted_and_the_first_ten_explained(world: World) -> None:
    ids = world.fill([{"a": 1}, *[{"a": "x"}] * 30, {"a": 1, "b": None}])
    found = misfits_of(world, {"a": v.integer()})
    assert found.count == 31
    assert found.ids == tuple(ids[1:11])
    assert set(found.reasons) == {".a: expected an int and found the str 'x'."}
    assert ids[1] in found.listed()
    assert found.listed().endswith("and 21 more")


def test_a_table_that_was_never_folded_has_no_misfits(world: World) -> None:
    assert misfits_of(world, {"a": v.integer()}).count == 0


def test_unique_clashes_compare_index_keys(world: World) -> None:
    documents: list[dict[str, Value]] = [
        {"n": 1, "m": {"x": 1}},
        {"n": 1.0, "m": {"x": 1.0}},
        {"n": Int64(1), "m": {"x": 1}},
        {"n": 1, "m": {"x": None}},
        {"n": 1, "m": {"x": None}},
        {"n": 1},
        {"n": 1, "m": 3},
    ]
    ids = world.fill(documents)
    with world.store.snapshot() as snapshot:
        found = unique_clashes(snapshot, TABLE, BY_N)
    assert (found.count, found.ids) == (1, (ids[1],))
    assert found.reasons == (f'has the same n, m.x as "{ids[0]}"',)


def test_a_load_whose_unique_keys_are_new_passes(world: World) -> None:
    world.fill([{"n": 1, "m": {"x": 1}}])
    world.check(world.stage([{"n": 2, "m": {"x": 1}}, {"n": 2}, {"n": 2}]))


def test_a_load_with_a_taken_key_is_refused(world: World) -> None:
    [first] = world.fill([{"n": 1, "m": {"x": 1}}])
    staged = world.stage([{"n": 2, "m": {"x": 1}}, {"n": 1.0, "m": {"x": 1}}])
    with pytest.raises(UniqueError, match="Row 1") as caught:
        world.check(staged)
    assert caught.value.existing_id == first
    with pytest.raises(UniqueError, match="another row"):
        world.check(world.stage([{"n": 3, "m": {"x": 1}}, {"n": 3, "m": {"x": 1}}]))


def test_a_load_that_keeps_an_id_the_table_has_is_refused(world: World) -> None:
    [taken] = world.fill([{"n": 1}])
    fresh = world.ids.new(NUMBER)
    world.check(world.stage([{"_id": fresh, "n": 2}], keep_ids=True))
    staged = world.stage([{"_id": fresh, "n": 2}, {"_id": taken, "n": 3}], keep_ids=True)
    with pytest.raises(LoadError, match=taken):
        world.check(staged)
