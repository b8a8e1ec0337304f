"""Live handles: what is run again, what is told, and that all of a workspace move together."""

from __future__ import annotations

import asyncio
import gc
import threading
from datetime import UTC, datetime

import pytest

from livedb import UNSET, Missing, v
from livedb.errors import (
    ApplicationError,
    ArgumentValidationError,
    ClosedError,
    FunctionTypeError,
    HandleError,
    TravelError,
)
from tests.live.waiting import until

DATETIME = "datetime64[us, UTC]"


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


def test_rows_of_a_failed_query_are_the_last_good_ones_or_its_error(shop):
    @shop.query
    def strict(ctx):
        items = ctx.db.query("items").collect()
        if len(items) > 1:
            raise ApplicationError("too many")
        return items

    shop["items"].insert({"kind": "a"})
    handle = strict.live()
    shop["items"].insert({"kind": "b"})
    with pytest.warns(UserWarning, match="last good rows"):
        assert [item.kind for item in handle] == ["a"]

    @shop.query
    def broken(ctx):
        raise ApplicationError("never")

    handle = broken.live()
    assert handle
    with pytest.raises(ApplicationError, match="never"):
        len(handle)


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


def test_frames_of_a_handle(shop):
    shop["items"].insert([{"kind": "a", "price": n} for n in range(3)])
    handle = shop.of_kind.live(kind="a")
    assert handle.df["price"].tolist() == [0, 1, 2]
    dtypes = handle.df.dtypes
    empty = shop.of_kind.live(kind="none")
    assert empty.df.dtypes.equals(dtypes)
    assert handle.to_arrow().num_rows == 3


# -- work ------------------------------------------------------------------------------------------


def test_what_was_not_touched_is_not_run_again(shop):
    shop["items"].insert([{"kind": "a"}, {"kind": "b"}])
    a, b = shop.of_kind.live(kind="a"), shop.of_kind.live(kind="b")
    assert (a.runs, b.runs) == (1, 1)
    shop["items"].insert({"kind": "b"})
    shop["other"].insert({})
    assert len(a.value) == 1
    assert len(b.value) == 2
    assert (a.runs, b.runs) == (1, 2)


def test_a_query_beyond_its_limit_is_not_touched(memory):
    @memory.query
    def oldest(ctx):
        return ctx.db.query("a").take(2)

    memory["a"].insert([{"n": 0}, {"n": 1}])
    handle = oldest.live()
    memory["a"].insert({"n": 2})
    assert len(handle.value) == 2
    assert handle.runs == 1
    memory["a"].delete(handle.value[0]["_id"])
    assert [row["n"] for row in handle.value] == [1, 2]


def test_equal_handles_share_one_run(shop):
    shop["items"].insert({"kind": "a"})
    handles = [shop.of_kind.live(kind="a") for _ in range(10)]
    handles.append(shop.of_kind.live("a"))
    assert [handle.runs for handle in handles] == [1] * 11
    shop["items"].insert({"kind": "a"})
    assert [len(handle.value) for handle in handles] == [2] * 11
    assert [handle.runs for handle in handles] == [2] * 11
    assert shop.statistics().live["live_queries"] == 1


