"""One table in memory: what a change costs, and what is kept of it."""

from __future__ import annotations

import pytest

from tests.store.contract_suite.world import TABLE, document_id
from tests.store.test_rows_loading import make_world


@pytest.fixture
def world():
    world = make_world()
    world.commit({document_id(number): {"a": number % 3} for number in range(100)})
    world.fold()
    world.store.count(TABLE, number=world.number)
    yield world
    world.store._check()


def state_of(world):
    return world.store._slots[TABLE].state


def ordered_keys(world):
    """How many keys the orders of changed documents hold."""
    return sum(len(order) for order in state_of(world)._orders)


def test_a_change_that_moves_a_document_in_no_index_orders_no_key(world):
    for note in range(3):
        world.commit({document_id(n): {"a": n % 3, "note": note} for n in range(0, 100, 5)})
    assert ordered_keys(world) == 0
    assert state_of(world).changed_count == 20
    world.check(1)
    world.check(world.number)


def test_a_move_orders_one_key_in_each_index_it_moves_in(world):
    world.commit({document_id(1): {"a": "moved"}})
    assert ordered_keys(world) == 2  # by_a, and by_nested, which ends with a
    world.check(world.number)


def test_a_document_that_moves_home_leaves_no_key_once_the_move_is_released(world):
    world.commit({document_id(1): {"a": "moved"}})
    number = world.commit({document_id(1): {"a": 1}})
    assert ordered_keys(world) == 2
    world.release(number)
    assert ordered_keys(world) == 0
    assert state_of(world).versions_count == 0
    world.check(number)


def test_an_undo_leaves_no_trace(world):
    number = world.number
    world.commit({document_id(1): {"a": "moved"}, document_id(2): None, document_id(500): {}})
    world.undo(number)
    state = state_of(world)
    assert (state.changed_count, state.versions_count, ordered_keys(world)) == (0, 0, 0)
    assert state.size_bytes == state.base.size_bytes


def test_a_long_history_of_one_document_can_be_forgotten_at_once(world):
    """Versions are a linked list, and freeing a long one must not go deep into the C stack."""
    for number in range(2_000):
        world.commit({document_id(1): {"a": 1, "n": number}})
    older = state_of(world)._changed[document_id(1)]
    for _ in range(300_000):
        older = type(older)(0, older.id, None, None, None, older)
    del older
    world.check(world.number)
    world.release(world.number)
    assert state_of(world).versions_count == 0
