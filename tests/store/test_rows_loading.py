"""How tables enter memory and leave it: beside commits, within the budget, or not at all."""

from __future__ import annotations

import threading

import pytest

from livedb.errors import IndexRangeError, MemoryBudgetError, SnapshotTooOldError
from livedb.limits import Limits
from livedb.store import rows, table_slot
from livedb.store.rows import RowStore
from tests.store.contract_suite.world import OTHER, TABLE, World, document_id


def make_world(limits: Limits | None = None) -> World:
    return World(
        lambda world: RowStore(
            load=world.load,
            indexes_of=world.indexes_of,
            estimate_bytes=world.estimate_bytes,
            backlog=world.backlog,
            limits=limits or Limits(),
        )
    )


@pytest.fixture
def world():
    world = make_world()
    world.commit({document_id(number): {"a": number} for number in range(100)})
    world.fold()
    yield world
    world.store._check()


def counting(world, monkeypatch):
    loads = []
    world.before_load = lambda: loads.append(1)
    return loads


def test_a_table_loads_once_however_many_readers_wait(world):
    loads, gate = [], threading.Event()

    def wait():
        loads.append(1)
        assert gate.wait(10)

    world.before_load = wait
    counts = []
    readers = [
        threading.Thread(target=lambda: counts.append(world.store.count(TABLE, number=1)))
        for _ in range(5)
    ]
    for reader in readers:
        reader.start()
    gate.set()
    for reader in readers:
        reader.join()
    assert counts == [100] * 5
    assert len(loads) == 1


def test_commits_and_folds_go_on_while_a_table_loads(world):
    def between():
        """Runs in the loader's thread after the tables were read: all of it must be caught up."""
        for number in range(150):
            world.commit({document_id(number): {"a": "during"}})
        world.fold(world.number - 50)
        world.undo(world.number - 10)
        world.commit({document_id(0): None})

    world.commit({document_id(3): {"a": "before"}})
    world.after_load = between
    number = world.number
    world.store.count(TABLE, number=number)
    for kept in (number, number + 20, world.number - 1, world.number):
        world.check(kept)


def test_a_load_serves_snapshots_older_than_itself(world):
    number = world.number
    world.before_load = lambda: (
        world.commit({document_id(1): {"a": "newer"}, document_id(2): None}),
        world.fold(),
    )
    assert world.store.count(TABLE, number=number) == 100
    world.check(number)
    world.check(number + 1)


def test_what_is_below_the_last_fold_is_too_old(world):
    world.commit({document_id(1): {"a": "b"}})
    world.fold()
    with pytest.raises(SnapshotTooOldError, match="10001"):
        world.store.get(TABLE, document_id(1), number=1)


def test_speculative_commits_found_at_the_load_can_be_undone(world):
    number = world.number
    world.commit({document_id(1): {"a": "speculative"}, document_id(500): {}})
    world.commit({document_id(1): None})
    world.check(world.number)
    world.undo(number)
    world.check(number)


def test_a_commit_in_the_backlog_that_is_not_applied_yet_happens_once(world):
    writes = []
    apply = world.store.apply
    world.store.apply = lambda number, own: writes.append((number, own))
    number = world.commit({document_id(1): {"a": "late"}, document_id(300): {}})
    world.store.count(TABLE, number=number)
    apply(*writes[0])
    world.check(number)


def test_a_load_that_fails_is_told_to_its_reader_and_tried_again(world):
    def fail():
        raise OSError("the disk is gone")

    world.before_load = fail
    with pytest.raises(OSError, match="disk is gone"):
        world.store.count(TABLE, number=1)
    world.before_load = lambda: None
    world.check(1)


def test_a_reset_during_a_load_starts_it_again(world):
    loads = []

    def reset_once():
        loads.append(1)
        if len(loads) == 1:
            number = world.commit({document_id(1): {"a": "reset"}})
            world.fold()
            world.store.reset(TABLE, number)

    world.after_load = reset_once
    with pytest.raises(SnapshotTooOldError):
        world.store.count(TABLE, number=1)
    world.check(2)
    assert len(loads) == 2


