"""`with db.snapshot()`: everything that is read inside is of one commit."""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue

import pytest

from livedb.errors import SnapshotTooOldError, SqlError


@pytest.fixture
def shop(db):
    @db.table("items", indexes={"by_kind": ["kind", "price"]})
    class Item:
        kind: str
        price: int = 0

    @db.query
    def of_kind(ctx, kind: str) -> list[Item]:
        return ctx.db.query(Item).with_index("by_kind", kind=kind).collect()

    @db.query
    def total(ctx) -> int:
        return sum(item.price for item in ctx.db.query(Item))

    db.of_kind, db.total = of_kind, total
    return db


def prices(handle):
    return [item["price"] for item in handle.value]


def test_a_snapshot_freezes_every_handle(shop):
    shop["items"].insert({"kind": "a", "price": 1})
    items, total = shop.of_kind.live(kind="a"), shop.total.live()
    with shop.snapshot() as number:
        assert number == shop.number
        shop["items"].insert({"kind": "a", "price": 2})
        assert (prices(items), total.value) == ([1], 1)
        assert items.version == total.version == number
        with shop.snapshot() as inner:
            assert inner == number
        assert total.value == 1
        assert len(items.df) == 1
    assert (prices(items), total.value) == ([1, 2], 3)
    assert items.version == shop.number


def test_after_a_snapshot_followers_hear_of_what_changed_within(shop):
    """They heard of it while the handle stood still, if it is one of this process."""
    shop["items"].insert({"kind": "a", "price": 1})
    total, idle = shop.total.live(), shop.of_kind.live(kind="b")
    heard, changed, idle_heard = SimpleQueue(), SimpleQueue(), []
    total.observe(lambda handle: heard.put(handle.value))
    total.observe(lambda change: changed.put(change["new"]), names="value")
    idle.observe(idle_heard.append)
    with shop.snapshot():
        shop["items"].insert({"kind": "a", "price": 2})
        assert total.value == 1
    while heard.get(timeout=5) != 3:
        pass
    assert changed.get(timeout=5) == 3
    assert idle_heard == []


def test_all_that_is_read_inside_a_snapshot_is_of_its_commit(shop):
    shop["items"].insert({"kind": "a", "price": 1})
    shop.total()  # so that the table is in memory

    @shop.query
    def by_sql(ctx):
        return ctx.db.sql("select sum(price)::int as n from items")[0].n

    def read():
        table = shop["items"]
        return [
            shop.total(),
            asyncio.run(shop.total.aio()),
            by_sql(),
            shop.sql("select sum(price) as n from items")[0].n,
            sum(item.price for item in table),
            sum(item.price for item in table.with_index("by_kind", kind="a").collect()),
            sum(table.df["price"]),
        ]

    total = shop.total.live()
    with shop.snapshot() as number:
        shop["items"].insert({"kind": "a", "price": 10})
        shop["late"].insert({"n": 1})
        for _ in range(2):  # also when all is folded
            assert read() == [1] * 7
            assert (total.value, shop["items"].count()) == (1, 1)
            assert shop.sql("select 1 as n").number == number
            assert (shop["late"].schema, shop["late"].collect()) == (None, [])
            getattr(shop, "served", shop).backend.workspace.folder.fold()
        with shop.snapshot() as inner:
            assert inner == number
            assert shop.total() == 1
        assert shop.total() == 1
    assert read() == [11] * 7
    assert shop["late"].count() == 1


def test_a_mutation_inside_a_snapshot_reads_the_newest_commit(shop):
    total = shop.total

    @shop.mutation
    def add(ctx) -> int:
        price = total()
        ctx.db.insert("items", {"kind": "a", "price": price + 1})
        return price

    with shop.snapshot():
        assert (add(), add(), shop.total()) == (0, 1, 0)
    assert shop.total() == 3


def test_queries_that_an_action_runs_inside_a_snapshot_read_the_snapshot(shop):
    @shop.mutation
    def add(ctx) -> None:
        ctx.db.insert("items", {"kind": "a", "price": 1})

    @shop.action
    def look(ctx) -> list[int]:
        ctx.run_mutation(add)
        return [ctx.run_query("total")]

    @shop.action
    async def look_async(ctx) -> list[int]:
        await ctx.run_mutation(add)
        return [await ctx.run_query("total")]

    shop.total()  # so that the table is in memory
    with shop.snapshot():
        assert (look(), look_async()) == ([0], [0])
    assert look() == [3]


