"""Search indexes of the row store: built while commits go on, right at every number kept."""

from __future__ import annotations

import gc
import threading
import weakref
from itertools import accumulate
from random import Random

import pytest

from livedb.errors import MemoryBudgetError, SnapshotTooOldError
from livedb.limits import Limits
from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.search.vectors import VectorQuery, unit
from livedb.search.words import text_query
from livedb.store import searches
from livedb.store.rows import RowStore
from livedb.text import decode_fields
from tests.search import brute
from tests.store.contract_suite.world import TABLE, World, document_id

TEXT = SearchIndexDefinition("body", ("a",), "by_text")
VECTOR = VectorIndexDefinition("at", 2, ("a",), "by_at")
WORDS = ("ant", "ants", "bee", "cat")


def make_world() -> World:
    return World(
        lambda world: RowStore(
            load=world.load,
            indexes_of=world.indexes_of,
            estimate_bytes=world.estimate_bytes,
            backlog=world.backlog,
            limits=world.limits(),
        )
    )


def some_fields(random):
    return {
        "a": random.randrange(2),
        "body": " ".join(random.choices(WORDS, k=random.randrange(1, 6))),
        "at": [random.randrange(1, 9), random.randrange(9)],
    }


def commit(world, random, most=30):
    changes = {
        document_id(random.randrange(most)): None if random.random() < 0.3 else some_fields(random)
        for _ in range(random.randrange(1, 5))
    }
    world.commit(changes)


def search(world, number, text="ant"):
    return world.store.search_text(
        TABLE, TEXT, text_query(text), (), number=number, limit=100, own={}
    )


def nearest(world, number):
    query = VectorQuery(unit([1.0, 1.0]).tobytes(), 100)
    return world.store.search_vectors(TABLE, VECTOR, query, number=number, own={})


def check(world, number):
    documents = [
        brute.Document(key, it.creation_time, decode_fields(it.text))
        for key, it in world.states[number][TABLE].items()
    ]
    for text in ("ant", "bee cat", "c"):
        assert search(world, number, text) == brute.text_search(documents, "body", text, {}), text
    expected = brute.vector_search(documents, "at", [1.0, 1.0], None)
    found = nearest(world, number)
    assert dict(found) == pytest.approx(dict(expected), abs=1e-5)
    assert found == sorted(found, key=lambda hit: (-hit.score, hit.id))


@pytest.mark.parametrize("seed", range(12))
def test_at_every_kept_number_searches_are_right_through_folds_undos_and_packing(seed):
    world, random = make_world(), Random(seed)
    for _ in range(60):
        step = random.random()
        if step < 0.6:
            commit(world, random)
        elif step < 0.7:
            world.undo(max(world.released, world.number - random.randrange(3)))
        elif step < 0.78:
            world.fold()
        elif step < 0.84:
            world.release(max(world.released, world.number - 6))
        elif step < 0.9:
            world.fold()
            world.store.repack(TABLE)
        elif step < 0.94:
            world.fold()
            world.store.reset(TABLE, world.number, load_from=0)
            world.released = world.number
        check(world, random.randrange(max(world.released, world.number - 5), world.number + 1))
    world.store._check()


def test_a_search_below_what_is_kept_is_refused():
    world, random = make_world(), Random(1)
    for _ in range(5):
        commit(world, random)
    world.fold()
    search(world, world.number)
    world.release(world.number)
    with pytest.raises(SnapshotTooOldError):
        search(world, 1)


def test_commits_while_an_index_is_built_are_in_it(monkeypatch):
    world, random = make_world(), Random(2)
    for _ in range(10):
        commit(world, random)
    build = searches.KeptIndex.build

    def build_slowly(self, base, changed, oldest):
        for _ in range(5):
            commit(world, random)
        build(self, base, changed, oldest)
        world.undo(world.number - 2)
        commit(world, random)

    before = world.number
    monkeypatch.setattr(searches.KeptIndex, "build", build_slowly)
    search(world, before)
    nearest(world, before)
    monkeypatch.undo()
    for number in range(before, world.number + 1):
        check(world, number)


def test_writers_note_and_the_next_search_takes_in():
    """A commit reads no word and no vector: it costs the same with a search index as without."""
    world, random = make_world(), Random(3)
    commit(world, random)
    check(world, world.number)
    slot = world.store._slot(TABLE)
    kept = slot.state.searches.get(TEXT)
    versions = kept.built.slots_count
    commit(world, random)
    assert (kept.noted_count > 0, kept.built.slots_count) == (True, versions)
    check(world, world.number)
    assert kept.noted_count == 0


