"""Live handles: how they are read, that all of a workspace move together, and how they end."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from livedb import UNSET, Missing
from livedb.errors import ClosedError, FunctionTypeError, HandleError, TravelError
from tests.live.shop import prices
from tests.waiting import until

# -- reading ---------------------------------------------------------------------------------------


def test_a_handle_has_the_length_rows_and_truth_of_its_list(shop):
    handle = shop.of_kind.live(kind="a")
    assert (len(handle), list(handle), bool(handle)) == (0, [], False)
    shop["items"].insert([{"kind": "a", "price": price} for price in (3, 1, 2)])
    assert len(handle) == 3
    assert [item.price for item in handle] == [1, 2, 3]
    assert (handle[0].price, handle[-1].price) == (1, 3)
    assert [item["price"] for item in handle[1:]] == [2, 3]
    assert handle
    with pytest.raises(IndexError):
        handle[3]


@pytest.mark.parametrize("follow", ["sql", "table", "sql result"])
def test_rows_of_sql_and_of_tables_are_documents(db, follow):
    @db.table("items")
    class Item:
        price: int
        tags: list[str]
        note: str | Missing = UNSET

    table = db["items"]
    table.insert([{"price": n, "tags": ["x"] * (n % 5)} for n in range(1_100)])
    text = "select price, tags, note from items order by price"
    rows = {
        "sql": lambda: db.sql(text).live(),
        "table": table.live,
        "sql result": lambda: db.sql(text),
    }[follow]()
    assert (len(rows), rows[7].price, rows[-1]["price"]) == (1_100, 7, 1_099)
    assert [row.price for row in rows] == list(range(1_100))
    assert [row.price for row in rows[2:6:2]] == [2, 4]
    assert rows[2].tags == (["x", "x"] if follow == "table" else '["x","x"]')
    assert rows[2].note is None
    for out_of_range in (1_100, -1_101):
        with pytest.raises(IndexError):
            rows[out_of_range]


def test_an_iteration_goes_on_over_the_rows_that_it_began_with(shop):
    shop["items"].insert([{"kind": "a", "price": price} for price in (1, 2)])
    for handle in (shop.of_kind.live(kind="a"), shop["items"].live()):
        seen = []
        for item in handle:
            seen.append(item.price)
            shop["items"].insert({"kind": "a", "price": 9})
        assert len(handle) == 2 * len(seen)
        for item in shop["items"].collect()[2:]:
            shop["items"].delete(item["_id"])


def test_a_handle_of_one_value_says_that_it_has_no_rows(shop):
    handle = shop.total.live()
    assert handle  # it has a value, which is not looked at
    for ask in (len, list, lambda handle: handle[0]):
        with pytest.raises(TypeError, match=r"total\(\) shows one value.*\.value"):
            ask(handle)


def test_a_handle_read_after_a_commit_shows_it(shop):
    handle = shop.of_kind.live(kind="a")
    assert handle.value == []
    made = shop["items"].insert({"kind": "a", "price": 1})
    assert prices(handle) == [1]
    assert handle.version == shop.number
    shop["items"].patch(made, {"price": 2})
    assert prices(handle) == [2]
    shop["items"].delete(made)
    assert handle.value == []
    assert handle.error is None


def test_a_value_is_the_handles_own_copy(shop):
    shop["items"].insert({"kind": "a"})
    first, second = shop.of_kind.live(kind="a"), shop.of_kind.live(kind="a")
    first.value[0]["price"] = 99
    assert prices(second) == [0]
    assert second.value[0].kind == "a"


def prices_of(rows):
    return [row.price for row in rows]


def test_an_async_reader_is_not_given_a_value_twice(shop):
    handle = shop.of_kind.live(kind="a")
    woken = threading.Semaphore(0)

    async def read():
        values = handle.aio()
        given = [prices_of(await anext(values))]
        first = asyncio.ensure_future(anext(values))
        await asyncio.sleep(0)
        handle.followers.wakes = (*handle.followers.wakes, woken.release)  # after the reader's own
        shop["items"].insert({"kind": "a", "price": 1})
        assert woken.acquire(timeout=10)  # the loop stands still, and the reader with it
        shop["items"].insert({"kind": "a", "price": 2})  # the reader sees it before it is woken
        given.append(prices_of(await first))
        assert woken.acquire(timeout=10)
        second = asyncio.ensure_future(anext(values))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not second.done()
        shop["items"].insert({"kind": "a", "price": 3})
        return [*given, prices_of(await asyncio.wait_for(second, 10))]

    assert asyncio.run(read()) == [[], [1, 2], [1, 2, 3]]


def test_a_column_is_not_taken_as_a_row(shop):
    shop["items"].insert({"kind": "a"})
    for rows in (shop.sql("select kind from items"), shop["items"].live()):
        with pytest.raises(TypeError, match=r"by number.*column 'kind' is \.df\['kind'\]"):
            rows["kind"]
        with pytest.raises(IndexError, match=r"no row -2: the result has 1 row$"):
            rows[-2]
        assert rows[-1].kind == "a"


# -- one number ------------------------------------------------------------------------------------


def test_all_handles_stand_at_one_number(shop):
    first, second, total = (
        shop.of_kind.live(kind="a"),
        shop.of_kind.live(kind="b"),
        shop.total.live(),
    )
    by_sql = shop.sql("select count(*) as n from items").live()

    @shop.mutation
    def move(ctx):
        item = ctx.db.query("items").with_index("by_kind", kind="a").first()
        ctx.db.patch(item._id, {"kind": "b"})

    shop["items"].insert([{"kind": "a", "price": n} for n in range(4)])
    mixed = []

    def look(_):
        with shop.snapshot():
            together = len(first.value) + len(second.value)
            numbers = {h.version for h in (first, second, total, by_sql)}
        if together != 4 or len(numbers) != 1:
            mixed.append((together, numbers))

    for handle in (first, second):
        handle.observe(look)
    for _ in range(4):
        move()
    until(lambda: len(second.value) == 4)
    assert mixed == []
    assert {h.version for h in (first, second, total, by_sql)} == {shop.number}


# -- dropping --------------------------------------------------------------------------------------


def test_a_dropped_handle_unsubscribes(shop):
    handle = shop.of_kind.live(kind="a")
    handle.observe(lambda h: None)
    assert shop.statistics().live["followed"] == 1
    del handle
    gc.collect()
    until(lambda: shop.statistics().live["followed"] == 0)
    runs = dict(shop.statistics().runs)
    shop["items"].insert({"kind": "a"})
    until(lambda: shop.statistics().live["live_queries"] == 0)
    assert shop.statistics().runs["of_kind"] == runs["of_kind"]


def test_handles_in_cycles_are_collected_anywhere_without_a_deadlock(memory):
    @memory.query
    def count(ctx, n: int):
        gc.collect()  # inside a transition: its locks are held by this very thread
        return ctx.db.count("a") + n

    for n in range(5):
        handle = count.live(n=n)
        handle.observe(lambda h, handle=handle: handle)  # a cycle
        del handle
        memory["a"].insert({})
    kept = count.live(n=100)
    until(lambda: memory.statistics().live["followed"] == 1)
    assert kept.value == 105


def test_a_closed_handle_keeps_its_value(shop):
    shop["items"].insert({"kind": "a"})
    handle = shop.of_kind.live(kind="a")
    handle.close()
    handle.close()
    shop["items"].insert({"kind": "a"})
    assert len(handle.value) == 1
    assert handle.is_closed
    assert "closed" in repr(handle)
    until(lambda: shop.statistics().live["followed"] == 0)
    with pytest.raises(ClosedError):
        handle.wait(timeout=1)


def test_a_handle_outlives_its_workspace_as_a_value(tmp_path):
    import livedb

    with livedb.open(tmp_path / "w") as db:
        db["a"].insert({"n": 1})
        handle = db["a"].order("asc").live()
        assert handle.value[0]["n"] == 1
    assert handle.value[0]["n"] == 1
    assert len(handle.df) == 1
    handle.close()


def test_results_that_read_the_time_are_not_kept(memory):
    @memory.query
    def stamped(ctx):
        return ctx.random.random()

    @memory.query
    def pure(ctx):
        return ctx.db.count("a")

    first = stamped.live()
    seen = first.value
    first.close()
    assert stamped.live().value != seen
    first = pure.live()
    first.close()
    again = pure.live()
    assert again.runs == 1


def test_a_closed_handle_says_so_when_asked_to_follow(shop):
    shop["items"].insert({"kind": "a", "price": 1})
    handle = shop.of_kind.live(kind="a")
    handle.close()
    for ask in (lambda: handle.observe(print), handle.refresh, handle.wait):
        with pytest.raises(ClosedError, match=r"of_kind.* is closed"):
            ask()
    assert prices(handle) == [1]
    assert len(handle.df) == 1


# -- where handles may be read ---------------------------------------------------------------------


@pytest.mark.gap(TravelError, "a handle does not travel")
def test_a_handle_cannot_be_read_inside_a_function(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle = count.live()

    @memory.query
    def reads(ctx):
        return handle.value

    with pytest.raises(HandleError, match="cannot be read inside"):
        reads()
    for attempt in (lambda: handle.df, lambda: handle.version):

        @memory.mutation(name="attempt")
        def reads_too(ctx, attempt=attempt):
            attempt()

        with pytest.raises(HandleError):
            reads_too()

    @memory.query
    def lives(ctx):
        return count.live()

    with pytest.raises(FunctionTypeError, match=r"\.live\(\) cannot be called inside"):
        lives()


# -- narrowed tables -------------------------------------------------------------------------------


def test_narrowed_tables_are_live_and_equal_ones_shared(shop):
    shop["items"].insert([{"kind": "a", "price": n} for n in range(3)])
    one = shop["items"].with_index("by_kind", kind="a").order("desc").live()
    two = shop["items"].with_index("by_kind", kind="a").order("desc").live()
    assert prices(one) == prices(two) == [2, 1, 0]
    assert one.runs == 1
    shop["items"].insert({"kind": "b"})
    assert one.runs == 1
    shop["items"].insert({"kind": "a", "price": 7})
    assert prices(one) == [7, 2, 1, 0]


def test_filters_built_by_code_are_not_confused(shop):
    shop["items"].insert([{"kind": "a", "price": n} for n in range(3)])
    found = []
    for n in range(3):
        handle = shop["items"].filter(lambda q, n=n: q.eq(q.field("price"), n)).live()
        found.append(prices(handle))
        handle.close()
        gc.collect()
    assert found == [[0], [1], [2]]