def test_queries_that_an_action_calls_inside_a_snapshot_read_the_snapshot(shop):
    total = shop.total

    @shop.action
    def look(ctx) -> int:
        return total()

    with shop.snapshot():
        shop["items"].insert({"kind": "a", "price": 1})
        assert look() == 0


def test_another_thread_reads_on_at_the_newest_commit(shop):
    found = []
    with shop.snapshot():
        shop["items"].insert({"kind": "a", "price": 5})

        def read():
            found.extend([shop.total(), shop.sql("select count(*) as n from items")[0].n])

        other = threading.Thread(target=read)
        other.start()
        other.join()
    assert found == [5, 1]


def test_a_snapshot_that_two_threads_share_ends_with_the_last_of_them(shop):
    handle = shop.total.live()
    inside, go = threading.Event(), threading.Event()
    found = []

    def other():
        with shop.snapshot():
            inside.set()
            go.wait()
            found.extend([handle.value, shop.total(), shop.sql("from items").number])

    thread = threading.Thread(target=other)
    with shop.snapshot() as number:
        thread.start()
        inside.wait()
    shop["items"].insert({"kind": "a", "price": 5})
    go.set()
    thread.join()
    assert found == [0, 0, number]
    assert (handle.value, shop.total()) == (5, 5)


def test_what_memory_no_longer_has_of_a_snapshot_is_refused_and_read_by_sql(shop):
    shop["items"].insert({"kind": "a", "price": 1})
    with shop.snapshot() as number:
        shop.load("items", [{"kind": "a", "price": 10}])
        with pytest.raises(SnapshotTooOldError, match=rf"total .*commit {number} inside db\.snap"):
            shop.total()
        assert shop.sql("select sum(price) as n from items")[0].n == 1
        assert sum(shop["items"].df["price"]) == 1
    assert shop.total() == 11


def test_sql_that_fails_inside_a_snapshot_leaves_it_readable(shop):
    shop["items"].insert({"kind": "a", "price": 1})
    with shop.snapshot() as number:
        for wrong in ("selec", "from nowhere", "select cast(kind as int) from items"):
            with pytest.raises(SqlError):
                shop.sql(wrong)
        assert shop.sql("from items").number == number


def test_a_handle_made_inside_a_snapshot_shows_the_snapshots_state(shop):
    shop["items"].insert({"kind": "a", "price": 1})
    with shop.snapshot() as number:
        items, table = shop.of_kind.live(kind="a"), shop["items"].live()
        assert (prices(items), len(table.df), items.error) == ([1], 1, None)
        assert items.version == table.version == number
        shop["items"].insert({"kind": "a", "price": 2})
        assert (prices(items), items.version, len(table.df)) == ([1], number, 1)
    assert (prices(items), items.version, len(table.df)) == ([1, 2], shop.number, 2)


def test_a_handle_made_after_later_commits_says_which_it_shows(shop):
    with shop.snapshot() as number:
        shop["items"].insert({"kind": "a", "price": 1})
        items, later = shop.of_kind.live(kind="a"), shop.number
        assert (prices(items), items.version) == ([1], later)
        assert later > number
        shop["items"].insert({"kind": "a", "price": 2})
        assert (prices(items), items.version) == ([1], later)
    assert prices(items) == [1, 2]


@pytest.mark.local("its query waits for a thread here")
def test_a_snapshot_comes_to_its_end_while_others_commit_and_fold_without_a_pause(shop):
    """Found by `tests/oracle/test_concurrency.py`, seed 115."""
    asked, folded = SimpleQueue(), threading.Event()

    @shop.query
    def overtaken(ctx) -> int:
        folded.clear()
        asked.put(True)
        folded.wait(0.5)  # the last time it waits in vain: folds pause
        return len(ctx.db.query("items").collect())

    def commit_and_fold():
        while asked.get():
            shop["items"].insert({"kind": "a", "price": 1})
            shop.sql("select 1").to_arrow()
            folded.set()

    thread = threading.Thread(target=commit_and_fold)
    thread.start()
    try:
        handle = overtaken.live()
        with shop.snapshot() as number:
            assert handle.value == shop.sql("select count(*) as n from items")[0]["n"]
            assert handle.version == number
    finally:
        asked.put(False)
        thread.join()