def test_a_created_table_is_there_without_a_load(world):
    world.before_load = lambda: pytest.fail("a new table has nothing to load")
    world.store.create(OTHER, world.number + 1)
    number = world.commit({document_id(1, OTHER): {"a": 1}}, table=OTHER)
    assert world.scan("by_a", table=OTHER) == world.expected("by_a", table=OTHER)
    assert world.store.count(OTHER, number=number) == 1


def test_an_undone_creation_leaves_nothing(world):
    number = world.number
    world.store.create(OTHER, number + 1)
    world.commit({document_id(1, OTHER): {"a": 1}}, table=OTHER)
    world.undo(number)
    assert world.scan("by_a", table=OTHER) == []


def test_an_unknown_index_is_named(world):
    with pytest.raises(IndexRangeError, match=r"'by_b'.*by_nested"):
        world.scan("by_b")


def test_a_table_beyond_the_budget_is_refused_before_it_is_loaded(world):
    small = make_world(Limits(row_memory_bytes_max=10_000))
    small.commit({document_id(number): {"a": "x" * 100} for number in range(200)})
    small.fold()
    small.before_load = lambda: pytest.fail("it must not be loaded")
    with pytest.raises(MemoryBudgetError, match="row_memory_bytes_max"):
        small.store.get(TABLE, document_id(1), number=1)


def test_a_table_larger_than_estimated_is_refused_and_then_not_loaded_again():
    small = make_world(Limits(row_memory_bytes_max=10_000))
    small.estimate_bytes = lambda table: 100
    loads = counting(small, None)
    small.store._estimate_bytes = small.estimate_bytes
    small.commit({document_id(number): {"a": "x" * 100} for number in range(200)})
    small.fold()
    for _ in range(3):
        with pytest.raises(MemoryBudgetError, match="SQL"):
            small.store.count(TABLE, number=1)
    assert len(loads) == 1


@pytest.mark.parametrize(
    "held, said",
    [(0, "there are 9.8 KiB."), (900, "there are 9.8 KiB, of which other tables have 900")],
)
def test_a_refusal_names_the_table_and_what_others_take_if_they_take_anything(held, said):
    error = table_slot.budget_error("tasks", 12_000, held, Limits(row_memory_bytes_max=10_000))
    assert f"table 'tasks' in memory, about 11.7 KiB, and for all tables {said}" in str(error)


def test_a_table_that_outgrows_the_budget_leaves_memory_and_is_refused():
    small = make_world(Limits(row_memory_bytes_max=3 << 20))
    small.store.count(TABLE, number=0)
    for number in range(5):
        small.commit({document_id(number): {"note": "x" * 900_000}})
    small.fold()
    with pytest.raises(MemoryBudgetError):
        small.store.count(TABLE, number=small.number)
    small.commit({document_id(number): None for number in range(4)})
    small.fold()
    small.check(small.number)


def test_many_changes_ask_to_be_packed_and_packing_saves_memory(world, monkeypatch):
    monkeypatch.setattr(rows, "_REPACK_CHANGED_MIN", 50)
    world.store.count(TABLE, number=1)
    world.commit({document_id(number): {"a": "b"} for number in range(49)})
    assert world.store.repack_wanted() == []
    world.commit({document_id(number): {"a": "b"} for number in range(40, 100)})
    assert world.store.repack_wanted() == [TABLE]
    world.fold()
    world.release(world.number)
    before = world.store.statistics()
    world.store.repack(TABLE)
    after = world.store.statistics()
    assert after.tables[0].documents_changed == 0
    assert after.size_bytes < before.size_bytes / 2
    assert world.store.repack_wanted() == []
    world.check(world.number)


@pytest.mark.parametrize("bound, count", [(1, 2), (1 << 30, 0)])
def test_a_large_table_gives_memory_back_after_a_load_and_a_repack(
    world, monkeypatch, bound, count
):
    returned = []

    def note():
        assert world.store.statistics().tables, "the table is there before memory is given back"
        returned.append(1)
        if len(returned) == count:
            done.set()

    done = threading.Event()
    monkeypatch.setattr(rows, "_RETURN_BYTES", bound)
    monkeypatch.setattr(rows, "return_unused_memory", note)
    world.store.count(TABLE, number=1)
    world.store.repack(TABLE)
    assert count == 0 or done.wait(10)
    assert len(returned) == count
