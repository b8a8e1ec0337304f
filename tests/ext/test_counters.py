"""Sharded counters: exact at every commit, and fewer conflicts the more shards there are."""

from __future__ import annotations

import threading

import pytest

import livedb
from livedb.errors import InvalidValueError
from livedb.ext import counters
from livedb.ext.counters import Counter


def test_a_counter_is_the_sum_of_what_was_added_for_its_key(db):
    db.push(counters)
    likes = Counter("likes", shards=4)

    @db.mutation
    def add(ctx, key: str, count: int):
        likes.add(ctx, count, key=key)
        return likes.count(ctx, key=key)

    @db.query
    def count(ctx, key: str):
        return likes.count(ctx, key=key)

    @db.mutation
    def reset(ctx, key: str):
        likes.reset(ctx, key=key)

    live = count.live(key="a")
    assert [add(key="a", count=each) for each in (1, 2, -4, 10)] == [1, 3, -1, 9]
    assert add(key="b", count=1) == 1
    assert live.value == 9
    reset(key="a")
    assert (live.value, count(key="b")) == (0, 1)


def test_the_number_of_shards_may_change(db):
    db.push(counters)

    @db.mutation
    def add(ctx, shards: int):
        Counter("likes", shards=shards).add(ctx)

    @db.query
    def count(ctx):
        return Counter("likes", shards=1).count(ctx)

    for shards in (16, 1, 4, 64, 2):
        for _ in range(5):
            add(shards=shards)
    assert count() == 25


def conflicts(db, shards, *, threads=8, each=40):
    """How many runs were made again because of a conflict, of mutations that meet in the middle."""
    name = f"add{shards}"
    likes = Counter(f"likes{shards}", shards=shards)
    together = threading.Barrier(threads)

    @db.mutation(name=name)
    def add(ctx):
        likes.add(ctx)

    @db.query(name=f"count{shards}")
    def count(ctx):
        return likes.count(ctx)

    def work():
        for _ in range(each):
            together.wait(30)
            add()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert count() == threads * each
    return db.statistics().runs[name] - threads * each


@pytest.mark.local("threads in the process that has the workspace")
def test_shards_make_conflicts_rare(memory):
    memory.push(counters)
    many, few = conflicts(memory, 1), conflicts(memory, 64)
    assert few <= many / 2 + 2, (many, few)  # where threads hardly meet there are none at all


@pytest.mark.parametrize(
    "counter", [Counter("likes", shards=0), Counter("likes", "4"), Counter("")]
)
def test_a_counter_that_is_none_is_refused_where_it_is_raised(counter):
    with livedb.open() as db:
        db.push(counters)

        @db.mutation
        def add(ctx):
            counter.add(ctx)

        with pytest.raises(InvalidValueError):
            add()


@pytest.mark.parametrize(
    "count, key, said",
    [
        (1.5, "", "counts whole numbers, and not 1.5"),
        (None, "", "counts whole numbers"),
        (True, "", "counts whole numbers"),
        (1, None, "a number for each key, which is a text, not None"),
        (1, 5, "which is a text, not 5"),
    ],
)
def test_a_count_and_a_key_that_are_none_are_refused(memory, count, key, said):
    memory.push(counters)

    @memory.mutation
    def add(ctx):
        Counter("likes").add(ctx, count, key=key)

    with pytest.raises(InvalidValueError, match=said):
        add()