def test_one_commit_runs_a_touched_query_once(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle = count.live()
    memory["a"].insert([{"n": n} for n in range(20)])
    assert handle.value == 20
    assert handle.runs == 2


def test_what_did_not_change_is_not_told(memory):
    @memory.query
    def any_large(ctx):
        return any(row.n > 100 for row in ctx.db.query("a"))

    memory["a"].insert({"n": 1})
    handle, heard = any_large.live(), []
    handle.observe(lambda h: heard.append(h.value))
    memory["a"].insert({"n": 2})
    assert handle.value is False
    memory["a"].insert({"n": 200})
    until(lambda: heard)
    assert heard == [True]
    assert handle.runs == 3


def test_a_change_that_python_calls_equal_is_told(memory):
    row = memory["a"].insert({"x": True})

    @memory.query
    def x(ctx):
        return ctx.db.get(row)["x"]

    handle, heard, named = x.live(), [], []
    handle.observe(lambda h: heard.append(h.value))
    handle.observe(lambda change: named.append(change["new"]), names="value")
    memory["a"].patch(row, {"x": 1})
    until(lambda: heard)
    assert type(heard[0]) is int
    assert [type(value) for value in named] == [int]


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


# -- diffs -----------------------------------------------------------------------------------------


def test_followers_are_told_which_rows_changed(shop):
    kept, changed, gone = shop["items"].insert([{"kind": "a", "price": n} for n in range(3)])
    notices = []
    definition = shop.of_kind.definition
    subscription = shop.backend.follow_function(definition, {"kind": "a"}, notices.append)

    @shop.mutation
    def edit(ctx):
        ctx.db.patch(changed, {"price": 50})
        ctx.db.delete(gone)
        return ctx.db.insert("items", {"kind": "a", "price": 10})

    new = edit()
    until(lambda: notices)
    diff = notices[0].diff
    assert (diff.added, diff.removed, diff.changed) == ((new,), (gone,), (changed,))
    assert diff.is_reordered is False
    shop["items"].patch(kept, {"price": 99})
    until(lambda: len(notices) == 2)
    assert notices[1].diff.changed == (kept,)
    assert notices[1].diff.is_reordered is True
    subscription.close()


# -- errors ----------------------------------------------------------------------------------------


def test_an_error_is_a_state_and_passes(memory):
    row = memory["a"].insert({"n": 1})

    @memory.query
    def picky(ctx):
        n = ctx.db.get(row)["n"]
        if n < 0:
            raise ApplicationError({"n": n})
        return n

    handle = picky.live()
    memory["a"].patch(row, {"n": -5})
    assert handle.error.data == {"n": -5}
    assert handle.value == 1  # the last good one
    with pytest.raises(ApplicationError):
        handle.raise_error()
    memory["a"].patch(row, {"n": 5})
    assert handle.value == 5
    assert handle.error is None
    handle.raise_error()


def test_a_query_that_fails_at_once_recovers(memory):
    @memory.query
    def first(ctx):
        return ctx.db.query("a").first()["n"]

    handle = first.live()
    assert isinstance(handle.error, TypeError)
    with pytest.raises(TypeError) as raised:
        handle.value  # noqa: B018 - reading is what raises
    assert (type(raised.value), str(raised.value)) == (type(handle.error), str(handle.error))
    memory["a"].insert({"n": 3})
    assert (handle.value, handle.error) == (3, None)


def test_a_new_handle_of_a_failing_query_has_no_rows_of_those_who_followed_before(shop):
    @shop.query
    def inverse(ctx):
        return [{"x": 1 / item["price"]} for item in ctx.db.query("items").collect()]

    shop["items"].insert({"kind": "a", "price": 1})
    earlier = inverse.live()
    zero = shop["items"].insert({"kind": "a", "price": 0})
    assert earlier.value == [{"x": 1.0}]
    handle = inverse.live()
    assert isinstance(handle.error, ZeroDivisionError)
    for read in (lambda: handle.value, lambda: len(handle), lambda: list(handle), handle.to_arrow):
        with pytest.raises(ZeroDivisionError):
            read()
    assert handle.current().row_count == 0
    shop["items"].patch(zero, {"price": 2})
    assert handle.value == earlier.value == [{"x": 1.0}, {"x": 0.5}]
    shop["items"].patch(zero, {"price": 0})
    assert handle.value == [{"x": 1.0}, {"x": 0.5}]


def test_a_handle_that_had_no_value_yet_can_be_waited_for(memory):
    @memory.query
    def first(ctx):
        return ctx.db.query("a").first()["n"]

    async def first_value(handle):
        return await anext(handle.aio())

    handle = first.live()
    with pytest.raises(TypeError):
        asyncio.run(first_value(handle))
    seen = handle.version
    memory["a"].insert({"n": 3})
    assert handle.wait(10, after=seen)
    assert asyncio.run(first_value(handle)) == 3


def test_a_result_that_is_no_value_is_an_error_of_the_handle(memory):
    @memory.query
    def odd(ctx):
        return {1, 2}

    assert odd.live().error.code == "InvalidValue"


def test_a_failing_observer_does_not_keep_others_from_hearing(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle, heard = count.live(), []
    handle.observe(lambda h: 1 / 0)
    handle.observe(lambda h: heard.append(h.value))
    other = count.live()
    other.observe(lambda h: heard.append(h.value))
    memory["a"].insert({})
    until(lambda: len(heard) == 2)
    assert heard == [1, 1]


# -- redefinition ----------------------------------------------------------------------------------


def test_a_redefined_function_is_followed(shop):
    shop["items"].insert([{"kind": "a", "price": n} for n in range(3)])
    handle, heard = shop.of_kind.live(kind="a"), []
    handle.observe(lambda h: heard.append(len(h.value)))

    @shop.query
    def of_kind(ctx, kind: str):
        return ctx.db.query("items").with_index("by_kind", kind=kind).take(1)

    assert prices(handle) == [0]
    until(lambda: heard == [1])


def test_arguments_no_longer_taken_are_named_and_come_back(shop):
    shop["items"].insert({"kind": "a"})
    handle = shop.of_kind.live(kind="a")

    @shop.query
    def of_kind(ctx, sort: str):
        return sort

    assert isinstance(handle.error, ArgumentValidationError)
    assert "kind" in str(handle.error)
    assert prices(handle) == [0]

    @shop.query
    def of_kind(ctx, kind: str):  # noqa: F811
        return kind

    assert (handle.value, handle.error) == ("a", None)


def test_a_query_redefined_as_a_mutation_is_an_error_state(memory):
    @memory.query
    def f(ctx):
        return 1

    handle = f.live()

    @memory.mutation
    def f(ctx):
        ctx.db.insert("a", {})

    assert isinstance(handle.error, FunctionTypeError)
    assert "a" not in memory


def test_a_redefined_table_is_followed(memory):
    @memory.table("a", indexes={"by_n": ["n"]})
    class A:
        n: int

    memory["a"].insert([{"n": 2}, {"n": 1}])

    @memory.query
    def ordered(ctx, index: str):
        return [row.n for row in ctx.db.query("a").with_index(index)]

    handle, later = ordered.live(index="by_n"), ordered.live(index="by_other")
    assert handle.value == [1, 2]
    assert later.error.code == "IndexNotFoundError"

    @memory.table("a", indexes={"by_other": ["n"]})
    class A:  # noqa: F811
        n: int

    assert handle.error.code == "IndexNotFoundError"
    assert later.value == [1, 2]


def test_a_table_redefined_with_another_field_keeps_its_queries(memory):
    @memory.table("a")
    class A:
        n: int

    @memory.query
    def rows(ctx) -> list[A]:
        return ctx.db.query(A).collect()

    memory["a"].insert({"n": 1})
    handle = rows.live()

    @memory.table("a")
    class A:  # noqa: F811
        n: int
        note: str | Missing = UNSET

    memory["a"].insert({"n": 2, "note": "x"})
    assert handle.error is None
    assert [row.get("note") for row in handle.value] == [None, "x"]
    assert rows() == handle.value


def test_a_dropped_table_is_empty(memory):
    memory["a"].insert({"n": 1})

    @memory.query
    def rows(ctx):
        return ctx.db.query("a").collect()

    handle = rows.live()
    memory["a"].drop()
    assert handle.value == []
    memory["a"].insert({"n": 2})
    assert [row["n"] for row in handle.value] == [2]


@pytest.mark.gap(AssertionError, "a list of the notebook travels as a copy")
def test_refresh_runs_again_without_a_change(memory):
    outside = [1]

    @memory.query
    def reads_outside(ctx):
        return outside[0]

    handle = reads_outside.live()
    outside[0] = 2
    assert handle.value == 1
    handle.refresh()
    assert handle.value == 2


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


@pytest.mark.gap(TravelError, "its class is known by a name of the test alone")
def test_the_frame_of_a_query_without_annotations_has_the_tables_types(shop):
    @shop.query
    def bare(ctx):
        return ctx.db.query("items").collect()

    @shop.query
    def reshaped(ctx):
        return [{"_id": i._id, "price": str(i.price)} for i in ctx.db.query("items")]

    @shop.table("spare")
    class Spare:
        note: str | None
        size: int | Missing = UNSET

    @shop.query
    def spares(ctx):
        return ctx.db.query(Spare).collect()

    shop["spare"].insert({"note": None})
    assert [str(spares.live().to_arrow().schema.field(n).type) for n in ("note", "size")] == [
        "string",
        "int64",
    ]
    shop["items"].insert({"kind": "a", "price": 1})
    typed = shop.of_kind.live(kind="a").to_arrow().schema
    assert set(bare.live().to_arrow().schema) == set(typed)
    assert reshaped.live().to_arrow().to_pylist()[0]["price"] == "1"
    assert shop["items"].with_index("by_kind", kind="a").live().to_arrow().schema.names


@pytest.mark.parametrize(
    "narrowed",
    [
        lambda table: table.with_index("by_day", day=7),
        lambda table: table.filter(lambda q: q.eq(q.field("day"), 7)),
        lambda table: table.order("desc").filter(lambda q: q.eq(q.field("day"), 7)),
    ],
)
def test_a_narrowed_table_has_the_same_frame_with_documents_and_without(memory, narrowed):
    @memory.table("visits", indexes={"by_day": ["day"]})
    class Visit:
        day: int
        left: datetime | None
        tags: list[int]

    empty = narrowed(memory["visits"]).live()
    before = empty.df
    memory["visits"].insert({"day": 7, "left": None, "tags": []})
    assert len(before) == 0
    assert empty.df.dtypes.equals(before.dtypes)
    assert before.dtypes.equals(memory["visits"].df.dtypes)


def test_the_frame_of_one_document_has_the_types_that_the_annotation_says(memory):
    @memory.table("visits")
    class Visit:
        day: int | None
        left: datetime | None
        tags: list[int]

    @memory.query
    def newest(ctx) -> Visit | None:
        return ctx.db.query("visits").order("desc").first()

    memory["visits"].insert({"day": None, "left": None, "tags": []})
    assert newest.live().df.dtypes.equals(memory["visits"].df.dtypes)


@pytest.mark.parametrize(
    "returns, results, dtypes",
    [
        (int | None, [None, 1], {"value": "Int64"}),
        (datetime | None, [None, datetime(2026, 1, 1, tzinfo=UTC)], {"value": DATETIME}),
        (list[int], [[], [1]], {"value": "list<item: int64>[pyarrow]"}),
        (dict[str, int | None], [{"x": None}, {"x": 1}], {"x": "Int64"}),
        (list[dict[str, float]], [[{"x": 1}], [{"x": 1.5}]], {"x": "Float64"}),
        (int | str, [1], {"value": "Int64"}),
    ],
    ids=str,
)
def test_the_return_type_says_the_dtypes_of_a_result(memory, returns, results, dtypes):
    for result in results:

        def some(ctx):
            return result  # noqa: B023 - called in this turn only

        some.__annotations__["return"] = returns
        frame = memory.query(some).live().df
        assert {name: str(each) for name, each in frame.dtypes.items()} == dtypes
        assert len(frame) == 1


def test_no_document_is_no_row_of_the_documents_columns(shop):
    returns = shop.of_kind.definition.signature.returns

    @shop.query(returns=v.union(returns.element, v.null()))
    def newest(ctx):
        return ctx.db.query("items").order("desc").first()

    @shop.query(returns=v.union(returns, v.null()))
    def none(ctx):
        return None

    handle = newest.live()
    empty = handle.df
    assert (len(empty), len(none.live().df)) == (0, 0)
    shop["items"].insert({"kind": "a"})
    assert len(handle.df) == 1
    assert handle.df.dtypes.equals(empty.dtypes)
    assert none.live().df.dtypes.equals(empty.dtypes)


def test_frames_and_files_of_a_failed_query_warn_once_naming_error_and_commit(shop, tmp_path):
    shop["items"].insert({"kind": "a", "price": 1})

    @shop.query
    def inverse(ctx) -> list[dict[str, float]]:
        return [{"x": 1 / item["price"]} for item in ctx.db.query("items").collect()]

    handle, file, good = inverse.live(), inverse.live(), shop.number
    shop["items"].insert({"kind": "a", "price": 0})
    assert handle.value == [{"x": 1.0}]
    with pytest.warns(
        UserWarning, match=rf"inverse.*ZeroDivisionError.*of commit {good}\."
    ) as said:
        assert len(handle.df) == 1
    assert said[0].filename == __file__
    assert len(handle.df) == 1
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        assert file.to_parquet(tmp_path / "x.parquet").number == good


def test_a_closed_handle_says_so_when_asked_to_follow(shop):
    shop["items"].insert({"kind": "a", "price": 1})
    handle = shop.of_kind.live(kind="a")
    handle.close()
    for ask in (lambda: handle.observe(print), handle.refresh, handle.wait):
        with pytest.raises(ClosedError, match=r"of_kind.* is closed"):
            ask()
    assert prices(handle) == [1]
    assert len(handle.df) == 1


def test_an_async_reader_is_not_given_a_value_twice(shop):
    handle = shop.of_kind.live(kind="a")
    woken = threading.Semaphore(0)

    async def read():
        values = handle.aio()
        given = [prices_of(await anext(values))]
        first = asyncio.ensure_future(anext(values))
        await asyncio.sleep(0)
        handle._wakes = (*handle._wakes, woken.release)  # after the reader's own
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
        with pytest.raises(IndexError, match=r"no row -2: these are 1 rows"):
            rows[-2]
        assert rows[-1].kind == "a"


def prices_of(rows):
    return [row.price for row in rows]


def test_a_query_that_ends_the_program_fails_alone(shop):
    @shop.query
    def quits(ctx) -> int:
        found = ctx.db.query("items").collect()
        if len(found) == 1:
            raise SystemExit(3)
        return len(found)

    shop["items"].insert({"kind": "a"})
    with pytest.raises(FunctionTypeError, match=r"'quits' raised SystemExit"):
        quits()
    handle = quits.live()
    assert isinstance(handle.error, FunctionTypeError)
    assert len(shop.of_kind.live(kind="a").value) == 1
    shop["items"].insert({"kind": "a"})
    assert handle.value == 2