def test_packing_anew_keeps_the_indexes_and_nothing_else_of_the_base():
    world, random = make_world(), Random(9)
    for _ in range(20):
        commit(world, random)
    world.release(world.number)
    world.store.repack(TABLE)
    check(world, world.number)
    slot = world.store._slot(TABLE)
    kept = [slot.state.searches.get(index) for index in (TEXT, VECTOR)]
    base, size_bytes = weakref.ref(slot.state.base), slot.state.searches.size_bytes
    for _ in range(3):
        commit(world, random)
        world.store.repack(TABLE)
        commit(world, random)
        check(world, world.number)
        assert [slot.state.searches.get(index) for index in (TEXT, VECTOR)] == kept
    gc.collect()  # its orders refer to it
    assert base() is None
    assert slot.state.searches.size_bytes >= size_bytes + 2 * kept[0]._rows.size_bytes


def test_an_index_that_nobody_asks_for_is_let_go(monkeypatch):
    monkeypatch.setattr(searches, "EVENTS_MAX", 20)
    world, random = make_world(), Random(4)
    commit(world, random)
    search(world, world.number)
    for _ in range(30):
        commit(world, random)
    assert world.store._slot(TABLE).state.searches.get(TEXT) is None
    check(world, world.number)


def test_an_index_of_mostly_superseded_versions_is_built_anew(monkeypatch):
    monkeypatch.setattr(searches, "_STALE_MIN", 50)
    world, random = make_world(), Random(5)
    for _ in range(200):
        commit(world, random, most=5)
        check(world, world.number)
        world.release(world.number)
    assert world.store._slot(TABLE).state.searches.get(TEXT).built.slots_count < 90


def test_versions_that_snapshots_still_need_do_not_make_an_index_stale(monkeypatch):
    monkeypatch.setattr(searches, "_STALE_MIN", 5)
    world, random = make_world(), Random(8)
    for _ in range(60):
        world.commit({document_id(1): some_fields(random)})
    check(world, world.number)
    check(world, 30)


def test_an_index_is_used_again_only_whole_when_taking_in_was_interrupted(monkeypatch):
    world, random = make_world(), Random(6)
    commit(world, random)
    check(world, world.number)
    kept = world.store._slot(TABLE).state.searches.get(TEXT)
    commit(world, random)

    def strike(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(kept.built, "apply", strike)
    with pytest.raises(KeyboardInterrupt):
        search(world, world.number)
    check(world, world.number)
    assert world.store._slot(TABLE).state.searches.get(TEXT) is not kept


def test_an_index_that_finds_no_room_is_refused_and_the_table_stays():
    world = make_world()
    world.commit({document_id(n): {"body": "ant", "at": [1, n]} for n in range(100)})
    search(world, 1)
    big = VectorIndexDefinition("at", 2, (), "by_at")
    world.store._limits = Limits(row_memory_bytes_max=world.store.statistics().size_bytes + 1_000)
    query = VectorQuery(unit([1.0, 1.0]).tobytes(), 5)
    with pytest.raises(MemoryBudgetError, match="search index"):
        world.store.search_vectors(TABLE, big, query, number=1, own={})
    assert len(search(world, 1)) == 100


def test_what_indexes_hold_counts_as_memory_of_the_table():
    world = make_world()
    world.commit({document_id(n): {"body": "ant", "at": [1, n]} for n in range(100)})
    world.store.count(TABLE, number=1)
    before = world.store.statistics().size_bytes
    nearest(world, 1)
    assert world.store.statistics().size_bytes > before + 100 * 8


def test_indexes_that_a_table_no_longer_has_are_let_go():
    world = make_world()
    world.commit({document_id(1): {"body": "ant", "at": [1, 2]}})
    check(world, 1)
    world.store.keep_searches(TABLE, [VECTOR])
    state = world.store._slot(TABLE).state
    assert state.searches.get(TEXT) is None
    assert state.searches.get(VECTOR) is not None


def test_searches_beside_commits_are_each_right_at_their_number():
    world, random = make_world(), Random(7)
    for _ in range(20):
        commit(world, random)
    failures = []
    published = [world.number]
    is_over = threading.Event()

    def read():
        try:
            while not is_over.is_set():
                check(world, published[0])
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(300):
        commit(world, random)
        published[0] = world.number
    is_over.set()
    for reader in readers:
        reader.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize(
    "sizes,expected",
    [
        ([], []),
        ([3, 3, 4, 1], [3, 1]),
        ([30, 1, 1], [1, 2]),  # one that is larger than what is decoded at once comes by itself
        ([1] * 12, [5, 5, 2]),
        ([0] * 7, [5, 2]),
    ],
)
def test_documents_are_decoded_for_an_index_a_bounded_size_at_once(monkeypatch, sizes, expected):
    monkeypatch.setattr(searches, "_DECODED_ROWS", 5)
    monkeypatch.setattr(searches, "_DECODED_BYTES", 10)
    spans = list(searches._spans([0, *accumulate(sizes)]))
    assert [len(each) for each in spans] == expected
    assert [row for each in spans for row in each] == list(range(len(sizes)))
